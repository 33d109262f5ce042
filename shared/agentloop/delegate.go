package agentloop

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// An agent or a workflow that is called as a tool may wait for a person, as a tool may: the call waits then, and whoever
// answers it answers what waits within. An agent's run is kept in the call itself, so that both go on or neither does; a
// workflow's run is the engine's.

// delegated is what a call waits in.
type delegated struct {
	RunID    string      `json:"i"`
	State    mastra.JSON `json:"s,omitzero"` // an agent's run: an origin with its steps
	Step     []string    `json:"p,omitempty"`
	CallID   string      `json:"c,omitempty"` // of an agent's run: the call that waits, its tool and its arguments
	ToolName string      `json:"n,omitempty"`
	Args     mastra.JSON `json:"a,omitzero"`
	Resume   string      `json:"r,omitempty"` // JSON Schema of the answer
}

// inner says that c is shown as the call that waits for approval within it.
func (c *call) inner() bool { return c.Sub != nil && c.Waits == waitsApproval }

// shownName and shownArgs are those that a person is asked about.
func (c *call) shownName() string {
	if c.inner() {
		return c.Sub.ToolName
	}
	return c.Name
}

func (c *call) shownArgs() mastra.JSON {
	if c.inner() {
		return c.Sub.Args
	}
	return c.args()
}

// asks says whether a person can be asked on the run's behalf.
func (x *run) asks() bool { return !x.nested || x.above != nil && x.above.asks() }

// delegate has an agent or a workflow do a call. Where it waits, so does the call: errSuspended.
func (x *run) delegate(ctx context.Context, c *call, t *mastra.Tool) error {
	if c.Sub == nil {
		var any mastra.JSON
		if err := t.Input.Decode(c.Args, &any); err != nil {
			return err
		}
	}
	if t.Agent != nil {
		return x.callAgent(ctx, c, t.Agent)
	}
	return x.callWorkflow(ctx, c, t.Workflow)
}

func (x *run) callAgent(ctx context.Context, c *call, a *mastra.Agent) error {
	sub, err := x.within(ctx, c, a)
	if err != nil {
		return err
	}
	sub.above, sub.aboveCall = x, c
	if x.log != nil {
		sub.log = &runlog.Log{} // what it says goes to x's
	}
	if err := sub.task.Do(sub.perform); err != nil {
		return err
	}
	if t := sub.Tripwire; t != nil {
		return mastra.Errorf(mastra.CodeUserCode, "Agent %s was stopped: %s", a.ID, t.Reason)
	}
	waiting := sub.waiting()
	if len(waiting) == 0 {
		c.Result, err = schema.Marshal(mastra.Text{Text: sub.text()})
		return err
	}
	w := waiting[0]
	d := &delegated{RunID: sub.RunID, CallID: w.ID, ToolName: w.shownName(), Args: w.shownArgs(), Resume: sub.resumeSchema(w)}
	if d.State, err = encodeCall(origin{sub.call, sub.state}); err != nil {
		return err
	}
	c.waitIn(d, w.Waits, w.Payload)
	return errSuspended
}

// waitIn has a call wait.
func (c *call) waitIn(d *delegated, what string, payload mastra.JSON) {
	c.Sub, c.Waits, c.Payload, c.Answer, c.Result = d, what, payload, nil, nil
}

// within begins an agent's run for a call, or goes on with the one that waited.
func (x *run) within(ctx context.Context, c *call, a *mastra.Agent) (sub *run, err error) {
	if c.Sub == nil {
		var in mastra.Prompt
		if err := schema.Unmarshal(c.Args, &in); err != nil {
			return nil, err
		}
		sub, _, err = x.r.begin(ctx, x.m, a, mastra.AgentCall{Messages: mastra.UserMessage(in.Prompt), Approve: x.call.Approve})
		return sub, err
	}
	var o origin
	if err := schema.Unmarshal(c.Sub.State, &o); err != nil {
		return nil, fmt.Errorf("the run of agent %s that waited: %w", a.ID, err)
	}
	task, err := x.r.runs.Begin(ctx, o.State.RunID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			task.End()
		}
	}()
	model, err := languageModel(x.m, a, o.Call.Model)
	if err != nil {
		return nil, err
	}
	sub = newRun(x.r, task, x.m, a, o.Call, model, o.State.RunID)
	above := sub.ParentID
	sub.state = o.State
	sub.goesOn()
	sub.ParentID = above
	if err := sub.prepare(); err != nil {
		return nil, err
	}
	if err := sub.recall(); err != nil {
		return nil, err
	}
	if err := sub.answerCall(mastra.AgentResume{ToolCallID: c.Sub.CallID, Data: c.Answer}); err != nil {
		return nil, err
	}
	sub.ready()
	return sub, nil
}

