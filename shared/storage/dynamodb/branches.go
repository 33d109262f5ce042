package dynamodb

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// longest is how long before a span its trace may have begun and still be looked through for it.
const longest = 24 * 60 * 60 * 1000

// spansOfTypes looks through the spans of a range of time.
func (s *Store) spansOfTypes(ctx context.Context, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	outlined := mastra.SpanQuery{To: q.To}
	if q.From != 0 {
		outlined.From = q.From - longest
	}
	var all []mastra.Span
	seen, again := map[mastra.SpanRef]bool{}, map[string]bool{}
	err := s.Outlines(ctx, outlined, func(spans []mastra.Span) bool {
		for i := range spans {
			sp := &spans[i]
			ref := mastra.SpanRef{TraceID: sp.TraceID, SpanID: sp.SpanID}
			if !slices.Contains(q.Types, sp.Type) {
				continue
			}
			if again[sp.TraceID] = again[sp.TraceID] || seen[ref]; !seen[ref] {
				seen[ref] = true
				all = append(all, *sp)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	traces := map[string][]mastra.Span{}
	current := func(sp mastra.Span) (*mastra.Span, error) {
		if traces[sp.TraceID] == nil {
			if traces[sp.TraceID], err = s.Trace(ctx, sp.TraceID); err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
				return nil, err
			}
		}
		at := slices.IndexFunc(traces[sp.TraceID], func(c mastra.Span) bool { return c.SpanID == sp.SpanID })
		if at < 0 {
			return nil, nil
		}
		return &traces[sp.TraceID][at], nil
	}
	var found []mastra.Span
	for _, sp := range all {
		if again[sp.TraceID] { // which of its commits is the last one, only the trace says
			last, err := current(sp)
			if err != nil {
				return nil, err
			}
			if last == nil {
				continue
			}
			sp = *last
		}
		if fits(&sp, q) && (q.From == 0 || sp.StartedAt >= q.From) && (q.To == 0 || sp.StartedAt <= q.To) && (q.Match == nil || q.Match(&sp)) {
			found = append(found, sp)
		}
	}
	sortItems(found, !q.Ascending, func(sp *mastra.Span) string {
		if q.OrderByEnd {
			return placed(sp.EndedAt, sp.TraceID+sp.SpanID)
		}
		return placed(sp.StartedAt, sp.TraceID+sp.SpanID)
	})
	offset, n := window(q.Paging, len(found))
	p := &mastra.Page[mastra.Span]{Items: make([]mastra.Span, 0, n), Total: len(found), HasMore: n > 0 && offset+n < len(found)}
	for _, f := range found[offset : offset+n] {
		whole, err := current(f)
		if err != nil {
			return nil, err
		}
		if whole != nil {
			p.Items = append(p.Items, *whole)
		}
	}
	return p, nil
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
