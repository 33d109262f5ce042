package agentloop

import (
	"context"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// conversations are the threads that have runs or subscribers in this process.
type conversations struct {
	mu  sync.Mutex
	all map[string]*conversation // by tenant and thread
}

// conversation is one thread. It is guarded by the mu of conversations.
type conversation struct {
	active   *run
	inbox    []mastra.AgentMessage // for the run under way
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
	for _, late := range o.inbox {
		o.queue = append(o.queue, waitingMessage{context.WithoutCancel(x.task.Context()), x.m, x.agent, late})
	}
	o.inbox = nil
	c.mu.Unlock()
	c.next(x.r, key)
}

// giveBack puts messages that x has taken into its inbox again: they begin the next run.
func (c *conversations) giveBack(x *run, messages []mastra.AgentMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.all[conversationKey(x.ctx, x.call.ThreadID)]; o != nil && o.active == x {
		o.inbox = append(messages, o.inbox...)
	}
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
		c.mu.Unlock()
		err := r.beginWith(w.ctx, w.m, w.a, w.AgentMessage)
		if err == nil {
			return
		}
		w.m.Logger.ErrorContext(w.ctx, "a message could not begin its run", "thread", w.Call.ThreadID, "agent", w.a.ID, "error", err)
	}
}

// beginWith begins a run with a message; it returns once that is durable.
func (r *Runner) beginWith(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage) error {
	call := s.Call
	call.Signal, call.Messages = &s.Signal, nil
	ctx = mastra.WithSpan(mastra.WithRequest(runlog.Apart(ctx), nil), mastra.SpanRef{})
	x, _, err := r.begin(ctx, m, a, call)
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
	if active != nil && active.agent == a && active.resourceID == s.Call.ResourceID {
		defer r.convs.mu.Unlock()
		switch {
		case s.IfActive == "discard":
		case s.IfActive == "persist":
			return s.Signal.ID, r.persist(ctx, m, a, s)
		case s.Queue:
			s.Call.RunID = mastra.NewID()
			o.queue = append(o.queue, waitingMessage{context.WithoutCancel(ctx), m, a, s})
			return s.Call.RunID, nil
		default:
			o.inbox = append(o.inbox, s)
		}
		return active.RunID, nil
	}
	r.convs.tidy(key)
	r.convs.mu.Unlock()
	if s.RunID != "" {
		return "", errNoActive
	}
	switch s.IfIdle {
	case "discard":
		return s.Signal.ID, nil
	case "persist":
		return s.Signal.ID, r.persist(ctx, m, a, s)
	}
	if elsewhere, err := r.deliverElsewhere(ctx, m, a, s); err != nil || elsewhere != "" {
		return elsewhere, err
	}
	s.Call.RunID = mastra.NewID()
	return s.Call.RunID, r.beginWith(ctx, m, a, s)
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

// signalInfo is what a stored message, and a chunk, tell of a signal.
type signalInfo struct {
	ID         string      `json:"id"`
	Type       string      `json:"type"`
	TagName    string      `json:"tagName"`
	Contents   mastra.JSON `json:"contents,omitzero"`
	CreatedAt  mastra.Time `json:"createdAt"`
	AcceptedAt mastra.Time `json:"acceptedAt"`
	Metadata   mastra.JSON `json:"metadata,omitzero"`
}

// signalled is a signal as it is stored.
func (x *run) signalled(s *mastra.ThreadSignal, at mastra.Time) mastra.Message {
	info := struct {
		Signal signalInfo `json:"signal"`
	}{signalInfo{ID: s.ID, Type: s.Type, TagName: s.TagName, CreatedAt: at, AcceptedAt: s.AcceptedAt, Metadata: s.Metadata}}
	message := mastra.Message{ID: s.ID, Role: "signal", Type: s.Type, CreatedAt: at, ThreadID: x.threadID, ResourceID: x.resourceOfMessages()}
	metadata, err := schema.Marshal(info)
	if err == nil {
		message.Content, err = schema.Marshal(mastra.Content{Format: 2, Parts: stampedParts(s.Contents, int64(at)), Metadata: metadata})
	}
	if err != nil {
		message.Content = mastra.JSON(`{"format":2,"parts":[]}`)
	}
	return message
}

func stampedParts(parts []mastra.Part, at int64) []mastra.Part {
	out := make([]mastra.Part, len(parts))
	for i, p := range parts {
		p.CreatedAt = at
		out[i] = p
	}
	return out
}

// tagged are the parts of a stored signal as a model sees them: what is no user's stands in its tag.
func tagged(c mastra.Content) []mastra.Part {
	var info struct {
		Signal signalInfo `json:"signal"`
	}
	if c.Metadata == nil || schema.Unmarshal(c.Metadata, &info) != nil || info.Signal.TagName == "" || info.Signal.TagName == "user" {
		return c.Parts
	}
	out := make([]mastra.Part, len(c.Parts))
	for i, p := range c.Parts {
		if p.Type == mastra.PartText { // nothing in it closes the tag
			p.Text = "<" + info.Signal.TagName + ">" + strings.ReplaceAll(p.Text, "</", "<\\/") + "</" + info.Signal.TagName + ">"
		}
		out[i] = p
	}
	return out
}

// emitSignal shows the run's readers a message that came to it.
func (x *run) emitSignal(s *mastra.ThreadSignal) {
	if x.log == nil {
		return
	}
	var contents any = []mastra.Part(s.Contents)
	if len(s.Contents) == 1 && s.Contents[0].Type == mastra.PartText {
		contents = s.Contents[0].Text
	}
	shown, err := schema.Marshal(contents)
	if err != nil {
		return
	}
	data, err := schema.Marshal(signalInfo{ID: s.ID, Type: s.Type, TagName: s.TagName, Contents: shown, CreatedAt: x.now(), AcceptedAt: s.AcceptedAt, Metadata: s.Metadata})
	if err == nil {
		x.emitChunk(mastra.Chunk{Type: mastra.ChunkUserMessage, RunID: x.RunID, Data: data, Transient: true})
	}
}

// came takes in what came to the run while step n was done: the answer so far is a message of its own, and the model is
// asked again.
func (x *run) came(n int, mayGoOn bool) (bool, error) {
	if !x.inThread {
		return false, nil
	}
	x.r.convs.mu.Lock()
	o := x.r.convs.all[conversationKey(x.ctx, x.call.ThreadID)]
	var messages []mastra.AgentMessage
	if o != nil && o.active == x {
		messages, o.inbox = o.inbox, nil
	}
	x.r.convs.mu.Unlock()
	messages = append(messages, x.cameElsewhere()...)
	if len(messages) == 0 {
		return false, nil
	}
	for i := range messages {
		signal, err := x.processSignal(&messages[i].Signal)
		if err != nil { // the others begin a run of their own
			x.r.convs.giveBack(x, append(messages[:i:i], messages[i+1:]...))
			return false, err
		}
		messages[i].Signal = *signal
	}
	s := &x.Steps[n]
	if !s.continued() || !mayGoOn { // else it is there already
		x.prompt = appendStep(x.prompt, s)
	}
	x.makeAnswer()
	b := &mastra.Batch{}
	if x.stores() && x.answer.ID != "" {
		b.Messages = append(b.Messages, x.answer)
	}
	at := max(x.now(), x.answer.CreatedAt+1)
	for i := range messages {
		message := x.signalled(&messages[i].Signal, at+mastra.Time(i))
		s.Came = append(s.Came, message)
		if x.stores() {
			b.Messages = append(b.Messages, message)
		}
		x.emitSignal(&messages[i].Signal)
	}
	x.prompt = recalled(x.prompt, s.Came)
	s.Next = mastra.NewID()
	x.noteStep(n)
	ctx := context.WithoutCancel(x.ctx)
	err := x.withChunks(b, false, func() error {
		return x.writeRecord(b, mastra.StatusRunning, n+1, func() error { return x.commit(ctx, b) })
	})
	x.base, x.MessageID, x.shown = n+1, s.Next, ""
	return true, err
}

// Between processes a thread's runs are known by blocks of chunks: those of "thread:…" name its runs, those of "inbox:…"
// are messages for a run.
const (
	threadLog = "thread:"
	inboxLog  = "inbox:"
	keptFor   = 24 * time.Hour
)

type threadRun struct {
	RunID string `json:"runId"`
}

func note(log, resource string, now time.Time, v any) (mastra.ChunkBlock, error) {
	data, err := schema.Marshal(v)
	return mastra.ChunkBlock{RunID: log, ResourceID: resource, Count: 1, Data: data, End: mastra.Position{Epoch: now.UnixMilli(), Seq: 1 + rand.Int64N(1_000_000)},
		ExpiresAt: mastra.TimeOf(now.Add(keptFor))}, err
}

// announce lets other processes know of a run that its thread has, and makes it durable at once: nobody waits for it.
func (x *run) announce(b *mastra.Batch) {
	block, err := note(threadLog+x.call.ThreadID, x.resourceID, x.m.Now(), threadRun{x.RunID})
	if err != nil || x.m.Storage == nil {
		return
	}
	u, err := x.update(mastra.StatusRunning, nil)
	if err != nil {
		return
	}
	x.watch()
	b.Chunks, b.Runs = append(b.Chunks, block), append(b.Runs, u)
	x.rec.made, x.rec.renewed = true, x.m.Now()
}

// runElsewhere is the run that another process has under way for a thread, nil where there is none.
func (r *Runner) runElsewhere(ctx context.Context, m *mastra.Mastra, threadID string) (*mastra.Run, error) {
	if m.Storage == nil {
		return nil, nil
	}
	var last *threadRun
	after := mastra.Position{Epoch: m.Now().Add(-keptFor).UnixMilli()}
	for {
		blocks, err := m.Storage.Chunks(ctx, threadLog+threadID, after, 100)
		if err != nil {
			return nil, err
		}
		for i := range blocks {
			last, after = &threadRun{}, blocks[i].End
			if schema.Unmarshal(blocks[i].Data, last) != nil {
				last = nil
			}
		}
		if len(blocks) < 100 {
			break
		}
	}
	if last == nil {
		return nil, nil
	}
	stored, err := m.Storage.Run(ctx, last.RunID)
	if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && (stored.Status != mastra.StatusRunning || stored.ResourceID != mastra.Resource(ctx, stored.ResourceID)) {
		return nil, nil
	}
	return stored, err
}

// deliverElsewhere puts a message into the inbox of the run that another process has under way.
func (r *Runner) deliverElsewhere(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage) (string, error) {
	stored, err := r.runElsewhere(ctx, m, s.Call.ThreadID)
	if err != nil || stored == nil || stored.WorkflowID != mastra.AgentRuns+a.ID || stored.ResourceID != s.Call.ResourceID {
		return "", err
	}
	if s.IfActive == "discard" {
		return stored.ID, nil
	}
	block, err := note(inboxLog+stored.ID, s.Call.ResourceID, m.Now(), s.Signal)
	if err != nil {
		return "", err
	}
	if err := m.Storage.Commit(ctx, &mastra.Batch{Chunks: []mastra.ChunkBlock{block}}); err != nil {
		return "", err
	}
	// Where the run ended meanwhile, whoever claims the message first begins a run with it.
	if stored, err = m.Storage.Run(ctx, stored.ID); err != nil {
		return "", err
	}
	if stored.Status == mastra.StatusRunning || !claimSignal(ctx, m, s.Signal.ID) {
		return stored.ID, nil
	}
	return "", nil
}

// claimSignal says whether this process is the first to take a message.
func claimSignal(ctx context.Context, m *mastra.Mastra, id string) bool {
	now := m.Now()
	return m.Storage.Commit(ctx, &mastra.Batch{Claims: []mastra.ClaimUpdate{{Create: true, Claim: mastra.Claim{Key: "signal:" + id, Owner: id, Status: mastra.StatusSuccess,
		LeaseUntil: mastra.TimeOf(now), ExpiresAt: mastra.TimeOf(now.Add(keptFor))}}}}) == nil
}

// cameElsewhere are messages that other processes took in for the run. Only runs that began with a message have an inbox.
func (x *run) cameElsewhere() (messages []mastra.AgentMessage) {
	if x.call.Signal == nil || x.m.Storage == nil {
		return nil
	}
	ctx := context.WithoutCancel(x.ctx)
	blocks, err := x.m.Storage.Chunks(ctx, inboxLog+x.RunID, x.readTo, 100)
	if err != nil {
		x.m.Logger.WarnContext(ctx, "the inbox of a run was not read", "runId", x.RunID, "error", err)
		return nil
	}
	for _, b := range blocks {
		x.readTo = b.End
		var s mastra.ThreadSignal
		if schema.Unmarshal(b.Data, &s) == nil && claimSignal(ctx, x.m, s.ID) {
			messages = append(messages, mastra.AgentMessage{Signal: s, Call: x.call})
		}
	}
	return messages
}

// Subscribe yields the chunks of a thread's runs, one run after the other, from the one under way on.
func (r *Runner) Subscribe(ctx context.Context, m *mastra.Mastra, threadID string) (iter.Seq2[mastra.Chunk, error], error) {
	return func(yield func(mastra.Chunk, error) bool) {
		key := conversationKey(ctx, threadID)
		r.convs.mu.Lock()
		o := r.convs.of(key)
		o.watchers++
		at := len(o.begun)
		var next []string
		if o.active != nil {
			next = append(next, o.active.RunID)
		}
		r.convs.mu.Unlock()
		defer func() {
			r.convs.mu.Lock()
			defer r.convs.mu.Unlock()
			if o.watchers--; o.watchers == 0 {
				o.begun = nil
			}
			r.convs.tidy(key)
		}()
		after := mastra.Position{Epoch: m.Now().UnixMilli()}
		if len(next) == 0 {
			if stored, err := r.runElsewhere(ctx, m, threadID); err == nil && stored != nil {
				next = append(next, stored.ID)
			}
		}
		seen := map[string]bool{}
		for every := lookEvery; ; {
			for _, id := range next {
				if seen[id] {
					continue
				}
				seen[id] = true
				every = lookEvery
				chunks, err := r.chunks.Follow(ctx, m, id, mastra.Position{})
				if mastra.CodeOf(err) == mastra.CodeNotFound { // not for the caller to see
					continue
				}
				if err != nil {
					yield(mastra.Chunk{}, err)
					return
				}
				for c, err := range chunks {
					if err == nil {
						c, err = slim(c)
					}
					if !yield(c, err) || err != nil {
						return
					}
				}
			}
			next = next[:0]
			r.convs.mu.Lock()
			next = append(next, o.begun[min(at, len(o.begun)):]...)
			at = len(o.begun)
			if len(next) == 0 && o.wake == nil {
				o.wake = make(chan struct{})
			}
			wake := o.wake
			r.convs.mu.Unlock()
			if len(next) > 0 {
				continue
			}
			timer := time.NewTimer(every)
			select {
			case <-wake:
			case <-timer.C:
				if m.Storage == nil {
					break
				}
				every = min(2*every, 4*lookEvery)
				blocks, err := m.Storage.Chunks(ctx, threadLog+threadID, after, 100)
				if err != nil && ctx.Err() == nil {
					yield(mastra.Chunk{}, err)
					return
				}
				for _, b := range blocks {
					after = b.End
					var run threadRun
					if schema.Unmarshal(b.Data, &run) == nil {
						next = append(next, run.RunID)
					}
				}
			case <-ctx.Done():
				timer.Stop()
				return
			}
			timer.Stop()
		}
	}, nil
}

// slim is a chunk as subscribers of a thread see it: without what they have seen already, and without a place.
func slim(c mastra.Chunk) (mastra.Chunk, error) {
	c.At = mastra.Position{}
	if c.Type != mastra.ChunkStepFinish && c.Type != mastra.ChunkFinish {
		return c, nil
	}
	c = c.WithEncoding(nil)
	if f, ok := c.Payload.(mastra.Finish); ok {
		f.Output.Steps, f.Messages = nil, mastra.FinishMessages{}
		c.Payload = f
		return c, nil
	}
	var payload, output mastra.Object[mastra.JSON] // it was stored
	data, err := schema.Marshal(c.Payload)
	if err == nil {
		err = schema.Unmarshal(data, &payload)
	}
	if err != nil {
		return c, err
	}
	kept := payload[:0]
	for _, member := range payload {
		switch member.Key {
		case "messages":
			continue
		case "output":
			if err := schema.Unmarshal(member.Value, &output); err != nil {
				return c, err
			}
			var rest mastra.Object[mastra.JSON]
			for _, o := range output {
				if o.Key != "steps" {
					rest = append(rest, o)
				}
			}
			if member.Value, err = schema.Marshal(rest); err != nil {
				return c, err
			}
		}
		kept = append(kept, member)
	}
	c.Payload = kept
	return c, nil
}

// Abort ends the run that a thread has under way.
func (r *Runner) Abort(ctx context.Context, m *mastra.Mastra, threadID, expected string) (bool, error) {
	r.convs.mu.Lock()
	o := r.convs.all[conversationKey(ctx, threadID)]
	var active *run
	if o != nil {
		active = o.active
	}
	r.convs.mu.Unlock()
	if active != nil && active.resourceID == mastra.Resource(ctx, active.resourceID) {
		if expected != "" && expected != active.RunID {
			return false, nil
		}
		active.stop(runlog.ErrCanceled)
		return true, nil
	}
	stored, err := r.runElsewhere(ctx, m, threadID)
	if err != nil || stored == nil || expected != "" && expected != stored.ID {
		return false, err
	}
	stored.Status, stored.UpdatedAt, stored.Owner, stored.LeaseUntil, stored.Steps = mastra.StatusCanceled, mastra.TimeOf(m.Now()), "", 0, nil
	err = m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *stored}}})
	if mastra.CodeOf(err) == mastra.CodeConflict { // it ended, or has another owner
		return false, nil
	}
	return err == nil, err
}