// forward shows x's readers what an agent or a workflow says that x has called.
func (x *run) forward(c *call, chunk mastra.Chunk) {
	if x.call.Network {
		x.say(x.Steps[x.routed(c)].Route.PrimitiveType+"-execution-event-"+chunk.Type, chunk)
		return
	}
	data, err := chunk.Encode()
	if err != nil {
		x.m.Logger.ErrorContext(x.ctx, "a chunk does not encode", "runId", x.RunID, "type", chunk.Type, "error", err)
		return
	}
	x.forwarding.Lock() // several may be under way at once
	defer x.forwarding.Unlock()
	x.emitChunk(mastra.Chunk{Type: mastra.ChunkToolOutput, RunID: x.RunID, From: mastra.FromUser, Payload: mastra.ToolOutput{Output: data, ToolCallID: c.ID, ToolName: c.Name}})
}

func (x *run) callWorkflow(ctx context.Context, c *call, w mastra.Workflow) error {
	r, err := x.carryOut(ctx, c, w)
	if err != nil {
		return err
	}
	name := w.Graph().ID
	switch {
	case r.Status == mastra.StatusSuspended && len(r.Suspended) > 0 && x.asks():
		d := &delegated{RunID: r.ID, Step: r.Suspended[0]}
		var payload mastra.JSON
		for _, s := range r.Steps {
			if s.Value.Status == mastra.StatusSuspended && slices.Equal(mastra.StepPath(s.Key), d.Step) {
				payload = s.Value.SuspendPayload
			}
		}
		if s := w.Graph().Find(d.Step); s != nil && s.Resume != nil {
			d.Resume = string(s.Resume.JSON())
		}
		c.waitIn(d, waitsTool, payload)
		return errSuspended
	case r.Error != nil:
		return fmt.Errorf("workflow %s: %s", name, r.Error.Message)
	case r.Status != mastra.StatusSuccess:
		return fmt.Errorf("workflow %s is %s", name, r.Status)
	}
	if c.Result = r.Result; c.Result == nil {
		c.Result = mastra.JSON("null")
	}
	return nil
}

// carryOut runs a workflow for a call, or answers the one that waited, and returns its run where it rests. Somebody else may
// have answered it meanwhile, or this process's predecessor: then the run as it goes on is what counts.
func (x *run) carryOut(ctx context.Context, c *call, w mastra.Workflow) (*mastra.Run, error) {
	e := x.m.Engine
	followed := func(id string, chunks iter.Seq2[mastra.Chunk, error]) (*mastra.Run, error) {
		for chunk, err := range chunks {
			if err != nil {
				return nil, err
			}
			x.forward(c, chunk)
		}
		return x.m.Storage.Run(ctx, id)
	}
	watched := x.log != nil && x.m.Storage != nil
	if c.Sub == nil {
		start := mastra.WorkflowCall{RunID: mastra.NewID(), ResourceID: x.resourceID, Input: c.Args}
		if !watched {
			return e.Start(ctx, x.m, w, start)
		}
		chunks, err := e.Stream(ctx, x.m, w, start)
		if err != nil {
			return nil, err
		}
		return followed(start.RunID, chunks)
	}
	resume := mastra.WorkflowResume{RunID: c.Sub.RunID, Step: c.Sub.Step, Data: c.Answer}
	var r *mastra.Run
	var err error
	if watched {
		var chunks iter.Seq2[mastra.Chunk, error]
		if chunks, err = e.ResumeStream(ctx, x.m, w, resume); err == nil {
			r, err = followed(c.Sub.RunID, chunks)
		}
	} else {
		r, err = e.Resume(ctx, x.m, w, resume)
	}
	if mastra.CodeOf(err) != mastra.CodeConflict {
		return r, err
	}
	if r, err = e.Restart(ctx, x.m, w, c.Sub.RunID); mastra.CodeOf(err) == mastra.CodeConflict && x.m.Storage != nil {
		return x.m.Storage.Run(ctx, c.Sub.RunID) // it waits for something else
	}
	return r, err
}

// appendParent appends which call a waiting one stands in for.
func (c *call) appendParent(b []byte) []byte {
	if c.inner() {
		b = appendMember(b, `,"parentToolName":`, c.Name)
		b = appendJSON(b, `,"parentArgs":`, c.args())
	}
	return b
}
