package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"

	"mastralambda/shared/mastra"
)

// finder finds spans.
type finder struct {
	c      *conn
	tenant string
	mastra.TraceQuery
	from, to int64
	any      bool           // spans, not roots alone
	failed   map[int64]bool // where ChildError is asked for: the packs with roots of traces that have a failed span below
	having   map[int64]bool // where Having is: of those that have such a span

	bodies packReader
	reader packDecoder
	spans  []mastra.Span
	pack   int64 // whose first spans these are
	seen   int   // by Match
	most   int   // that it may see
	page   *mastra.Page[mastra.Span]
	full   bool // nothing but the total is wanted any more
}

func newFinder(c *conn, tenant string, q mastra.TraceQuery, from mastra.Time, p *mastra.Page[mastra.Span]) *finder {
	f := &finder{c: c, bodies: packReader{c: c}, tenant: tenant, TraceQuery: q, from: math.MinInt64, to: math.MaxInt64, most: maxMatched, page: p}
	if from != 0 {
		f.from = int64(from)
	}
	if q.To != 0 {
		f.to = int64(q.To)
	}
	return f
}

// textAsked is a text that spans are to have.
type textAsked struct {
	column int
	value  string
}

func (q *finder) asked() (texts []textAsked) {
	for _, t := range [...]textAsked{
		{columnEntityType, q.EntityType}, {columnEntityID, q.EntityID}, {columnEntityName, q.EntityName}, {columnType, q.SpanType}, {columnName, q.Name},
		{columnRun, q.RunID}, {columnThread, q.ThreadID}, {columnResource, q.ResourceID},
	} {
		if t.value != "" {
			texts = append(texts, t)
		}
	}
	return texts
}

// mask says which rows of a segment are asked for, and how many these are.
func (q *finder) mask(s *segment) (mask []byte, n int, err error) {
	if err := s.loadFlags(); err != nil {
		return nil, 0, err
	}
	mask = make([]byte, s.spans)
	want := byte(isCurrent | isListed)
	if q.any || q.Types != nil {
		want = isCurrent
	}
	for i, f := range s.flags {
		if f&want == want && (q.Status == "" || statusOf(f) == q.Status) {
			mask[i] = isCertain
			n++
		}
	}
	keep := func(column int, wanted func(string) bool, likely func(uint16) bool) error {
		if n == 0 {
			return nil
		}
		b, err := s.column(column)
		if err != nil {
			return err
		}
		t, err := readTexts(b, s.spans)
		if err != nil {
			return err
		}
		t.keep(mask, wanted, likely)
		n = 0
		for _, m := range mask {
			if m != 0 {
				n++
			}
		}
		return nil
	}
	if q.Types != nil {
		err = keep(columnType, func(t string) bool { return slices.Contains(q.Types, t) }, func(p uint16) bool {
			return slices.ContainsFunc(q.Types, func(t string) bool { return printOf(t) == p })
		})
	}
	for _, t := range q.asked() {
		if err == nil {
			err = keep(t.column, func(have string) bool { return have == t.value }, func(p uint16) bool { return p == printOf(t.value) })
		}
	}
	if err == nil && len(q.Tags) > 0 {
		err = keep(columnTags, func(have string) bool { return holdsTags(have, q.Tags) }, func(p uint16) bool { return p != 0 })
	}
	if err != nil || n == 0 {
		return nil, 0, err
	}
	if s.first < q.from || s.last > q.to {
		started, err := s.ints(columnStarted)
		if err != nil {
			return nil, 0, err
		}
		for i, at := range started {
			if at < q.from || at > q.to {
				mask[i] = 0
			}
		}
	}
	if bytes.Count(mask, []byte{isLikely}) > fewRows {
		if err := s.loadOutlines(); err != nil {
			return nil, 0, err
		}
	}
	n = 0
	for row, m := range mask {
		if m == 0 {
			continue
		}
		fits := true
		if m == isLikely {
			span, err := q.outlined(s, row)
			if err != nil {
				return nil, 0, err
			}
			fits = q.Fits(span) && (q.Types == nil || slices.Contains(q.Types, span.Type)) // what columns may know by prints alone
		}
		if fits && (q.ChildError != nil || q.Having != nil) {
			if err := s.loadPlaces(); err != nil {
				return nil, 0, err
			}
			pack := s.places[s.packOf(row)].n
			fits = (q.ChildError == nil || q.failed[pack] == *q.ChildError) && (q.Having == nil || q.having[pack])
		}
		if fits {
			n++
		} else {
			mask[row] = 0
		}
	}
	return mask, n, nil
}

