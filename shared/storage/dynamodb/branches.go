package dynamodb

import (
	"context"
	"slices"

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
