package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// The item of a trace's summary holds its root as lists show it (sum) and all spans that were committed with it: one item
// for the usual trace.
const maxSummary = 700 // bytes of sum: with its keys an index entry costs one unit

// maxSpans is how many bytes of spans an item takes in; more stand beside it.
const maxSpans = 32 << 10

// traceWrite is what one batch adds to one trace.
type traceWrite struct {
	id, pk string
	root   *mastra.Span // nil where the batch has none
	spans  []mastra.Span
	n      int64 // order among the writes to the trace

	sum, packed []byte // encoded
}

func tracePK(tenant, id string) string { return partition(tenant, "X", id) }

// addSpans groups spans by trace. Of two of one id the last one stays.
func (c *commit) addSpans(spans []mastra.Span) error {
	seen := make(map[mastra.SpanRef]bool, len(spans))
	for i := range slices.Backward(spans) {
		s := &spans[i]
		if err := checkID("trace", s.TraceID); err != nil {
			return err
		}
		if err := checkID("span", s.SpanID); err != nil {
			return err
		}
		ref := mastra.SpanRef{TraceID: s.TraceID, SpanID: s.SpanID}
		if seen[ref] {
			continue
		}
		seen[ref] = true
		at := slices.IndexFunc(c.traces, func(t traceWrite) bool { return t.id == s.TraceID })
		if at < 0 {
			at = len(c.traces)
			c.traces = append(c.traces, traceWrite{id: s.TraceID, pk: tracePK(c.tenant, s.TraceID), n: c.s.seq.next(1)})
		}
		t := &c.traces[at]
		t.spans = append(t.spans, *s)
		if s.Root() && t.root == nil {
			t.root = s
		}
	}
	for i := range c.traces {
		if err := c.traces[i].encode(); err != nil {
			return err
		}
	}
	return nil
}

func (t *traceWrite) encode() error {
	slices.Reverse(t.spans)
	slices.SortStableFunc(t.spans, func(a, b mastra.Span) int { return cmp.Compare(a.StartedAt, b.StartedAt) })
	data, err := mastra.AppendSpans(make([]byte, 0, 1024*len(t.spans)), t.spans)
	if err != nil {
		return err
	}
	if t.root == nil {
		t.packed = packShort(data)
		return nil
	}
	sum, err := t.root.AppendJSON(nil)
	if err != nil {
		return err
	}
	if t.sum = packShort(sum); len(t.sum) <= maxSummary {
		t.packed = packBehind(sum, data)
		return nil
	}
	// What filters look at stays, the whole root is among the spans.
	shown := *t.root
	shown.Input, shown.Output, shown.Attributes, shown.Metadata, shown.Context = nil, nil, nil, nil, nil
	if shown.Error != nil {
		shown.Error = mastra.JSON(`{}`)
	}
	if sum, err = shown.AppendJSON(nil); err != nil {
		return err
	}
	t.sum, t.packed = packShort(sum), packBehind(sum, data)
	t.sum[0] |= brief
	return nil
}

// writeTrace writes what a batch adds to a trace. The usual trace is one put of an item nobody made before.
func (c *commit) writeTrace(ctx context.Context, t *traceWrite) (undo, error) {
	table := c.s.tables.Observability
	it := key(t.pk, packedSpans+fmt.Sprintf("%016x", t.n))
	var before []large
	it["n"], it["tok"], it["spans"] = number(t.n), text(c.token), c.s.packed(t.packed, maxSpans, table, t.pk, &before)
	started := t.spans[0].StartedAt
	expire(it, started, c.s.keep.Traces)
	for _, l := range before {
		for _, piece := range l.items {
			expire(piece, started, c.s.keep.Traces)
		}
	}
	back, err := c.writePieces(ctx, before)
	if err != nil {
		return back, err
	}
	if t.root == nil {
		it[attrPK1], it[attrSK1] = text(sharded(c.tenant, "P", shardOf(t.id))), text(placed(t.spans[0].StartedAt, t.id)+skOf(it))
		undone, err := c.side(ctx, put(table, it, "", nil))
		return both(back, undone), err
	}
	r := t.root
	place := text(moment(r.StartedAt))                                           // among equals the order is that of the partitions
	if it[attrSK], it[attrSum] = text(summaryKey), blob(t.sum); isBrief(t.sum) { // its root is looked up among the spans
		it["span"] = text(r.SpanID)
	}
	it[attrPK1], it[attrSK1] = text(sharded(c.tenant, "L", shardOf(t.id))), place
	it[attrPK2], it[attrSK2] = text(sharded(c.tenant, "E#"+part(r.EntityType)+"#"+part(r.EntityID), shardOf(t.id))), place
	var made, counted undo
	var replaced bool
	count := c.count(table, "traces", day(r.StartedAt, c.s.keep.Traces), t.id, 1)
	err = parallel(
		func() (err error) { made, replaced, err = c.putSummary(ctx, t, it); return err },
		func() (err error) { counted, err = count(ctx); return err },
	)
	if err == nil && replaced { // it was counted when its first root came
		err, counted = counted(ctx), nil
	}
	return both(back, both(made, counted)), err
}