// fewRows is how many rows are read from their packs rather than that the outlines of all are.
const fewRows = 16

// outlined reads the span of a row without its contents. It holds until the next one.
func (q *finder) outlined(s *segment, row int) (*mastra.Span, error) {
	if err := s.loadPlaces(); err != nil {
		return nil, err
	}
	p := s.places[s.packOf(row)]
	i := row - p.row
	if q.pack != p.n || i >= len(q.spans) {
		q.pack = 0
		var err error
		if s.outlines != nil {
			q.reader.Begin(s.outlines[p.start : p.start+p.size])
			most := i + 1
			if q.Types != nil { // others of the pack are asked for next
				most = p.spans
			}
			q.spans, err = q.reader.Spans(q.spans, most)
		} else if body, no := q.bodies.body(p.n); no != nil {
			err = no
		} else {
			q.spans, err = q.reader.pack(body, q.spans)
		}
		if err != nil {
			return nil, err
		}
		q.pack = p.n
	}
	if i >= len(q.spans) {
		return nil, errSegment
	}
	return &q.spans[i], nil
}

// traceOf reads the trace of a row alone.
func (q *finder) traceOf(s *segment, row int) (string, error) {
	if err := s.loadOutlines(); err != nil {
		return "", err
	}
	p := s.places[s.packOf(row)]
	q.reader.Begin(s.outlines[p.start : p.start+p.size])
	return q.reader.Trace()
}

// whole reads the span of a row with its contents.
func (q *finder) whole(s *segment, row int) (mastra.Span, error) {
	if err := s.loadPlaces(); err != nil {
		return mastra.Span{}, err
	}
	p := s.places[s.packOf(row)]
	body, err := q.bodies.body(p.n)
	if err != nil {
		return mastra.Span{}, err
	}
	spans, err := decodePack(body)
	if err == nil && row-p.row >= len(spans) {
		err = errSegment
	}
	if err != nil {
		return mastra.Span{}, err
	}
	return spans[row-p.row], nil
}

// findRoots finds the packs with roots of the traces that have one of some rows: mostly the very packs of these.
func (q *finder) findRoots(ctx context.Context, rows func(*segment) (mask []byte, err error)) (map[int64]bool, error) {
	found := map[int64]bool{}
	all, err := q.c.segments(ctx, q.tenant, math.MinInt64, math.MaxInt64) // of several runs of one trace an earlier one may have them
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		mask, err := rows(s)
		if err != nil {
			return nil, err
		}
		if bytes.Count(mask, []byte{0}) == len(mask) {
			continue
		}
		if err := cmp.Or(s.loadPlaces(), s.loadFlags()); err != nil {
			return nil, err
		}
		for _, p := range s.places {
			row := slices.IndexFunc(mask[p.row:p.row+p.spans], func(m byte) bool { return m != 0 })
			if row < 0 {
				continue
			}
			if row += p.row; rootsIn(s.flags[p.row:p.row+p.spans]) > 0 {
				found[p.n] = true
				continue
			}
			trace, err := q.traceOf(s, row)
			if err != nil {
				return nil, err
			}
			packs, err := q.c.packsOf(q.tenant, trace)
			if err != nil {
				return nil, err
			}
			for _, p := range packs {
				if p.rooted {
					found[p.n] = true
				}
			}
		}
	}
	return found, nil
}

