package workflows

import (
	"bytes"

	"mastralambda/shared/mastra"
)

// Result is how a run ended, or where it waits. Steps holds the input under "input", then each step.
type Result struct {
	Status         mastra.RunStatus           `json:"status"`
	Steps          mastra.Object[any]         `json:"steps"`
	Input          mastra.JSON                `json:"input,omitzero"`
	Path           []string                   `json:"stepExecutionPath"`
	Result         mastra.JSON                `json:"result,omitzero"`
	Suspended      [][]string                 `json:"suspended,omitempty"`
	SuspendPayload mastra.Object[mastra.JSON] `json:"suspendPayload,omitempty"`
	Error          *mastra.RunError           `json:"error,omitempty"`
	RunID          string                     `json:"runId"`
	TraceID        string                     `json:"traceId,omitempty"`
	SpanID         string                     `json:"spanId,omitempty"`
}

func resultOf(run *mastra.Run) (Result, error) {
	r := Result{Status: run.Status, Input: run.Input, Path: run.Path, Result: run.Result, Suspended: run.Suspended, Error: run.Error,
		RunID: run.ID, TraceID: run.TraceID, SpanID: run.SpanID, Steps: make(mastra.Object[any], 0, len(run.Steps)+1)}
	if run.Input != nil {
		r.Steps = append(r.Steps, mastra.Member[any]{Key: "input", Value: run.Input})
	}
	repeats := repeated(run)
	for _, s := range run.Steps {
		if mastra.IsNested(s.Key) {
			continue
		}
		step := s.Value
		if repeats[s.Key] {
			step.Payload = nil
		}
		r.Steps = append(r.Steps, mastra.Member[any]{Key: s.Key, Value: step})
		if step.Status == mastra.StatusSuspended && run.Status == mastra.StatusSuspended {
			payload := step.SuspendPayload
			if payload == nil {
				payload = mastra.JSON("{}")
			}
			r.SuspendPayload = append(r.SuspendPayload, mastra.Member[mastra.JSON]{Key: s.Key, Value: payload})
		}
	}
	return r, nil
}

// repeated are the steps of the path whose payload an answer leaves out: it is what the step before put out.
func repeated(run *mastra.Run) map[string]bool {
	leave := make(map[string]bool, len(run.Path))
	previous := run.Input
	for _, id := range run.Path {
		step, ok := run.Steps.Get(id)
		if !ok {
			continue
		}
		leave[id] = previous != nil && equal(step.Payload, previous)
		if step.Status == mastra.StatusSuccess {
			previous = step.Output
		}
	}
	return leave
}

func equal(a, b mastra.JSON) bool {
	if bytes.Equal(a, b) {
		return true
	}
	a, b = a.Clone(), b.Clone()
	return a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}
