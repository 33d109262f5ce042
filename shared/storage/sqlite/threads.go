package sqlite

import (
	"context"
	"maps"
	"math"
	"slices"

	"mastralambda/shared/mastra"
)

// thread is a thread to be written, with what its new messages change.
type thread struct {
	mastra.Thread
	added int64 // messages that are new, counted by the writer
}

// encodeThreads returns the threads of a batch and those that its messages touch beside them.
func encodeThreads(threads []mastra.Thread, messages []mastra.Message) (given, touched []thread, err error) {
	given = make([]thread, len(threads))
	for i, t := range threads {
		if err := checkID("thread", t.ID); err != nil {
			return nil, nil, err
		}
		given[i].Thread = t
	}
	for i := range messages {
		m := &messages[i]
		if err := checkID("message", m.ID); err != nil {
			return nil, nil, err
		}
		t := find(given, m.ThreadID)
		if t == nil {
			t = find(touched, m.ThreadID)
		}
		if t == nil {
			if err := checkID("thread", m.ThreadID); err != nil {
				return nil, nil, err
			}
			touched = append(touched, thread{Thread: mastra.Thread{ID: m.ThreadID}})
			t = &touched[len(touched)-1]
		}
		t.UpdatedAt = max(t.UpdatedAt, m.CreatedAt)
	}
	return given, touched, nil
}

// find returns the last thread of an id: of two in one batch the second one wins.
func find(threads []thread, id string) *thread {
	for i := len(threads) - 1; i >= 0; i-- {
		if threads[i].ID == id {
			return &threads[i]
		}
	}
	return nil
}

// writeThreads writes the messages first, since the thread's row keeps their number: so it is written once.
func (t *tx) writeThreads(e *encoded) error {
	for i := range e.messages {
		m := &e.messages[i]
		added, err := t.writeMessage(e.tenant, m)
		if err != nil {
			return err
		}
		if added {
			t.tails.add(e.tenant, m)
			th := find(e.threads, m.ThreadID)
			if th == nil {
				th = find(e.touched, m.ThreadID)
			}
			th.added++
		}
	}
	for i := range e.threads {
		th := &e.threads[i]
		t.tails.drop(threadKey{e.tenant, th.ID})
		changed, err := t.exec(`INSERT INTO threads (tenant, id, resource, created, updated, messages, title, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET updated = excluded.updated, messages = messages + excluded.messages, title = excluded.title, metadata = excluded.metadata
			WHERE resource = excluded.resource OR resource = ''`,
			e.tenant, th.ID, th.ResourceID, int64(th.CreatedAt), int64(th.UpdatedAt), th.added, th.Title, []byte(th.Metadata))
		if err != nil {
			return err
		}
		if changed == 0 {
			return mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
		}
	}
	for i := range e.touched {
		th := &e.touched[i]
		changed, err := t.exec(`UPDATE threads SET updated = max(updated, ?), messages = messages + ? WHERE tenant = ? AND id = ?`,
			int64(th.UpdatedAt), th.added, e.tenant, th.ID)
		if err != nil {
			return err
		}
		if changed == 0 {
			return errNoThread()
		}
	}
	return nil
}

