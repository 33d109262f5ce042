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

// Phases of a processor, as they show on the wire.
const (
	PhaseInput        = "input"
	PhaseInputStep    = "inputStep"
	PhaseOutputStream = "outputStream"
	PhaseOutputResult = "outputResult"
)

// Phases are those that the processor has a function for.
func (p *Processor) Phases() []string {
	phases := []string{}
	for _, f := range []struct {
		phase string
		has   bool
	}{{PhaseInput, p.Input != nil}, {PhaseInputStep, p.InputStep != nil}, {PhaseOutputStream, p.OutputStream != nil}, {PhaseOutputResult, p.OutputResult != nil}} {
		if f.has {
			phases = append(phases, f.phase)
		}
	}
	return phases
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

func (p *Processor) check(agent string) error {
	switch {
	case p.ID == "":
		return fmt.Errorf("agent %s: a processor has no ID", agent)
	case len(p.Phases()) == 0:
		return fmt.Errorf("agent %s: processor %s does nothing", agent, p.ID)
	}
	return nil
}
