package dynamodb

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// longest is how long before a span its trace may have begun and still be looked through for it.
const longest = 24 * 60 * 60 * 1000

// branchCount is the attribute of an item with spans, and of the counter, for how many of them are branches.
const branchCount = "b"

func branchesIn(spans []mastra.Span) (n int64) {
	for i := range spans {
		if slices.Contains(mastra.BranchTypes, spans[i].Type) {
			n++
		}
	}
	return n
}

// branchTotal is how many branches were counted; ok is false where a former version wrote some without counting.
func (s *Store) branchTotal(ctx context.Context) (total int, ok bool, err error) {
	items, err := s.query(ctx, query{table: s.tables.Observability, pk: counters(mastra.Tenant(ctx), "traces")})
	ok = true
	for _, it := range items {
		if !s.expired(it) {
			total += int(numberOf(it[branchCount]))
			ok = ok && numberOf(it["n"]) <= numberOf(it[filedAs])
		}
	}
	return max(0, total), ok, err
}

// spansOfTypes finds spans wherever they stand. A page that nothing but its types narrow is read from the nearer end of time until it
// is full; what else is asked for is looked for among the spans of the thread or the range of time.
func (s *Store) spansOfTypes(ctx context.Context, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	rest := *q
	rest.ChildError = nil
	plain := !narrows(&rest)
	if q.ThreadID != "" && keepable(q.ThreadID) {
		if until, err := s.former(ctx, mastra.Tenant(ctx)); err != nil {
			return nil, err
		} else if traces, ok, err := s.tracesNamed(ctx, threadPK(mastra.Tenant(ctx), q.ThreadID)); err != nil {
			return nil, err
		} else if ok && until == 0 {
			ids := make([]string, len(traces))
			for i, pk := range traces {
				ids[i] = strings.TrimPrefix(pk, tracePK(mastra.Tenant(ctx), ""))
			}
			return s.allSpansOfTypes(ctx, q, mastra.SpanQuery{TraceIDs: ids})
		}
	}
	if id := mastra.TraceOfRun(q.RunID); id != "" { // where the run began a trace, it is in no other but those that say so
		byTime := list{since: s.since(s.keep.Traces)}
		from, known, err := s.ofRun(ctx, &byTime, q.RunID)
		if err != nil {
			return nil, err
		}
		if known {
			again, err := s.entries(ctx, from.lists[0], false, maxKeys)
			if err != nil {
				return nil, err
			}
			ids := []string{}
			for _, e := range append(from.found, again...) {
				ids = append(ids, strings.TrimPrefix(e.pk, tracePK(mastra.Tenant(ctx), "")))
			}
			return s.allSpansOfTypes(ctx, q, mastra.SpanQuery{TraceIDs: distinct(ids)})
		}
	}
	if plain && !q.OrderByEnd && q.From == 0 && q.To == 0 && slices.Equal(q.Types, mastra.BranchTypes) {
		if p, err := s.firstSpansOfTypes(ctx, q); p != nil || err != nil {
			return p, err
		}
	}
	outlined := mastra.SpanQuery{To: q.To}
	if q.From != 0 {
		outlined.From = q.From - longest
	}
	return s.allSpansOfTypes(ctx, q, outlined)
}

// late is how many milliseconds behind the first span of its commit a branch may begin and still stand in its exact place in a page
// that was not read to the end, and lookAhead among how many commits of earlier beginning it is looked for.
const late, lookAhead = 60_000, 50

