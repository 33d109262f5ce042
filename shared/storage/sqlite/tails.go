package sqlite

import (
	"bytes"
	"slices"

	"mastralambda/shared/mastra"
)

// tails are the ends of the threads that were recalled lately, so that recalling them again reads nothing. They are the writer's
// goroutine's, which keeps them up with what it writes; what another process writes empties them.
type tails struct {
	of      map[threadKey]*tail
	bytes   int
	version int64       // of the file, as its last change by others left it
	touched []threadKey // by the write under way
}

type threadKey struct{ tenant, id string }

// tail is a thread and its last messages, oldest first.
type tail struct {
	thread   mastra.Thread
	messages []mastra.Message
	whole    bool // there are no others
	bytes    int
}

const (
	maxTails = 4 << 20   // bytes of all
	maxTail  = 128 << 10 // of one
)

// check forgets all where another process has written since the last time.
func (ts *tails) check(c *conn) error {
	r, err := c.first("PRAGMA data_version")
	if err == nil && r.int(0) != ts.version {
		ts.version = r.int(0)
		ts.clear()
	}
	return err
}

func (ts *tails) clear() {
	clear(ts.of)
	ts.bytes = 0
}

// recall returns the thread and its last messages where they are known.
func (ts *tails) recall(k threadKey, last int) (*mastra.Thread, []mastra.Message, bool) {
	t := ts.of[k]
	if t == nil || len(t.messages) < last && !t.whole {
		return nil, nil, false
	}
	thread := t.thread
	return &thread, slices.Clone(t.messages[max(0, len(t.messages)-max(0, last)):]), true
}

// keep keeps what was read: the last messages of a thread, of which as many as that were asked for.
func (ts *tails) keep(k threadKey, thread *mastra.Thread, messages []mastra.Message, asked int) {
	ts.drop(k)
	t := &tail{thread: *thread, messages: slices.Clone(messages), whole: len(messages) < asked}
	for i := range messages {
		t.bytes += sizeOf(&messages[i])
	}
	ts.set(k, t)
}

func (ts *tails) set(k threadKey, t *tail) {
	if t.bytes > maxTail {
		return
	}
	for other, o := range ts.of { // any will do
		if ts.bytes+t.bytes <= maxTails {
			break
		}
		ts.bytes -= o.bytes
		delete(ts.of, other)
	}
	if ts.of == nil {
		ts.of = map[threadKey]*tail{}
	}
	ts.of[k] = t
	ts.bytes += t.bytes
}

func (ts *tails) drop(k threadKey) {
	if t := ts.of[k]; t != nil {
		ts.bytes -= t.bytes
		delete(ts.of, k)
	}
}

// add adds a new message, which is kept only where it is the thread's last.
func (ts *tails) add(tenant string, m *mastra.Message) {
	k := threadKey{tenant, m.ThreadID}
	t := ts.of[k]
	if t == nil {
		return
	}
	ts.touched = append(ts.touched, k)
	ts.drop(k)
	n := len(t.messages)
	if n > 0 && t.messages[n-1].CreatedAt > m.CreatedAt {
		return
	}
	own := mastra.Message{ID: m.ID, Role: m.Role, CreatedAt: m.CreatedAt, ThreadID: m.ThreadID, ResourceID: m.ResourceID, Type: m.Type, Content: bytes.Clone(m.Content)}
	t.messages = append(t.messages, own)
	t.bytes += sizeOf(&own)
	if n >= 2*maxWarm {
		for i := range n - maxWarm {
			t.bytes -= sizeOf(&t.messages[i])
		}
		t.messages, t.whole = slices.Clone(t.messages[n-maxWarm:]), false
	}
	t.thread.UpdatedAt = max(t.thread.UpdatedAt, m.CreatedAt)
	ts.set(k, t)
}

// settle forgets what a write that failed has changed.
func (ts *tails) settle(succeeded bool) {
	if !succeeded {
		for _, k := range ts.touched {
			ts.drop(k)
		}
	}
	ts.touched = ts.touched[:0]
}

func sizeOf(m *mastra.Message) int {
	return 200 + len(m.ID) + len(m.ThreadID) + len(m.ResourceID) + len(m.Content)
}
