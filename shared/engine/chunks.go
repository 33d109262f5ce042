package engine

import (
	"context"
	"errors"
	"iter"
	"time"

	"mastralambda/shared/mastra"
)

// emit sends a chunk to those who follow the run.
func (x *execution) emit(kind string, payload any) {
	if x.log == nil {
		return
	}
	x.emitting.Lock()
	defer x.emitting.Unlock()
	if err := x.log.Append(mastra.Chunk{Type: kind, RunID: x.run.ID, From: mastra.FromWorkflow, Payload: payload}); err != nil {
		x.m.Logger.ErrorContext(x.store, "a chunk does not encode", "runId", x.run.ID, "type", kind, "error", err)
	}
}

// stepEvent is the payload of a chunk about a step.
type stepEvent struct {
	StepName          string `json:"stepName"`
	ID                string `json:"id"`
	Call              string `json:"stepCallId,omitempty"`
	mastra.StepResult `json:",inline"`
}

func (x *execution) emitStep(kind, name, call string, r mastra.StepResult) {
	if x.log != nil {
		x.emit(kind, stepEvent{name, name, call, r})
	}
}

// finishEvent is the payload of a workflow-finish.
type finishEvent struct {
	Status   mastra.RunStatus `json:"workflowStatus"`
	Metadata struct{}         `json:"metadata"`
	Output   struct {
		Usage usage `json:"usage"`
	} `json:"output"`
	Result mastra.JSON `json:"finalWorkflowResult,omitzero"`
}

// usage counts the tokens of the run's own model calls: there are none.
type usage struct {
	Input     int `json:"inputTokens"`
	Output    int `json:"outputTokens"`
	Total     int `json:"totalTokens"`
	Cached    int `json:"cachedInputTokens"`
	Cache     int `json:"cacheCreationInputTokens"`
	Reasoning int `json:"reasoningTokens"`
}

func (x *execution) emitFinish(out outcome) {
	if out.status == mastra.StatusCanceled {
		x.emit("workflow-canceled", struct{}{})
	}
	x.emit("workflow-finish", finishEvent{Status: out.status, Result: out.output})
}

// chunks follows the run from its beginning. Who reads them counts as one who waits for the run.
func (x *execution) chunks(ctx context.Context) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		x.waiters.Add(1)
		defer x.waiters.Add(-1)
		for c, err := range x.log.Read(ctx, 0) {
			if !yield(c, err) || err != nil {
				return
			}
		}
		switch {
		case x.err == nil:
		case errors.Is(x.err, errLost) || errors.Is(x.err, errReleased):
			yield(mastra.Chunk{}, mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere: ask for it by its runId"))
		default:
			yield(mastra.Chunk{}, x.err)
		}
	}
}

// follow is the stream of a run whose chunks are not here: made of what is stored of it, until it ends or waits for an answer.
func (e *Engine) follow(ctx context.Context, m *mastra.Mastra, g *mastra.Graph, id string) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		send := func(kind string, payload any) bool {
			return yield(mastra.Chunk{Type: kind, RunID: id, From: mastra.FromWorkflow, Payload: payload}, nil)
		}
		if !send("workflow-start", struct {
			WorkflowID string `json:"workflowId"`
		}{g.ID}) {
			return
		}
		told := map[string]mastra.RunStatus{}
		for every, waited := pollFast, time.Duration(0); ; waited += every {
			run, err := m.Storage.Run(ctx, id)
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			for _, s := range run.Steps {
				if mastra.IsTurn(s.Key) || told[s.Key] == s.Value.Status {
					continue
				}
				name := mastra.StepName(s.Key)
				if told[s.Key] == "" && s.Value.Status != mastra.StatusWaiting {
					begun := mastra.StepResult{Status: mastra.StatusRunning, Payload: s.Value.Payload, StartedAt: s.Value.StartedAt}
					if !send("workflow-step-start", stepEvent{name, name, "", begun}) {
						return
					}
				}
				told[s.Key] = s.Value.Status
				kind := ""
				switch s.Value.Status {
				case mastra.StatusRunning:
					continue
				case mastra.StatusWaiting:
					kind = "workflow-step-waiting"
				case mastra.StatusSuspended:
					kind = "workflow-step-suspended"
				default:
					kind = "workflow-step-result"
				}
				if !send(kind, stepEvent{name, name, "", s.Value}) {
					return
				}
			}
			if run.Status.Ended() || run.Status == mastra.StatusSuspended {
				if run.Status == mastra.StatusCanceled && !send("workflow-canceled", struct{}{}) {
					return
				}
				send("workflow-finish", finishEvent{Status: run.Status, Result: run.Result})
				return
			}
			if waited >= fastFor {
				every = pollSlow
			}
			if err := sleep(ctx, every); err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
		}
	}
}