// firstSpansOfTypes reads commits until a page of all branches is full. It is nil where only all of them could tell the total.
func (s *Store) firstSpansOfTypes(ctx context.Context, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	type found struct {
		mastra.Span
		commit int // in the order they are read
	}
	before := func(a, b found) int { // the next one stands last
		c := cmp.Or(cmp.Compare(a.StartedAt, b.StartedAt), strings.Compare(a.TraceID+a.SpanID, b.TraceID+b.SpanID))
		if q.Ascending {
			return -c
		}
		return c
	}
	enough := max(0, (q.Page+1)*q.PerPage)
	var waiting, out []found
	seen := map[mastra.SpanRef]bool{}
	commits, ended := 0, true
	err := s.outlinesOfRange(ctx, mastra.SpanQuery{Ascending: q.Ascending}, pace{lookAhead, min(enough+1, outlinesMore) + lookAhead, 2 * lookAhead}, func(spans []mastra.Span) bool {
		commits++
		for _, sp := range spans {
			ref := mastra.SpanRef{TraceID: sp.TraceID, SpanID: sp.SpanID}
			if seen[ref] || !slices.Contains(q.Types, sp.Type) {
				continue
			}
			seen[ref] = true
			f := found{sp, commits}
			at, _ := slices.BinarySearchFunc(waiting, f, before)
			waiting = slices.Insert(waiting, at, f)
		}
		for n := len(waiting); n > 0; n-- {
			next, front := waiting[n-1], spans[0].StartedAt
			if q.Ascending && next.StartedAt >= front || !q.Ascending && next.StartedAt <= front+late && next.commit > commits-lookAhead {
				break
			}
			out, waiting = append(out, next), waiting[:n-1]
		}
		ended = len(out) <= enough
		return ended
	})
	if err != nil {
		return nil, err
	}
	if ended {
		slices.Reverse(waiting)
		out = append(out, waiting...)
	}
	offset, n := window(q.Paging, len(out))
	page := make([]mastra.Span, 0, n)
	for _, f := range out[offset : offset+n] {
		page = append(page, f.Span)
	}
	p := &mastra.Page[mastra.Span]{Total: len(out), HasMore: n > 0 && offset+n < len(out)}
	counted, known := 0, true
	err = parallel(
		func() (err error) { p.Items, err = s.lastCommitted(ctx, page); return err },
		func() (err error) {
			if !ended && !q.Uncounted {
				counted, known, err = s.branchTotal(ctx)
			}
			return err
		})
	if p.Total = max(p.Total, counted); !known {
		return nil, err
	}
	return p, err
}

// lastCommitted reads spans whole, as they were committed last; those that are no more are left out.
func (s *Store) lastCommitted(ctx context.Context, spans []mastra.Span) ([]mastra.Span, error) {
	traces := map[string][]mastra.Span{}
	var ids []string
	for i := range spans {
		if _, ok := traces[spans[i].TraceID]; !ok {
			traces[spans[i].TraceID] = nil
			ids = append(ids, spans[i].TraceID)
		}
	}
	for part := range slices.Chunk(ids, traceReads) {
		read := make([][]mastra.Span, len(part))
		calls := make([]func() error, len(part))
		for i, id := range part {
			calls[i] = func() (err error) {
				if read[i], err = s.Trace(ctx, id); mastra.CodeOf(err) == mastra.CodeNotFound {
					err = nil
				}
				return err
			}
		}
		if err := parallel(calls...); err != nil {
			return nil, err
		}
		for i, id := range part {
			traces[id] = read[i]
		}
	}
	out := make([]mastra.Span, 0, len(spans))
	for _, sp := range spans {
		if at := slices.IndexFunc(traces[sp.TraceID], func(c mastra.Span) bool { return c.SpanID == sp.SpanID }); at >= 0 {
			out = append(out, traces[sp.TraceID][at])
		}
	}
	return out, nil
}

