package dynamodb

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// score is a score or a piece of feedback on its way. It stands with its trace; a thin item places it in the list of all.
type score struct {
	kind, id                                     string
	created                                      mastra.Time
	trace, span, scorer, run, entityType, entity string
	body                                         []byte
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
		if err := add(score{kind: kindScore, id: s.ID, created: s.CreatedAt, trace: s.TraceID, span: s.SpanID, scorer: s.ScorerID, run: s.RunID,
			entityType: s.EntityType, entity: s.EntityID}, "score", s); err != nil {
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

func entityList(tenant, entityType, entity string, shard int) string {
	return sharded(tenant, "se#"+part(entityType)+"#"+part(entity), shard)
}

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
	kept := c.s.kept(s.kind)
	expire(it, s.created, kept)
	for _, l := range before {
		for _, piece := range l.items {
			expire(piece, s.created, kept)
		}
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
	expire(named, s.created, kept)
	expire(thin, s.created, kept)
	if s.entity != "" {
		named["en"] = text(entityList(c.tenant, s.entityType, s.entity, shardOf(s.id)))
	}
	old, err := c.nameScore(ctx, named)
	if err != nil {
		return back, err
	}
	ops := []op{put(table, it, "", nil), put(table, thin, "", nil)}
	if s.entity != "" {
		thin := key(entityList(c.tenant, s.entityType, s.entity, shardOf(s.id)), at)
		thin["p"], thin["s"], thin["tok"] = it[attrPK], it[attrSK], text(c.token)
		expire(thin, s.created, kept)
		ops = append(ops, put(table, thin, "", nil))
	}
	if old != nil && textOf(old["at"]) != at {
		ops = append(ops, remove(table, pkOf(thin), textOf(old["at"]), "", nil))
	}
	if en := textOf(old["en"]); en != "" && (en != textOf(named["en"]) || textOf(old["at"]) != at) {
		ops = append(ops, remove(table, en, textOf(old["at"]), "", nil))
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
		count := c.count(table, "scores"+s.kind[:1], day(s.created, c.s.kept(s.kind)), s.id, 1)
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

// nameScore puts the item that says where a score is, and returns the one that it replaces. What was there is read first: of
// an attempt whose answer was lost the store would not tell it.
func (c *commit) nameScore(ctx context.Context, named item) (old item, err error) {
	table := c.s.tables.Observability
	for try := range maxTries {
		if old, err = c.s.get(ctx, table, pkOf(named), only); err != nil {
			return nil, err
		}
		condition, values := "attribute_not_exists(#PK) OR #tok = :tok", item{":tok": text(c.token)}
		if old != nil {
			condition, values[":was"] = "#tok = :was OR #tok = :tok", old["tok"]
		}
		if _, err = c.s.write(ctx, put(table, named, condition, values), c.token); !errors.Is(err, errRefused) {
			return old, err
		}
		if err := pause(ctx, min(try, 5)); err != nil {
			return nil, err
		}
	}
	return nil, mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
}

func (s *Store) Scores(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Score], error) {
	return readScores(ctx, s, kindScore, q, func(v *mastra.Score) mastra.Signal { return v })
}

// Feedback has neither scorer, run nor entity: a query for one finds none.
func (s *Store) Feedback(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Feedback], error) {
	return readScores(ctx, s, kindFeedback, q, func(v *mastra.Feedback) mastra.Signal { return v })
}

// readScores reads the narrowest list there is: of an id, a trace, a run, an entity, a scorer, or all.
func readScores[T any](ctx context.Context, s *Store, kind string, q mastra.ScoreQuery, signal func(*T) mastra.Signal) (*mastra.Page[T], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	none := &mastra.Page[T]{Items: []T{}}
	load := func(ctx context.Context, entries []entry) ([]T, error) {
		items, err := s.scoreItems(ctx, entries)
		if err != nil {
			return nil, err
		}
		return decodeScores[T](ctx, s, items)
	}
	l := list{table: table, descending: !q.Ascending, Paging: q.Paging}
	l.between(q.From, q.To)
	var entries []entry
	var err error
	switch {
	case q.ID != "" && !keepable(q.ID), q.TraceID != "" && !keepable(q.TraceID):
		return none, nil
	case q.ID != "":
		named, err := s.get(ctx, table, partition(tenant, "J"+kind[:1], q.ID), only)
		if err != nil || named == nil {
			return none, err
		}
		entries = []entry{{pk: textOf(named["p"]), sk: textOf(named["s"])}}
	case q.TraceID != "":
		l.pks, l.from, l.to = []string{tracePK(tenant, q.TraceID)}, kind, kind+"~"
	case q.TraceIDs != nil:
		for part := range slices.Chunk(slices.DeleteFunc(slices.Clone(q.TraceIDs), func(id string) bool { return !keepable(id) }), traceReads) {
			of := list{table: table, from: kind, to: kind + "~"}
			for _, id := range part {
				of.pks = append(of.pks, tracePK(tenant, id))
			}
			found, err := s.matching(ctx, &of)
			if err != nil {
				return nil, err
			}
			entries = append(entries, found...)
		}
	case q.RunID != "":
		l.index, l.pks = index2, []string{tenantPart(tenant) + "#sr#" + short(q.RunID, maxID)}
	case q.EntityID != "" && q.EntityType != "":
		if kind == kindFeedback {
			return none, nil
		}
		for shard := range shards {
			l.pks = append(l.pks, entityList(tenant, q.EntityType, q.EntityID, shard))
		}
	case q.ScorerID != "":
		l.index, l.pks = index1, allShards(tenant, "sc#"+part(q.ScorerID))
	default:
		l.pks, l.since = allShards(tenant, scoreList(kind)), s.since(s.kept(kind))
		if q.SpanID == "" && q.Match == nil && q.EntityID+q.EntityType == "" && q.From == 0 && q.To == 0 {
			l.total = func(ctx context.Context) (int, error) {
				n, _, err := s.total(ctx, table, tenant, "scores"+kind[:1], nil)
				return n, err
			}
			return readPage(ctx, s, l, load)
		}
	}
	if entries == nil && len(l.pks) > 0 {
		if entries, err = s.matching(ctx, &l); err != nil {
			return nil, err
		}
	}
	items, err := s.scoreItems(ctx, entries)
	if err != nil {
		return nil, err
	}
	type found struct {
		at    string
		value T
	}
	kept := make([]found, 0, len(items))
	for _, it := range items {
		ok := strings.HasPrefix(skOf(it), kind) && (q.TraceIDs == nil || slices.Contains(q.TraceIDs, textOf(it["trace"])))
		for _, f := range [...][2]string{{q.TraceID, textOf(it["trace"])}, {q.SpanID, textOf(it["span"])}, {q.ScorerID, textOf(it["scorer"])}, {q.RunID, textOf(it["run"])}} {
			ok = ok && (f[0] == "" || f[0] == f[1])
		}
		at := textOf(it["at"])
		if t := placeTime(at); !ok || q.From != 0 && t < q.From || q.To != 0 && t > q.To {
			continue
		}
		values, err := decodeScores[T](ctx, s, []item{it})
		if err != nil {
			return nil, err
		}
		v := signal(&values[0])
		for name, want := range map[string]string{"entityType": q.EntityType, "entityId": q.EntityID} {
			if have, _ := v.Field(name); want != "" && (have != want || kind == kindFeedback) {
				ok = false
			}
		}
		if ok && (q.Match == nil || q.Match(v)) {
			kept = append(kept, found{at, values[0]})
		}
	}
	sortItems(kept, !q.Ascending, func(f *found) string { return f.at })
	offset, n := window(q.Paging, len(kept))
	p := &mastra.Page[T]{Items: make([]T, 0, n), Total: len(kept), HasMore: n > 0 && offset+n < len(kept)}
	for _, f := range kept[offset : offset+n] {
		p.Items = append(p.Items, f.value)
	}
	return p, nil
}

func decodeScores[T any](ctx context.Context, s *Store, items []item) ([]T, error) {
	out := make([]T, len(items))
	for i, it := range items {
		data, err := s.load(ctx, it["body"], s.tables.Observability, pkOf(it), nil)
		if err != nil {
			return nil, err
		}
		if err := schema.Unmarshal(data, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Store) DeleteScores(ctx context.Context, ids []string) error {
	return s.deleteScores(ctx, kindScore, ids)
}

func (s *Store) DeleteFeedback(ctx context.Context, ids []string) error {
	return s.deleteScores(ctx, kindFeedback, ids)
}

func (s *Store) deleteScores(ctx context.Context, kind string, ids []string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	var calls []func() error
	for _, id := range distinct(ids) {
		if !keepable(id) {
			continue
		}
		calls = append(calls, func() error { // who takes the name away deletes the rest, so that it is counted once
			old, err := s.write(ctx, remove(table, partition(tenant, "J"+kind[:1], id), only, "attribute_exists(#PK)", nil), "")
			if errors.Is(err, errRefused) {
				return nil
			}
			if err != nil {
				return err
			}
			at := textOf(old["at"])
			keys := []item{key(textOf(old["p"]), textOf(old["s"])), key(sharded(tenant, scoreList(kind), shardOf(id)), at)}
			if en := textOf(old["en"]); en != "" {
				keys = append(keys, key(en, at))
			}
			return parallel(
				func() error { return s.batchWrite(ctx, table, nil, keys) },
				func() error {
					return s.count(ctx, table, tenant, "scores"+kind[:1], day(placeTime(at), s.kept(kind)), id, mastra.NewID(), -1)
				},
			)
		})
	}
	return parallel(calls...)
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
		if it != nil && !s.expired(it) {
			out = append(out, it)
		}
	}
	return out, nil
}
