package sqlite

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
)

// Keep says how long traces, scores and feedback are kept; what Open opens keeps them for ever.
func Keep(r mastra.Retention) Option { return func(s *Store) { s.retention.Retention = r } }

// retention deletes what is too old. It walks through outlines, traces and scores in the order of their keys, some at each
// transaction that wrote some: two steps a written trace or score, so that at most as many expired ones are kept as live ones.
type retention struct {
	mastra.Retention
	pending       int
	tenant        string // where it stands in outlines
	at, n         int64
	trace, scores int64 // and in the other two
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
		if err := r.dropOutlines(t, before(t.now, r.Traces)); err != nil {
			return err
		}
		if err := r.dropTraces(t, before(t.now, r.Traces)); err != nil {
			return err
		}
	}
	if r.Scores > 0 || r.Feedback > 0 {
		return r.dropScores(t)
	}
	return nil
}

func before(now mastra.Time, kept time.Duration) int64 { return int64(now) - kept.Milliseconds() }

// dropOutlines deletes the spans of old commits.
func (r *retention) dropOutlines(t *tx, oldest int64) error {
	type place struct {
		tenant string
		at, n  int64
	}
	var old []place
	seen := 0
	for row, err := range t.query(context.Background(), "SELECT tenant, at, n FROM outlines WHERE (tenant, at, n) > (?, ?, ?) ORDER BY tenant, at, n LIMIT ?", r.tenant, r.at, r.n, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		p := place{row.text(0), row.int(1), row.int(2)}
		if r.tenant, r.at, r.n = p.tenant, p.at, p.n; p.at < oldest {
			old = append(old, p)
		}
	}
	if seen < sweepBatch {
		r.tenant, r.at, r.n = "", 0, 0
	}
	for _, p := range old {
		if _, err := t.exec("DELETE FROM spans WHERE n = ?", p.n); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM outlines WHERE tenant = ? AND at = ? AND n = ?", p.tenant, p.at, p.n); err != nil {
			return err
		}
	}
	return nil
}

// dropTraces deletes the lines that lists show of old traces.
func (r *retention) dropTraces(t *tx, oldest int64) error {
	type line struct {
		n      int64
		tenant string
	}
	var old []line
	seen := 0
	for row, err := range t.query(context.Background(), "SELECT n, tenant, started FROM traces WHERE n > ? ORDER BY n LIMIT ?", r.trace, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		if r.trace = row.int(0); row.int(2) < oldest {
			old = append(old, line{row.int(0), row.text(1)})
		}
	}
	if seen < sweepBatch {
		r.trace = 0
	}
	for _, l := range old {
		if _, err := t.exec("DELETE FROM traces WHERE n = ?", l.n); err != nil {
			return err
		}
		if err := t.add(counter{l.tenant, "traces", ""}, -1); err != nil {
			return err
		}
	}
	return nil
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
