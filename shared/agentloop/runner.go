// Package agentloop runs agents: it recalls what a thread holds, asks the model, runs the tools it calls, and keeps what
// came of it: messages, traces, and a record of the request that lets a repeat go on where a failed one stopped.
package agentloop

import (
	"context"
	"errors"
	"iter"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// DefaultMaxSteps is how often a run calls the model at most where neither the call nor the agent says.
const DefaultMaxSteps = 5

// Runner is the mastra.AgentRunner. It is safe for concurrent use.
type Runner struct {
	runs   *runlog.Supervisor
	claims *claims
	chunks *runlog.Recorder
	kept   *keeper
	convs  conversations
	texts  texts
}

var _ mastra.AgentRunner = (*Runner)(nil)

// New makes a Runner whose runs s owns.
func New(s *runlog.Supervisor) *Runner {
	return &Runner{runs: s, claims: newClaims(s), chunks: runlog.NewRecorder(s), kept: newKeeper(s)}
}

// Cancel ends the run of that id, of ctx's tenant: the model call is broken off and what there is so far is kept.
// It says whether this process has such a run.
func (r *Runner) Cancel(ctx context.Context, runID string) bool { return r.runs.Cancel(ctx, runID) }

// Generate runs the agent to its end. It returns only then, also where ctx ends before: the run goes on until its end,
// its deadline or Cancel. A model that fails is an Error of CodeUpstream, one that ran out of time of CodeUnavailable.
func (r *Runner) Generate(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (*mastra.AgentResult, error) {
	x, other, err := r.begin(ctx, m, a, c)
	switch {
	case err != nil:
		return nil, err
	case other != nil:
		return other.wait(ctx)
	}
	if err := x.task.Do(x.perform); err != nil {
		return nil, err
	}
	return x.result, nil
}

// Stream starts a run and returns its chunks. What is wrong before the model is called comes back as an error, what goes
// wrong later as a chunk of type "error". Leaving the loop leaves the run running; ranging again begins at the first chunk.
func (r *Runner) Stream(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (iter.Seq2[mastra.Chunk, error], error) {
	x, other, err := r.begin(ctx, m, a, c)
	switch {
	case err != nil:
		return nil, err
	case other == nil && x.again && !x.closed && x.recorded():
		// It is a run that lasts: whoever takes it over goes on with it, not this request.
		x.entry.discard()
		x.task.End()
		return r.chunks.Follow(ctx, m, x.RunID, mastra.Position{})
	case other == nil:
		return x.stream(ctx)
	}
	if other.log.Load() == nil { // it has just begun, or it is no stream
		if _, err := other.wait(ctx); ctx.Err() != nil {
			return nil, err
		}
	}
	if log := other.log.Load(); log != nil {
		return log.Read(ctx, 0), nil
	}
	return nil, otherForm()
}

// begin makes a run ready: everything that comes before the model. The run of a repeated request that this process still
// works on comes back instead, as its entry.
func (r *Runner) begin(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (x *run, other *entry, err error) {
	return r.beginOpened(ctx, m, a, c, nil)
}

func (r *Runner) beginOpened(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall, o *opened) (x *run, other *entry, err error) {
	id := c.RunID
	if id == "" {
		id = mastra.NewID()
	}
	task, err := r.runs.Begin(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	started := false
	defer func() {
		if !started {
			task.End()
		}
	}()
	model, err := languageModel(m, a, c.Model)
	if err != nil {
		return nil, nil, err
	}
	x = newRun(r, task, m, a, c, model, id)
	x.opened = o
	if c.RunID != "" && !x.nested {
		if err := x.replaceRecord(); err != nil {
			return nil, nil, err
		}
	}
	if err := x.prepare(); err != nil {
		return nil, nil, err
	}
	if err := x.processInput(); err != nil {
		x.unbegun(err)
		return nil, nil, err
	}
	if other, err = x.admit(ctx); err != nil || other != nil {
		return nil, other, err
	}
	x.ready()
	started = true
	return x, nil, nil
}

// failure is what the caller may see of why a run failed.
func failure(ctx context.Context, err error) error {
	var known *mastra.Error
	var panicked *runlog.PanicError
	var tripped *mastra.Tripwire
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, runlog.ErrCanceled):
		return &mastra.Error{Code: mastra.CodeConflict, Message: "The run was canceled", Err: err}
	case errors.Is(cause, context.DeadlineExceeded):
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The run ran out of time", Err: err}
	case cause != nil:
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The run was broken off", Err: err}
	case errors.As(err, &known), errors.As(err, &panicked), errors.As(err, &tripped):
		return err
	}
	return &mastra.Error{Code: mastra.CodeUpstream, Message: "The model failed", Err: err}
}

// runError is err as chunks and spans show it: its text where it is meant for callers.
func runError(err error) mastra.RunError {
	var known *mastra.Error
	if errors.As(err, &known) {
		return mastra.RunError{Message: known.Message, Name: "Error"}
	}
	var tripped *mastra.Tripwire
	if errors.As(err, &tripped) {
		return mastra.RunError{Message: tripped.Reason, Name: "TripWire"}
	}
	return mastra.RunError{Message: "Internal Server Error", Name: "Error"}
}
