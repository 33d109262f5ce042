package agentloop

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// A network has its agent's model choose, again and again, which of its agents, workflows and tools does the next piece of a
// task, until it says that the task is done. It is a run whose steps are made differently: each is a choice, and the call that
// comes of it. So all that a run can do it can: it is taken over, observed, cancelled, and waits for a person.

// route is what the model chooses.
type route struct {
	PrimitiveID     string `json:"primitiveId"`                                   // the name of what is chosen, "none" at the end
	PrimitiveType   string `json:"primitiveType" enum:"agent,workflow,tool,none"` // "none": the task is done
	Prompt          string `json:"prompt"`                                        // for an agent; JSON input for a workflow or tool; the final answer at the end
	SelectionReason string `json:"selectionReason"`
}

const networkSteps = 10 // where the call does not say

// Network runs an agent's network and returns its chunks.
func (r *Runner) Network(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (iter.Seq2[mastra.Chunk, error], error) {
	if a.Memory == nil {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Memory is required for the agent network to function properly. Please configure memory for the agent.")
	}
	if c.ThreadID == "" { // a repeat would be in another one: it is not joined
		c.ThreadID = mastra.NewID()
		ctx = mastra.WithRequest(ctx, nil)
	}
	if c.ResourceID == "" {
		c.ResourceID = mastra.Resource(ctx, a.ID)
	}
	if c.MaxSteps == 0 {
		c.MaxSteps = networkSteps
	}
	c.Network = true
	return r.Stream(ctx, m, a, c)
}

// say is emit for a network.
func (x *run) say(kind string, payload any) {
	if x.log != nil {
		x.emitChunk(mastra.Chunk{Type: kind, RunID: x.RunID, From: "NETWORK", Payload: payload})
	}
}

// members are what the network can choose from, by kind and name.
func (x *run) members() (list []string, find func(kind, name string) *mastra.Tool) {
	found := map[string]*mastra.Tool{}
	for _, c := range x.agent.Tools {
		t := c.Tool()
		if x.tool(t.Name()) == nil { // it is not among the active ones
			continue
		}
		kind, name := "tool", t.Name()
		switch c := c.(type) {
		case *mastra.Agent:
			kind, name = "agent", c.Registered()
			found[kind+" "+c.ID] = t
		case mastra.Workflow:
			kind, name = "workflow", c.Graph().Name()
			found[kind+" "+c.Graph().ID] = t
		}
		found[kind+" "+name] = t
		line := kind + " " + name + ": " + t.Description
		if kind != "agent" {
			line += " Its input is JSON that fits " + string(t.Input.JSON())
		}
		list = append(list, line)
	}
	return list, func(kind, name string) *mastra.Tool { return found[kind+" "+name] }
}

// route is step n of a network: the model chooses, and what it has chosen does its piece.
func (x *run) route(n int, mayGoOn bool) error {
	s := &x.Steps[n]
	s.ResponseID = mastra.NewID() // of the routing agent's run, too
	span := x.begin(n, s.StartedAt)
	x.emitRouting(n)
	list, find := x.members()
	asked, err := x.choose(n, list)
	x.inferenceTraced(n, span, err)
	s.Pieces = nil // it was a choice, and is no answer
	if err == nil {
		x.emitRouted(n)
		if s.Route.PrimitiveType == "none" {
			s.Pieces, s.Finish = []piece{{Text: s.Route.answer(), At: x.ms()}}, mastra.FinishStop
		} else if t := find(s.Route.PrimitiveType, s.Route.PrimitiveID); t == nil {
			s.Finish = mastra.FinishError
			err = mastra.Errorf(mastra.CodeUpstream, "The model chose the %s %q, which the network has not", s.Route.PrimitiveType, s.Route.PrimitiveID)
		} else {
			s.Pieces, s.Finish = []piece{{Kind: called, At: x.ms(), Call: s.Route.call(t)}}, mastra.FinishToolCalls
			x.emitChosen(n)
		}
	}
	if x.prompt = asked; n == 0 || x.asked > len(asked) {
		x.asked = len(asked)
	}
	return x.finishStep(n, span, span, len(asked), mayGoOn, err)
}

// answer is the network's, where it is done.
func (r *route) answer() string {
	if r.Prompt == "" {
		return r.SelectionReason
	}
	return r.Prompt
}

// call is the tool call that a choice comes to.
func (r *route) call(t *mastra.Tool) *call {
	c := &call{ID: "call_" + mastra.NewSpanID(), Name: t.Name(), Args: arguments(mastra.JSON(r.Prompt))}
	if t.Agent != nil {
		c.Args, _ = schema.Marshal(mastra.Prompt{Prompt: r.Prompt})
	}
	return c
}

// outcome is what a call of a network came to, as the model is told it.
func (c *call) outcome() string {
	var said mastra.Text
	switch {
	case c.declined():
		return c.reason()
	case c.Error != nil:
		return "It failed: " + c.Error.Message
	case strings.HasPrefix(c.Name, "agent-") && schema.Unmarshal(c.Result, &said) == nil:
		return said.Text
	}
	return string(c.Result)
}

// choose asks the model what is next, and returns what it was asked. What it writes is the step's, for the trace.
func (x *run) choose(n int, members []string) ([]mastra.PromptMessage, error) {
	s := &x.Steps[n]
	instructions := x.agent.Instructions
	if x.call.Instructions != "" {
		instructions = x.call.Instructions
	}
	if x.call.System != "" {
		instructions += "\n" + x.call.System
	}
	prompt := []mastra.PromptMessage{mastra.PromptText("system", instructions+"\nYou route a task through a network. Choose what does its next piece, one of these:\n"+strings.Join(members, "\n")+
		"\nWhere the task is done, choose primitiveType \"none\" and put the final answer into prompt.")}
	prompt = append(x.r.texts.recalled(prompt, x.remembered), x.in.prompt...)
	for i := range x.Steps[:n] {
		before := &x.Steps[i]
		if calls := before.calls(); before.Route != nil && len(calls) == 1 {
			prompt = append(prompt, mastra.PromptText("user", fmt.Sprintf("So far: %s %s was given %q and answered %q", before.Route.PrimitiveType, before.Route.PrimitiveID, before.Route.Prompt, calls[0].outcome())))
		}
		prompt = x.r.texts.recalled(prompt, before.Came)
	}
	s.Timestamp, s.ModelID, s.Finish = x.now(), x.info.ID, mastra.FinishError
	finished := false
	request := mastra.ModelRequest{Messages: prompt, Settings: x.call.Settings, Options: x.call.ModelOptions, Schema: schema.For[route]().JSON()}
	answer, err := mastra.Written(x.model.Stream(x.ctx, &request), mastra.MaxWritten, func(part *mastra.ModelPart) {
		switch {
		case part.Type == mastra.ModelTextDelta && s.Pieces == nil:
			s.Pieces = []piece{{At: x.ms()}}
		case part.Type == mastra.ModelFinish:
			s.Usage, s.Cost, finished = part.Usage, part.Cost, true
		}
	})
	if len(s.Pieces) > 0 {
		s.Pieces[0].Text = answer
	}
	if err == nil && !finished {
		err = x.ctx.Err()
	}
	if err != nil {
		return prompt, err
	}
	chosen := &route{}
	if err := schema.For[route]().Decode([]byte(bare(answer)), chosen); err != nil {
		return prompt, &mastra.Error{Code: mastra.CodeUpstream, Message: "The model did not choose from the network", Err: err}
	}
	s.Route, s.Finish = chosen, mastra.FinishStop
	return prompt, nil
}

// wanted is the task that the network was given.
func (x *run) wanted() string {
	task := ""
	for i := range x.in.prompt {
		task = strings.TrimSpace(task + "\n" + x.in.prompt[i].Text())
	}
	return task
}

func (x *run) emitRouting(n int) {
	x.say("routing-agent-start", routingStart{NetworkID: x.agent.ID, AgentID: "routing-agent", RunID: x.Steps[n].ResponseID, Input: routingInput{Task: x.wanted(), PrimitiveType: "none", Iteration: n,
		Resource: x.resourceID, Thread: x.call.ThreadID, Verbose: true}})
}

func (x *run) emitRouted(n int) {
	s := &x.Steps[n]
	done, result := s.Route.PrimitiveType == "none", ""
	if done {
		result = s.Route.answer()
	}
	context := append(x.appendStoredMessages([]byte{'['}, x.in.stored), ']')
	x.say("routing-agent-end", routingEnd{Task: x.wanted(), Result: result, PrimitiveID: s.Route.PrimitiveID, PrimitiveType: s.Route.PrimitiveType, Prompt: s.Route.Prompt, IsComplete: done,
		Reason: s.Route.SelectionReason, Iteration: n, RunID: x.Steps[n].ResponseID, Context: context, Usage: mastra.RunUsage{Usage: s.Usage, Raw: &s.Usage}})
}

// emitChosen shows that what was chosen in step n begins.
func (x *run) emitChosen(n int) {
	r, c := x.Steps[n].Route, x.Steps[n].calls()[0]
	begins := executionStart{Args: executionArgs{route: *r}, RunID: x.RunID, Iteration: n, AgentID: r.PrimitiveID}
	if r.PrimitiveType == "tool" {
		begins.Args.Args, begins.Args.ToolName, begins.Args.ToolCallID = c.args(), c.Name, c.ID
	}
	x.say(r.PrimitiveType+"-execution-start", begins)
}

// routed is the step of a network that a call belongs to.
func (x *run) routed(c *call) int {
	for n := range x.Steps {
		for _, other := range x.Steps[n].calls() {
			if other == c {
				return n
			}
		}
	}
	return 0
}

// emitDone shows what came of a call.
func (x *run) emitDone(c *call) {
	n := x.routed(c)
	r := x.Steps[n].Route
	ends := executionEnd{Task: x.wanted(), PrimitiveID: r.PrimitiveID, PrimitiveType: r.PrimitiveType, Result: c.outcome(), AgentID: r.PrimitiveID, Iteration: n, RunID: x.RunID}
	if r.PrimitiveType == "tool" {
		ends.ToolCallID, ends.ToolName = c.ID, c.Name
	}
	if r.PrimitiveType != "agent" && c.Result != nil {
		ends.Result = c.Result
	}
	x.say(r.PrimitiveType+"-execution-end", ends)
}

// emitAsked shows what a call waits for.
func (x *run) emitAsked(c *call) {
	r := x.Steps[x.routed(c)].Route
	kind := "suspended"
	if c.Waits == waitsApproval {
		kind = "approval"
	}
	w := executionWaits{ToolCallID: c.ID, ToolName: r.PrimitiveID, Args: c.args(), Reason: r.SelectionReason, ResumeSchema: x.resumeSchema(c), SuspendPayload: c.Payload, RunID: x.RunID}
	switch r.PrimitiveType {
	case "agent":
		w.AgentID = r.PrimitiveID
	case "workflow":
		w.WorkflowID = r.PrimitiveID
	}
	x.say(r.PrimitiveType+"-execution-"+kind, w)
}

// emitRouteAgain shows a step that an earlier request did.
func (x *run) emitRouteAgain(n int) {
	x.emitRouting(n)
	if x.Steps[n].Route == nil {
		return
	}
	x.emitRouted(n)
	for _, c := range x.Steps[n].calls() {
		if x.emitChosen(n); c.done() {
			x.emitDone(c)
		}
	}
}

// emitNetworkEnd ends the stream of a network that has come to an end.
func (x *run) emitNetworkEnd() {
	n := len(x.Steps) - 1
	s := &x.Steps[n]
	ends := executionEnd{Task: x.wanted(), Result: s.text(), AgentID: x.agent.ID, Iteration: n, RunID: x.RunID, IsComplete: !s.calledAny()}
	if s.Route != nil {
		ends.PrimitiveID, ends.PrimitiveType = s.Route.PrimitiveID, s.Route.PrimitiveType
	}
	for _, c := range s.calls() { // it may go no further
		ends.Result, ends.Reason = c.outcome(), fmt.Sprintf("Max iterations reached: %d", x.maxSteps())
	}
	x.say("network-execution-event-step-finish", ends)
	if x.structured != nil {
		ends.Object = x.structured.object
	}
	x.say("network-execution-event-finish", ends)
}

type routingInput struct {
	Task          string `json:"task"`
	PrimitiveID   string `json:"primitiveId"`
	PrimitiveType string `json:"primitiveType"`
	Iteration     int    `json:"iteration"`
	Resource      string `json:"threadResourceId"`
	Thread        string `json:"threadId"`
	OneOff        bool   `json:"isOneOff"`
	Verbose       bool   `json:"verboseIntrospection"`
}

type routingStart struct {
	NetworkID string       `json:"networkId"`
	AgentID   string       `json:"agentId"`
	RunID     string       `json:"runId"`
	Input     routingInput `json:"inputData"`
}

type routingEnd struct {
	Task          string          `json:"task"`
	Result        string          `json:"result"`
	PrimitiveID   string          `json:"primitiveId"`
	PrimitiveType string          `json:"primitiveType"`
	Prompt        string          `json:"prompt"`
	IsComplete    bool            `json:"isComplete"`
	Reason        string          `json:"selectionReason"`
	Iteration     int             `json:"iteration"`
	RunID         string          `json:"runId"`
	Context       mastra.JSON     `json:"conversationContext"`
	Usage         mastra.RunUsage `json:"usage"`
}

type executionArgs struct {
	route      `json:",inline"`
	Args       mastra.JSON `json:"args,omitzero"`
	ToolName   string      `json:"toolName,omitempty"`
	ToolCallID string      `json:"toolCallId,omitempty"`
}

type executionStart struct {
	Args      executionArgs `json:"args"`
	RunID     string        `json:"runId"`
	Iteration int           `json:"iteration"`
	AgentID   string        `json:"agentId"`
}

type executionEnd struct {
	Task          string      `json:"task"`
	PrimitiveID   string      `json:"primitiveId,omitempty"`
	PrimitiveType string      `json:"primitiveType,omitempty"`
	Result        any         `json:"result"`
	Object        mastra.JSON `json:"object,omitzero"`
	AgentID       string      `json:"agentId"`
	Iteration     int         `json:"iteration"`
	RunID         string      `json:"runId"`
	IsComplete    bool        `json:"isComplete"`
	Reason        string      `json:"completionReason,omitempty"`
	ToolCallID    string      `json:"toolCallId,omitempty"`
	ToolName      string      `json:"toolName,omitempty"`
}

type executionWaits struct {
	ToolName       string      `json:"toolName"`
	ToolCallID     string      `json:"toolCallId"`
	Args           mastra.JSON `json:"args"`
	Reason         string      `json:"selectionReason"`
	ResumeSchema   string      `json:"resumeSchema,omitempty"`
	SuspendPayload mastra.JSON `json:"suspendPayload,omitzero"`
	RunID          string      `json:"runId"`
	AgentID        string      `json:"agentId,omitempty"`
	WorkflowID     string      `json:"workflowId,omitempty"`
}

type networkObject struct {
	Object mastra.JSON `json:"object"`
}
