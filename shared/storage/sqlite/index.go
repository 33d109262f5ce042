package sqlite

import (
	"context"
	"math"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// What finds traces is derived from the packs behind the commits that wrote them, many at once: in a tenth of the time that each
// by itself would take, and without that anybody waits for it. Whoever reads first brings it up to date (Store.indexed).

const (
	indexBatch = 512         // packs
	indexDelay = time.Second // after which fewer are indexed, too
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
		if err := s.submit(ctx, func(t *tx) error { _, err := t.index(8 * indexBatch); return err }); err != nil {
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

// indexBehind indexes what waits. Where that fails the commits of the transaction are made all the same.
func (s *Store) indexBehind(t *tx) error {
	if _, err := t.exec("SAVEPOINT one"); err != nil {
		return err
	}
	n, err := t.index(2 * indexBatch)
	if err != nil {
		if _, err := t.exec("ROLLBACK TO one"); err != nil {
			return err
		}
		clear(s.names)
	}
	if _, err := t.exec("RELEASE one"); err != nil {
		return err
	}
	t.settle(err == nil)
	switch {
	case err != nil || n < 2*indexBatch:
		s.unindexed = 0
	default: // there may be more
		s.unindexed = 1
	}
	return nil
}

// indexAll indexes what is left.
func (t *tx) indexAll() error {
	for {
		if n, err := t.index(8 * indexBatch); n == 0 || err != nil {
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
	type row struct {
		n      int64
		tenant string
		body   []byte
	}
	rows := make([]row, 0, indexBatch)
	last := r.int(0)
	for r, err := range t.query(context.Background(), "SELECT n, tenant, body FROM packs WHERE n > ? ORDER BY n LIMIT ?", last, int64(limit)) {
		if err != nil {
			return 0, err
		}
		rows = append(rows, row{r.int(0), r.text(1), r.json(2)})
	}
	if len(rows) == 0 {
		return 0, nil
	}
	var reader outlineReader
	var spans []mastra.Span
	for _, r := range rows {
		last = r.n
		if r.body, err = decompress(r.body); err == nil && len(r.body) > 0 && r.body[0] == packVersion {
			spans, err = readPack(r.body, &reader, spans)
		} else if err == nil {
			spans, err = decodePack(r.body)
		}
		if err != nil {
			continue // it is damaged: what is behind it shall be found all the same
		}
		if err := t.indexPack(r.tenant, r.n, spans); err != nil {
			return 0, err
		}
	}
	t.signals += len(rows)
	_, err = t.exec("UPDATE indexed SET n = ?", last)
	return len(rows), err
}

func (t *tx) indexPack(tenant string, n int64, spans []mastra.Span) error {
	all := make([]*mastra.Span, len(spans))
	at := mastra.Time(math.MaxInt64)
	for i := range spans {
		all[i] = &spans[i]
		at = min(at, spans[i].StartedAt)
	}
	trace := spans[0].TraceID
	var summary any
	if root := lastRoot(all); root >= 0 {
		r, err := t.first("SELECT max(summary) FROM traced WHERE tenant = ? AND trace = ?", tenant, trace)
		if err != nil {
			return err
		}
		if summary, err = t.summarize(tenant, n, r[0], all[root]); err != nil {
			return err
		}
	}
	if _, err := t.exec("INSERT INTO traced (tenant, trace, n, at, summary) VALUES (?, ?, ?, ?, ?)", tenant, trace, n, int64(at), summary); err != nil {
		return err
	}
	o := outliner{b: make([]byte, 0, 128+48*len(spans))}
	o.outline(all)
	if _, err := t.exec("INSERT INTO outlines (tenant, at, n, body) VALUES (?, ?, ?, ?)", tenant, int64(at), n, o.b); err != nil {
		return err
	}
	return t.keepNames(tenant, spans)
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
