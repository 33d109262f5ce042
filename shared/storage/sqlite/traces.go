package sqlite

import (
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// trace is what one batch adds to one trace.
type trace struct {
	id     string
	root   *mastra.Span // nil where the batch has none
	others []mastra.Span

	rootJSON, othersJSON, tags, outline []byte
	at                                  mastra.Time // when the first span started
}

// packSpans groups spans by trace. Of two of one id the last one stays.
func packSpans(spans []mastra.Span) ([]trace, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	var traces []trace
	seen := make(map[mastra.SpanRef]bool, len(spans))
	for i := range slices.Backward(spans) {
		s := &spans[i]
		if err := checkID("trace", s.TraceID); err != nil {
			return nil, err
		}
		if err := checkID("span", s.SpanID); err != nil {
			return nil, err
		}
		ref := mastra.SpanRef{TraceID: s.TraceID, SpanID: s.SpanID}
		if seen[ref] {
			continue
		}
		seen[ref] = true
		at := slices.IndexFunc(traces, func(t trace) bool { return t.id == s.TraceID })
		if at < 0 {
			at = len(traces)
			traces = append(traces, trace{id: s.TraceID})
		}
		if t := &traces[at]; s.Root() && t.root == nil {
			t.root = s
		} else {
			t.others = append(t.others, *s)
		}
	}
	for i := range traces {
		t := &traces[i]
		all := make([]*mastra.Span, 0, len(t.others)+1)
		if t.root != nil {
			all = append(all, t.root)
		}
		for i := range t.others {
			all = append(all, &t.others[i])
		}
		t.outline, t.at = outline(all)
		var err error
		if t.root != nil {
			if t.rootJSON, err = t.root.AppendJSON(make([]byte, 0, 1536)); err != nil {
				return nil, err
			}
		}
		if len(t.others) > 0 {
			slices.Reverse(t.others)
			if t.othersJSON, err = mastra.AppendSpans(make([]byte, 0, 1024*len(t.others)), t.others); err != nil {
				return nil, err
			}
		}
		if t.root != nil && len(t.root.Tags) > 0 {
			if t.tags, err = schema.Marshal(t.root.Tags); err != nil {
				return nil, err
			}
		}
	}
	return traces, nil
}

func (t *tx) writeTrace(tenant string, tr *trace) error {
	var summary any
	if tr.root != nil {
		r, err := t.first("SELECT max(summary) FROM spans WHERE tenant = ? AND trace = ?", tenant, tr.id)
		if err != nil {
			return err
		}
		if summary = r[0]; summary == nil {
			summary, err = t.insertSummary(tenant, tr)
		} else {
			err = t.updateSummary(summary.(int64), tr)
		}
		if err != nil {
			return err
		}
	}
	n, err := t.insert("INSERT INTO spans (tenant, trace, summary, root, others, at) VALUES (?, ?, ?, ?, ?, ?)", tenant, tr.id, summary, tr.rootJSON, tr.othersJSON, int64(tr.at))
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO outlines (tenant, at, n, body) VALUES (?, ?, ?, ?)", tenant, int64(tr.at), n, tr.outline)
	return err
}

func (t *tx) insertSummary(tenant string, tr *trace) (n int64, err error) {
	t.count(tenant, "traces", "", 1)
	r := tr.root
	return t.insert(`INSERT INTO traces (tenant, trace, started, ended, status, span_type, name, entity_type, entity_id, entity_name, run, thread, resource, tags)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		tenant, tr.id, int64(r.StartedAt), int64(r.EndedAt), r.Status(), r.Type, r.Name, r.EntityType, r.EntityID, r.EntityName, r.RunID, r.ThreadID, r.ResourceID, text(tr.tags))
}

func (t *tx) updateSummary(n int64, tr *trace) error {
	r := tr.root
	_, err := t.exec(`UPDATE traces SET started = ?, ended = ?, status = ?, span_type = ?, name = ?, entity_type = ?, entity_id = ?, entity_name = ?,
		run = ?, thread = ?, resource = ?, tags = ? WHERE n = ?`,
		int64(r.StartedAt), int64(r.EndedAt), r.Status(), r.Type, r.Name, r.EntityType, r.EntityID, r.EntityName, r.RunID, r.ThreadID, r.ResourceID, text(tr.tags), n)
	return err
}

// text is a column of type TEXT; nil is NULL.
func text(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

func (s *Store) Trace(ctx context.Context, traceID string) ([]mastra.Span, error) {
	type packed struct{ root, others mastra.JSON }
	var rows []packed
	err := s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT root, others FROM spans WHERE tenant = ? AND trace = ? ORDER BY n", mastra.Tenant(ctx), traceID) {
			if err != nil {
				return err
			}
			rows = append(rows, packed{r.json(0), r.json(1)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
	}
	var spans []mastra.Span
	for _, p := range rows {
		var read []mastra.Span
		if p.others != nil {
			if err := schema.Unmarshal(p.others, &read); err != nil {
				return nil, err
			}
		}
		if p.root != nil {
			var root mastra.Span
			if err := schema.Unmarshal(p.root, &root); err != nil {
				return nil, err
			}
			read = append(read, root)
		}
		spans = append(spans, read...)
	}
	return mastra.OrderSpans(spans), nil
}

// listed are the columns that lists show a root by where its contents are not asked for.
const listed = "n, trace, started, ended, status, span_type, name, entity_type, entity_id, entity_name, run, thread, resource, tags"

// summarized is a root as the row of its trace has it.
type summarized struct {
	n    int64
	root mastra.Span
}

func scanSummary(_ *conn, r row) (s summarized, err error) {
	s.n = r.int(0)
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

// whole reads the root that a row of traces stands for.
func (c *conn) whole(tenant, trace string, n int64) (root mastra.Span, err error) {
	r, err := c.first("SELECT root FROM spans WHERE tenant = ? AND trace = ? AND summary = ? ORDER BY n DESC LIMIT 1", tenant, trace, n)
	if err == nil {
		err = schema.Unmarshal(r.json(0), &root)
	}
	return root, err
}

func (s *Store) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	tenant := mastra.Tenant(ctx)
	l := list{columns: "n, trace", table: "traces", order: "started", tie: "n", descending: !q.Ascending, Paging: q.Paging}
	if q.OrderByEnd {
		l.order = "ended"
	}
	l.equal("tenant", tenant)
	filtered := l.between("started", q.From, q.To)
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
	return readPage(ctx, s, l, func(c *conn, r row) (mastra.Span, error) { return c.whole(tenant, r.text(1), r.int(0)) })
}

func (s *Store) matchingTraces(ctx context.Context, l list, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	tenant := mastra.Tenant(ctx)
	l.columns = listed
	found, err := matchPage(ctx, s, l, q.Uncounted, scanSummary, func(c *conn, v *summarized) (ok bool, err error) {
		if q.Match == nil {
			return true, nil
		}
		if q.Whole {
			if v.root, err = c.whole(tenant, v.root.TraceID, v.n); err != nil {
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
			root, err := c.whole(tenant, v.root.TraceID, v.n)
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
	for _, id := range ids {
		if _, err := t.exec("DELETE FROM outlines WHERE (tenant, at, n) IN (SELECT tenant, at, n FROM spans WHERE tenant = ? AND trace = ?)", tenant, id); err != nil {
			return err
		}
		var summaries []int64
		for r, err := range t.query(context.Background(), "SELECT DISTINCT summary FROM spans WHERE tenant = ? AND trace = ? AND summary IS NOT NULL", tenant, id) {
			if err != nil {
				return err
			}
			summaries = append(summaries, r.int(0))
		}
		for _, n := range summaries {
			deleted, err := t.exec("DELETE FROM traces WHERE n = ?", n)
			if err != nil {
				return err
			}
			t.count(tenant, "traces", "", -int(deleted))
		}
		if _, err := t.exec("DELETE FROM spans WHERE tenant = ? AND trace = ?", tenant, id); err != nil {
			return err
		}
		for _, kind := range [...]string{kindScore, kindFeedback} {
			if _, err := t.exec("DELETE FROM scores WHERE tenant = ? AND kind = ? AND trace = ? AND trace != ''", tenant, kind, id); err != nil {
				return err
			}
		}
	}
	return nil
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
