package storagetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

// RunScores checks that scores and feedback, given, given again, deleted alone or with their traces, are listed as a list of all says.
func RunScores(t *testing.T, s mastra.Storage, rounds int) {
	random := randomOf(t)
	w := &scored{env: &env{T: t, s: s, ctx: newTenant(t.Context())}, Rand: random, scores: map[string]mastra.Score{}, feedback: map[string]mastra.Feedback{}}
	for range 12 {
		w.ids = append(w.ids, mastra.NewTraceID())
	}
	for round := range rounds {
		for range 10 {
			w.write()
		}
		switch round % 4 {
		case 1:
			w.remove()
		case 3:
			gone := w.ids[w.IntN(len(w.ids))]
			w.ok(w.s.DeleteTraces(w.ctx, []string{gone}))
			maps.DeleteFunc(w.scores, func(_ string, s mastra.Score) bool { return s.TraceID == gone })
			maps.DeleteFunc(w.feedback, func(_ string, f mastra.Feedback) bool { return f.TraceID == gone })
		}
		for range 12 {
			q := w.query()
			asked(w.env, q, slices.Collect(maps.Values(w.scores)), func(s *mastra.Score) string { return s.ID }, w.s.Scores)
			asked(w.env, q, slices.Collect(maps.Values(w.feedback)), func(f *mastra.Feedback) string { return f.ID }, w.s.Feedback)
		}
	}
}

type scored struct {
	*env
	*rand.Rand
	ids      []string // of traces
	given    int
	scores   map[string]mastra.Score
	feedback map[string]mastra.Feedback
}

// write gives some scores and feedback, some of them again.
func (w *scored) write() {
	var b mastra.Batch
	trace := w.ids[w.IntN(len(w.ids))]
	if w.IntN(3) == 0 {
		b.Spans = append(b.Spans, span(trace, "s0", "", base+mastra.Time(w.IntN(1000))))
		b.Spans[0].StartedAt = base
	}
	for range 1 + w.IntN(3) {
		w.given++
		at := base + mastra.Time(w.IntN(18_000)*1000+w.given) // no two are the same
		n := w.IntN(len(w.ids) + 3)
		s := mastra.Score{ID: fmt.Sprint("s", w.IntN(300)), CreatedAt: at, SpanID: []string{"", "s0", "s1"}[w.IntN(3)], ScorerID: fmt.Sprint("scorer", w.IntN(4)), Score: w.Float64(),
			Origin: mastra.Origin{EntityType: []string{"agent", "workflow_step"}[n%2], EntityID: fmt.Sprint("e", n%5), RunID: fmt.Sprint("run", n)}}
		if n < len(w.ids) {
			s.TraceID = w.ids[n]
		}
		if before, ok := w.scores[s.ID]; ok {
			before.Score, before.CreatedAt = s.Score, at
			s = before
		}
		if slices.ContainsFunc(b.Scores, func(o mastra.Score) bool { return o.ID == s.ID }) {
			continue
		}
		b.Scores, w.scores[s.ID] = append(b.Scores, s), s
		f := mastra.Feedback{ID: fmt.Sprint("f", w.IntN(300)), CreatedAt: at, TraceID: s.TraceID, SpanID: s.SpanID}
		if before, ok := w.feedback[f.ID]; ok {
			before.CreatedAt = at
			f = before
		}
		if slices.ContainsFunc(b.Feedback, func(o mastra.Feedback) bool { return o.ID == f.ID }) {
			continue
		}
		b.Feedback, w.feedback[f.ID] = append(b.Feedback, f), f
	}
	w.commit(b)
}

func (w *scored) remove() {
	var ids [2][]string
	for range 5 {
		n := w.IntN(300)
		ids[0], ids[1] = append(ids[0], fmt.Sprint("s", n)), append(ids[1], fmt.Sprint("f", n))
		delete(w.scores, fmt.Sprint("s", n))
		delete(w.feedback, fmt.Sprint("f", n))
	}
	w.ok(w.s.DeleteScores(w.ctx, ids[0]))
	w.ok(w.s.DeleteFeedback(w.ctx, ids[1]))
}

func (w *scored) query() (q mastra.ScoreQuery) {
	often := func(n int) bool { return w.IntN(n) == 0 }
	n := w.IntN(len(w.ids) + 3)
	if often(9) {
		q.ID = fmt.Sprint("s", w.IntN(300))
	}
	if often(5) {
		q.TraceID = w.ids[n%len(w.ids)]
	}
	if often(6) {
		q.SpanID = fmt.Sprint("s", w.IntN(3))
	}
	if often(5) {
		q.ScorerID = fmt.Sprint("scorer", w.IntN(5))
	}
	if often(6) {
		q.RunID = fmt.Sprint("run", n)
	}
	if often(5) {
		q.EntityType, q.EntityID = []string{"agent", "workflow_step"}[n%2], fmt.Sprint("e", n%5)
	}
	if often(6) {
		q.TraceIDs = append([]string{mastra.NewTraceID()}, w.ids[:w.IntN(4)]...)
	}
	if often(4) {
		q.From = base + mastra.Time(w.IntN(5*3_600_000))
	}
	if often(4) {
		q.To = base + mastra.Time(w.IntN(5*3_600_000))
	}
	if often(5) {
		q.Match = func(s mastra.Signal) bool { return s.At()%3 == 0 }
	}
	q.Ascending, q.PerPage = often(2), 1+w.IntN(60)
	return q
}

// asked compares an answer with those of all that are wanted.
func asked[T any, P interface {
	*T
	mastra.Signal
}](e *env, q mastra.ScoreQuery, all []T, id func(*T) string, list func(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[T], error)) {
	e.Helper()
	var want []T
	for i := range all {
		s := P(&all[i])
		is := func(name, wanted string) bool {
			have, _ := s.Field(name)
			return wanted == "" || have == wanted
		}
		trace, _ := s.Field("traceId")
		if (q.ID == "" || id(&all[i]) == q.ID) && is("traceId", q.TraceID) && is("spanId", q.SpanID) && is("scorerId", q.ScorerID) && is("runId", q.RunID) && is("entityType", q.EntityType) && is("entityId", q.EntityID) &&
			(q.TraceIDs == nil || slices.Contains(q.TraceIDs, trace)) && s.At() >= q.From && (q.To == 0 || s.At() <= q.To) && (q.Match == nil || q.Match(s)) {
			want = append(want, all[i])
		}
	}
	slices.SortFunc(want, func(a, b T) int {
		c := cmp.Compare(P(&a).At(), P(&b).At())
		if !q.Ascending {
			c = -c
		}
		return c
	})
	for _, q.Page = range []int{0, 1, 3} {
		p, err := list(e.ctx, q)
		e.ok(err)
		from := min(len(want), q.Page*q.PerPage)
		part := want[from:min(len(want), from+q.PerPage)]
		same := func(a, b T) bool { return id(&a) == id(&b) && P(&a).At() == P(&b).At() }
		if p.Total != len(want) || p.HasMore != (from+q.PerPage < len(want)) || !slices.EqualFunc(p.Items, part, same) {
			e.Fatalf("%T %+v: %d of %d (more: %v), want %d of %d", part, q, len(p.Items), p.Total, p.HasMore, len(part), len(want))
		}
	}
}
