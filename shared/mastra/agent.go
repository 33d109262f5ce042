package mastra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Agent declares an agent. It runs through the AgentRunner of the Mastra it is registered in.
type Agent struct {
	ID           string
	Key          string // the name it is registered under; the ID where empty
	Name         string
	Description  string
	Instructions string
	Model        string                      // "provider/model-id"; empty is the deployment's MODEL
	Models       []ModelChoice               // instead of Model: the next one is asked where one fails
	Tools        []Callable                  // tools, other agents, workflows
	Memory       *Memory                     // nil: the agent keeps nothing
	MaxSteps     int                         // model calls of one run; 5 where 0
	ToolsAtOnce  int                         // tool calls of one step that run at the same time; 10 where 0
	StopWhen     func(steps []StepInfo) bool // asked behind each step; true ends the run
	Voice        Voice                       // nil: it has none
	Scorers      []*Scorer                   // judge its answers
	Processors   []*Processor                // look at what goes in and what comes out
	// MaxProcessorRetries is how often in a row a processor may have the model try again; 0 is never.
	MaxProcessorRetries int
}

// StepInfo is a step of a run, as StopWhen sees it.
type StepInfo struct {
	Text      string
	ToolCalls []string // names
	Finish    FinishReason
	Usage     Usage
}

// ModelChoice is one model of an agent's list.
type ModelChoice struct {
	ID       string          // what the list calls it; Model where empty
	Model    string          // "provider/model-id"
	Retries  *int            // how often it is asked again before the next one is; the provider's own number where nil
	Options  map[string]JSON // see ModelRequest.Options
	Disabled bool            // left out
}

// AgentRunner runs agents. It is an interface so that a tool or a step can run one.
type AgentRunner interface {
	// Generate runs the agent to its end. The run goes on where ctx ends, unless it is cancelled by name.
	Generate(ctx context.Context, m *Mastra, a *Agent, c AgentCall) (*AgentResult, error)
	// Stream starts a run and returns its chunks. What is wrong before the model is called comes back as an error,
	// what goes wrong later as a chunk of type "error". Leaving the loop leaves the run running.
	Stream(ctx context.Context, m *Mastra, a *Agent, c AgentCall) (iter.Seq2[Chunk, error], error)
	// Resume answers a call that a suspended run waits for, and runs to the end or the next suspension. Of several at once
	// one wins, the others are a CodeConflict.
	Resume(ctx context.Context, m *Mastra, a *Agent, c AgentResume) (*AgentResult, error)
	ResumeStream(ctx context.Context, m *Mastra, a *Agent, c AgentResume) (iter.Seq2[Chunk, error], error)
	// Observe yields a run's chunks behind after until its stream stops, wherever the run goes on.
	Observe(ctx context.Context, m *Mastra, runID string, after Position) (iter.Seq2[Chunk, error], error)
	// Network has the agent's model route a task through its agents, workflows and tools, and returns the chunks.
	Network(ctx context.Context, m *Mastra, a *Agent, c AgentCall) (iter.Seq2[Chunk, error], error)
	// Send hands a message to the run that a thread has under way, or begins one; it returns once that is durable. The
	// thread's subscribers see what follows.
	Send(ctx context.Context, m *Mastra, a *Agent, s AgentMessage) (runID string, err error)
	// Subscribe yields the chunks of the runs that a thread has, from now on until ctx ends.
	Subscribe(ctx context.Context, m *Mastra, threadID string) (iter.Seq2[Chunk, error], error)
	// Abort ends the run that a thread has under way, where expected is its id or "". It says whether there was one.
	Abort(ctx context.Context, m *Mastra, threadID, expected string) (bool, error)
	// TakeOver goes on, in the background, with a run whose process died; it does nothing where another one was first.
	TakeOver(ctx context.Context, m *Mastra, run *Run) error
}

// ThreadSignal is a message that comes to a thread by itself: a user's, or something that the agent is to know.
type ThreadSignal struct {
	ID         string
	Type       string // "user", "reactive", "notification", "state"
	TagName    string // "user", or the tag that the model sees it in
	Contents   InputContent
	Metadata   JSON
	AcceptedAt Time
	Mailed     bool `json:"-"` // it is kept elsewhere, too: who takes it claims it
}

