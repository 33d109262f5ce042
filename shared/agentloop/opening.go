package agentloop

import (
	"fmt"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// offerTools lists the tools that the model is told of: the agent's, then those that the caller runs itself.
func (x *run) offerTools() error {
	if n := len(x.agent.Tools) + len(x.call.ClientTools); n > 0 {
		x.tools = make([]*mastra.Tool, 0, n+1)
	}
	offer := func(t *mastra.Tool) {
		if x.call.ActiveTools == nil || slices.Contains(x.call.ActiveTools, t.Name()) {
			x.tools = append(x.tools, t)
		}
	}
	for _, c := range x.agent.Tools {
		offer(c.Tool())
	}
	x.offerNotes()
	for _, c := range x.call.ClientTools {
		if x.tool(c.Name) != nil {
			return mastra.Invalid("clientTools."+c.Name, "The agent has a tool of this name")
		}
		if c.Input == nil {
			c.Input = mastra.JSON(`{"type":"object"}`)
		}
		s, err := schema.Parse(c.Input)
		if err != nil {
			return mastra.Invalid("clientTools."+c.Name+".inputSchema", "Invalid JSON Schema")
		}
		offer(mastra.NewClientTool(c.Name, c.Description, s))
	}
	if name := x.call.ToolChoice.Tool; name != "" && x.tool(name) == nil {
		return mastra.Invalid("toolChoice.toolName", "The agent has no such tool")
	}
	return nil
}

func (x *run) tool(name string) *mastra.Tool {
	for _, t := range x.tools {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

func (x *run) remembers() bool { return x.threadID != "" }

func (x *run) stores() bool { return x.threadID != "" && !x.call.ReadOnly && !x.memory().ReadOnly }

// resourceOfMessages is whose the run's messages are; they are nobody's where they are not kept.
func (x *run) resourceOfMessages() string {
	if x.threadID == "" {
		return ""
	}
	return x.resourceID
}

// recall reads what the run begins with, and takes in the caller's messages.
func (x *run) recall() error {
	x.thread, x.remembered, x.observed = nil, nil, nil
	if x.remembers() {
		if x.m.Storage == nil {
			return mastra.Errorf(mastra.CodeUnavailable, "No storage is configured")
		}
		if x.resourceID == "" {
			return mastra.Errorf(mastra.CodeInvalid, "A resource ID is required when using memory. Provide memory.resource in the request body, or call with a key that is bound to one.")
		}
		last := x.memory().LastMessages
		if x.call.LastMessages != nil {
			last = *x.call.LastMessages
		}
		last = max(0, last)
		x.window = last
		own := 0 // messages of this very request that are stored already
		if len(x.Inputs) > 0 && !x.early {
			own = len(x.Inputs) + 1
		}
		began := x.now()
		wait := x.lookBeyond()
		var err error
		if x.memory().Observational != nil {
			err = x.recallObserved(own)
		} else {
			x.thread, x.remembered, err = x.m.Storage.Recall(x.ctx, x.threadID, last+own)
		}
		if errBeyond := wait(); err == nil && errBeyond != nil {
			return errBeyond
		}
		if err != nil {
			return fmt.Errorf("recall thread %s: %w", x.threadID, err)
		}
		if x.thread != nil && x.thread.ResourceID != x.resourceID {
			return mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
		}
		x.trace.recalled = [2]mastra.Time{began, x.now()}
	}
	if err := x.takeIn(); err != nil {
		return err
	}
	x.putTogether()
	return nil
}

func (x *run) takeIn() (err error) {
	at := x.now()
	if len(x.Inputs) > 0 {
		at = x.Inputs[0].At
	}
	if len(x.Inputs) > 0 && !x.early { // a repeat: what came first keeps its ids and times
		ours := func(m mastra.Message) bool {
			i := slices.IndexFunc(x.Inputs, func(s stamp) bool { return s.ID == m.ID })
			if i >= 0 {
				x.Inputs[i].At = m.CreatedAt
			}
			return i >= 0 || m.ID == x.MessageID
		}
		for i := range x.remembered {
			ours(x.remembered[i])
		}
		if i := slices.IndexFunc(x.remembered, ours); i >= 0 {
			x.remembered = x.remembered[:i]
		}
		if extra := len(x.remembered) - x.window; extra > 0 {
			x.remembered = x.remembered[extra:]
		}
	}
	if n := len(x.remembered); n > 0 {
		at = max(at, x.remembered[n-1].CreatedAt+1)
	}
	if x.context, err = take(x.call.Context, at); err != nil {
		return err
	}
	if sig := x.call.Signal; sig != nil {
		x.in = intake{stored: []mastra.Message{x.signalled(sig, at)}}
		x.in.prompt = x.r.texts.recalled(nil, x.in.stored)
	} else if x.in, err = take(x.call.Messages, at); err != nil {
		return err
	}
	stamped := len(x.Inputs) == len(x.in.stored) && len(x.Inputs) > 0
	x.known = nil
	for i := range x.in.stored {
		m := &x.in.stored[i]
		m.ThreadID, m.ResourceID = x.threadID, x.resourceOfMessages()
		switch {
		case stamped && x.early: // its time is behind what the thread turned out to hold
			m.ID, x.Inputs[i].At = x.Inputs[i].ID, m.CreatedAt
		case stamped:
			m.ID, m.CreatedAt = x.Inputs[i].ID, x.Inputs[i].At
			continue
		}
		// A client that sends its whole conversation, with ids, repeats what the thread holds.
		if j := slices.IndexFunc(x.remembered, func(o mastra.Message) bool { return o.ID == m.ID }); j >= 0 {
			x.known = append(x.known, m.ID)
			x.remembered = slices.Delete(x.remembered, j, j+1)
		}
	}
	if !stamped {
		x.Inputs = make([]stamp, len(x.in.stored))
		for i, m := range x.in.stored {
			x.Inputs[i] = stamp{m.ID, m.CreatedAt}
		}
	}
	return nil
}

// opening is what is committed before the model is called: the user's messages, in a thread that is made if need be.
func (x *run) opening(b *mastra.Batch) error {
	if s := x.call.Signal; s != nil {
		if err := x.announce(b); err != nil {
			return err
		}
		if s.Mailed && x.m.Storage != nil {
			b.Claims = append(b.Claims, claimed(x.m, s))
		}
	}
	if !x.stores() || x.blocked() {
		return nil
	}
	switch {
	case x.thread == nil:
		b.Threads = []mastra.Thread{{ID: x.threadID, ResourceID: x.resourceID, Title: x.call.ThreadTitle, Metadata: x.call.ThreadMetadata,
			CreatedAt: x.StartedAt, UpdatedAt: x.StartedAt}}
	case x.call.ThreadTitle != "" && x.call.ThreadTitle != x.thread.Title, len(x.call.ThreadMetadata) > 0:
		t := *x.thread
		if x.call.ThreadTitle != "" {
			t.Title = x.call.ThreadTitle
		}
		if len(x.call.ThreadMetadata) > 0 {
			t.Metadata = x.call.ThreadMetadata
		}
		t.UpdatedAt = x.StartedAt
		b.Threads = []mastra.Thread{t}
	}
	b.Messages = x.in.stored
	if len(x.known) > 0 {
		b.Messages = slices.DeleteFunc(slices.Clone(x.in.stored), func(m mastra.Message) bool { return slices.Contains(x.known, m.ID) })
	}
	return nil
}

// ready puts the prompt together.
func (x *run) ready() {
	x.head()
	instructions := x.agent.Instructions
	if x.call.Instructions != "" {
		instructions = x.call.Instructions
	}
	x.prompt = make([]mastra.PromptMessage, 0, 4+len(x.remembered)+len(x.context.prompt)+len(x.in.prompt))
	lines := []string{instructions, x.call.System}
	if x.structured.answered() {
		lines = append(lines, x.structured.instructions()...)
	}
	for _, s := range lines {
		if s != "" {
			x.prompt = append(x.prompt, mastra.PromptText("system", s))
		}
	}
	x.prompt = append(append(x.prompt, x.context.system...), x.in.system...)
	x.prompt = x.appendBeyond(x.prompt)
	x.prompt = x.r.texts.recalled(x.prompt, x.remembered)
	x.prompt = append(append(x.prompt, x.context.prompt...), x.in.prompt...)
	x.asked = len(x.prompt)
	x.trace.metadata = x.appendMetadata(make([]byte, 0, 160))
	x.untraced = !x.m.Traces(x.TraceID)
	x.ctx = mastra.WithSpan(x.ctx, x.at(x.SpanID))
	for i := range x.Steps {
		if s := &x.Steps[i]; s.complete() {
			if i >= x.Traced {
				x.recallStep(i)
			}
			x.prompt = x.r.texts.recalled(appendStep(x.prompt, s), s.Came)
			if s.Next != "" {
				x.base, x.MessageID = i+1, s.Next
			}
		}
	}
}

// replaceRecord makes room for a run under an id that its client has used before.
func (x *run) replaceRecord() error {
	if x.m.Storage == nil {
		return nil
	}
	stored, err := x.m.Storage.Run(x.ctx, x.RunID)
	switch {
	case mastra.CodeOf(err) == mastra.CodeNotFound:
		return nil
	case err != nil:
		return err
	case stored.ResourceID != mastra.Resource(x.ctx, stored.ResourceID), stored.WorkflowID != mastra.AgentRuns+x.agent.ID, !stored.Status.Ended():
		return mastra.Errorf(mastra.CodeConflict, "The runId %s is taken by a run that has not ended", x.RunID)
	}
	if err = x.m.Storage.DeleteRun(x.ctx, x.RunID); mastra.CodeOf(err) == mastra.CodeNotFound {
		err = nil
	}
	return err
}
