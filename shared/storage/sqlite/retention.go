package sqlite

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
)

// Keep says how long traces, scores and feedback are kept; what Open opens keeps them for ever.
func Keep(r mastra.Retention) Option { return func(s *Store) { s.retention.Retention = r } }

// retention deletes what is too old. It walks through segments and scores in the order of their keys, some at each
// transaction that wrote some: two steps or more a written trace or score, so that at most as many expired ones are kept as live ones.
type retention struct {
	mastra.Retention
	pending int
	tenant  string // where it stands in segments
	n       int64
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
	var old []*segment
	seen := 0
	for row, err := range t.query(context.Background(), "SELECT tenant, n, packs, spans, first FROM segments WHERE (tenant, n) > (?, ?) ORDER BY tenant, n LIMIT ?", r.tenant, r.n, int64(sweepSegments)) {
		if err != nil {
			return err
		}
		seen++
		if r.tenant, r.n = row.text(0), row.int(1); row.int(4) < oldest {
			old = append(old, &segment{c: t.conn, tenant: r.tenant, n: r.n, size: int(row.int(2)), spans: int(row.int(3))})
		}
	}
	if seen < sweepSegments {
		r.tenant, r.n = "", 0
	}
	for _, s := range old {
		if err := t.dropOld(s, oldest); err != nil {
			return err
		}
	}
	return nil
}

// sweepSegments is how many segments a step looks at.
const sweepSegments = 4

// dropOld deletes the packs of a segment that started before a time.
func (t *tx) dropOld(s *segment, oldest int64) error {
	if err := s.loadOutlines(); err != nil {
		return err
	}
	var packs []int64
	var reader packDecoder
	for _, p := range s.places {
		if p.at >= oldest {
			continue
		}
		packs = append(packs, p.n)
		reader.Begin(s.outlines[p.start : p.start+p.size])
		trace, err := reader.Trace()
		if err != nil {
			return err
		}
		if err := t.untrace(s.tenant, trace, p.n); err != nil {
			return err
		}
	}
	return t.dropPacks(s.tenant, packs)
}

// untrace takes a pack out of its trace.
func (t *tx) untrace(tenant, trace string, pack int64) error {
	packs, err := t.packsOf(tenant, trace)
	if err != nil {
		return err
	}
	var rest []byte
	for _, p := range packs {
		if p.n != pack {
			rest = appendPack(rest, p)
		}
	}
	if rest == nil {
		_, err = t.exec("DELETE FROM traced WHERE tenant = ? AND trace = ?", tenant, trace)
	} else {
		_, err = t.exec("UPDATE traced SET packs = ? WHERE tenant = ? AND trace = ?", rest, tenant, trace)
	}
	return err
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
