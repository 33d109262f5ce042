package agentloop

import (
	"context"
	"math/rand/v2"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

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

// announce lets other processes know of a run that its thread has, and makes it durable at once: nobody waits for it. It is
// refused where the thread has got another run meanwhile.
func (x *run) announce(b *mastra.Batch) error {
	if x.m.Storage == nil {
		return nil
	}
	block, err := note(threadLog+x.call.ThreadID, x.resourceID, x.m.Now(), threadRun{x.RunID})
	if err != nil {
		return err
	}
	u, err := x.update(mastra.StatusRunning, nil)
	if err != nil {
		return err
	}
	b.Chunks, b.Runs = append(b.Chunks, block), append(b.Runs, u)
	if o := x.opened; o != nil {
		b.Claims = append(b.Claims, o.turn.taken(x))
		for _, s := range o.rest { // whoever takes the run over finds them
			if block, err = letter(x.m, x.RunID, s); err != nil {
				return err
			}
			b.Chunks = append(b.Chunks, block)
		}
	}
	x.watch()
	x.rec.made, x.rec.renewed = true, x.m.Now()
	return nil
}

// lastRun is the last run of a thread that began with a message, nil where there is none that ctx may see.
func (r *Runner) lastRun(ctx context.Context, m *mastra.Mastra, threadID string) (*mastra.Run, error) {
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
	if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && stored.ResourceID != mastra.Resource(ctx, stored.ResourceID) {
		return nil, nil
	}
	return stored, err
}

// runElsewhere is the run that another process has under way for a thread, nil where there is none.
func (r *Runner) runElsewhere(ctx context.Context, m *mastra.Mastra, threadID string) (*mastra.Run, error) {
	last, err := r.lastRun(ctx, m, threadID)
	if last != nil && last.Status != mastra.StatusRunning {
		last = nil
	}
	return last, err
}

// wake hands a message to the run that another process has under way, or begins one: of several that would at once, one does.
// Where the thread's last run has ended, and its process with messages for the thread, those come first, unless the message is one
// that waited its turn itself; rest waits behind it. It returns the id of the run that the message is in.
func (r *Runner) wake(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, s mastra.AgentMessage, waited bool, rest []mastra.AgentMessage) (string, error) {
	promised := s.Call.RunID != ""
	for {
		turn, last, err := turnOf(ctx, m, a, s.Call)
		switch {
		case err != nil:
			return "", err
		case last != nil && last.Status == mastra.StatusRunning:
			return r.join(ctx, m, a, last, s, promised)
		case last != nil && !waited:
			left, err := leftBehind(ctx, m, last, s.Call)
			if err != nil {
				return "", err
			}
			if len(left) > 0 {
				s.Call.RunID = mastra.NewID()
				if err := post(ctx, m, last.ID, s); err != nil {
					return "", err
				}
				s.Signal.Mailed = true
				r.await(ctx, m, a, append(left, s)...)
				return s.Call.RunID, nil
			}
		}
		begun := s
		if !promised {
			begun.Call.RunID = mastra.NewID()
		}
		err = r.beginWith(ctx, m, a, begun, &opened{turn, rest})
		if err == nil {
			return begun.Call.RunID, nil
		}
		if again, failed := turn.lost(ctx, m, err); !again {
			return "", failed
		}
	}
}

// join posts a message to the run that another process has under way.
func (r *Runner) join(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, last *mastra.Run, s mastra.AgentMessage, promised bool) (string, error) {
	id := last.ID
	switch {
	case promised: // a run of its own was promised to it
		s.Queue, id = true, s.Call.RunID
	case s.IfActive == "discard":
		return id, nil
	case s.IfActive == "persist":
		return s.Signal.ID, r.persist(ctx, m, a, s)
	case s.Queue:
		s.Call.RunID = mastra.NewID()
		id = s.Call.RunID
	}
	if err := post(ctx, m, last.ID, s); err != nil {
		return "", err
	}
	// Where the run ended meanwhile, whoever claims the message first begins a run with it.
	last, err := m.Storage.Run(ctx, last.ID)
	if err != nil || last.Status == mastra.StatusRunning {
		return id, err
	}
	s.Signal.Mailed = true
	if s.Call.RunID == "" {
		s.Call.RunID = mastra.NewID()
		id = s.Call.RunID
	}
	r.await(ctx, m, a, s)
	return id, nil
}

// await has messages begin runs here, in their order.
func (r *Runner) await(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, messages ...mastra.AgentMessage) {
	key := conversationKey(ctx, messages[0].Call.ThreadID)
	r.convs.mu.Lock()
	o := r.convs.of(key)
	for _, s := range messages {
		o.queue = append(o.queue, waitingMessage{context.WithoutCancel(ctx), m, a, s})
	}
	r.convs.mu.Unlock()
	r.convs.next(r, key)
}

// mail is a message in the inbox of a run.
type mail struct {
	mastra.ThreadSignal
	Queue bool        `json:"queue,omitzero"` // it begins a run of its own, behind that one
	Call  mastra.JSON `json:"call,omitzero"`  // of that run
}

// letter is a message in the inbox of a run.
func letter(m *mastra.Mastra, runID string, s mastra.AgentMessage) (block mastra.ChunkBlock, err error) {
	l := mail{ThreadSignal: s.Signal, Queue: s.Queue}
	if s.Call.RunID != "" { // it is known by that already
		if l.Call, err = encodeCall(s.Call); err != nil {
			return block, err
		}
	}
	return note(inboxLog+runID, s.Call.ResourceID, m.Now(), l)
}

// post puts a message into the inbox of a run.
func post(ctx context.Context, m *mastra.Mastra, runID string, s mastra.AgentMessage) error {
	block, err := letter(m, runID, s)
	if err != nil {
		return err
	}
	return m.Storage.Commit(ctx, &mastra.Batch{Chunks: []mastra.ChunkBlock{block}})
}

const mostMail = 1000 // messages of an inbox

// letters are the messages in the inbox of a run, for runs like the one of call.
func letters(ctx context.Context, m *mastra.Mastra, runID string, call mastra.AgentCall) (messages []mastra.AgentMessage, err error) {
	blocks, err := m.Storage.Chunks(ctx, inboxLog+runID, mastra.Position{}, mostMail)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		var letter mail
		if err := schema.Unmarshal(b.Data, &letter); err != nil {
			m.Logger.WarnContext(ctx, "a message of an inbox cannot be read", "runId", runID, "error", err)
			continue
		}
		s := mastra.AgentMessage{Signal: letter.ThreadSignal, Queue: letter.Queue, Call: call}
		s.Signal.Mailed, s.Call.RunID, s.Call.Signal, s.Call.Messages = true, "", nil, nil
		if letter.Call != nil {
			s.Call = mastra.AgentCall{}
			if err := schema.Unmarshal(letter.Call, &s.Call); err != nil {
				m.Logger.WarnContext(ctx, "a message of an inbox cannot be read", "runId", runID, "error", err)
				continue
			}
		}
		messages = append(messages, s)
	}
	return messages, nil
}

