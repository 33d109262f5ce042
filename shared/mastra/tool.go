package mastra

import (
	"context"
	"time"

	"mastralambda/shared/schema"
)

// Tool is a function that a model may call. Its schemas come from the types of the function.
type Tool struct {
	ID              string
	Key             string // the name it is registered and offered under; the ID where empty
	Description     string
	Input, Output   *schema.Schema // Output is nil where none is declared
	RequireApproval bool           // an agent asks before it runs the tool
	Timeout         time.Duration  // how long a call by an agent may take; 0 is the run's own time
	Resume          *schema.Schema // of what a suspended call is answered with; nil where the tool cannot suspend
	Agent           *Agent         // that the tool calls, nil where it calls none
	Workflow        Workflow       // that the tool runs, nil where it runs none
	run             func(ctx context.Context, in, resume JSON) (JSON, error)
}

// Callable is what an agent can call: a tool, another agent, a workflow.
type Callable interface{ Tool() *Tool }

// NewTool makes a tool of f. A nil error of f means success; an error is told to the model with its text.
func NewTool[In, Out any](id, description string, f func(context.Context, In) (Out, error)) *Tool {
	t := &Tool{ID: id, Description: description, Input: schema.For[In](), Output: schema.For[Out]()}
	run := erase(t.Input, f)
	t.run = func(ctx context.Context, in, _ JSON) (JSON, error) { return run(ctx, in) }
	return t
}

// NewPausableTool makes a tool that may return Suspend; answer is nil until somebody resumes the run with one.
func NewPausableTool[In, Answer, Out any](id, description string, f func(ctx context.Context, in In, answer *Answer) (Out, error)) *Tool {
	s := NewPausable(id, f)
	return &Tool{ID: id, Description: description, Input: s.In, Output: s.Out, Resume: s.Resume, run: s.run}
}

// NewClientTool makes a tool that the caller runs itself: a call of it ends the run, and comes back as its answer.
func NewClientTool(name, description string, input *schema.Schema) *Tool {
	return &Tool{ID: name, Description: description, Input: input}
}

// OfClient says that the caller runs the tool.
func (t *Tool) OfClient() bool { return t.run == nil }

// Tool makes a tool a Callable.
func (t *Tool) Tool() *Tool { return t }

// Name is what the tool is offered under.
func (t *Tool) Name() string {
	if t.Key != "" {
		return t.Key
	}
	return t.ID
}

// Named registers the tool under a key of its own.
func (t *Tool) Named(key string) *Tool { t.Key = key; return t }

// WithApproval makes every agent ask before it runs the tool.
func (t *Tool) WithApproval() *Tool { t.RequireApproval = true; return t }

// Within gives a call of the tool by an agent so much time. The tool has to heed its context.
func (t *Tool) Within(d time.Duration) *Tool { t.Timeout = d; return t }

// Step makes a tool a Runnable.
func (t *Tool) Step() *Step {
	return &Step{ID: t.ID, Tool: t.ID, Description: t.Description, In: t.Input, Out: t.Output, Resume: t.Resume, run: t.run}
}

// Call validates input, runs the tool and encodes what it returns.
// Input that does not fit comes back as *schema.InvalidError, what the function returns as it is.
func (t *Tool) Call(ctx context.Context, input JSON) (JSON, error) { return t.run(ctx, input, nil) }

// CallAgain is Call with the answer to what an earlier call suspended for.
func (t *Tool) CallAgain(ctx context.Context, input, answer JSON) (JSON, error) {
	return t.run(ctx, input, answer)
}

// erase hides the types of f behind JSON.
func erase[In, Out any](s *schema.Schema, f func(context.Context, In) (Out, error)) func(context.Context, JSON) (JSON, error) {
	return func(ctx context.Context, data JSON) (JSON, error) {
		var in In
		if err := s.Decode(data, &in); err != nil {
			return nil, err
		}
		out, err := f(ctx, in)
		if err != nil {
			return nil, err
		}
		return schema.Marshal(out)
	}
}
