package mastra

import (
	"context"
	"errors"

	"mastralambda/shared/schema"
)

// StepScope is what an engine gives to the step that it runs. The functions below are how a step uses it.
type StepScope interface {
	RunID() string
	IdempotencyKey() string
	RetryCount() int
	Input() JSON                       // of the run
	Output(step string) (JSON, bool)   // of a step that has succeeded
	State() JSON                       // nil where there is none
	SetState(JSON) error               // kept together with the step's result
	Followed() bool                    // somebody may see what Write writes
	Write(data JSON)                   // a chunk "workflow-step-output" that holds data
	WriteChunk(kind string, data JSON) // a chunk of the step's own type
	Spend(Usage)                       // counts what a model took
}

// WithStep makes s reachable from the step that runs under ctx.
func WithStep(ctx context.Context, s StepScope) context.Context {
	return context.WithValue(ctx, stepKey, s)
}

func stepOf(ctx context.Context) StepScope { s, _ := ctx.Value(stepKey).(StepScope); return s }

var errNoStep = errors.New("this is not called from a workflow's step")

// IdempotencyKey names the effect of the calling step on the world outside: it stays the same however often the step is
// tried, and is another one for each step, each turn of a loop or foreach, each run, and each time travel. Hand it to the
// service that has the effect. It is "" outside of a step.
func IdempotencyKey(ctx context.Context) string {
	if s := stepOf(ctx); s != nil {
		return s.IdempotencyKey()
	}
	return ""
}

// RetryCount is how often the calling step was tried before.
func RetryCount(ctx context.Context) int {
	if s := stepOf(ctx); s != nil {
		return s.RetryCount()
	}
	return 0
}

// RunID is the run that the calling step belongs to, "" outside of one.
func RunID(ctx context.Context) string {
	if s := stepOf(ctx); s != nil {
		return s.RunID()
	}
	return ""
}

// State is what the steps of the run share, the zero value where there is none yet.
func State[T any](ctx context.Context) (v T, err error) {
	s := stepOf(ctx)
	if s == nil {
		return v, errNoStep
	}
	if data := s.State(); data != nil {
		err = schema.Unmarshal(data, &v)
	}
	return v, err
}

// SetState replaces what the steps share. It holds from the end of the calling step on; of branches that run at once, the
// one that ends last wins. A step that fails changes nothing.
func SetState(ctx context.Context, v any) error {
	s := stepOf(ctx)
	if s == nil {
		return errNoStep
	}
	data, err := schema.Marshal(v)
	if err != nil {
		return err
	}
	return s.SetState(data)
}

// RunInput is the input of the run that the calling step belongs to.
func RunInput[T any](ctx context.Context) (v T, err error) {
	s := stepOf(ctx)
	if s == nil {
		return v, errNoStep
	}
	return v, schema.Unmarshal(s.Input(), &v)
}

// OutputOf is what an earlier step of the run put out; ok is false where it has not.
func OutputOf[T any](ctx context.Context, step string) (v T, ok bool, err error) {
	s := stepOf(ctx)
	if s == nil {
		return v, false, errNoStep
	}
	data, ok := s.Output(step)
	if ok {
		err = schema.Unmarshal(data, &v)
	}
	return v, ok, err
}

// Write sends v to those who follow the run, as a chunk "workflow-step-output". Nothing happens where nobody does.
func Write(ctx context.Context, v any) error { return write(ctx, "", v) }

// WriteChunk is Write with a type of the application's own.
func WriteChunk(ctx context.Context, kind string, v any) error { return write(ctx, kind, v) }

func write(ctx context.Context, kind string, v any) error {
	s := stepOf(ctx)
	if s == nil || !s.Followed() {
		return nil
	}
	data, err := schema.Marshal(v)
	switch {
	case err != nil:
		return err
	case kind == "":
		s.Write(data)
	default:
		s.WriteChunk(kind, data)
	}
	return nil
}
