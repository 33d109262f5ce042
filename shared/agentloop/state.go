package agentloop

import (
	"fmt"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// stateVersion is raised when an old state can no longer be read.
const stateVersion = 1

// state is what a run has done so far: with the request it began with, enough to go on or to answer again.
// It is a claim's State, so its keys are short.
type state struct {
	Version   int         `json:"v"`
	RunID     string      `json:"r"`
	MessageID string      `json:"m"` // of the assistant's message
	TraceID   string      `json:"t"`
	ParentID  string      `json:"tp,omitempty"`
	SpanID    string      `json:"s"`            // of the root span
	Resumed   mastra.Time `json:"w,omitzero"`   // when it last went on from where it waited: its root span begins there
	From      string      `json:"wf,omitempty"` // the model's span of the part before
	Traced    int         `json:"wn,omitzero"`  // how many steps the parts before have: their tokens are counted there
	Answered  mastra.JSON `json:"wa,omitzero"`  // what it was resumed with
	Epoch     int64       `json:"e"`            // of its chunks
	StartedAt mastra.Time `json:"at"`
	Inputs    []stamp     `json:"i,omitempty"` // the messages of the request
	Steps     []step      `json:"n,omitempty"`
	// Tripwire is what a processor stopped the run with.
	Tripwire *mastra.Tripwire `json:"x,omitempty"`
}

// stamp is what a message got when it came.
type stamp struct {
	ID string      `json:"i"`
	At mastra.Time `json:"t"`
}

// step is one call of the model and what its tools answered.
type step struct {
	StartedAt  int64               `json:"b"` // Unix milliseconds
	Pieces     []piece             `json:"p,omitempty"`
	Finish     mastra.FinishReason `json:"f,omitempty"`
	Usage      mastra.Usage        `json:"u"`
	ResponseID string              `json:"i,omitempty"`
	Timestamp  mastra.Time         `json:"d,omitempty"` // of the response
	ModelID    string              `json:"m,omitempty"`
	Cost       float64             `json:"$,omitzero"`  // in US dollars, where the model's price is known
	Route      *route              `json:"g,omitempty"` // of a network: what the model chose
	Refused    *refused            `json:"q,omitempty"` // a processor wants none of it
	// Came are the messages that came to the run behind this step, Next is the id of the message that the steps behind write.
	Came []mastra.Message `json:"z,omitempty"`
	Next string           `json:"y,omitempty"`
}

// refused is a step that the model is to do again, and what it wrote.
type refused struct {
	Tripwire mastra.Tripwire `json:"t"`
	Pieces   []piece         `json:"p,omitempty"`
}

// piece is one thing that the model wrote: a text, its reasoning or a tool call.
type piece struct {
	Kind string `json:"k,omitempty"` // text, reasoning, call
	ID   string `json:"i,omitempty"` // of the block
	Text string `json:"t,omitempty"`
	At   int64  `json:"a"`
	Call *call  `json:"c,omitempty"`
	// Meta, of a reasoning, is what its provider wants to see again in the next step.
	Meta mastra.JSON `json:"o,omitempty"`
}

const (
	text      = ""
	reasoning = "r"
	called    = "c"
)

// call is a tool call and its outcome: Result, or the error that the model was told.
type call struct {
	ID     string           `json:"i"`
	Name   string           `json:"n"`
	Args   mastra.JSON      `json:"a,omitzero"` // nil where the model wrote no JSON
	Result mastra.JSON      `json:"r,omitzero"`
	Error  *mastra.RunError `json:"e,omitempty"`
	EndAt  int64            `json:"t,omitzero"`

	Waits   string      `json:"w,omitempty"` // for what: see below
	Payload mastra.JSON `json:"p,omitzero"`  // what the tool suspended with
	Answer  mastra.JSON `json:"q,omitzero"`  // to be given to the tool
	Verdict *bool       `json:"v,omitempty"` // of a person who was asked for approval
	Reason  string      `json:"y,omitempty"` // for declining
	Sub     *delegated  `json:"d,omitempty"` // what it waits in, where it has called an agent or a workflow
	Client  string      `json:"l,omitempty"` // the caller runs it: the span that its own belong below
}

// What a call waits for.
const (
	waitsApproval = "a"
	waitsTool     = "s"
)

// done says that the call has an outcome.
func (c *call) done() bool { return c.Client != "" || c.answeredYet() }

// answeredYet says that the model can be told of an outcome.
func (c *call) answeredYet() bool {
	return c.Result != nil || c.Error != nil || c.declined() && c.EndAt != 0
}

func (c *call) declined() bool { return c.Verdict != nil && !*c.Verdict }

// args are those that stand in messages: an object at any rate.
func (c *call) args() mastra.JSON {
	if c.Args == nil {
		return mastra.JSON("{}")
	}
	return c.Args
}

// calls are the tool calls of a step.
func (s *step) calls() (list []*call) {
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil {
			list = append(list, c)
		}
	}
	return list
}

// text is what the model wrote in the step.
func (s *step) text() string { return s.join(text) }

func (s *step) reasoning() string { return s.join(reasoning) }

func (s *step) join(kind string) string {
	out, n := "", 0
	for i := range s.Pieces {
		if p := &s.Pieces[i]; p.Kind == kind {
			if n++; n == 1 {
				out = p.Text // mostly there is one: no copy
			} else {
				out += p.Text
			}
		}
	}
	return out
}

// continued says that the model has to hear what its tools answered.
func (s *step) continued() bool {
	some := false
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil {
			if c.Client != "" { // whoever runs it asks again
				return false
			}
			some = true
		}
	}
	return some
}

// calledAny says that the model called a tool.
func (s *step) calledAny() bool {
	return slices.ContainsFunc(s.Pieces, func(p piece) bool { return p.Call != nil })
}

func (s *state) encode() (mastra.JSON, error) { return schema.Marshal(s) }

// decodeState reads a claim's State. What it returns can be gone on with: every call of every step has an outcome.
func decodeState(data mastra.JSON) (*state, error) {
	var s state
	if err := schema.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("the state of a claim: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("the state of a claim has version %d, not %d", s.Version, stateVersion)
	}
	if s.RunID == "" || s.MessageID == "" || s.TraceID == "" || s.SpanID == "" {
		return nil, fmt.Errorf("the state of a claim lacks an id")
	}
	for i := range s.Steps {
		for j := range s.Steps[i].Pieces {
			p := &s.Steps[i].Pieces[j]
			switch {
			case p.Kind != text && p.Kind != reasoning && p.Kind != called, (p.Kind == called) != (p.Call != nil):
				return nil, fmt.Errorf("the state of a claim has a piece of kind %q", p.Kind)
			case p.Call != nil && !p.Call.done() && p.Call.Waits == "":
				return nil, fmt.Errorf("the state of a claim has a call without an outcome")
			}
		}
	}
	return &s, nil
}
