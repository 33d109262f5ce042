package agentloop

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// A network has its agent's model choose, again and again, which of its agents, workflows and tools does the next piece of a
// task, until it says that the task is done.

// route is what the model chooses.
type route struct {
	PrimitiveID     string `json:"primitiveId"`                                   // the name of what is chosen, "none" at the end
	PrimitiveType   string `json:"primitiveType" enum:"agent,workflow,tool,none"` // "none": the task is done
	Prompt          string `json:"prompt"`                                        // for an agent; JSON input for a workflow or tool; the final answer at the end
	SelectionReason string `json:"selectionReason"`
}

const networkSteps = 10 // where the call does not say

// network is one run of a network.
type network struct {
	*run
	id    string // of the routing agent's run
	task  string
	turns []string // what was done so far, for the model
}

// Network runs an agent's network and returns its chunks.
func (r *Runner) Network(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (iter.Seq2[mastra.Chunk, error], error) {
	if a.Memory == nil {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Memory is required for the agent network to function properly. Please configure memory for the agent.")
	}
	if c.ThreadID == "" {
		c.ThreadID = mastra.NewID()
	}
	if c.ResourceID == "" {
		c.ResourceID = mastra.Resource(ctx, a.ID)
	}
	steps := c.MaxSteps
	if steps == 0 {
		steps = networkSteps
	}
	x, _, err := r.begin(mastra.WithRequest(ctx, nil), m, a, c)
	if err != nil {
		return nil, err
	}
	if x.blocked() {
		return x.stream(ctx)
	}
	n := &network{run: x, id: mastra.NewID()}
	for i := range x.in.prompt {
		n.task = strings.TrimSpace(n.task + "\n" + x.in.prompt[i].Text())
	}
	x.log = r.chunks.Open(x.ctx, m, runlog.Origin{RunID: x.RunID, ResourceID: x.resourceID, From: mastra.Position{Epoch: x.epoch()}})
	log := x.log
	x.task.Go(func(context.Context) error {
		x.Steps = append(x.Steps, step{StartedAt: x.ms()})
		err := n.rounds(steps)
		if err != nil {
			err = failure(x.ctx, err)
			n.say(mastra.ChunkError, mastra.Failure{Type: mastra.ChunkError, Error: runError(err)})
		}
		return n.end(err)
	}, func(error) { log.Close() })
	return log.Read(ctx, 0), nil
}

func (n *network) say(kind string, payload any) {
	n.emitChunk(mastra.Chunk{Type: kind, RunID: n.RunID, From: "NETWORK", Payload: payload})
}

// members are what the network can choose from, by kind and name.
func (n *network) members() (list []string, find func(kind, name string) mastra.Callable) {
	found := map[string]mastra.Callable{}
	for _, c := range n.agent.Tools {
		kind, name := "tool", c.Tool().Name()
		switch c := c.(type) {
		case *mastra.Agent:
			kind, name = "agent", c.Registered()
			found[kind+" "+c.ID] = c
		case mastra.Workflow:
			kind, name = "workflow", c.Graph().Name()
			found[kind+" "+c.Graph().ID] = c
		}
		found[kind+" "+name] = c
		line := kind + " " + name + ": " + c.Tool().Description
		if kind != "agent" {
			line += " Its input is JSON that fits " + string(c.Tool().Input.JSON())
		}
		list = append(list, line)
	}
	return list, func(kind, name string) mastra.Callable { return found[kind+" "+name] }
}

// rounds asks and carries out until the model says that the task is done.
func (n *network) rounds(most int) error {
	list, find := n.members()
	instructions := n.agent.Instructions + "\nYou route a task through a network. Choose what does its next piece, one of these:\n" + strings.Join(list, "\n") +
		"\nWhere the task is done, choose primitiveType \"none\" and put the final answer into prompt."
	for i := range most {
		n.say("routing-agent-start", routingStart{NetworkID: n.agent.ID, AgentID: "routing-agent", RunID: n.id, Input: routingInput{Task: n.task, PrimitiveType: "none", Iteration: i,
			Resource: n.resourceID, Thread: n.call.ThreadID, Verbose: true}})
		chosen, usage, err := n.choose(instructions)
		if err != nil {
			return err
		}
		n.Steps[0].Usage = n.Steps[0].Usage.Plus(usage)
		done := chosen.PrimitiveType == "none"
		result := ""
		if done {
			result = chosen.Prompt
		}
		context := append(n.appendStoredMessages([]byte{'['}, n.in.stored), ']')
		n.say("routing-agent-end", routingEnd{Task: n.task, Result: result, PrimitiveID: chosen.PrimitiveID, PrimitiveType: chosen.PrimitiveType, Prompt: chosen.Prompt, IsComplete: done,
			Reason: chosen.SelectionReason, Iteration: i, RunID: n.id, Context: context, Usage: mastra.RunUsage{Usage: usage, Raw: &usage}})
		if !done {
			c := find(chosen.PrimitiveType, chosen.PrimitiveID)
			if c == nil {
				return mastra.Errorf(mastra.CodeUpstream, "The model chose the %s %q, which the network has not", chosen.PrimitiveType, chosen.PrimitiveID)
			}
			if result, err = n.carryOut(c, chosen, i); err != nil {
				return err
			}
			n.turns = append(n.turns, fmt.Sprintf("%s %s was given %q and answered %q", chosen.PrimitiveType, chosen.PrimitiveID, chosen.Prompt, result))
		}
		n.Steps[0].Pieces = []piece{{Text: result, At: n.ms()}}
		if done {
			return nil
		}
	}
	return nil
}

// choose asks the model what is next.
func (n *network) choose(instructions string) (chosen route, usage mastra.Usage, err error) {
	text := func(role, s string) mastra.PromptMessage {
		return mastra.PromptMessage{Role: role, Parts: []mastra.Part{{Type: mastra.PartText, Text: s}}}
	}
	prompt := []mastra.PromptMessage{text("system", instructions)}
	prompt = recalled(prompt, n.remembered)
	prompt = append(prompt, n.in.prompt...)
	if len(n.turns) > 0 {
		prompt = append(prompt, text("user", "So far: "+strings.Join(n.turns, "\n")))
	}
	var answer strings.Builder
	for part, err := range n.model.Stream(n.ctx, &mastra.ModelRequest{Messages: prompt, Settings: n.call.Settings, Schema: schema.For[route]().JSON()}) {
		if err != nil {
			return chosen, usage, err
		}
		switch part.Type {
		case mastra.ModelTextDelta:
			if answer.WriteString(part.Text); answer.Len() > maxWritten {
				return chosen, usage, mastra.Errorf(mastra.CodeUpstream, "The model's answer is too long")
			}
		case mastra.ModelFinish:
			usage = part.Usage
		}
	}
	if err := schema.For[route]().Decode([]byte(bare(answer.String())), &chosen); err != nil {
		return chosen, usage, &mastra.Error{Code: mastra.CodeUpstream, Message: "The model did not choose from the network", Err: err}
	}
	return chosen, usage, nil
}

// carryOut has what was chosen do its piece. An error of it is its answer: the model chooses what follows from that.
func (n *network) carryOut(c mastra.Callable, chosen route, i int) (string, error) {
	kind := chosen.PrimitiveType
	ctx := mastra.WithSpan(n.ctx, mastra.SpanRef{TraceID: n.TraceID, SpanID: n.SpanID})
	n.say(kind+"-execution-start", executionStart{Args: chosen, RunID: n.id, Iteration: i, AgentID: chosen.PrimitiveID})
	result := ""
	err := runlog.Safely(func() error {
		a, ok := c.(*mastra.Agent)
		if !ok {
			t := c.Tool()
			if t.RequireApproval {
				return errors.New("it requires a person's approval, which cannot be asked for here")
			}
			out, err := t.Call(ctx, mastra.JSON(chosen.Prompt))
			result = string(out)
			return err
		}
		chunks, err := n.m.Agents.Stream(ctx, n.m, a, mastra.AgentCall{Messages: mastra.UserMessage(chosen.Prompt)})
		if err != nil {
			return err
		}
		for chunk, err := range chunks {
			if err != nil {
				return err
			}
			if chunk.Type == mastra.ChunkTextDelta {
				result += chunk.Text
			}
			n.say("agent-execution-event-"+chunk.Type, chunk)
		}
		return nil
	})
	if n.ctx.Err() != nil {
		return "", n.ctx.Err()
	}
	if err != nil {
		result = "It failed: " + n.toolError(&call{Name: chosen.PrimitiveID}, err).Message
	}
	n.say(kind+"-execution-end", executionEnd{Task: n.task, Result: result, AgentID: chosen.PrimitiveID, Iteration: i, RunID: n.id})
	return result, nil
}

// end keeps what came of it and says so.
func (n *network) end(failed error) error {
	s := &n.Steps[0]
	s.Finish, s.ResponseID, s.Timestamp, s.ModelID = mastra.FinishStop, mastra.NewID(), n.now(), n.info.ID
	if len(s.Pieces) > 0 {
		n.makeAnswer()
	}
	n.log.Hold()
	if failed == nil {
		n.say("network-execution-event-step-finish", executionEnd{Task: n.task, Result: s.text(), AgentID: n.agent.ID, RunID: n.id, IsComplete: true})
		n.say("network-execution-event-finish", executionEnd{Task: n.task, Result: s.text(), AgentID: n.agent.ID, RunID: n.id, IsComplete: true})
	}
	err := n.keep(failed, false)
	if err != nil {
		n.m.Logger.ErrorContext(n.ctx, "the outcome of a network was not stored", "runId", n.RunID, "agent", n.agent.ID, "error", err)
		n.log.Drop()
		n.say(mastra.ChunkError, mastra.Failure{Type: mastra.ChunkError, Error: runError(err)})
	}
	n.log.Show()
	return errors.Join(failed, err)
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

type executionStart struct {
	Args      route  `json:"args"`
	RunID     string `json:"runId"`
	Iteration int    `json:"iteration"`
	AgentID   string `json:"agentId"`
}

type executionEnd struct {
	Task       string `json:"task"`
	Result     string `json:"result"`
	AgentID    string `json:"agentId"`
	Iteration  int    `json:"iteration"`
	RunID      string `json:"runId"`
	IsComplete bool   `json:"isComplete"`
}
