package dynamodb

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// score is a score or a piece of feedback on its way. It stands with its trace; a thin item places it in the list of all.
type score struct {
	kind, id                 string
	created                  mastra.Time
	trace, span, scorer, run string
	body                     []byte
}

// Kinds, as they begin a sort key.
const (
	kindScore    = "S#"
	kindFeedback = "F#"
)

func (c *commit) addScores(scores []mastra.Score, feedback []mastra.Feedback) error {
	add := func(s score, name string, v any) error {
		if err := checkID(name, s.id); err != nil {
			return err
		}
		var err error
		if s.body, err = schema.Marshal(v); err != nil {
			return err
		}
		for i := range c.scores { // of two of one id the last one stays
			if o := &c.scores[i]; o.kind == s.kind && o.id == s.id {
				*o = s
				return nil
			}
		}
		c.scores = append(c.scores, s)
		return nil
	}
	for i := range scores {
		s := &scores[i]
		if err := add(score{kind: kindScore, id: s.ID, created: s.CreatedAt, trace: s.TraceID, span: s.SpanID, scorer: s.ScorerID, run: s.RunID}, "score", s); err != nil {
			return err
		}
	}
	for i := range feedback {
		f := &feedback[i]
		if err := add(score{kind: kindFeedback, id: f.ID, created: f.CreatedAt, trace: f.TraceID, span: f.SpanID}, "feedback", f); err != nil {
			return err
		}
	}
	return nil
}

func scoreList(kind string) string { return "A#" + kind[:1] }

// writeScore puts a score by its id and places it in the lists. A score that is replaced leaves its old places.
func (c *commit) writeScore(ctx context.Context, s *score) (undo, error) {
	table := c.s.tables.Observability
	pk, at := tracePK(c.tenant, s.trace), placed(s.created, s.id)
	var before []large
	it := key(pk, s.kind+short(s.id, 512))
	it["body"], it["span"], it["tok"] = c.s.value(s.body, table, pk, &before), text(s.span), text(c.token)
	it["trace"], it["scorer"], it["run"], it["at"] = text(s.trace), text(s.scorer), text(s.run), text(at)
	if s.scorer != "" {
		it[attrPK1], it[attrSK1] = text(sharded(c.tenant, "sc#"+part(s.scorer), shardOf(s.id))), text(at)
	}
	if s.run != "" {
		it[attrPK2], it[attrSK2] = text(tenantPart(c.tenant)+"#sr#"+short(s.run, maxID)), text(at)
	}
	back, err := c.writePieces(ctx, before)
	if err != nil {
		return back, err
	}
	// Where a score is, by its id: one of another trace or time has to go.
	named := key(partition(c.tenant, "J"+s.kind[:1], s.id), only)
	named["p"], named["s"], named["at"], named["tok"] = it[attrPK], it[attrSK], text(at), text(c.token)
	thin := key(sharded(c.tenant, scoreList(s.kind), shardOf(s.id)), at)
	thin["p"], thin["s"], thin["tok"] = it[attrPK], it[attrSK], text(c.token)
	old, err := c.s.write(ctx, put(table, named, "", nil), c.token)
	if err != nil {
		return back, err
	}
	ops := []op{put(table, it, "", nil), put(table, thin, "", nil)}
	if old != nil && textOf(old["at"]) != at {
		ops = append(ops, remove(table, pkOf(thin), textOf(old["at"]), "", nil))
	}
	if old != nil && (textOf(old["p"]) != pk || textOf(old["s"]) != skOf(it)) {
		ops = append(ops, remove(table, textOf(old["p"]), textOf(old["s"]), "", nil))
	}
	undos := make([]undo, len(ops)+1)
	var calls []func() error
	for i, o := range ops {
		calls = append(calls, func() (err error) { undos[i], err = c.side(ctx, o); return err })
	}
	if old == nil {
		count := c.count(table, "scores"+s.kind[:1], "", s.id, 1)
		calls = append(calls, func() (err error) { undos[len(ops)], err = count(ctx); return err })
	}
	err = parallel(calls...)
	return both(back, func(ctx context.Context) error {
		calls := []func() error{func() (err error) {
			if old != nil {
				_, err = c.s.write(ctx, put(table, old, "#tok = :tok", item{":tok": text(c.token)}), "")
			} else {
				_, err = c.s.write(ctx, remove(table, pkOf(named), only, "#tok = :tok", item{":tok": text(c.token)}), "")
			}
			if refused(err) {
				err = nil
			}
			return err
		}}
		for _, u := range undos {
			if u != nil {
				calls = append(calls, func() error { return u(ctx) })
			}
		}
		return parallel(calls...)
	}), err
}