// leftBehind are the messages for a run that has ended which nobody has taken: its process died before it could.
func leftBehind(ctx context.Context, m *mastra.Mastra, last *mastra.Run, call mastra.AgentCall) (left []mastra.AgentMessage, err error) {
	all, err := letters(ctx, m, last.ID, call)
	for _, s := range all {
		claim, err := m.Storage.Claim(ctx, signalKey+s.Signal.ID)
		if err != nil {
			return nil, err
		}
		if claim == nil {
			left = append(left, s)
		}
	}
	return left, err
}

// hasMail says whether the run's inbox is to be read: others may have written there, or somebody here has.
func (x *run) hasMail(here bool) bool {
	return x.m.Storage != nil && (here || x.taken || x.resumed || x.call.Signal != nil)
}

// mailbox are the messages that came for the run and were not taken yet: those that begin runs of their own at its end alone.
func (x *run) mailbox(end bool) (messages []mastra.AgentMessage) {
	ctx := context.WithoutCancel(x.ctx)
	all, err := letters(ctx, x.m, x.RunID, x.call)
	if err != nil {
		x.m.Logger.WarnContext(ctx, "the inbox of a run was not read", "runId", x.RunID, "error", err)
	}
	for _, s := range all {
		if !x.read[s.Signal.ID] && (end || !s.Queue) {
			messages = append(messages, s)
		}
	}
	return messages
}

// took says that the run has dealt with messages.
func (x *run) took(messages []mastra.AgentMessage) {
	if x.read == nil {
		x.read = map[string]bool{}
	}
	for _, s := range messages {
		x.read[s.Signal.ID] = true
	}
}

const signalKey = "signal:"

// claimed is the claim by which one process takes a message, with what it makes of it.
func claimed(m *mastra.Mastra, s *mastra.ThreadSignal) mastra.ClaimUpdate {
	now := m.Now()
	return mastra.ClaimUpdate{Create: true, Claim: mastra.Claim{Key: signalKey + s.ID, Owner: s.ID, Status: mastra.StatusSuccess,
		LeaseUntil: mastra.TimeOf(now), ExpiresAt: mastra.TimeOf(now.Add(keptFor))}}
}
