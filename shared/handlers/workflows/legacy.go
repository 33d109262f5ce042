package workflows

import (
	"context"
	"iter"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// StreamLegacy is Stream in the chunks of an older version of the reference server.
func StreamLegacy(ctx context.Context, m *mastra.Mastra, in RunInput) (iter.Seq2[mastra.Chunk, error], error) {
	chunks, err := Stream(ctx, m, in)
	if err != nil {
		return nil, err
	}
	return legacy(chunks, in.RunID), nil
}

// ObserveLegacyInput names a run.
type ObserveLegacyInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
	RunID      string `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
}

// ObserveStreamLegacy is Observe in those chunks.
func ObserveStreamLegacy(ctx context.Context, m *mastra.Mastra, in ObserveLegacyInput) (iter.Seq2[mastra.Chunk, error], error) {
	chunks, err := Observe(ctx, m, ObserveInput{WorkflowID: in.WorkflowID, RunID: in.RunID})
	if err != nil {
		return nil, err
	}
	return legacy(chunks, in.RunID), nil
}

func legacy(chunks iter.Seq2[mastra.Chunk, error], runID string) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		for c, err := range chunks {
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			old, err := legacyOf(c, runID)
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			for i, o := range old {
				if i == len(old)-1 { // the place is that of the last one made of c
					o.At = c.At
				}
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// legacyOf is what c was in those days: none, one or two chunks.
func legacyOf(c mastra.Chunk, runID string) ([]mastra.Chunk, error) {
	name, ours := strings.CutPrefix(c.Type, "workflow-")
	if !ours {
		return []mastra.Chunk{{Type: c.Type, Payload: c.Payload, Data: c.Data}}, nil
	}
	run := mastra.Object[string]{{Key: "runId", Value: runID}}
	payload, err := members(c.Payload)
	if err != nil {
		return nil, err
	}
	switch name {
	case "start":
		return []mastra.Chunk{{Type: "start", Payload: run}}, nil
	case "finish":
		if status, _ := payload.Get("workflowStatus"); string(status) == `"suspended"` {
			return nil, nil
		}
		return []mastra.Chunk{{Type: "finish", Payload: run}}, nil
	}
	kept := make(mastra.Object[mastra.JSON], 0, len(payload)+1)
	end := mastra.Object[mastra.JSON]{}
	for _, m := range payload {
		if m.Key == "stepName" {
			continue
		}
		kept = append(kept, m)
		if m.Key == "id" || m.Key == "stepCallId" {
			end = append(end, m)
		}
	}
	if name == "step-start" {
		kept.Set("request", mastra.JSON("{}"))
	}
	list := []mastra.Chunk{{Type: name, Payload: kept}}
	if name == "step-result" {
		end.Set("metadata", mastra.JSON("{}"))
		list = append(list, mastra.Chunk{Type: "step-finish", Payload: end})
	}
	return list, nil
}

func members(payload any) (m mastra.Object[mastra.JSON], err error) {
	data, ok := payload.(mastra.JSON)
	if !ok {
		if data, err = schema.Marshal(payload); err != nil {
			return nil, err
		}
	}
	return m, schema.Unmarshal(data, &m)
}