// AgentMessage is a ThreadSignal on its way to a thread.
type AgentMessage struct {
	Signal   ThreadSignal
	RunID    string    // to the run of this id alone
	Queue    bool      // not to the run under way, but to one of its own behind it
	IfActive string    // "deliver" (or ""), "persist", "discard": where a run is under way
	IfIdle   string    // "wake" (or ""), "persist", "discard": where none is
	Call     AgentCall // of the run that it begins: thread, resource, settings
}

// ScorerChoice is a scorer of one call, and its share of the runs.
type ScorerChoice struct {
	ID   string
	Rate float64
}

// ClientTool is a tool that the caller runs itself, beside the agent's own.
type ClientTool struct {
	Name        string
	Description string
	Input       JSON // JSON Schema; nil takes anything
}

// Structured asks for an answer that is JSON.
type Structured struct {
	Schema       JSON
	Instructions string // beside the agent's own
	Model        string // "provider/model-id" of one that makes the JSON out of the answer; "": the agent's own answers it
	InPrompt     bool   // the model is told of the schema in words: it has no other way
	OnError      string // "strict": the run fails; "warn": there is no object; "fallback": Fallback is it
	Fallback     JSON
}

// AgentRuns begins the WorkflowID of an agent's stored run; the agent's ID follows.
const AgentRuns = "agent:"

// AgentResume answers a call that a run waits for.
type AgentResume struct {
	RunID      string
	ToolCallID string // "": the only one
	Data       JSON   // {approved, reason} for an approval, what the tool asks for else
	Context    RequestContext
	Tracing    TracingOptions // see Anew
}

// PendingCall is a tool call that a suspended run waits for. The stored run's Result is a list of them.
type PendingCall struct {
	ToolCallID       string `json:"toolCallId"`
	ToolName         string `json:"toolName"`
	Args             JSON   `json:"args,omitzero"`
	RequiresApproval bool   `json:"requiresApproval"`
	SuspendPayload   JSON   `json:"suspendPayload,omitzero"`
	ResumeSchema     string `json:"resumeSchema,omitempty"` // JSON Schema as text
	ThreadID         string `json:"threadId,omitempty"`
}

// AgentCall is one call of an agent.
type AgentCall struct {
	Messages       Messages
	Instructions   string   // instead of the agent's own
	System         string   // beside them
	Context        Messages // shown to the model before Messages, not stored
	ThreadID       string   // "": nothing is remembered
	ResourceID     string
	ThreadTitle    string
	ThreadMetadata JSON
	ReadOnly       bool    // recall, but store nothing
	LastMessages   *int    // instead of the memory's
	Memory         *Memory // instead of the agent's, where it has one
	RunID          string  // "": made up
	MaxSteps       int     // 0: the agent's
	MaxRetries     *int    // instead of the agent's MaxProcessorRetries
	ToolChoice     ToolChoice
	ActiveTools    []string       // nil: all
	ToolsAtOnce    int            // instead of the agent's; 0: that one
	Model          string         // "provider/model-id" instead of the agent's
	SavePerStep    bool           // store the answer so far behind each step
	Scorers        []ScorerChoice // instead of the agent's, where not nil
	ScoringData    bool           // answer what scorers are shown, too
	Approve        bool           // ask before any tool is run
	ClientTools    []ClientTool
	Network        bool          // the agent's tools do the task, one after the other, as its model chooses
	Structured     *Structured   // the answer is to be JSON
	Signal         *ThreadSignal // what the run begins with instead of Messages
	Settings       ModelSettings
	ModelOptions   map[string]JSON // see ModelRequest.Options
	Tracing        TracingOptions
}

// call is what an agent is as a Callable and a Runnable: it takes a prompt and answers a text.
func (a *Agent) call(ctx context.Context, in Prompt) (Text, error) {
	m := From(ctx)
	if m == nil {
		return Text{}, errors.New("agent " + a.ID + " is called outside of a Mastra")
	}
	r, err := m.Agents.Generate(ctx, m, a, AgentCall{Messages: UserMessage(in.Prompt)})
	if err != nil {
		return Text{}, err
	}
	if t := r.Tripwire; t != nil {
		return Text{}, Errorf(CodeUserCode, "Agent %s was stopped: %s", a.ID, t.Reason)
	}
	return Text{r.Text}, nil
}