// allSpansOfTypes looks through all spans there are.
func (s *Store) allSpansOfTypes(ctx context.Context, q *mastra.TraceQuery, outlined mastra.SpanQuery) (*mastra.Page[mastra.Span], error) {
	var all, again []mastra.Span
	seen, several := map[mastra.SpanRef]bool{}, map[string]bool{}
	err := s.Outlines(ctx, outlined, func(spans []mastra.Span) bool {
		for _, sp := range spans {
			ref := mastra.SpanRef{TraceID: sp.TraceID, SpanID: sp.SpanID}
			if !slices.Contains(q.Types, sp.Type) {
				continue
			}
			if several[sp.TraceID] = several[sp.TraceID] || seen[ref]; !seen[ref] {
				seen[ref] = true
				all = append(all, sp)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(sp mastra.Span) bool {
		if several[sp.TraceID] { // which of its commits is the last one, only the trace says
			again = append(again, sp)
		}
		return several[sp.TraceID]
	})
	if again, err = s.lastCommitted(ctx, again); err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(append(all, again...), func(sp mastra.Span) bool {
		return !q.Finds(&sp)
	})
	sortItems(found, !q.Ascending, func(sp *mastra.Span) string {
		if q.OrderByEnd {
			return placed(sp.EndedAt, sp.TraceID+sp.SpanID)
		}
		return placed(sp.StartedAt, sp.TraceID+sp.SpanID)
	})
	offset, n := window(q.Paging, len(found))
	p := &mastra.Page[mastra.Span]{Total: len(found), HasMore: n > 0 && offset+n < len(found)}
	p.Items, err = s.lastCommitted(ctx, found[offset:offset+n])
	return p, err
}

// byFailure is where the traces are that have a failed span below their root. Of those that have not, and of what a former version
// wrote, it only adds a condition to the query.
func (s *Store) byFailure(ctx context.Context, byTime *list, q *mastra.TraceQuery, former mastra.Time) (*source, error) {
	if q.ChildError == nil {
		return nil, nil
	}
	failed := map[string]bool{}
	want, also := *q.ChildError, q.Match
	narrower := *q
	narrower.ChildError = nil
	var found []entry
	var err error
	if former != 0 {
		failed, err = s.failedBelow(ctx, q.From)
	} else if found, err = s.failedIn(ctx, byTime, q); err == nil {
		if want {
			*q = narrower
			return &source{found: found}, nil
		}
		prefix := tracePK(mastra.Tenant(ctx), "")
		for _, e := range found {
			failed[strings.TrimPrefix(e.pk, prefix)] = true
		}
	}
	if err != nil {
		return nil, err
	}
	alone := !narrows(&narrower)
	narrower.Match = func(r *mastra.Span) bool { return failed[short(r.TraceID, maxID)] == want && (also == nil || also(r)) }
	*q = narrower
	if !alone || former != 0 {
		return nil, nil
	}
	return &source{lists: []*list{byTime}, total: func(ctx context.Context) (int, error) {
		n, err := s.ofRange(byTime)(ctx)
		return max(0, n-len(found)), err
	}}, nil
}

// failedIn are the traces of a range of time with a failed span below their root, in order.
func (s *Store) failedIn(ctx context.Context, byTime *list, q *mastra.TraceQuery) ([]entry, error) {
	l := sparseList(s.tables.Observability, mastra.Tenant(ctx), byFailure, byTime)
	if l.from, l.to = "", ""; q.From != 0 { // a span stands where its commit began, which may be away from its root
		l.from = moment(q.From - longest)
	}
	if q.To != 0 {
		l.to = moment(q.To+longest) + after
	}
	noted, err := s.entries(ctx, l, byTime.descending, maxKeys+1)
	if err != nil {
		return nil, err
	}
	if len(noted) > maxKeys {
		return nil, errTooMany()
	}
	several := map[string]bool{}
	var pks []string
	for _, e := range noted {
		if _, ok := several[e.pk]; !ok {
			pks = append(pks, e.pk)
		}
		several[e.pk] = several[e.pk] || e.item[severalKey] != nil
	}
	found, err := s.ofTraces(ctx, byTime, pks)
	if err != nil {
		return nil, err
	}
	fails := make([]bool, len(found))
	for from := 0; from < len(found); from += traceReads {
		var calls []func() error
		for i := from; i < min(from+traceReads, len(found)); i++ {
			if fails[i] = numberOf(found[i].item[filedAs])&filedFailing != 0; several[found[i].pk] {
				calls = append(calls, func() (err error) { fails[i], err = s.fails(ctx, found[i].pk); return err })
			}
		}
		if err := parallel(calls...); err != nil {
			return nil, err
		}
	}
	kept := found[:0]
	for i, e := range found {
		if fails[i] {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// fails says whether a trace has a failed span below its root, as it was committed last.
func (s *Store) fails(ctx context.Context, pk string) (bool, error) {
	items, err := s.query(ctx, query{table: s.tables.Observability, pk: pk, consistent: true})
	if err != nil {
		return false, err
	}
	spans, err := s.spansIn(ctx, items)
	return slices.ContainsFunc(mastra.OrderSpans(spans), func(sp mastra.Span) bool { return !sp.Root() && len(sp.Error) > 0 }), err
}

// failedBelow are the traces since a time that have a failed span below their root.
func (s *Store) failedBelow(ctx context.Context, since mastra.Time) (map[string]bool, error) {
	failed := map[string]bool{}
	again, seen := map[string]bool{}, map[mastra.SpanRef]bool{}
	err := s.Outlines(ctx, mastra.SpanQuery{From: since}, func(spans []mastra.Span) bool {
		for i := range spans {
			sp := &spans[i]
			if ref := (mastra.SpanRef{TraceID: sp.TraceID, SpanID: sp.SpanID}); seen[ref] {
				again[sp.TraceID] = true
			} else {
				seen[ref] = true
			}
			if !sp.Root() && len(sp.Error) > 0 {
				failed[sp.TraceID] = true
			}
		}
		return true
	})
	for id := range again { // a later commit may say otherwise
		if err != nil || !failed[id] {
			continue
		}
		var spans []mastra.Span
		if spans, err = s.Trace(ctx, id); mastra.CodeOf(err) == mastra.CodeNotFound {
			err = nil
		}
		failed[id] = slices.ContainsFunc(spans, func(sp mastra.Span) bool { return !sp.Root() && len(sp.Error) > 0 })
	}
	return failed, err
}