// failedBelow are the rows of failed spans that are no roots.
func failedBelow(s *segment) (mask []byte, err error) {
	if err := s.loadFlags(); err != nil {
		return nil, err
	}
	mask = make([]byte, s.spans)
	for row, f := range s.flags {
		if f&(isCurrent|isFailed|isRoot) == isCurrent|isFailed {
			mask[row] = isCertain
		}
	}
	return mask, nil
}

// find fills a page.
func (q *finder) find(ctx context.Context) error {
	var err error
	if q.ChildError != nil {
		if q.failed, err = q.findRoots(ctx, failedBelow); err != nil {
			return err
		}
	}
	if h := q.Having; h != nil {
		like := mastra.TraceQuery{SpanType: h.SpanType, Name: h.Name, Status: h.Status, EntityType: h.EntityType, EntityID: h.EntityID, EntityName: h.EntityName}
		spans := finder{c: q.c, bodies: packReader{c: q.c}, tenant: q.tenant, TraceQuery: like, from: math.MinInt64, to: math.MaxInt64, any: true}
		if q.having, err = q.findRoots(ctx, func(s *segment) ([]byte, error) { mask, _, err := spans.mask(s); return mask, err }); err != nil {
			return err
		}
	}
	all, err := q.c.segments(ctx, q.tenant, q.from, q.to)
	if err != nil {
		return err
	}
	first := max(0, min(q.Page, 1<<30)) * max(0, q.PerPage)
	seen := 0
	q.full = q.PerPage <= 0 && q.Match == nil
	collect := func(s *segment) (some []spot, err error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch {
		case q.full && q.Uncounted:
			return nil, nil
		case q.full && q.all(s):
			q.page.Total += s.roots
			return nil, nil
		}
		mask, n, err := q.mask(s)
		if err != nil || n == 0 {
			return nil, err
		}
		if q.Match == nil && !q.Uncounted {
			if q.page.Total += n; q.full {
				return nil, nil
			}
		}
		column := columnStarted
		if q.OrderByEnd {
			column = columnEnded
		}
		at, err := s.ints(column)
		if err != nil {
			return nil, err
		}
		for row, m := range mask {
			if m != 0 {
				some = append(some, spot{s, at[row], row})
			}
		}
		return some, nil
	}
	visit := func(f spot) (more bool, err error) {
		if q.Match != nil {
			if ok, err := q.matches(ctx, f); err != nil || !ok {
				return true, err
			}
		}
		if q.Match != nil || q.Uncounted {
			q.page.Total++
		}
		switch seen++; {
		case seen <= first:
		case len(q.page.Items) < q.PerPage:
			span, err := q.whole(f.segment, f.row)
			if err != nil {
				return false, err
			}
			q.page.Items = append(q.page.Items, span)
		default:
			q.page.HasMore = q.PerPage > 0
			q.full = q.Match == nil || q.Uncounted
			return !q.full, nil
		}
		return true, nil
	}
	return inOrder(all, !q.Ascending, q.OrderByEnd, collect, visit)
}

// all says that a list has all roots of a segment.
func (q *finder) all(s *segment) bool {
	return q.Types == nil && q.Status == "" && len(q.asked()) == 0 && len(q.Tags) == 0 && q.ChildError == nil && q.Having == nil && q.from <= s.first && s.last <= q.to
}

func (q *finder) matches(ctx context.Context, f spot) (bool, error) {
	if q.seen++; q.seen > q.most {
		return false, errTooMany()
	}
	if q.seen%1024 == 0 && ctx.Err() != nil {
		return false, ctx.Err()
	}
	if q.Whole {
		span, err := q.whole(f.segment, f.row)
		return err == nil && q.Match(&span), err
	}
	if err := f.loadOutlines(); err != nil {
		return false, err
	}
	span, err := q.outlined(f.segment, f.row)
	return err == nil && q.Match(span), err
}