// writePieces writes what does not fit into an item.
func (c *commit) writePieces(ctx context.Context, before []large) (undo, error) {
	var back undo
	for _, l := range before {
		var keys []item
		for _, it := range l.items {
			keys = append(keys, key(pkOf(it), skOf(it)))
		}
		back = both(back, func(ctx context.Context) error { return c.s.batchWrite(ctx, l.table, nil, keys) })
		if err := c.s.batchWrite(ctx, l.table, l.items, nil); err != nil {
			return back, err
		}
	}
	return back, nil
}

// both is two writes taken back; either may be nil.
func both(a, b undo) undo {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(ctx context.Context) error {
		return parallel(func() error { return a(ctx) }, func() error { return b(ctx) })
	}
}

// putSummary puts a trace's summary. Where there is one, its spans move into an item of their own first.
func (c *commit) putSummary(ctx context.Context, t *traceWrite, it item) (back undo, replaced bool, err error) {
	table := c.s.tables.Observability
	mine := item{":tok": text(c.token)}
	condition, values := "attribute_not_exists(#PK)", item{}
	var old item
	for range maxTries {
		found, err := c.s.write(ctx, put(table, it, condition, values), c.token)
		if err == nil {
			return func(ctx context.Context) error {
				o := remove(table, t.pk, summaryKey, "#tok = :tok", mine)
				if old != nil {
					o = put(table, old, "#tok = :tok", mine)
				}
				_, err := c.s.write(ctx, o, "")
				if errors.Is(err, errRefused) { // somebody wrote there since
					err = nil
				}
				return err
			}, old != nil, nil
		}
		if !errors.Is(err, errRefused) {
			return nil, false, err
		}
		if old = found; old == nil {
			condition, values = "attribute_not_exists(#PK)", item{}
			continue
		}
		moved := key(t.pk, packedSpans+fmt.Sprintf("%016x", numberOf(old["n"])))
		moved["n"], moved["spans"], moved["before"] = old["n"], old["spans"], old[attrSum]
		if old[TTLAttribute] != nil {
			moved[TTLAttribute] = old[TTLAttribute]
		}
		moved[attrPK1], moved[attrSK1] = text(sharded(c.tenant, "P", shardOf(t.id))), text(placed(placeTime(textOf(old[attrSK1])), skOf(moved)))
		if _, err := c.s.write(ctx, put(table, moved, "", nil), ""); err != nil {
			return nil, false, err
		}
		condition, values = "#n = :n", item{":n": old["n"]}
	}
	return nil, false, mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
}

func (s *Store) Trace(ctx context.Context, traceID string) ([]mastra.Span, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	none := mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
	if !keepable(traceID) {
		return nil, none
	}
	pk, table := tracePK(mastra.Tenant(ctx), traceID), s.tables.Observability
	items, err := s.query(ctx, query{table: table, pk: pk, consistent: true})
	if err != nil {
		return nil, err
	}
	spans, err := s.spansIn(ctx, items)
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		return nil, none
	}
	return mastra.OrderSpans(spans), nil
}

// spansIn are the spans in the items of a trace, in the order of their commits.
func (s *Store) spansIn(ctx context.Context, items []item) ([]mastra.Span, error) {
	parts := slices.DeleteFunc(slices.Clone(items), func(it item) bool { return it["spans"] == nil || s.expired(it) })
	slices.SortFunc(parts, func(a, b item) int { return cmp.Compare(numberOf(a["n"]), numberOf(b["n"])) })
	var spans []mastra.Span
	for _, it := range parts {
		read, err := s.spansOf(ctx, it, items)
		if err != nil {
			return nil, err
		}
		spans = append(spans, read...)
	}
	return spans, nil
}