func (s *Store) Scores(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Score], error) {
	return readScores[mastra.Score](ctx, s, kindScore, q)
}

// Feedback has neither scorer nor run: a query for one finds none.
func (s *Store) Feedback(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Feedback], error) {
	return readScores[mastra.Feedback](ctx, s, kindFeedback, q)
}

// readScores reads the narrowest list there is: of a trace, a run, a scorer, or all.
func readScores[T any](ctx context.Context, s *Store, kind string, q mastra.ScoreQuery) (*mastra.Page[T], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	load := func(ctx context.Context, entries []entry) ([]T, error) {
		items, err := s.scoreItems(ctx, entries)
		if err != nil {
			return nil, err
		}
		out := make([]T, len(items))
		for i, it := range items {
			data, err := s.load(ctx, it["body"], table, pkOf(it), nil)
			if err != nil {
				return nil, err
			}
			if err := schema.Unmarshal(data, &out[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	l := list{table: table, descending: true, Paging: q.Paging}
	switch {
	case q.TraceID != "" && keepable(q.TraceID):
		l.pks, l.from, l.to = []string{tracePK(tenant, q.TraceID)}, kind, kind+"~"
	case q.TraceID != "":
		return &mastra.Page[T]{Items: []T{}}, nil
	case q.RunID != "":
		l.index, l.pks = index2, []string{tenantPart(tenant) + "#sr#" + short(q.RunID, maxID)}
	case q.ScorerID != "":
		l.index, l.pks = index1, allShards(tenant, "sc#"+part(q.ScorerID))
	default:
		l.pks = allShards(tenant, scoreList(kind))
		if q.SpanID == "" {
			l.total = func(ctx context.Context) (int, error) {
				n, _, err := s.total(ctx, table, tenant, "scores"+kind[:1], nil)
				return n, err
			}
			return readPage(ctx, s, l, load)
		}
	}
	entries, err := s.matching(ctx, &l)
	if err != nil {
		return nil, err
	}
	items, err := s.scoreItems(ctx, entries)
	if err != nil {
		return nil, err
	}
	kept := make([]entry, 0, len(items))
	for _, it := range items {
		ok := skOf(it)[:len(kind)] == kind
		for _, f := range [...][2]string{{q.TraceID, textOf(it["trace"])}, {q.SpanID, textOf(it["span"])}, {q.ScorerID, textOf(it["scorer"])}, {q.RunID, textOf(it["run"])}} {
			ok = ok && (f[0] == "" || f[0] == f[1])
		}
		if ok {
			kept = append(kept, entry{pk: pkOf(it), sk: skOf(it), at: textOf(it["at"]), item: it})
		}
	}
	sortItems(kept, true, func(e *entry) string { return e.at })
	offset, n := window(q.Paging, len(kept))
	return loadPage(ctx, kept[offset:offset+n], len(kept), n > 0 && offset+n < len(kept), load)
}

// scoreItems are the items themselves that entries of any list stand for.
func (s *Store) scoreItems(ctx context.Context, entries []entry) ([]item, error) {
	items := make([]item, len(entries))
	places := make([]place, len(entries))
	var missing []place
	for i, e := range entries {
		switch places[i] = (place{e.pk, e.sk}); {
		case e.item["body"] != nil:
			items[i] = e.item
		case e.item["p"] != nil:
			places[i] = place{textOf(e.item["p"]), textOf(e.item["s"])}
			missing = append(missing, places[i])
		default:
			missing = append(missing, places[i])
		}
	}
	found, err := s.batchGet(ctx, s.tables.Observability, missing, true)
	if err != nil {
		return nil, err
	}
	out := items[:0]
	for i := range items {
		it := items[i]
		if it == nil {
			it = found[places[i]]
		}
		if it != nil {
			out = append(out, it)
		}
	}
	return out, nil
}