// writeMessage adds or replaces a message.
func (t *tx) writeMessage(tenant string, m *mastra.Message) (added bool, err error) {
	content := []byte(m.Content)
	changed, err := t.exec(`INSERT INTO messages (tenant, id, thread, created, role, resource, type, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, tenant, m.ID, m.ThreadID, int64(m.CreatedAt), m.Role, m.ResourceID, m.Type, content)
	if err != nil || changed > 0 {
		return true, err
	}
	t.tails.drop(threadKey{tenant, m.ThreadID})
	changed, err = t.exec(`UPDATE messages SET created = ?, role = ?, resource = ?, type = ?, content = ? WHERE tenant = ? AND id = ? AND thread = ?`,
		int64(m.CreatedAt), m.Role, m.ResourceID, m.Type, content, tenant, m.ID, m.ThreadID)
	if err == nil && changed == 0 {
		err = mastra.Errorf(mastra.CodeConflict, "Message %s belongs to another thread", m.ID)
	}
	return false, err
}

func errNoThread() error { return mastra.Errorf(mastra.CodeNotFound, "Thread not found") }

const threadColumns = "id, resource, created, updated, title, metadata, messages"

func scanThread(r row) mastra.Thread {
	return mastra.Thread{ID: r.text(0), ResourceID: r.text(1), CreatedAt: r.time(2), UpdatedAt: r.time(3), Title: r.text(4), Metadata: r.json(5)}
}

// thread returns a thread, nil if there is none, and the number of its messages.
func (c *conn) thread(tenant, id string) (*mastra.Thread, int, error) {
	r, err := c.first("SELECT "+threadColumns+" FROM threads WHERE tenant = ? AND id = ?", tenant, id)
	if err != nil || r == nil {
		return nil, 0, err
	}
	t := scanThread(r)
	return &t, int(r.int(6)), nil
}

func (s *Store) Thread(ctx context.Context, id string) (t *mastra.Thread, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		if t, _, err = c.thread(mastra.Tenant(ctx), id); err == nil && t == nil {
			err = errNoThread()
		}
		return err
	})
	return t, err
}

func (s *Store) Threads(ctx context.Context, q mastra.ThreadQuery) (*mastra.Page[mastra.Thread], error) {
	l := list{columns: threadColumns, table: "threads", order: "updated", tie: "id", descending: !q.Ascending, Paging: q.Paging}
	switch q.OrderBy {
	case "createdAt":
		l.order = "created"
	case "", "updatedAt":
	default:
		return nil, mastra.Errorf(mastra.CodeInvalid, "Threads cannot be ordered by %s", q.OrderBy)
	}
	l.equal("tenant", mastra.Tenant(ctx))
	l.match("resource", q.ResourceID)
	return readPage(ctx, s, l, func(_ *conn, r row) (mastra.Thread, error) { return scanThread(r), nil })
}

func (s *Store) DeleteThread(ctx context.Context, id string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error {
		t.tails.drop(threadKey{tenant, id})
		deleted, err := t.exec("DELETE FROM threads WHERE tenant = ? AND id = ?", tenant, id)
		if err == nil && deleted == 0 {
			return errNoThread()
		}
		if err == nil {
			_, err = t.exec("DELETE FROM messages WHERE tenant = ? AND thread = ?", tenant, id)
		}
		if err == nil {
			_, err = t.exec("DELETE FROM notes WHERE tenant = ? AND kind IN ('T', 'O') AND id = ?", tenant, id)
		}
		if err != nil {
			return err
		}
		if err := t.indexAll(); err != nil {
			return err
		}
		traces := map[string]bool{} // also those in which it is that of an agent which a workflow calls
		of := newFinder(t.conn, tenant, mastra.TraceQuery{ThreadID: id, Match: func(s *mastra.Span) bool { traces[s.TraceID] = true; return false }}, 0, &mastra.Page[mastra.Span]{})
		of.any, of.most = true, math.MaxInt
		if err := of.find(ctx); err != nil {
			return err
		}
		return t.deleteTraces(tenant, slices.Collect(maps.Keys(traces)))
	})
}

const messageColumns = "id, role, created, resource, type, content"

func scanMessage(r row, thread string) mastra.Message {
	return mastra.Message{ID: r.text(0), Role: r.text(1), CreatedAt: r.time(2), ThreadID: thread, ResourceID: r.text(3), Type: r.text(4), Content: r.json(5)}
}

// Messages of a thread that is not there are a CodeNotFound.
func (s *Store) Messages(ctx context.Context, q mastra.MessageQuery) (*mastra.Page[mastra.Message], error) {
	tenant := mastra.Tenant(ctx)
	l := list{columns: messageColumns, table: "messages", order: "created", tie: "n", descending: q.Descending, Paging: q.Paging}
	l.equal("tenant", tenant)
	l.equal("thread", q.ThreadID)
	filtered := l.between("created", q.From, q.To)
	l.total = func(c *conn) (int, error) {
		t, n, err := c.thread(tenant, q.ThreadID)
		switch {
		case err != nil:
			return 0, err
		case t == nil:
			return 0, errNoThread()
		case filtered:
			return l.count(ctx, c)
		}
		return n, nil
	}
	return readPage(ctx, s, l, func(_ *conn, r row) (mastra.Message, error) { return scanMessage(r, q.ThreadID), nil })
}

func (s *Store) DeleteMessages(ctx context.Context, ids []string) (deleted int, err error) {
	tenant := mastra.Tenant(ctx)
	err = s.submit(ctx, func(t *tx) error {
		for _, id := range ids {
			r, err := t.first("SELECT n, thread FROM messages WHERE tenant = ? AND id = ?", tenant, id)
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			n, thread := r.int(0), r.text(1)
			t.tails.drop(threadKey{tenant, thread})
			if _, err := t.exec("DELETE FROM messages WHERE n = ?", n); err != nil {
				return err
			}
			if _, err := t.exec("UPDATE threads SET messages = messages - 1 WHERE tenant = ? AND id = ?", tenant, thread); err != nil {
				return err
			}
			deleted++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// maxWarm is how many messages are read on the writer's connection: more would keep writes waiting.
const maxWarm = 64

// readMessages is for reads of up to most messages that an answer waits for.
func (s *Store) readMessages(ctx context.Context, most int, f func(*conn) error) error {
	if most > maxWarm {
		return s.readers.read(ctx, f)
	}
	return s.readWarm(ctx, f)
}

func (s *Store) Recall(ctx context.Context, threadID string, last int) (t *mastra.Thread, messages []mastra.Message, err error) {
	k := threadKey{mastra.Tenant(ctx), threadID}
	err = s.readMessages(ctx, last, func(c *conn) error {
		warm := c == s.writer // in its goroutine, whose the tails are
		if warm {
			var known bool
			if t, messages, known = s.tails.recall(k, last); known {
				return nil
			}
		}
		if t, _, err = c.thread(k.tenant, k.id); err != nil || t == nil || last <= 0 {
			return err
		}
		for r, err := range c.query(context.Background(), "SELECT "+messageColumns+" FROM messages WHERE tenant = ? AND thread = ? ORDER BY created DESC, n DESC LIMIT ?",
			k.tenant, k.id, int64(last)) {
			if err != nil {
				return err
			}
			messages = append(messages, scanMessage(r, threadID))
		}
		slices.Reverse(messages)
		if warm {
			s.tails.keep(k, t, messages, last)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return t, messages, nil
}
