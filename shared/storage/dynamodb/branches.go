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
	var found []mastra.Span
	seen := map[mastra.SpanRef]bool{}
	err := s.Outlines(ctx, outlined, func(spans []mastra.Span) bool {
		for i := range spans {
			sp := &spans[i]
			ref := mastra.SpanRef{TraceID: sp.TraceID, SpanID: sp.SpanID}
			if !slices.Contains(q.Types, sp.Type) || seen[ref] {
				continue
			}
			seen[ref] = true
			if fits(sp, q) && (q.From == 0 || sp.StartedAt >= q.From) && (q.To == 0 || sp.StartedAt <= q.To) && (q.Match == nil || q.Match(sp)) {
				found = append(found, *sp)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	sortItems(found, !q.Ascending, func(sp *mastra.Span) string {
		if q.OrderByEnd {
			return placed(sp.EndedAt, sp.TraceID+sp.SpanID)
		}
		return placed(sp.StartedAt, sp.TraceID+sp.SpanID)
	})
	offset, n := window(q.Paging, len(found))
	p := &mastra.Page[mastra.Span]{Items: make([]mastra.Span, 0, n), Total: len(found), HasMore: n > 0 && offset+n < len(found)}
	traces := map[string][]mastra.Span{}
	for _, f := range found[offset : offset+n] {
		if traces[f.TraceID] == nil {
			if traces[f.TraceID], err = s.Trace(ctx, f.TraceID); err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
				return nil, err
			}
		}
		if at := slices.IndexFunc(traces[f.TraceID], func(sp mastra.Span) bool { return sp.SpanID == f.SpanID }); at >= 0 {
			p.Items = append(p.Items, traces[f.TraceID][at])
		}
	}
	return p, nil
}

// failedBelow are the traces since a time that have a failed span below their root.
func (s *Store) failedBelow(ctx context.Context, since mastra.Time) (map[string]bool, error) {
	failed := map[string]bool{}
	err := s.Outlines(ctx, mastra.SpanQuery{From: since}, func(spans []mastra.Span) bool {
		for i := range spans {
			if !spans[i].Root() && len(spans[i].Error) > 0 {
				failed[spans[i].TraceID] = true
			}
		}
		return true
	})
	return failed, err
}
