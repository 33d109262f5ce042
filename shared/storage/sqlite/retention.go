package sqlite

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
)

// Keep says how long traces, scores and feedback are kept; what Open opens keeps them for ever.
func Keep(r mastra.Retention) Option { return func(s *Store) { s.retention.Retention = r } }

// retention deletes what is too old. It walks through outlines and scores in the order of their keys, some at each
// transaction that wrote some: two steps a written trace or score, so that at most as many expired ones are kept as live ones.
type retention struct {
	mastra.Retention
	pending int
	tenant  string // where it stands in outlines
	at, n   int64
	scores  int64 // and in scores
}

func (r *retention) run(t *tx) error {
	if r.Retention == (mastra.Retention{}) {
		return nil
	}
	if r.pending += 2 * t.signals; r.pending < sweepBatch {
		return nil
	}
	r.pending = 0
	if r.Traces > 0 {
		if err := r.dropTraces(t, before(t.now, r.Traces)); err != nil {
			return err
		}
	}
	if r.Scores > 0 || r.Feedback > 0 {
		return r.dropScores(t)
	}
	return nil
}

// since is the oldest time that is shown where things are kept that long, or from, whichever is later.
func (s *Store) since(kept time.Duration, from mastra.Time) mastra.Time {
	if kept == 0 {
		return from
	}
	return max(from, mastra.TimeOf(s.now().Add(-kept)))
}

func before(now mastra.Time, kept time.Duration) int64 { return int64(now) - kept.Milliseconds() }

// dropTraces deletes the spans of old commits.
func (r *retention) dropTraces(t *tx, oldest int64) error {
	type place struct {
		tenant, trace string
		n             int64
	}
	var old []place
	seen := 0
	var reader outlineReader
	var spans []mastra.Span
	for row, err := range t.query(context.Background(), "SELECT tenant, at, n, body FROM outlines WHERE (tenant, at, n) > (?, ?, ?) ORDER BY tenant, at, n LIMIT ?", r.tenant, r.at, r.n, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		if r.tenant, r.at, r.n = row.text(0), row.int(1), row.int(2); r.at >= oldest {
			continue
		}
		reader.begin(row.json(3))
		if spans, err = reader.outline(spans); err != nil {
			return err
		}
		old = append(old, place{r.tenant, spans[0].TraceID, r.n})
	}
	if seen < sweepBatch {
		r.tenant, r.at, r.n = "", 0, 0
	}
	for _, p := range old {
		if err := t.dropPack(p.tenant, p.trace, p.n); err != nil {
			return err
		}
	}
	if len(old) == 0 {
		return nil
	}
	t.settle(true)
	return t.lowerIndexed()
}

func (r *retention) dropScores(t *tx) error {
	var old []int64
	seen := 0
	for row, err := range t.query(context.Background(), "SELECT n, kind, created FROM scores WHERE n > ? ORDER BY n LIMIT ?", r.scores, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		kept := r.Scores
		if row.text(1) == kindFeedback {
			kept = r.Feedback
		}
		if r.scores = row.int(0); kept > 0 && row.int(2) < before(t.now, kept) {
			old = append(old, row.int(0))
		}
	}
	if seen < sweepBatch {
		r.scores = 0
	}
	for _, n := range old {
		if _, err := t.exec("DELETE FROM scores WHERE n = ?", n); err != nil {
			return err
		}
	}
	return nil
}
