package agentloop

import (
	"context"
	"errors"
	"slices"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// conversations are the threads that have runs or subscribers in this process.
type conversations struct {
	mu  sync.Mutex
	all map[string]*conversation // by tenant and thread
}

// conversation is one thread. It is guarded by the mu of conversations.
type conversation struct {
	active   *run
	inbox    []mastra.AgentMessage // for the run under way, where there is no storage
	mail     bool                  // the inbox of the run under way in the storage holds something
	queue    []waitingMessage      // for runs behind it
	begun    []string              // ids of runs, in order, as long as somebody subscribes
	watchers int
	wake     chan struct{} // made by a subscriber, closed when a run begins
}

// waitingMessage is one that begins a run when its turn comes.
type waitingMessage struct {
	ctx context.Context
	m   *mastra.Mastra
	a   *mastra.Agent
	mastra.AgentMessage
}

func conversationKey(ctx context.Context, thread string) string {
	return mastra.Tenant(ctx) + "\x00" + thread
}

// of is a thread's conversation, made where need be, under mu.
func (c *conversations) of(key string) *conversation {
	if c.all == nil {
		c.all = map[string]*conversation{}
	}
	if c.all[key] == nil {
		c.all[key] = &conversation{}
	}
	return c.all[key]
}

// tidy forgets a conversation that nobody needs, under mu.
func (c *conversations) tidy(key string) {
	if o := c.all[key]; o != nil && o.active == nil && len(o.queue)+len(o.inbox)+o.watchers == 0 {
		delete(c.all, key)
	}
}

// enter makes x the run of its thread.
func (c *conversations) enter(x *run) {
	if x.call.ThreadID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x.inThread = true
	o := c.of(conversationKey(x.ctx, x.call.ThreadID))
	o.active = x
	if o.watchers > 0 {
		o.begun = append(o.begun, x.RunID)
		if o.wake != nil {
			close(o.wake)
			o.wake = nil
		}
	}
}

// leave ends x's turn: what came too late for it, and what waits, begins the next run.
func (c *conversations) leave(x *run) {
	if !x.inThread {
		return
	}
	key := conversationKey(x.ctx, x.call.ThreadID)
	c.mu.Lock()
	o := c.all[key]
	if o == nil || o.active != x {
		c.mu.Unlock()
		return
	}
	o.active = nil
	late, mail := o.inbox, o.mail
	o.inbox, o.mail = nil, false
	c.mu.Unlock()
	if !x.elsewhere && x.hasMail(mail) {
		late = append(late, x.mailbox(true)...)
	}
	c.mu.Lock()
	o = c.of(key)
	ctx := context.WithoutCancel(x.task.Context())
	for _, s := range late {
		if !slices.ContainsFunc(o.queue, func(w waitingMessage) bool { return w.Signal.ID == s.Signal.ID }) {
			o.queue = append(o.queue, waitingMessage{ctx, x.m, x.agent, s})
		}
	}
	c.mu.Unlock()
	c.next(x.r, key)
}

// next begins the run of the message that waits longest.
func (c *conversations) next(r *Runner, key string) {
	for {
		c.mu.Lock()
		o := c.all[key]
		if o == nil || o.active != nil || len(o.queue) == 0 {
			c.tidy(key)
			c.mu.Unlock()
			return
		}
		w := o.queue[0]
		o.queue = o.queue[1:]
		var rest []mastra.AgentMessage
		for _, other := range o.queue {
			if other.a == w.a && other.Signal.Mailed {
				rest = append(rest, other.AgentMessage)
			}
		}
		c.mu.Unlock()
		_, err := r.wake(w.ctx, w.m, w.a, w.AgentMessage, true, rest)
		var claimed *mastra.ClaimedError
		if err != nil && !errors.As(err, &claimed) { // somebody else has it
			w.m.Logger.ErrorContext(w.ctx, "a message could not begin its run", "thread", w.Call.ThreadID, "agent", w.a.ID, "error", err)
		}
	}
}

// beginWith begins a run with a message; it returns once that is durable.
func (r *Runner) beginWith(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage, o *opened) error {
	call := s.Call
	call.Signal, call.Messages = &s.Signal, nil
	ctx = mastra.WithSpan(mastra.WithRequest(runlog.Apart(ctx), nil), mastra.SpanRef{})
	x, _, err := r.beginOpened(ctx, m, a, call, o)
	if err != nil {
		return err
	}
	_, err = x.stream(ctx)
	return err
}

var errNoActive = mastra.Errorf(mastra.CodeNotFound, "No active agent run found for signal target")

// Send hands a message to the run that its thread has under way, or begins one.
func (r *Runner) Send(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage) (string, error) {
	if s.RunID != "" {
		x := r.kept.find(ctx, s.RunID)
		if x == nil || x.resourceID != mastra.Resource(ctx, x.resourceID) || !x.inThread {
			return "", errNoActive
		}
		s.Call.ThreadID, s.Call.ResourceID = x.call.ThreadID, x.resourceID
	}
	key := conversationKey(ctx, s.Call.ThreadID)
	r.convs.mu.Lock()
	o := r.convs.of(key)
	active := o.active
	r.convs.tidy(key)
	r.convs.mu.Unlock()
	if active != nil && active.agent == a && active.resourceID == s.Call.ResourceID {
		switch s.IfActive {
		case "discard":
			return active.RunID, nil
		case "persist":
			return s.Signal.ID, r.persist(ctx, m, a, s)
		}
		return r.deliver(ctx, m, a, active, s)
	}
	if s.RunID != "" {
		return "", errNoActive
	}
	switch s.IfIdle {
	case "discard":
		return s.Signal.ID, nil
	case "persist":
		return s.Signal.ID, r.persist(ctx, m, a, s)
	}
	return r.wake(ctx, m, a, s, false, nil)
}

// deliver hands a message to a run that goes on here. It is in the storage before that is said, so that whoever takes the run
// over finds it.
func (r *Runner) deliver(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, active *run, s mastra.AgentMessage) (string, error) {
	id := active.RunID
	if s.Queue {
		s.Call.RunID = mastra.NewID()
		id = s.Call.RunID
	}
	if m.Storage != nil {
		if err := post(ctx, m, active.RunID, s); err != nil {
			return "", err
		}
		s.Signal.Mailed = true
	}
	r.convs.mu.Lock()
	key := conversationKey(ctx, active.call.ThreadID)
	o := r.convs.of(key)
	switch {
	case s.Queue || o.active != active: // it ended meanwhile: the message begins a run, unless it was found at that end
		if s.Call.RunID == "" {
			s.Call.RunID = mastra.NewID()
			id = s.Call.RunID
		}
		o.queue = append(o.queue, waitingMessage{context.WithoutCancel(ctx), m, a, s})
	case s.Signal.Mailed:
		o.mail = true
	default:
		o.inbox = append(o.inbox, s)
	}
	r.convs.mu.Unlock()
	r.convs.next(r, key)
	return id, nil
}

// persist keeps a message in its thread without a run.
func (r *Runner) persist(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage) error {
	if a.Memory == nil || m.Storage == nil {
		return mastra.Errorf(mastra.CodeInvalid, "The agent has no memory to keep a message in")
	}
	now := mastra.TimeOf(m.Now())
	x := &run{threadID: s.Call.ThreadID, resourceID: s.Call.ResourceID}
	return m.Storage.Commit(ctx, &mastra.Batch{
		Threads:  []mastra.Thread{{ID: s.Call.ThreadID, ResourceID: s.Call.ResourceID, CreatedAt: now, UpdatedAt: now}},
		Messages: []mastra.Message{x.signalled(&s.Signal, now)}})
}
