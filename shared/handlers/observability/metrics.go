package observability

import (
	"cmp"
	"context"
	"slices"

	"mastralambda/shared/mastra"
)

// lead is how long before its end a span may have started and still be found by a range of time.
const lead = 15 * 60 * 1000

// eachMetric calls yield with the metrics of some names (all where there are none) that match, those of the last spans first,
// until it says false. Where it names traces, only they are read. A span that was committed again, as that of a run that waited is, is measured as it was in the end.
func eachMetric(ctx context.Context, m *mastra.Mastra, names []string, match *matcher, yield func(*mastra.MetricPoint) bool) error {
	q := mastra.SpanQuery{TraceIDs: match.traces()}
	type key struct{ trace, metric string }
	seen := map[key]bool{}
	from, to := match.inclusive()
	if q.To = to; from != 0 {
		q.From = from - lead
	}
	measure := func(spans []mastra.Span) bool {
		points := mastra.MetricsOf(spans, names, m.Tracing.ServiceName, m.Tracing.Environment)
		for i := range points {
			p := &points[i]
			k := key{p.TraceID, p.ID}
			if seen[k] {
				continue
			}
			seen[k] = true
			if match.match(p) && !yield(p) {
				return false
			}
		}
		return true
	}
	if q.TraceIDs == nil {
		return m.Storage.Outlines(ctx, q, measure)
	}
	e := newEvidence(m) // of a trace as a whole, what was committed last stands behind
	if err := m.Storage.Outlines(ctx, q, e.add); err != nil {
		return err
	}
	for _, id := range q.TraceIDs {
		spans := e.spans[id]
		at := make(map[string]int, len(spans))
		for i := range spans {
			at[spans[i].SpanID] = i
		}
		last := make([]mastra.Span, 0, len(at))
		for i := range spans {
			if at[spans[i].SpanID] == i {
				last = append(last, spans[i])
			}
		}
		if !measure(last) {
			return nil
		}
	}
	return nil
}

// MetricsInput asks for a page of metrics.
type MetricsInput struct {
	Filters
	Listing
}

// MetricPage is a page of metrics.
type MetricPage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Metrics     []Record    `json:"metrics"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// Metrics lists metrics, newest first. Where there are too many to look through, and nothing narrows them down, the total
// counts those that were looked at.
func Metrics(ctx context.Context, m *mastra.Mastra, in MetricsInput) (MetricPage, error) {
	if err := in.check(); err != nil {
		return MetricPage{}, err
	}
	after, until, first, err := in.since(m)
	if err != nil {
		return MetricPage{}, err
	}
	match := in.matcher(ctx)
	delta := in.Mode == "delta"
	if delta {
		match.Start, match.StartExclusive, match.End, match.EndExclusive = after, true, until, false
	}
	paging := in.paging()
	ascending := in.Direction == "ASC"
	// The spans come by the time they started, metrics are of the time they ended: what is shown is picked out of some more.
	keep := (paging.Page+1)*paging.PerPage + 2000
	order := func(a, b mastra.MetricPoint) int {
		c := cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
		if ascending {
			return -c
		}
		return c
	}
	var found []mastra.MetricPoint
	total := 0
	if !delta || !first {
		err = eachMetric(ctx, m, in.Name, match, func(p *mastra.MetricPoint) bool {
			total++
			if found = append(found, *p); len(found) >= 2*keep && !delta {
				slices.SortFunc(found, order)
				found = found[:keep]
			}
			return true
		})
	}
	partly := err != nil && tooMany(err) && !match.narrows() && !delta
	if err != nil && !partly {
		return MetricPage{}, err
	}
	out := MetricPage{DeltaCursor: cursorAt(m)}
	if delta {
		found, out.Delta, out.DeltaCursor = step(&in.Listing, found, until, func(p *mastra.MetricPoint) mastra.Time { return p.CreatedAt })
	} else {
		slices.SortFunc(found, order)
		offset := min(len(found), paging.Page*paging.PerPage)
		end := min(len(found), offset+paging.PerPage)
		out.Pagination = &Pagination{total, paging.Page, paging.PerPage, partly || end < total}
		found = found[offset:end]
	}
	out.Metrics, err = records(found, showMetric)
	return out, err
}
