package engine

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
)

// Restart sees to it that somebody carries the run out, and waits for its end.
func (e *Engine) Restart(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, runID string) (*mastra.Run, error) {
	run, x, err := e.restart(ctx, m, w, runID)
	switch {
	case err != nil:
		return nil, err
	case x != nil:
		return x.wait(ctx)
	}
	return e.await(ctx, m, run)
}

// RestartBackground does not wait.
func (e *Engine) RestartBackground(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, runID string) (*mastra.Run, error) {
	run, _, err := e.restart(ctx, m, w, runID)
	return run, err
}

// restart takes a run over where nobody works on it. Nothing runs twice: whoever works on a run keeps it.
func (e *Engine) restart(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, runID string) (*mastra.Run, *execution, error) {
	run, err := e.load(ctx, m, w, runID)
	switch {
	case err != nil:
		return nil, nil, err
	case run.Status.Ended():
		return run, nil, nil
	case !run.Status.Active():
		return nil, nil, errNotActive
	}
	e.mu.Lock()
	x := e.running[runKey{mastra.Tenant(ctx), runID}]
	e.mu.Unlock()
	if x != nil {
		return run, x, nil
	}
	x, _, err = e.take(ctx, m, runID, false)
	var again *mastra.Again
	if errors.As(err, &again) {
		err = nil
	}
	return run, x, err
}

var errNotActive = mastra.Errorf(mastra.CodeConflict, "This workflow run was not active")

// ExecuteStep runs one step by itself: nothing is stored, and its run need not exist.
func (e *Engine) ExecuteStep(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.StepCall) (rec mastra.StepResult, state mastra.JSON, err error) {
	g := w.Graph()
	node, arm := place(g, c.Step)
	if c.Path != nil {
		at := []int{node, arm}
		if node < 0 || c.Path[0] != node || len(c.Path) > 1 && c.Path[1] != arm || len(c.Path) > len(at) {
			return rec, nil, mastra.Invalid("executionPath", "The step %s is not there", c.Step)
		}
	}
	if node < 0 {
		return rec, nil, mastra.Invalid("stepId", "The workflow has no such step")
	}
	if len(g.Nodes[node].Steps) == 0 || g.Nodes[node].Steps[arm].Workflow != nil {
		return rec, nil, mastra.Invalid("stepId", "A sleep or a nested workflow cannot be run by itself")
	}
	s := g.Nodes[node].Steps[arm]
	if c.Data != nil {
		if s.Resume == nil {
			return rec, nil, mastra.Invalid("resumeData", "The step takes no answer")
		}
		if err := validate("resume", s.Resume, c.Data); err != nil {
			return rec, nil, err
		}
	}
	task, err := e.supervisor.Begin(ctx, c.RunID+"/"+c.Step)
	if err != nil {
		return rec, nil, err
	}
	input, _ := c.Results.Get("input")
	x := &execution{e: e, m: m, g: g, key: runKey{mastra.Tenant(ctx), c.RunID}, named: true, store: context.WithoutCancel(ctx),
		run: mastra.Run{ID: c.RunID, WorkflowID: g.ID, Steps: c.Results, State: c.State, Input: input.Output, Caller: mastra.Caller(ctx)}}
	x.ctx, x.cancel = context.WithCancelCause(mastra.WithRequest(mastra.NewContext(task.Context(), m), nil))
	defer x.cancel(nil)
	x.trace = newTrace(ctx, x)
	key := mastra.StepKey("", s.ID)
	if c.Index != nil {
		key = mastra.TurnKey(key, *c.Index)
	}
	rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: c.Input, ResumePayload: c.Data, StartedAt: x.now(), Retries: c.Retry}
	if c.Data != nil {
		rec.ResumedAt = x.now()
	}
	err = task.Do(func(context.Context) error {
		out, suspended, err := x.call(g, s, key, &rec, span{id: x.trace.root.SpanID})
		if err != nil {
			return err
		}
		if state = c.State; out.state != nil {
			state = out.state
		}
		if rec.Status = out.status; out.status == mastra.StatusSuspended {
			rec.SuspendedAt, rec.Labels = x.now(), suspended.Labels
			if failure := suspendPayload(s, suspended, &rec); failure != nil {
				out, rec.SuspendedAt = *failure, 0
				rec.Status = out.status
			}
		}
		if rec.Status != mastra.StatusSuspended {
			rec.Output, rec.Error, rec.EndedAt = out.output, out.err, x.now()
		}
		return nil
	})
	return rec, state, err
}
