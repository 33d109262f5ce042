package engine

import (
	"context"
	"errors"
	"iter"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// emit sends a chunk to those who follow the run.
func (x *execution) emit(kind string, payload any) {
	if x.log == nil {
		return
	}
	x.send(mastra.Chunk{Type: kind, RunID: x.run.ID, From: mastra.FromWorkflow, Payload: payload})
}

func (x *execution) send(c mastra.Chunk) {
	x.emitting.Lock()
	defer x.emitting.Unlock()
	if err := x.log.Append(c); err != nil {
		x.m.Logger.ErrorContext(x.store, "a chunk does not encode", "runId", x.run.ID, "type", c.Type, "error", err)
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
		status := r.Status
		r = r.Shown()
		r.Status = status
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

// usage counts the tokens that the agents among the steps took.
type usage struct {
	Input     int `json:"inputTokens"`
	Output    int `json:"outputTokens"`
	Total     int `json:"totalTokens"`
	Cached    int `json:"cachedInputTokens"`
	Cache     int `json:"cacheCreationInputTokens"`
	Reasoning int `json:"reasoningTokens"`
}

func (x *execution) emitFinish(out outcome) {
	if x.log == nil {
		return
	}
	switch out.status {
	case mastra.StatusCanceled:
		x.emit("workflow-canceled", struct{}{})
	case mastra.StatusPaused:
		x.emit("workflow-paused", struct{}{})
	}
	event := finishEvent{Status: out.status, Result: out.output}
	event.Output.Usage = x.usage
	x.emit("workflow-finish", event)
}

// emitStart begins a part of the stream: of a run that was taken over it says that what was interrupted comes again.
func (x *execution) emitStart() {
	kind := "workflow-start"
	if x.taken {
		kind = "workflow-continued"
	}
	x.emit(kind, startEvent{x.g.ID})
}

// startEvent is the payload of a workflow-start.
type startEvent struct {
	WorkflowID string `json:"workflowId"`
}

// chunks follows the run from where this execution begins, wherever it goes on. Who reads them counts as one who waits for
// the run.
func (x *execution) chunks(ctx context.Context) iter.Seq2[mastra.Chunk, error] {
	return x.e.limited(ctx, x.run.ID, func(ctx context.Context, yield func(mastra.Chunk, error) bool) {
		at := mastra.Position{Epoch: x.run.Epoch}
		x.waiters.Add(1)
		for c, err := range x.log.Read(ctx, 0) {
			if !yield(c, err) || err != nil {
				x.waiters.Add(-1)
				return
			}
			at = c.At
		}
		x.waiters.Add(-1)
		switch {
		case x.err == nil:
		case errors.Is(x.err, errReleased) && !x.e.handsOver:
			yield(mastra.Chunk{}, mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere: ask for it by its runId"))
		case errors.Is(x.err, errLost) || errors.Is(x.err, errReleased):
			rest, err := x.e.streams.Follow(ctx, x.m, x.run.ID, at)
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			rest(yield)
		default:
			yield(mastra.Chunk{}, x.err)
		}
	})
}

// limited ends a stream in time before its invocation ends, with a chunk that says that it goes on at observe.
func (e *Engine) limited(ctx context.Context, runID string, f func(context.Context, func(mastra.Chunk, error) bool)) iter.Seq2[mastra.Chunk, error] {
	if !e.handsOver {
		return func(yield func(mastra.Chunk, error) bool) { f(ctx, yield) }
	}
	return runlog.Limited(ctx, mastra.Chunk{Type: "workflow-goes-on", RunID: runID, From: mastra.FromWorkflow, Payload: mastra.GoesOn{At: "observe"}}, f)
}

// Observe follows a run from anywhere: its stream behind a place in it, or behind the first skip chunks. Of a run that
// nobody has asked a stream of the chunks are made of what is stored of it.
func (e *Engine) Observe(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, runID string, after mastra.Position, skip int) (iter.Seq2[mastra.Chunk, error], error) {
	run, err := e.load(ctx, m, w, runID)
	if err != nil {
		return nil, err
	}
	told := run.Epoch > 0
	if told {
		_, err := e.streams.Follow(ctx, m, runID, after)
		if told = mastra.CodeOf(err) != mastra.CodeNotFound; told && err != nil { // they are kept for a day
			return nil, err
		}
	}
	return e.limited(ctx, runID, func(ctx context.Context, yield func(mastra.Chunk, error) bool) {
		n, chunks := 0, e.follow(ctx, m, w.Graph(), runID)
		if told {
			var err error
			if chunks, err = e.streams.Follow(ctx, m, runID, after); err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
		}
		for c, err := range chunks {
			if n++; n <= skip && err == nil {
				continue
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}), nil
}

// follow is the stream of a run whose chunks are not here: made of what is stored of it, until it ends or waits for an answer.
func (e *Engine) follow(ctx context.Context, m *mastra.Mastra, g *mastra.Graph, id string) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		send := func(kind string, payload any) bool {
			return yield(mastra.Chunk{Type: kind, RunID: id, From: mastra.FromWorkflow, Payload: payload}, nil)
		}
		if !send("workflow-start", startEvent{g.ID}) {
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
				var kind string
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
				if !send(kind, stepEvent{name, name, "", s.Value.Shown()}) {
					return
				}
			}
			if run.Status.Rests() {
				if run.Status == mastra.StatusCanceled && !send("workflow-canceled", struct{}{}) {
					return
				}
				if run.Status == mastra.StatusPaused && !send("workflow-paused", struct{}{}) {
					return
				}
				send("workflow-finish", finishEvent{Status: run.Status, Result: run.Result})
				return
			}
			if waited >= fastFor {
				every = pollSlow
			}
			if err := runlog.Sleep(ctx, every); err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
		}
	}
}
