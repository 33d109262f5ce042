package sqlite

import (
	"context"
	"errors"
	"math"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func (t *tx) writePack(tenant string, p *pack) error {
	_, err := t.exec("INSERT INTO packs (tenant, body) VALUES (?, ?)", tenant, p.body)
	t.packs++
	return err
}

func (s *Store) Trace(ctx context.Context, traceID string) ([]mastra.Span, error) {
	var bodies []mastra.JSON
	err := s.indexed(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT body FROM traced CROSS JOIN packs USING (n) WHERE traced.tenant = ? AND trace = ? AND at >= ? ORDER BY n",
			mastra.Tenant(ctx), traceID, int64(s.since(s.retention.Traces, math.MinInt64))) {
			if err != nil {
				return err
			}
			bodies = append(bodies, r.json(0))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(bodies) == 0 {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
	}
	var spans []mastra.Span
	for _, b := range bodies {
		read, err := decodePack(b)
		if err != nil {
			return nil, err
		}
		spans = append(spans, read...)
	}
	return mastra.OrderSpans(spans), nil
}

// listed are the columns that lists show a root by where its contents are not asked for.
const listed = "pack, trace, started, ended, status, span_type, name, entity_type, entity_id, entity_name, run, thread, resource, tags"

// summarized is a root as the row of its trace has it.
type summarized struct {
	pack int64
	root mastra.Span
}

func scanSummary(_ *conn, r row) (s summarized, err error) {
	s.pack = r.int(0)
	s.root = mastra.Span{TraceID: r.text(1), StartedAt: r.time(2), EndedAt: r.time(3), Type: r.text(5), Name: r.text(6), EntityType: r.text(7), EntityID: r.text(8),
		EntityName: r.text(9), RunID: r.text(10), ThreadID: r.text(11), ResourceID: r.text(12)}
	if r.text(4) == "error" {
		s.root.Error = mastra.JSON(`{}`)
	}
	if tags := r.text(13); tags != "" {
		err = schema.Unmarshal([]byte(tags), &s.root.Tags)
	}
	return s, err
}

// errGone is why a pack that was found is not there: it was deleted meanwhile.
var errGone = errors.New("sqlite: the trace was deleted")

// whole reads the root that is in a pack.
func (c *conn) whole(pack int64) (mastra.Span, error) {
	r, err := c.first("SELECT body FROM packs WHERE n = ?", pack)
	if err == nil && r == nil {
		err = errGone
	}
	if err != nil {
		return mastra.Span{}, err
	}
	spans, err := decodePack(r.json(0))
	if err != nil {
		return mastra.Span{}, err
	}
	for i := range spans {
		if spans[i].Root() {
			return spans[i], nil
		}
	}
	return mastra.Span{}, errOutline
}

func (s *Store) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	tenant := mastra.Tenant(ctx)
	l := list{columns: "pack", indexed: true, table: "traces", order: "started", tie: "n", descending: !q.Ascending, Paging: q.Paging}
	if q.OrderByEnd {
		l.order = "ended"
	}
	l.equal("tenant", tenant)
	filtered := l.between("started", s.since(s.retention.Traces, q.From), q.To)
	for _, f := range [...]struct{ column, value string }{
		{"entity_type", q.EntityType}, {"entity_id", q.EntityID}, {"entity_name", q.EntityName}, {"span_type", q.SpanType}, {"name", q.Name},
		{"status", q.Status}, {"run", q.RunID}, {"thread", q.ThreadID}, {"resource", q.ResourceID},
	} {
		if !l.match(f.column, f.value) {
			continue
		}
		filtered = true
		switch f.column { // what lets SQLite see that a partial index holds all it looks for
		case "run", "thread", "resource":
			l.where = append(l.where, f.column+" != ''")
		case "status":
			if f.value != "success" {
				l.where = append(l.where, "status != 'success'")
			}
		}
	}
	for _, tag := range q.Tags {
		l.where, l.args = append(l.where, "EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)"), append(l.args, tag)
		filtered = true
	}
	if q.Match != nil || q.Uncounted {
		return s.matchingTraces(ctx, l, &q)
	}
	if !filtered {
		l.total = func(c *conn) (int, error) { return c.kept(tenant, "traces", "") }
	}
	return readPage(ctx, s, l, func(c *conn, r row) (mastra.Span, error) { return c.whole(r.int(0)) })
}

func (s *Store) matchingTraces(ctx context.Context, l list, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	l.columns = listed
	found, err := matchPage(ctx, s, l, q.Uncounted, scanSummary, func(c *conn, v *summarized) (ok bool, err error) {
		if q.Match == nil {
			return true, nil
		}
		if q.Whole {
			if v.root, err = c.whole(v.pack); err != nil {
				return false, err
			}
		}
		return q.Match(&v.root), nil
	})
	if err != nil {
		return nil, err
	}
	p := &mastra.Page[mastra.Span]{Items: make([]mastra.Span, 0, len(found.Items)), Total: found.Total, HasMore: found.HasMore}
	return p, s.readers.read(ctx, func(c *conn) error {
		for _, v := range found.Items {
			root, err := c.whole(v.pack)
			if errors.Is(err, errGone) {
				continue
			}
			if err != nil {
				return err
			}
			p.Items = append(p.Items, root)
		}
		return nil
	})
}

func (s *Store) DeleteTraces(ctx context.Context, ids []string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error { return t.deleteTraces(tenant, ids) })
}

// deleteTraces deletes traces with all that was said of them.
func (t *tx) deleteTraces(tenant string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if err := t.indexAll(); err != nil {
		return err
	}
	for _, id := range ids {
		var packs []int64
		for r, err := range t.query(context.Background(), "SELECT n FROM traced WHERE tenant = ? AND trace = ?", tenant, id) {
			if err != nil {
				return err
			}
			packs = append(packs, r.int(0))
		}
		for _, n := range packs {
			if err := t.dropPack(tenant, id, n); err != nil {
				return err
			}
		}
		for _, kind := range [...]string{kindScore, kindFeedback} {
			if _, err := t.exec("DELETE FROM scores WHERE tenant = ? AND kind = ? AND trace = ? AND trace != ''", tenant, kind, id); err != nil {
				return err
			}
		}
	}
	return t.lowerIndexed()
}

// dropPack deletes a pack with what was derived from it.
func (t *tx) dropPack(tenant, trace string, n int64) error {
	r, err := t.first("SELECT at, summary FROM traced WHERE tenant = ? AND trace = ? AND n = ?", tenant, trace, n)
	if err != nil || r == nil {
		return err
	}
	at, summary := r.int(0), r.int(1)
	if _, err := t.exec("DELETE FROM outlines WHERE tenant = ? AND at = ? AND n = ?", tenant, at, n); err != nil {
		return err
	}
	deleted, err := t.exec("DELETE FROM traces WHERE n = ? AND pack = ?", summary, n)
	if err != nil {
		return err
	}
	t.count(tenant, "traces", "", -int(deleted))
	if _, err := t.exec("DELETE FROM traced WHERE tenant = ? AND trace = ? AND n = ?", tenant, trace, n); err != nil {
		return err
	}
	_, err = t.exec("DELETE FROM packs WHERE n = ?", n)
	return err
}

// texts are the first columns of all rows.
func (c *conn) texts(sql string, args ...any) (all []string, err error) {
	for r, err := range c.query(context.Background(), sql, args...) {
		if err != nil {
			return nil, err
		}
		all = append(all, r.text(0))
	}
	return all, nil
}
