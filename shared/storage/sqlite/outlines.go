package sqlite

import (
	"cmp"
	"context"
	"math"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// maxOutlines is how many commits one call of Outlines looks through.
const maxOutlines = 400_000

// Outlines calls yield with spans that it uses again.
func (s *Store) Outlines(ctx context.Context, q mastra.SpanQuery, yield func([]mastra.Span) bool) error {
	tenant, since := mastra.Tenant(ctx), s.since(s.retention.Traces, math.MinInt64)
	return s.indexed(ctx, func(c *conn) error {
		o := outlines{yield: yield}
		if q.TraceIDs != nil {
			return o.ofTraces(ctx, c, tenant, q.TraceIDs, int64(since))
		}
		from, to := int64(since), int64(math.MaxInt64)
		if q.From != 0 {
			from = max(from, int64(q.From))
		}
		if q.To != 0 {
			to = int64(q.To)
		}
		return o.between(ctx, c, tenant, from, to, q.Ascending)
	})
}

// outlines are on their way to who asked for them.
type outlines struct {
	packDecoder
	spans []mastra.Span
	seen  int
	yield func([]mastra.Span) bool
}

func (o *outlines) ofTraces(ctx context.Context, c *conn, tenant string, traces []string, since int64) error {
	reader := packReader{c: c}
	for _, id := range traces {
		if err := ctx.Err(); err != nil {
			return err
		}
		packs, err := c.packsOf(tenant, id)
		if err != nil {
			return err
		}
		for _, p := range packs {
			body, err := reader.body(p.n)
			if err != nil {
				return err
			}
			if o.spans, err = o.pack(body, o.spans); err != nil {
				return err
			}
			if startOf(o.spans) < since {
				continue
			}
			for i := range o.spans { // of a pack that an older version made more is read
				s := &o.spans[i]
				if s.Attributes, s.Metadata, s.Input, s.Output, s.Context = nil, nil, nil, nil, nil; len(s.Error) > 0 {
					s.Error = outline.Failed
				}
			}
			if o.seen++; o.seen > maxOutlines {
				return errTooMany()
			}
			if !o.yield(o.spans) {
				return nil
			}
		}
	}
	return nil
}

// startOf is when the first of some spans started.
func startOf(spans []mastra.Span) int64 {
	at := spans[0].StartedAt
	for i := range spans {
		at = min(at, spans[i].StartedAt)
	}
	return int64(at)
}

func (o *outlines) between(ctx context.Context, c *conn, tenant string, from, to int64, ascending bool) error {
	all, err := c.segments(ctx, tenant, from, to)
	if err != nil {
		return err
	}
	over := false
	return inOrder(all, !ascending, false, func(s *segment) (some []spot, err error) {
		if over {
			return nil, nil
		}
		if err := cmp.Or(ctx.Err(), s.loadOutlines()); err != nil {
			return nil, err
		}
		for i, p := range s.places {
			if p.at >= from && p.at <= to {
				some = append(some, spot{s, p.at, i})
			}
		}
		return some, nil
	}, func(f spot) (bool, error) {
		if o.seen++; o.seen > maxOutlines {
			return false, errTooMany()
		}
		p := f.places[f.row]
		o.Begin(f.outlines[p.start : p.start+p.size])
		if o.spans, err = o.Spans(o.spans, p.spans); err != nil {
			return false, err
		}
		over = !o.yield(o.spans)
		return !over, nil
	})
}

func errTooMany() error {
	return mastra.Errorf(mastra.CodeInvalid, "There are too many to look through: ask for a narrower range of time")
}
