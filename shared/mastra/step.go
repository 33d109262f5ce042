package mastra

import (
	"context"
	"errors"
	"time"

	"mastralambda/shared/schema"
)

// Step is one unit of work of a workflow. Its result is checkpointed before the next step begins.
type Step struct {
	ID              string
	Description     string
	In, Out         *schema.Schema
	Resume, Suspend *schema.Schema // nil where the step cannot suspend
	Workflow        *Graph         // of a nested workflow
	Agent, Tool     string         // the agent or tool that the step is
	Retry           *Retry         // nil: as the workflow says
	Once            bool           // see AtMostOnce
	Scorers         []*Scorer      // judge its results
	run             func(ctx context.Context, in, resume JSON) (JSON, error)
}

// Retry says how a step that returns an error is tried again before it has failed. The zero one does not.
type Retry struct {
	Attempts int           // beside the first one
	Delay    time.Duration // before the first of them; each further one waits twice as long,
	MaxDelay time.Duration // but not longer than this; 0: all wait for Delay
}

// Wait is how long attempt n (1 is the first beside the original one) waits.
func (r *Retry) Wait(n int) time.Duration {
	d := r.Delay
	for ; n > 1 && d < r.MaxDelay; n-- {
		d *= 2
	}
	if r.MaxDelay > r.Delay {
		d = min(d, r.MaxDelay)
	}
	return d
}

// Runnable is what a workflow is made of: a step, a tool, an agent, another workflow.
type Runnable interface{ Step() *Step }

// Step makes a Step a Runnable.
func (s *Step) Step() *Step { return s }

// Describe says what the step does, for lists and graphs.
func (s *Step) Describe(text string) *Step { s.Description = text; return s }

// Retries says how often the step is tried again, instead of what its workflow says.
func (s *Step) Retries(r Retry) *Step { s.Retry = &r; return s }

// AtMostOnce makes a step whose process dies under it fail instead of running again: whether it had its effect nobody
// knows. Every other step runs at least once, under one idempotency key. It costs one write more.
func (s *Step) AtMostOnce() *Step { s.Once = true; return s }

// ScoredBy gives the step scorers, which judge its results.
func (s *Step) ScoredBy(scorers ...*Scorer) *Step {
	s.Scorers = append(s.Scorers, scorers...)
	return s
}

// Run runs the step once. resume is nil until somebody resumes it. Input or resume data that does not fit comes back as
// *schema.InvalidError, a wish to suspend as *Suspension.
func (s *Step) Run(ctx context.Context, in, resume JSON) (JSON, error) { return s.run(ctx, in, resume) }

// NewStep makes a step of f.
func NewStep[In, Out any](id string, f func(context.Context, In) (Out, error)) *Step {
	in := schema.For[In]()
	run := erase(in, f)
	return &Step{ID: id, In: in, Out: schema.For[Out](), run: func(ctx context.Context, data, _ JSON) (JSON, error) { return run(ctx, data) }}
}

// NewPausable makes a step that may return Suspend; answer is nil until somebody resumes the run with one.
func NewPausable[In, Answer, Out any](id string, f func(ctx context.Context, in In, answer *Answer) (Out, error)) *Step {
	in, resume := schema.For[In](), schema.For[Answer]()
	return &Step{ID: id, In: in, Out: schema.For[Out](), Resume: resume, run: func(ctx context.Context, data, resumed JSON) (JSON, error) {
		var answer *Answer
		if resumed != nil {
			answer = new(Answer)
			if err := resume.Decode(resumed, answer); err != nil {
				return nil, err
			}
		}
		return erase(in, func(ctx context.Context, in In) (Out, error) { return f(ctx, in, answer) })(ctx, data)
	}}
}

// SuspendsWith declares what a pausable step's Suspend payloads look like, as T.
func SuspendsWith[T any](s *Step) *Step { s.Suspend = schema.For[T](); return s }

// Map makes a step without a name of its own that reshapes data between two steps.
func Map[In, Out any](f func(In) Out) *Step {
	return NewStep("", func(_ context.Context, in In) (Out, error) { return f(in), nil })
}

// Suspension is the error of a step that waits for an answer.
type Suspension struct {
	Payload any
	Labels  []string
}

func (*Suspension) Error() string { return "suspended" }

// Suspend ends the step until somebody resumes it, by its name or by one of the labels; payload says what it waits for.
func Suspend(payload any, labels ...string) error { return &Suspension{payload, labels} }

// Suspended is the suspension that err is, nil where it is none.
func Suspended(err error) *Suspension {
	var s *Suspension
	errors.As(err, &s)
	return s
}

// Bailing is the error of a step that ends its workflow.
type Bailing struct{ Result any }

func (*Bailing) Error() string { return "bailed" }

// Bail ends the workflow that the step belongs to, with this result: it has succeeded, the steps behind do not run.
func Bail(result any) error { return &Bailing{result} }
