package engine

import (
	"context"
	"errors"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// step carries out a step, unless its result is on record.
func (x *execution) step(g *mastra.Graph, s *mastra.Step, key string, in mastra.JSON, parent string) (outcome, error) {
	rec, known := x.result(key)
	if done, out := settled(rec); known && done {
		x.trace.recall(func() span { return x.trace.beginStep(parent, g, s, rec.Payload) }, rec, statusAttributes(rec.Status))
		return out, nil
	}
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: in, StartedAt: x.now()}
		x.record(key, rec)
	}
	rec, out, err := x.attempt(g, s, key, key, rec, parent, false)
	if err == nil {
		x.settle(key, rec, out.state)
	}
	return out, err
}

// attempt runs a step from rec, which says its input and, where somebody resumed it, the answer. It returns the
// result without recording it. The steps of a nested workflow are kept below at. A quiet attempt sends no chunks.
func (x *execution) attempt(g *mastra.Graph, s *mastra.Step, key, at string, rec mastra.StepResult, parent string, quiet bool) (mastra.StepResult, outcome, error) {
	if s.Workflow == nil {
		if err := x.checkpoint(); err != nil {
			return rec, outcome{}, err
		}
		if x.canceled() {
			return rec, outcome{status: mastra.StatusCanceled}, nil
		}
	}
	sp := x.trace.beginStep(parent, g, s, rec.Payload)
	name, call := mastra.StepName(key), ""
	if x.log != nil && !quiet {
		call = mastra.NewID()
		x.emitStep("workflow-step-start", name, call, rec)
	}
	var out outcome
	var suspended *mastra.Suspension
	var err error
	if s.Workflow != nil {
		out, err = x.nested(s, at, &rec, sp)
	} else {
		out, suspended, err = x.tries(g, s, key, &rec, sp)
	}
	if err != nil {
		return rec, out, err
	}
	rec.Begun = false
	switch now := x.now(); out.status {
	case mastra.StatusPaused:
		rec.Status = out.status
	case mastra.StatusSuspended:
		rec.Status, rec.SuspendedAt = out.status, now
		if s.Workflow != nil {
			rec.SuspendPayload = x.question(at)
			break
		}
		rec.Labels = suspended.Labels
		if failure := suspendPayload(s, suspended, &rec); failure != nil {
			out = *failure
			rec.Status, rec.Error, rec.SuspendedAt, rec.EndedAt = out.status, out.err, 0, now
		}
	default:
		rec.Status, rec.Output, rec.Error, rec.EndedAt = out.status, out.output, out.err, now
	}
	x.trace.close(sp, out, statusAttributes(out.status))
	if out.status == mastra.StatusSuccess && len(s.Scorers) > 0 && x.m.Scoring != nil {
		x.m.Scoring.Score(x.store, x.m, s.Scorers, mastra.ScorerRun{Input: rec.Payload, Output: out.output, EntityType: "workflow_step", EntityID: s.ID, EntityName: x.g.ID,
			RunID: x.run.ID, TraceID: x.trace.root.TraceID, SpanID: sp.id, Metadata: x.trace.metadata, ResourceID: x.run.ResourceID, Context: x.run.Context})
	}
	if x.log != nil && !quiet {
		kind := "workflow-step-result"
		if rec.Status == mastra.StatusSuspended {
			kind = "workflow-step-suspended"
		}
		x.emitStep(kind, name, call, rec)
	}
	return rec, out, nil
}

// suspendPayload keeps what the step asks in rec. It returns a failure where that is not what the step has declared.
func suspendPayload(s *mastra.Step, suspended *mastra.Suspension, rec *mastra.StepResult) *outcome {
	if suspended.Payload == nil {
		return nil
	}
	data, err := schema.Marshal(suspended.Payload)
	if err == nil && s.Suspend != nil {
		if issues, text, failure := check(s.Suspend, data); failure != nil {
			err = failure
		} else if len(issues) > 0 {
			out := failed("Step suspend data validation failed: \n%s", text)
			return &out
		}
	}
	if err != nil {
		out := failed("the suspend payload of step %s does not encode: %v", s.ID, err)
		return &out
	}
	rec.SuspendPayload = data
	return nil
}

// tries calls the step until it does not fail, or its retries are used up. Those that were used are kept in rec, and
// made durable, before the next one.
func (x *execution) tries(g *mastra.Graph, s *mastra.Step, key string, rec *mastra.StepResult, sp span) (outcome, *mastra.Suspension, error) {
	if rec.Begun {
		return failed("step %s was interrupted: it runs at most once, whether it had its effect is not known", s.ID), nil, nil
	}
	retry := s.Retry
	if retry == nil {
		retry = g.Retry
	}
	for {
		if s.Once {
			rec.Begun = true
			x.record(key, *rec)
			if err := x.write(false); err != nil {
				return outcome{}, nil, err
			}
		}
		out, suspended, err := x.call(g, s, key, rec, sp)
		if err != nil || !out.again || retry == nil || rec.Retries >= retry.Attempts {
			return out, suspended, err
		}
		rec.Begun = false
		rec.Retries++
		x.record(key, *rec)
		if err := x.checkpoint(); err != nil {
			return outcome{}, nil, err
		}
		if runlog.Sleep(x.ctx, retry.Wait(rec.Retries)) != nil {
			return outcome{status: mastra.StatusCanceled}, nil, x.interrupted()
		}
	}
}