func (s *Store) spansOf(ctx context.Context, it item, read []item) (spans []mastra.Span, err error) {
	packed, err := s.loadPacked(ctx, it["spans"], s.tables.Observability, pkOf(it), read)
	if err != nil {
		return nil, err
	}
	var sum []byte
	if before := cmp.Or(it[attrSum], it["before"]); before != nil { // what the spans were encoded behind
		if sum, err = unpack(blobOf(before)); err != nil {
			return nil, err
		}
	}
	data, err := unpackBehind(sum, packed)
	if err == nil {
		err = schema.Unmarshal(data, &spans)
	}
	return spans, err
}

// Traces come from the index by time, from that of an entity where type and id are given, or from the thread that is given.
func (s *Store) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if q.Types != nil {
		return s.spansOfTypes(ctx, &q)
	}
	if q.ChildError != nil {
		failed, err := s.failedBelow(ctx, q.From)
		if err != nil {
			return nil, err
		}
		want, also := *q.ChildError, q.Match
		q.Match = func(r *mastra.Span) bool { return failed[r.TraceID] == want && (also == nil || also(r)) }
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	l := list{table: table, index: index1, pks: allShards(tenant, "L"), since: s.since(s.keep.Traces), descending: !q.Ascending, Paging: q.Paging}
	l.between(q.From, q.To)
	l.total = func(ctx context.Context) (int, error) {
		n, _, err := s.total(ctx, table, tenant, "traces", nil)
		return n, err
	}
	if !narrows(&q) && !q.OrderByEnd {
		if q.Uncounted {
			return s.uncounted(ctx, l)
		}
		return readPage(ctx, s, l, s.loadRoots)
	}
	if q.EntityType != "" && q.EntityID != "" {
		l.index, l.pks = index2, allShards(tenant, "E#"+part(q.EntityType)+"#"+part(q.EntityID))
	}
	return s.filteredTraces(ctx, l, &q)
}

// uncounted reads a page without its total: a range of time need not be counted for it.
func (s *Store) uncounted(ctx context.Context, l list) (*mastra.Page[mastra.Span], error) {
	if l.PerPage <= 0 || l.Page < 0 || (l.Page+1)*l.PerPage > maxSkipped {
		return nil, errTooMany()
	}
	first := l.Page * l.PerPage
	entries, err := s.entries(ctx, &l, l.descending, first+l.PerPage+1)
	if err != nil {
		return nil, err
	}
	end := min(len(entries), first+l.PerPage)
	return loadPage(ctx, entries[min(first, end):end], len(entries), len(entries) > end, s.loadRoots)
}

