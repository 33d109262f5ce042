package dynamodb

import (
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// source is where the traces that a query asks for are among.
type source struct {
	lists []*list // looked through together, in order
	found []entry // more, in the same order
	// exact says that the one list has what is asked for and nothing else: it is counted by its keys, and only a page is read.
	exact bool
	// total, where not nil, knows how many there are without looking at each.
	total func(context.Context) (int, error)
}

// Traces come from the narrowest list there is.
func (s *Store) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if q.Types != nil {
		return s.spansOfTypes(ctx, &q)
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	l := list{table: table, index: index1, pks: allShards(tenant, "L"), since: s.since(s.keep.Traces), descending: !q.Ascending, most: maxCounted, Paging: q.Paging}
	l.between(q.From, q.To)
	l.total = func(ctx context.Context) (int, error) {
		n, _, err := s.total(ctx, table, tenant, "traces", nil)
		return n, err
	}
	if !narrows(&q) && !q.OrderByEnd {
		return s.allTraces(ctx, l, &q)
	}
	if !mayMissFormer(&q) {
		return s.findTraces(ctx, &l, &q, 0)
	}
	// Most have nothing that a former version wrote: that is found out meanwhile.
	var p *mastra.Page[mastra.Span]
	var until mastra.Time
	var errFound error
	first := q
	err := parallel(
		func() (err error) { until, err = s.former(ctx, tenant); return err },
		func() error { p, errFound = s.findTraces(ctx, &l, &first, 0); return nil })
	if err == nil && until > q.From && moment(until) > l.since {
		return s.findTraces(ctx, &l, &q, until)
	}
	if err == nil {
		err = errFound
	}
	return p, err
}

// allTraces reads a page of all that there are, or of a range of time.
func (s *Store) allTraces(ctx context.Context, l list, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	switch {
	case q.Uncounted:
		return s.uncounted(ctx, l, s.loadRoots)
	case q.From != 0 || q.To != 0:
		return countedPage(ctx, s, l, s.loadRoots)
	}
	return readPage(ctx, s, l, s.loadRoots)
}

// mayMissFormer says whether a query is answered by what former versions did not write.
func mayMissFormer(q *mastra.TraceQuery) bool {
	rest := *q
	if rest.Match = nil; rest.EntityType != "" && rest.EntityID != "" {
		rest.EntityType, rest.EntityID = "", ""
	}
	return narrows(&rest)
}

// findTraces answers a query that narrows. former is until when traces began that a former version wrote.
func (s *Store) findTraces(ctx context.Context, byTime *list, q *mastra.TraceQuery, former mastra.Time) (*mastra.Page[mastra.Span], error) {
	from, err := s.byFailure(ctx, byTime, q, former)
	if err != nil {
		return nil, err
	}
	if from == nil {
		if from, err = s.narrowest(ctx, byTime, q, former); err != nil {
			return nil, err
		}
	}
	if from.exact && !q.OrderByEnd && from.lists[0] == byTime {
		return s.allTraces(ctx, *byTime, q)
	}
	if from.exact && !q.OrderByEnd {
		l := *from.lists[0]
		load := func(ctx context.Context, entries []entry) ([]mastra.Span, error) {
			return s.loadFitting(ctx, entries, q)
		}
		if q.Uncounted {
			return s.uncounted(ctx, l, load)
		}
		return countedPage(ctx, s, l, load)
	}
	return s.filteredTraces(ctx, from, q)
}

// uncounted reads a page without its total: a range of time need not be counted for it.
func (s *Store) uncounted(ctx context.Context, l list, load func(context.Context, []entry) ([]mastra.Span, error)) (*mastra.Page[mastra.Span], error) {
	if l.PerPage <= 0 || l.Page < 0 || (l.Page+1)*l.PerPage > maxSkipped {
		return nil, errTooMany()
	}
	first := l.Page * l.PerPage
	entries, err := s.entries(ctx, &l, l.descending, first+l.PerPage+1)
	if err != nil {
		return nil, err
	}
	end := min(len(entries), first+l.PerPage)
	return loadPage(ctx, entries[min(first, end):end], len(entries), len(entries) > end, load)
}

// filteredTraces looks at the summaries of what a source has.
func (s *Store) filteredTraces(ctx context.Context, from *source, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	type found struct {
		entry
		ended mastra.Time
	}
	var kept []found
	consider := func(e entry) error {
		root, err := rootOf(e.sum)
		if err != nil || !q.Fits(root) {
			return err
		}
		if q.Match != nil {
			if q.Whole && isBrief(blobOf(e.sum)) {
				whole, err := s.loadRoots(ctx, []entry{e})
				if err != nil || len(whole) == 0 {
					return err
				}
				root = &whole[0]
			}
			if !q.Match(root) {
				return nil
			}
		}
		kept = append(kept, found{e, root.EndedAt})
		return nil
	}
	// A page whose total nobody has to count ends with what fills it.
	enough, few := max(0, (q.Page+1)*q.PerPage), (q.Uncounted || from.total != nil) && !q.OrderByEnd
	w := s.walk(!q.Ascending, from.lists...)
	w.parts = append(w.parts, walkPart{left: from.found, done: true})
	n := maxKeys + 1
	if few {
		n = min(enough+1, n)
	}
	seen := map[string]bool{}
	var total int
	look := func() error {
		for {
			w.batch = n
			part, err := w.take(ctx, min(n, maxKeys+1-len(seen)))
			if err != nil {
				return err
			}
			last := len(part) < min(n, maxKeys+1-len(seen))
			part = slices.DeleteFunc(part, func(e entry) bool {
				again := seen[e.pk]
				seen[e.pk] = true
				return again
			})
			if len(seen) > maxKeys {
				return errTooMany()
			}
			if part, err = s.withSummaries(ctx, part); err != nil {
				return err
			}
			for _, e := range part {
				if err := consider(e); err != nil {
					return err
				}
			}
			if last || few && len(kept) > enough {
				return nil
			}
			n = min(4*n, maxKeys+1)
		}
	}
	err := parallel(look, func() (err error) {
		if from.total != nil && !q.Uncounted {
			total, err = from.total(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if q.OrderByEnd {
		sortItems(kept, !q.Ascending, func(f *found) string { return placed(f.ended, f.pk) })
	}
	total = max(total, len(kept))
	offset, size := window(q.Paging, len(kept))
	page := make([]entry, 0, size)
	for _, f := range kept[offset : offset+size] {
		page = append(page, f.entry)
	}
	return loadPage(ctx, page, total, size > 0 && offset+size < total, s.loadRoots)
}

// withSummaries fills in what lists of keys alone lack, and leaves out what has none or, of a thin item, another one.
func (s *Store) withSummaries(ctx context.Context, entries []entry) ([]entry, error) {
	var places []place
	for _, e := range entries {
		if e.sum == nil {
			places = append(places, place{e.pk, e.sk})
		}
	}
	items, err := s.batchGet(ctx, s.tables.Observability, places, false)
	if err != nil {
		return nil, err
	}
	filled, stale := make([]entry, 0, len(entries)), []entry(nil)
	for _, e := range entries {
		if e.sum == nil {
			it := items[place{e.pk, e.sk}]
			if e.sparse {
				ok, err := e.bears(it)
				if err != nil {
					return nil, err
				}
				if !ok {
					stale = append(stale, e)
					continue
				}
			}
			if it == nil {
				continue
			}
			e.sum = it[attrSum]
		}
		filled = append(filled, e)
	}
	s.discard(ctx, stale)
	return filled, nil
}

// narrows says whether a query asks for anything but a range of time.
func narrows(q *mastra.TraceQuery) bool {
	return q.Match != nil || q.ChildError != nil || len(q.Tags) > 0 || q.EntityType+q.EntityID+q.EntityName+q.SpanType+q.Name+q.Status+q.RunID+q.ThreadID+q.ResourceID != ""
}

// loadFitting reads the roots of traces as far as they still are what is asked for.
func (s *Store) loadFitting(ctx context.Context, entries []entry, q *mastra.TraceQuery) ([]mastra.Span, error) {
	entries, err := s.withSummaries(ctx, entries)
	if err != nil {
		return nil, err
	}
	roots, err := s.loadRoots(ctx, entries)
	return slices.DeleteFunc(roots, func(r mastra.Span) bool { return !q.Fits(&r) }), err
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
