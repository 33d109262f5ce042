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
	again  int64 // of its branches, those that an earlier write has

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
	from := started
	if t.root != nil {
		from = t.root.StartedAt
	}
	if err := c.s.changeHours(ctx, c.tenant, from); err != nil {
		return nil, err
	}
	back, err := c.writePieces(ctx, before)
	if err != nil {
		return back, err
	}
	branches := branchesIn(t.spans)
	if t.root == nil && branches > 0 {
		if err := c.lookAgain(ctx, t); err != nil {
			return back, err
		}
		branches -= t.again
	}
	if branches > 0 {
		it[branchCount] = number(branches)
	}
	if t.root == nil {
		it[attrPK1], it[attrSK1] = text(sharded(c.tenant, "P", shardOf(t.id))), text(placed(t.spans[0].StartedAt, t.id)+skOf(it))
		if t.failsBelow() {
			it[filedAs] = number(filedFailing)
		}
		var made, noted, counted undo
		err := parallel(
			func() (err error) { made, err = c.side(ctx, put(table, it, "", nil)); return err },
			func() (err error) { noted, err = c.failureBeside(ctx, t); return err },
			func() (err error) {
				if branches > 0 {
					counted, err = c.countTrace(ctx, day(started, c.s.keep.Traces), t.id, "", tally{branches: branches})
				}
				return err
			})
		return both(back, both(made, both(noted, counted))), err
	}
	r := t.root
	place := text(moment(r.StartedAt))                                           // among equals the order is that of the partitions
	if it[attrSK], it[attrSum] = text(summaryKey), blob(t.sum); isBrief(t.sum) { // its root is looked up among the spans
		it["span"] = text(r.SpanID)
	}
	it[attrPK1], it[attrSK1] = text(sharded(c.tenant, "L", shardOf(t.id))), place
	it[attrPK2], it[attrSK2] = text(sharded(c.tenant, ofEntity(r.EntityType, r.EntityID), shardOf(t.id))), place
	as := int64(filed)
	if c.apart(t) {
		as |= filedByResource
	}
	if t.failsBelow() {
		as |= filedFailing
	}
	it[filedAs] = number(as)
	var made, counted undo
	var old item
	on := day(r.StartedAt, c.s.keep.Traces)
	calls := []func() error{
		func() (err error) { made, old, err = c.putSummary(ctx, t, it); return err },
		func() (err error) { counted, err = c.countTrace(ctx, on, t.id, "", tally{1, 1, branches}); return err },
	}
	listed := sparseItems(c.tenant, t.id, r, as)
	undone := make([]undo, len(listed))
	for i, thin := range listed {
		calls = append(calls, func() (err error) { undone[i], err = c.putThin(ctx, thin, started); return err })
	}
	err = parallel(calls...)
	for _, u := range undone {
		back = both(back, u)
	}
	back = both(back, both(made, counted))
	if err == nil && old != nil { // it was counted when its first root came
		undone, err := c.replaced(ctx, t, old, listed, on)
		if back = both(back, undone); err == nil && (numberOf(old[filedAs])|as)&filedFailing != 0 {
			undone, err = c.putFailure(ctx, t, r.StartedAt)
			back = both(back, undone)
		}
		return back, err
	}
	return back, err
}

// replaced takes what an older summary stood in out of the lists and the number of traces.
func (c *commit) replaced(ctx context.Context, t *traceWrite, old item, listed []item, on string) (back undo, err error) {
	if back, err = c.countTrace(ctx, on, t.id, "/", tally{-1, -isFiled(old), -t.again}); err != nil {
		return back, err
	}
	was, err := sparseItemsOf(c.tenant, t.id, old)
	for _, thin := range was {
		if slices.ContainsFunc(listed, func(it item) bool { return pkOf(it) == pkOf(thin) && skOf(it) == skOf(thin) }) {
			continue
		}
		undone, errRemoved := c.side(ctx, remove(c.s.tables.Observability, pkOf(thin), skOf(thin), "#tok = :tok", item{":tok": old["tok"]}))
		if errRemoved != nil && !errors.Is(errRemoved, errRefused) { // it is another commit's by now
			return back, errRemoved
		}
		back = both(back, undone)
	}
	return back, err
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

// putSummary puts a trace's summary. Where there is one, the old one, its spans move into an item of their own first.
func (c *commit) putSummary(ctx context.Context, t *traceWrite, it item) (back undo, old item, err error) {
	table := c.s.tables.Observability
	mine := item{":tok": text(c.token)}
	condition, values := "attribute_not_exists(#PK)", item{}
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
			}, old, nil
		}
		if !errors.Is(err, errRefused) {
			return nil, nil, err
		}
		if old = found; old == nil {
			condition, values = "attribute_not_exists(#PK)", item{}
			continue
		}
		moved := key(t.pk, packedSpans+fmt.Sprintf("%016x", numberOf(old["n"])))
		moved["n"], moved["spans"], moved["before"] = old["n"], old["spans"], old[attrSum]
		if old[branchCount] != nil {
			moved[branchCount] = old[branchCount]
		}
		if old[TTLAttribute] != nil {
			moved[TTLAttribute] = old[TTLAttribute]
		}
		moved[attrPK1], moved[attrSK1] = text(sharded(c.tenant, "P", shardOf(t.id))), text(placed(placeTime(textOf(old[attrSK1])), skOf(moved)))
		if failing := numberOf(old[filedAs]) & filedFailing; failing != 0 {
			moved[filedAs], it[filedAs] = number(filedFailing), number(numberOf(it[filedAs])|failing)
		}
		if _, err := c.s.write(ctx, put(table, moved, "", nil), ""); err != nil {
			return nil, nil, err
		}
		if err := c.lookAgain(ctx, t); err != nil {
			return nil, nil, err
		}
		if it[branchCount] != nil {
			it[branchCount] = number(branchesIn(t.spans) - t.again)
		}
		condition, values = "#n = :n", item{":n": old["n"]}
	}
	return nil, nil, mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
}

// lookAgain counts the branches that an earlier write has, too: a run that waits is written again when it goes on.
func (c *commit) lookAgain(ctx context.Context, t *traceWrite) error {
	items, err := c.s.query(ctx, query{table: c.s.tables.Observability, pk: t.pk, consistent: true})
	if err != nil {
		return err
	}
	spans, err := c.s.spansIn(ctx, items)
	if err != nil {
		return err
	}
	before := map[string]bool{}
	for i := range spans {
		before[spans[i].SpanID] = true
	}
	t.again = branchesIn(slices.DeleteFunc(slices.Clone(t.spans), func(s mastra.Span) bool { return !before[s.SpanID] }))
	return nil
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
