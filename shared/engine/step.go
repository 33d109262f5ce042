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
func (x *execution) step(g *mastra.Graph, s *mastra.Step, key string, in mastra.JSON, span string) (outcome, error) {
	rec, known := x.result(key)
	if done, out := settled(rec); known && done {
		x.trace.recall(mastra.SpanWorkflowStep, span, s.ID, rec)
		return out, nil
	}
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: in, StartedAt: x.now()}
		x.record(key, rec)
	}
	rec, out, err := x.attempt(g, s, key, key, rec, span, false)
	if err == nil {
		x.record(key, rec)
	}
	return out, err
}

// attempt runs a step once from rec, which says its input and, where somebody resumed it, the answer. It returns the
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
	var suspended any
	if s.Workflow != nil {
		var err error
		if out, err = x.nested(s, at, rec.Payload, sp); err != nil {
			return rec, out, err
		}
	} else {
		var err error
		out, suspended, err = x.call(s, rec, sp)
		if err != nil {
			return rec, out, err
		}
	}
	switch now := x.now(); out.status {
	case mastra.StatusSuspended:
		rec.Status, rec.SuspendedAt = out.status, now
		if s.Workflow != nil {
			rec.SuspendPayload = x.question(at)
		} else if suspended != nil {
			data, err := schema.Marshal(suspended)
			if err != nil {
				out = failed("the suspend payload of step %s does not encode: %v", s.ID, err)
				rec.Status, rec.Error, rec.SuspendedAt, rec.EndedAt = out.status, out.err, 0, now
				break
			}
			rec.SuspendPayload = data
		}
	default:
		rec.Status, rec.Output, rec.Error, rec.EndedAt = out.status, out.output, out.err, now
	}
	x.trace.close(sp, out, statusAttributes(out.status))
	if x.log != nil && !quiet {
		kind := "workflow-step-result"
		if rec.Status == mastra.StatusSuspended {
			kind = "workflow-step-suspended"
		}
		x.emitStep(kind, name, call, rec)
	}
	return rec, out, nil
}

// call runs the user's code.
func (x *execution) call(s *mastra.Step, rec mastra.StepResult, sp span) (out outcome, suspended any, err error) {
	ctx := mastra.WithSpan(x.ctx, mastra.SpanRef{TraceID: x.trace.root.TraceID, SpanID: sp.id})
	var data mastra.JSON
	failure := runlog.Safely(func() (err error) {
		data, err = s.Run(ctx, rec.Payload, rec.ResumePayload)
		return err
	})
	if failure == nil {
		return success(data), nil, nil
	}
	if payload, ok := mastra.Suspended(failure); ok {
		if s.Resume == nil {
			return failed("step %s suspends but takes no answer: make it with NewPausable", s.ID), nil, nil
		}
		return outcome{status: mastra.StatusSuspended}, payload, nil
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
	return failed("%s", x.errorText(failure)), nil, nil
}

// nested walks the graph of a workflow that is a step, within the same run.
func (x *execution) nested(s *mastra.Step, key string, in mastra.JSON, sp span) (outcome, error) {
	issues, text, err := check(s.Workflow.In, in)
	if err != nil {
		return outcome{}, err
	}
	if len(issues) > 0 {
		return failed("Step input validation failed: \n%s", text), nil
	}
	run := x.trace.begin(sp.id, mastra.SpanWorkflowRun, "workflow run: '"+s.Workflow.ID+"'", in)
	out, err := x.walk(s.Workflow, key, in, run.id)
	x.trace.close(run, out, statusAttributes(out.status))
	return out, err
}

// question is what the first step that waits below key asks.
func (x *execution) question(key string) mastra.JSON {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.run.Steps {
		if m.Value.Status == mastra.StatusSuspended && below(m.Key, key) {
			return m.Value.SuspendPayload
		}
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
