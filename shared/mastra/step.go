package mastra

import (
	"context"
	"errors"

	"mastralambda/shared/schema"
)

// Step is one unit of work of a workflow. Its result is checkpointed before the next step begins.
type Step struct {
	ID              string
	Description     string
	In, Out         *schema.Schema
	Resume, Suspend *schema.Schema // nil where the step cannot suspend
	Workflow        *Graph         // of a nested workflow
	run             func(ctx context.Context, in, resume JSON) (JSON, error)
}

// Runnable is what a workflow is made of: a step, a tool, an agent, another workflow.
type Runnable interface{ Step() *Step }

// Step makes a Step a Runnable.
func (s *Step) Step() *Step { return s }

// Describe says what the step does, for lists and graphs.
func (s *Step) Describe(text string) *Step { s.Description = text; return s }

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
type Suspension struct{ Payload any }

func (*Suspension) Error() string { return "suspended" }

// Suspend ends the step until somebody resumes it; payload says what it waits for.
func Suspend(payload any) error { return &Suspension{payload} }

// Suspended is the payload of a step that waits.
func Suspended(err error) (payload any, ok bool) {
	var s *Suspension
	if errors.As(err, &s) {
		return s.Payload, true
	}
	return nil, false
}
