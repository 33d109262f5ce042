package mastra

import (
	"context"
	"fmt"
	"iter"

	"mastralambda/shared/schema"
)

// Processor looks at what goes into an agent and at what comes out of it, and may change it or stop the run: by returning
// Abort. Functions that are nil do nothing. An agent's processors work in their order, each on what the one before left.
// They are used by many runs at once.
type Processor struct {
	ID          string
	Name        string // the ID where empty
	Description string

	// Input sees what a caller sends, once: before it is stored and before the model is called. What it returns takes the
	// place of that, and it may change in place what it is given; a run that it stops leaves nothing in the thread. Messages
	// that a call gives as context come by themselves.
	Input func(ctx context.Context, messages Messages) (Messages, error)
	// InputStep sees all that the model is given, before each of its calls. What it changes holds for that call and is not stored.
	InputStep func(ctx context.Context, r *ModelRequest) error
	// OutputStream sees what the model writes in one call, as it comes, and yields what is shown and stored instead. It must
	// yield the finish, errors, and the end of a block behind its deltas; Abort is yielded as an error.
	OutputStream func(ctx context.Context, parts iter.Seq2[ModelPart, error]) iter.Seq2[ModelPart, error]
	// OutputStep sees what the model wrote in one call, before its tools run. Where it returns Abort(…).Retry(), the model is asked
	// again and told the reason, up to Agent.MaxProcessorRetries times in a row; what it wrote is in no thread and no prompt then.
	OutputStep func(ctx context.Context, s *StepOutput) error
	// ToolResult sees what a tool has returned before the model, the stream and the thread do, and may put something else in its
	// place. What it stops leaves no answer.
	ToolResult func(ctx context.Context, r *ToolReturned) error
	// OutputResult sees the whole answer before it is stored and a generate is answered. A stream has shown it by then.
	OutputResult func(ctx context.Context, a *Answer) error
}

// Answer is what a run has come to, as Processor.OutputResult sees it.
type Answer struct {
	Texts  []string // what the model wrote, a block each; they may be changed in place
	Steps  []StepInfo
	Usage  Usage
	Finish FinishReason
}

// StepOutput is what a model wrote in one call, as Processor.OutputStep sees it.
type StepOutput struct {
	Number  int // of the step, from 0 on
	Text    string
	Calls   []ToolCalled // that have not run yet
	Finish  FinishReason
	Usage   Usage
	Retries int        // how often in a row the model was asked again before
	Steps   []StepInfo // before this one
}

// ToolReturned is what came of a tool call, as Processor.ToolResult sees it.
type ToolReturned struct {
	Number int // of the step, from 0 on
	CallID string
	Tool   string // its name
	Args   JSON
	Result JSON // may be replaced
}

// Phases of a processor, as they show on the wire.
const (
	PhaseInput        = "input"
	PhaseInputStep    = "inputStep"
	PhaseOutputStream = "outputStream"
	PhaseOutputResult = "outputResult"
	PhaseOutputStep   = "outputStep"
	PhaseToolResult   = "toolResult"
)

// Phases are those that the processor has a function for.
func (p *Processor) Phases() []string {
	phases := []string{}
	for _, f := range []struct {
		phase string
		has   bool
	}{{PhaseInput, p.Input != nil}, {PhaseInputStep, p.InputStep != nil}, {PhaseOutputStream, p.OutputStream != nil}, {PhaseOutputResult, p.OutputResult != nil},
		{PhaseOutputStep, p.OutputStep != nil}, {PhaseToolResult, p.ToolResult != nil}} {
		if f.has {
			phases = append(phases, f.phase)
		}
	}
	return phases
}

// OnInput and OnOutput say on which side of the model the processor works.
func (p *Processor) OnInput() bool { return p.Input != nil || p.InputStep != nil }

func (p *Processor) OnOutput() bool {
	return p.OutputStream != nil || p.OutputResult != nil || p.OutputStep != nil || p.ToolResult != nil
}

// Shown is the processor's name.
func (p *Processor) Shown() string {
	if p.Name == "" {
		return p.ID
	}
	return p.Name
}

// Tripwire is the error by which a processor stops a run: the run ends without an answer, and says so. It is the payload
// of a tripwire chunk, too.
type Tripwire struct {
	Reason      string `json:"reason"`
	Again       bool   `json:"retry,omitzero"`    // the model was to try again
	Metadata    JSON   `json:"metadata,omitzero"` // for whoever called
	ProcessorID string `json:"processorId,omitempty"`
}

func (t *Tripwire) Error() string { return t.Reason }

// Abort stops a run, from within a processor. The caller is told the reason.
func Abort(format string, args ...any) *Tripwire {
	return &Tripwire{Reason: fmt.Sprintf(format, args...)}
}

// With adds something for programs to a Tripwire: what does not encode is left out.
func (t *Tripwire) With(metadata any) *Tripwire {
	if data, err := schema.Marshal(metadata); err == nil {
		t.Metadata = data
	}
	return t
}

// Retry has the model try again, told the reason, where Processor.OutputStep returns it.
func (t *Tripwire) Retry() *Tripwire {
	t.Again = true
	return t
}

func (p *Processor) check(agent string) error {
	switch {
	case p.ID == "":
		return fmt.Errorf("agent %s: a processor has no ID", agent)
	case len(p.Phases()) == 0:
		return fmt.Errorf("agent %s: processor %s does nothing", agent, p.ID)
	}
	return nil
}