// Generate asks the agent from within a tool or a step.
func (a *Agent) Generate(ctx context.Context, prompt string) (string, error) {
	t, err := a.call(ctx, Prompt{prompt})
	return t.Text, err
}

// Prompt is the input of an agent as a tool or a step, Text its output.
type Prompt struct {
	Prompt string `json:"prompt"`
}

// Text is the output of an agent as a tool or a step.
type Text struct {
	Text string `json:"text"`
}

// Registered is the name that the agent is registered under.
func (a *Agent) Registered() string {
	if a.Key != "" {
		return a.Key
	}
	return a.ID
}

// Tool makes an agent a Callable: other agents are offered it as "agent-<key>".
func (a *Agent) Tool() *Tool {
	t := NewTool("agent-"+a.Registered(), cmp.Or(a.Description, "Agent: "+a.Registered()), a.call)
	t.Agent = a
	return t
}

// Step makes an agent a Runnable. Where somebody follows the run, the agent's chunks are among the step's.
func (a *Agent) Step() *Step {
	s := NewStep(a.ID, func(ctx context.Context, in Prompt) (Text, error) {
		if s := stepOf(ctx); s == nil || !s.Followed() || From(ctx) == nil {
			return a.call(ctx, in)
		}
		return a.stream(ctx, in)
	})
	s.Description, s.Agent = a.Description, a.ID
	return s
}

// stream is call with the agent's chunks handed on.
func (a *Agent) stream(ctx context.Context, in Prompt) (out Text, err error) {
	m, s := From(ctx), stepOf(ctx)
	chunks, err := m.Agents.Stream(ctx, m, a, AgentCall{Messages: UserMessage(in.Prompt)})
	if err != nil {
		return out, err
	}
	var text strings.Builder
	for c, err := range chunks {
		if err != nil {
			return out, err
		}
		data, err := c.Encode()
		if err != nil {
			return out, err
		}
		s.Write(data)
		text.WriteString(c.Text)
		switch p := c.Payload.(type) {
		case Finish:
			if c.Type == "finish" {
				s.Spend(p.Output.Usage.Usage)
			}
		case Failure:
			return out, Errorf(CodeUpstream, "%s", p.Error.Message)
		case *Tripwire:
			return out, Errorf(CodeUserCode, "Agent %s was stopped: %s", a.ID, p.Reason)
		}
	}
	return Text{text.String()}, nil
}

func (a *Agent) check() error {
	if a.Model != "" && !strings.Contains(a.Model, "/") {
		return fmt.Errorf("agent %s: model %q is not provider/model-id", a.ID, a.Model)
	}
	for i, c := range a.Models {
		if !strings.Contains(c.Model, "/") {
			return fmt.Errorf("agent %s: model %d of its list, %q, is not provider/model-id", a.ID, i+1, c.Model)
		}
	}
	if len(a.Models) > 0 && (a.Model != "" || !slices.ContainsFunc(a.Models, func(c ModelChoice) bool { return !c.Disabled })) {
		return fmt.Errorf("agent %s: it has either one Model or a list of Models, and of a list one at least is not Disabled", a.ID)
	}
	if err := a.Memory.check(a.ID); err != nil {
		return err
	}
	processors := map[string]bool{}
	for _, p := range a.Processors {
		if err := p.check(a.ID); err != nil {
			return err
		}
		if processors[p.ID] {
			return fmt.Errorf("agent %s: two processors are named %q", a.ID, p.ID)
		}
		processors[p.ID] = true
	}
	names := map[string]bool{}
	for _, c := range a.Tools {
		t := c.Tool()
		if names[t.Name()] {
			return fmt.Errorf("agent %s: two tools are named %q", a.ID, t.Name())
		}
		names[t.Name()] = true
		if err := t.Input.Check(); err != nil {
			return fmt.Errorf("agent %s, tool %s: %w", a.ID, t.Name(), err)
		}
	}
	return nil
}
