package sqlite

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// What finds traces is derived from the packs behind the commits that wrote them, many at once: in a tenth of the time that each
// by itself would take, and without that anybody waits for it. Whoever reads first brings it up to date (Store.indexed).

const (
	indexBatch = 512  // packs, of a busy writer while it waits for the disk: as many share pages; others wait some ten milliseconds
	indexMany  = 2048 // of one that has nothing else to do, or whom a reader waits for
	indexDelay = time.Second
)

// indexed calls f with a connection that sees all traces committed before.
func (s *Store) indexed(ctx context.Context, f func(*conn) error) error {
	wanted := int64(-1)
	for {
		behind := false
		err := s.readers.read(ctx, func(c *conn) error {
			r, err := c.first("SELECT n, (SELECT max(n) FROM packs) FROM indexed")
			if err != nil {
				return err
			}
			if wanted < 0 {
				wanted = r.int(1)
			}
			if behind = r.int(0) < wanted; behind {
				return nil
			}
			return f(c)
		})
		if err != nil || !behind {
			return err
		}
		if err := s.submit(ctx, func(t *tx) error { _, err := t.index(indexMany); return err }); err != nil {
			return err
		}
	}
}

// unindexed says whether there is something to index.
func (c *conn) unindexed() (bool, error) {
	r, err := c.first("SELECT n < ifnull((SELECT max(n) FROM packs), 0) FROM indexed")
	if err != nil {
		return false, err
	}
	return r.int(0) == 1, nil
}

// indexSome indexes some of what waits, in the transaction that is open or a new one. A failure is told to the next reader, and
// tried again behind the next commit.
func (s *Store) indexSome(limit int) {
	s.take(&write{done: make(chan struct{}), run: func(t *tx) error {
		n, err := t.index(limit)
		if s.unindexed = max(s.unindexed-n, 1); err != nil || n < limit {
			s.unindexed = 0
		}
		return err
	}})
}

// indexAll indexes what is left.
func (t *tx) indexAll() error {
	for {
		if n, err := t.index(indexMany); n == 0 || err != nil {
			return err
		}
	}
}

// index indexes up to limit packs in the order of their commits, and says how many there were.
func (t *tx) index(limit int) (n int, err error) {
	r, err := t.first("SELECT n FROM indexed")
	if err != nil {
		return 0, err
	}
	last := r.int(0)
	var reader outlineReader
	var spans []mastra.Span
	var all []*mastra.Span
	for r, err := range t.query(context.Background(), "SELECT n, tenant, body FROM packs WHERE n > ? ORDER BY n LIMIT ?", last, int64(limit)) {
		if err != nil {
			return 0, err
		}
		var tenant string
		last, tenant = r.int(0), r.text(1)
		n++
		body := r.json(2)
		if spans, err = reader.pack(body, spans); err != nil {
			continue // it is damaged: what is behind it shall be found all the same
		}
		all = all[:0]
		for i := range spans {
			all = append(all, &spans[i])
		}
		var outline []byte
		if reader.packed != nil {
			outline = body[1 : len(body)-len(reader.packed)]
		} else {
			o := outliner{b: make([]byte, 0, 128+48*len(spans))}
			o.outline(all)
			outline = o.b
		}
		if err := t.indexPack(tenant, last, all, outline); err != nil {
			return 0, err
		}
		if err := t.keepNames(tenant, spans); err != nil {
			return 0, err
		}
	}
	if n == 0 {
		return 0, nil
	}
	t.signals += n
	_, err = t.exec("UPDATE indexed SET n = ?", last)
	return n, err
}

func (t *tx) indexPack(tenant string, n int64, spans []*mastra.Span, outline []byte) error {
	at := spans[0].StartedAt
	for _, s := range spans {
		at = min(at, s.StartedAt)
	}
	trace := spans[0].TraceID
	var summary any
	if root := lastRoot(spans); root >= 0 {
		r, err := t.first("SELECT max(summary) FROM traced WHERE tenant = ? AND trace = ?", tenant, trace)
		if err != nil {
			return err
		}
		if summary, err = t.summarize(tenant, n, r[0], spans[root]); err != nil {
			return err
		}
	}
	if _, err := t.exec("INSERT INTO traced (tenant, trace, n, at, summary) VALUES (?, ?, ?, ?, ?)", tenant, trace, n, int64(at), summary); err != nil {
		return err
	}
	_, err := t.exec("INSERT INTO outlines (tenant, at, n, body) VALUES (?, ?, ?, ?)", tenant, int64(at), n, outline)
	return err
}

// lowerIndexed keeps the mark at the last pack, whose number the next one may get again when it was deleted.
func (t *tx) lowerIndexed() error {
	_, err := t.exec("UPDATE indexed SET n = min(n, ifnull((SELECT max(n) FROM packs), 0))")
	return err
}

// summarize writes the line that lists show of a trace. known is its n where there is one.
func (t *tx) summarize(tenant string, pack int64, known any, r *mastra.Span) (n int64, err error) {
	var tags any
	if len(r.Tags) > 0 {
		b, err := schema.Marshal(r.Tags)
		if err != nil {
			return 0, err
		}
		tags = string(b)
	}
	if n, ok := known.(int64); ok {
		_, err := t.exec(`UPDATE traces SET pack = ?, started = ?, ended = ?, status = ?, span_type = ?, name = ?, entity_type = ?, entity_id = ?, entity_name = ?,
			run = ?, thread = ?, resource = ?, tags = ? WHERE n = ?`,
			pack, int64(r.StartedAt), int64(r.EndedAt), r.Status(), r.Type, r.Name, r.EntityType, r.EntityID, r.EntityName, r.RunID, r.ThreadID, r.ResourceID, tags, n)
		return n, err
	}
	t.count(tenant, "traces", "", 1)
	return t.insert(`INSERT INTO traces (tenant, trace, pack, started, ended, status, span_type, name, entity_type, entity_id, entity_name, run, thread, resource, tags)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		tenant, r.TraceID, pack, int64(r.StartedAt), int64(r.EndedAt), r.Status(), r.Type, r.Name, r.EntityType, r.EntityID, r.EntityName, r.RunID, r.ThreadID, r.ResourceID, tags)
}