// call runs the user's code once.
func (x *execution) call(g *mastra.Graph, s *mastra.Step, key string, rec *mastra.StepResult, sp span) (outcome, *mastra.Suspension, error) {
	x.worked.Store(true)
	within := &scope{x: x, g: g, key: key, rec: rec}
	ctx := mastra.WithStep(mastra.WithSpan(x.ctx, x.trace.at(sp.id)), within)
	var data mastra.JSON
	failure := runlog.Safely(func() (err error) {
		data, err = s.Run(ctx, rec.Payload, rec.ResumePayload)
		return err
	})
	state := within.close()
	if failure == nil {
		return outcome{status: mastra.StatusSuccess, output: data, state: state}, nil, nil
	}
	if suspended := mastra.Suspended(failure); suspended != nil {
		if s.Resume == nil {
			return failed("step %s suspends but takes no answer: make it with NewPausable", s.ID), nil, nil
		}
		return outcome{status: mastra.StatusSuspended, state: state}, suspended, nil
	}
	var bail *mastra.Bailing
	if errors.As(failure, &bail) {
		data, err := schema.Marshal(bail.Result)
		if err != nil {
			return failed("the result that step %s bails with does not encode: %v", s.ID, err), nil, nil
		}
		return outcome{status: mastra.StatusBailed, output: data, state: state}, nil, nil
	}
	if err := x.interrupted(); err != nil { // the step was told to stop: what it says of that is no result
		return outcome{}, nil, err
	}
	if x.canceled() && errors.Is(failure, context.Canceled) {
		return outcome{status: mastra.StatusCanceled}, nil, nil
	}
	var p *runlog.PanicError
	if errors.As(failure, &p) {
		x.m.Logger.ErrorContext(ctx, "a step panicked", "runId", x.run.ID, "step", s.ID, "panic", p.Error(), "stack", string(p.Stack))
	} else {
		x.m.Logger.ErrorContext(ctx, "a step failed", "runId", x.run.ID, "step", s.ID, "error", failure)
	}
	out := failed("%s", x.errorText(failure))
	var invalid *schema.InvalidError
	out.again = !errors.As(failure, &invalid) && !x.canceled() // the same input would be refused again
	return out, nil, nil
}

// nested walks the graph of a workflow that is a step, within the same run.
func (x *execution) nested(s *mastra.Step, key string, rec *mastra.StepResult, sp span) (outcome, error) {
	in := rec.Payload
	issues, text, err := check(s.Workflow.In, in)
	if err != nil {
		return outcome{}, err
	}
	if len(issues) > 0 {
		return failed("Step input validation failed: \n%s", text), nil
	}
	run := x.trace.beginNested(sp.id, s.Workflow, key, in, rec)
	out, err := x.walk(s.Workflow, key, in, run.id)
	if out.status == mastra.StatusBailed { // the workflow around it goes on
		out.status = mastra.StatusSuccess
	}
	x.trace.close(run, out, statusAttributes(out.status))
	return out, err
}

// question is what the first step that waits below key asks, and where that step is.
func (x *execution) question(key string) mastra.JSON {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, leaf := range leaves(x.run.Steps) {
		if !below(leaf, key) {
			continue
		}
		rec, _ := x.run.Steps.Get(leaf)
		path := mastra.StepPath(leaf)[len(mastra.StepPath(key)):]
		if len(path) == 0 { // a turn of the step itself
			return rec.SuspendPayload
		}
		var payload mastra.Object[mastra.JSON]
		if rec.SuspendPayload != nil && schema.Unmarshal(rec.SuspendPayload, &payload) != nil {
			return rec.SuspendPayload
		}
		place, _ := schema.Marshal(struct {
			RunID string   `json:"runId"`
			Path  []string `json:"path"`
		}{x.run.ID, path})
		payload.Set(mastra.SuspendedAtKey, place)
		data, _ := schema.Marshal(payload)
		return data
	}
	return nil
}

// errorText is what the caller may see of an error of a step: the user's own text, of an Error its message, of a panic nothing.
func (x *execution) errorText(err error) string {
	var p *runlog.PanicError
	var invalid *schema.InvalidError
	var e *mastra.Error
	switch {
	case errors.As(err, &p):
		return "step panicked"
	case errors.As(err, &invalid):
		return "Step input validation failed: \n" + lines(invalid.Issues)
	case errors.As(err, &e):
		return strings.ReplaceAll(err.Error(), e.Error(), e.Message)
	}
	return err.Error()
}