// filteredTraces looks through the summaries.
func (s *Store) filteredTraces(ctx context.Context, l list, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	type found struct {
		entry
		ended mastra.Time
	}
	var kept []found
	enough := max(0, (q.Page+1)*q.PerPage)
	consider := func(e entry) error {
		var root mastra.Span
		data, err := unpack(blobOf(e.sum))
		if err != nil {
			return err
		}
		if err := schema.Unmarshal(data, &root); err != nil {
			return err
		}
		if !fits(&root, q) {
			return nil
		}
		if q.Match != nil {
			if q.Whole && isBrief(blobOf(e.sum)) {
				whole, err := s.loadRoots(ctx, []entry{e})
				if err != nil {
					return err
				}
				if len(whole) == 0 {
					return nil
				}
				root = whole[0]
			}
			if !q.Match(&root) {
				return nil
			}
		}
		kept = append(kept, found{e, root.EndedAt})
		return nil
	}
	// A page whose total nobody asks for ends with what fills it.
	parts := []int{maxKeys + 1}
	if q.Uncounted && !q.OrderByEnd {
		parts = []int{min(enough+1, maxKeys), min(4*(enough+1), maxKeys), maxKeys + 1}
	}
	var ofThread []entry
	known := false
	if q.ThreadID != "" && keepable(q.ThreadID) {
		var err error
		if ofThread, known, err = s.tracesOfThread(ctx, &l, q.ThreadID); err != nil {
			return nil, err
		}
		for _, e := range ofThread {
			if err := consider(e); err != nil {
				return nil, err
			}
		}
	}
	if known {
		parts = nil
	}
	seen := 0
	for _, n := range parts {
		entries, err := s.entries(ctx, &l, l.descending, n)
		if err != nil {
			return nil, err
		}
		all := len(entries) < n
		if entries = entries[min(seen, len(entries)):min(len(entries), maxKeys)]; l.index == index2 { // which has the keys alone
			seen += len(entries)
			if entries, err = s.withSummaries(ctx, entries); err != nil {
				return nil, err
			}
		} else {
			seen += len(entries)
		}
		for _, e := range entries {
			if err := consider(e); err != nil {
				return nil, err
			}
		}
		if all || q.Uncounted && !q.OrderByEnd && len(kept) > enough {
			break
		}
		if seen >= maxKeys {
			return nil, errTooMany()
		}
	}
	if q.OrderByEnd {
		sortItems(kept, !q.Ascending, func(f *found) string { return placed(f.ended, f.pk) })
	}
	offset, n := window(q.Paging, len(kept))
	page := make([]entry, 0, n)
	for _, f := range kept[offset : offset+n] {
		page = append(page, f.entry)
	}
	return loadPage(ctx, page, len(kept), n > 0 && offset+n < len(kept), s.loadRoots)
}

// withSummaries fills in what an index of keys alone lacks.
func (s *Store) withSummaries(ctx context.Context, entries []entry) ([]entry, error) {
	places := make([]place, len(entries))
	for i, e := range entries {
		places[i] = place{e.pk, e.sk}
	}
	items, err := s.batchGet(ctx, s.tables.Observability, places, false)
	if err != nil {
		return nil, err
	}
	filled := entries[:0]
	for i, e := range entries {
		if it := items[places[i]]; it != nil {
			e.sum = it[attrSum]
			filled = append(filled, e)
		}
	}
	return filled, nil
}

// narrows says whether a query asks for anything but a range of time.
func narrows(q *mastra.TraceQuery) bool {
	return q.Match != nil || len(q.Tags) > 0 || q.EntityType+q.EntityID+q.EntityName+q.SpanType+q.Name+q.Status+q.RunID+q.ThreadID+q.ResourceID != ""
}

func fits(r *mastra.Span, q *mastra.TraceQuery) bool {
	for _, f := range [...][2]string{{q.EntityType, r.EntityType}, {q.EntityID, r.EntityID}, {q.EntityName, r.EntityName}, {q.SpanType, r.Type}, {q.Name, r.Name},
		{q.Status, r.Status()}, {q.RunID, r.RunID}, {q.ThreadID, r.ThreadID}, {q.ResourceID, r.ResourceID}} {
		if f[0] != "" && f[0] != f[1] {
			return false
		}
	}
	return !slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) })
}

// loadRoots reads the roots of traces: those that the index has whole need no more.
func (s *Store) loadRoots(ctx context.Context, entries []entry) ([]mastra.Span, error) {
	table := s.tables.Observability
	var places []place
	for _, e := range entries {
		if isBrief(blobOf(e.sum)) {
			places = append(places, place{e.pk, e.sk})
		}
	}
	items, err := s.batchGet(ctx, table, places, true)
	if err != nil {
		return nil, err
	}
	roots := make([]mastra.Span, 0, len(entries))
	for _, e := range entries {
		if sum := blobOf(e.sum); !isBrief(sum) {
			data, err := unpack(sum)
			if err != nil {
				return nil, err
			}
			roots = append(roots, mastra.Span{})
			if err := schema.Unmarshal(data, &roots[len(roots)-1]); err != nil {
				return nil, err
			}
			continue
		}
		it := items[place{e.pk, e.sk}]
		if it == nil {
			continue
		}
		spans, err := s.spansOf(ctx, it, nil)
		if err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(spans, func(r mastra.Span) bool { return r.SpanID == textOf(it["span"]) }); at >= 0 {
			roots = append(roots, spans[at])
		}
	}
	return roots, nil
}

// isBrief says that a summary's root is not whole.
func isBrief(sum []byte) bool { return len(sum) > 0 && sum[0]&brief != 0 }
