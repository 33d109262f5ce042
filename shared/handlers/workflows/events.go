package workflows

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// EventInput is an event that a broker pushes.
type EventInput struct {
	Event Event `json:"event"`
}

// Event says what is to happen to a run, or what has happened.
type Event struct {
	ID        string      `json:"id" minLength:"1"`
	Type      string      `json:"type" enum:"workflow.start,workflow.resume,workflow.cancel,workflow.end,workflow.fail,workflow.suspend"`
	Data      EventData   `json:"data"`
	RunID     string      `json:"runId" minLength:"1" maxLength:"256"`
	CreatedAt mastra.Time `json:"createdAt"`
	Index     int         `json:"index,omitzero"`
	Attempt   int         `json:"deliveryAttempt,omitzero"`
}

// EventData names the workflow and says what the event needs: the input as the output of PrevResult.
type EventData struct {
	WorkflowID     string                `json:"workflowId,omitempty"`
	PrevResult     EventResult           `json:"prevResult,omitzero"`
	State          mastra.JSON           `json:"state,omitzero"`
	ResumeSteps    []string              `json:"resumeSteps,omitempty"`
	ResumeData     mastra.JSON           `json:"resumeData,omitzero"`
	ForEachIndex   *int                  `json:"forEachIndex,omitempty" minimum:"0"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	PerStep        bool                  `json:"perStep,omitzero"`
}

// EventResult is the result of a step within an event.
type EventResult struct {
	Output mastra.JSON `json:"output,omitzero"`
}

// Received says whether the event was taken, and whether to send it again where not.
type Received struct {
	OK    bool  `json:"ok"`
	Retry *bool `json:"retry,omitzero"`
}

// Receive starts, resumes or cancels a run, as the event says, and returns once that is durable. An event that comes again
// changes nothing. Events about what has happened are acknowledged: a run here needs none to go on.
func Receive(ctx context.Context, m *mastra.Mastra, in EventInput) (Received, error) {
	e := in.Event
	var err error
	switch e.Type {
	case "workflow.start":
		err = received(ctx, m, e, func(ctx context.Context, w mastra.Workflow) error {
			_, err := m.Engine.Background(ctx, m, w, mastra.WorkflowCall{RunID: e.RunID, Input: e.Data.PrevResult.Output, State: e.Data.State, PerStep: e.Data.PerStep})
			return err
		})
	case "workflow.resume":
		err = received(ctx, m, e, func(ctx context.Context, w mastra.Workflow) error {
			_, err := m.Engine.ResumeBackground(ctx, m, w, mastra.WorkflowResume{RunID: e.RunID, Step: e.Data.ResumeSteps, Index: e.Data.ForEachIndex, Data: e.Data.ResumeData, PerStep: e.Data.PerStep})
			return err
		})
	case "workflow.cancel":
		err = received(ctx, m, e, func(ctx context.Context, w mastra.Workflow) error {
			err := m.Engine.Cancel(ctx, m, w, e.RunID)
			if mastra.CodeOf(err) == mastra.CodeConflict { // it has ended
				return nil
			}
			return err
		})
	}
	if err == nil {
		return Received{OK: true}, nil
	}
	again := mastra.CodeOf(err) == mastra.CodeInternal || mastra.CodeOf(err) == mastra.CodeUnavailable
	if again {
		m.Logger.ErrorContext(ctx, "an event could not be taken", "event", e.ID, "type", e.Type, "runId", e.RunID, "error", err)
	} else {
		m.Logger.WarnContext(ctx, "an event was refused", "event", e.ID, "type", e.Type, "runId", e.RunID, "error", err)
	}
	return Received{Retry: &again}, nil
}

func received(ctx context.Context, m *mastra.Mastra, e Event, do func(context.Context, mastra.Workflow) error) error {
	w, err := workflow(m, e.Data.WorkflowID)
	if err != nil {
		return err
	}
	if e.Data.RequestContext != nil {
		ctx = mastra.WithRequestContext(ctx, e.Data.RequestContext)
	}
	return do(ctx, w)
}

// strip takes out of a payload what the engine put in.
func strip(payload mastra.JSON) mastra.JSON {
	var m mastra.Object[mastra.JSON]
	if len(payload) == 0 || payload.Kind() != '{' || schema.Unmarshal(payload, &m) != nil {
		return payload
	}
	if _, ok := m.Get(mastra.SuspendedAtKey); !ok {
		return payload
	}
	kept := make(mastra.Object[mastra.JSON], 0, len(m))
	for _, e := range m {
		if e.Key != mastra.SuspendedAtKey {
			kept = append(kept, e)
		}
	}
	data, _ := schema.Marshal(kept)
	return data
}
