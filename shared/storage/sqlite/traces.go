package sqlite

import (
	"context"
	"math"

	"mastralambda/shared/mastra"
)

func (s *Store) Trace(ctx context.Context, traceID string) ([]mastra.Span, error) {
	tenant, since := mastra.Tenant(ctx), int64(s.since(s.retention.Traces, math.MinInt64))
	var bodies [][]byte
	err := s.indexed(ctx, func(c *conn) error {
		packs, err := c.packsOf(tenant, traceID)
		if err != nil {
			return err
		}
		reader := packReader{c: c}
		for _, p := range packs {
			body, err := reader.body(p.n)
			if err != nil {
				return err
			}
			bodies = append(bodies, body)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var spans []mastra.Span
	for _, b := range bodies {
		read, err := decodePack(b)
		if err != nil {
			return nil, err
		}
		if startOf(read) >= since {
			spans = append(spans, read...)
		}
	}
	if len(spans) == 0 {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
	}
	return mastra.OrderSpans(spans), nil
}

func (s *Store) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	p := &mastra.Page[mastra.Span]{Items: []mastra.Span{}}
	err := s.indexed(ctx, func(c *conn) error {
		return newFinder(c, mastra.Tenant(ctx), q, s.since(s.retention.Traces, q.From), p).find(ctx)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (s *Store) DeleteTraces(ctx context.Context, ids []string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error { return t.deleteTraces(tenant, ids) })
}

// deleteTraces deletes traces with all that was said of them.
func (t *tx) deleteTraces(tenant string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	if err := t.indexAll(); err != nil {
		return err
	}
	var packs []int64
	for _, id := range ids {
		of, err := t.packsOf(tenant, id)
		if err != nil {
			return err
		}
		for _, p := range of {
			packs = append(packs, p.n)
		}
		if _, err := t.exec("DELETE FROM traced WHERE tenant = ? AND trace = ?", tenant, id); err != nil {
			return err
		}
		for _, kind := range [...]string{kindScore, kindFeedback} {
			if _, err := t.exec("DELETE FROM scores WHERE tenant = ? AND kind = ? AND trace = ? AND trace != ''", tenant, kind, id); err != nil {
				return err
			}
		}
	}
	return t.dropPacks(tenant, packs)
}
