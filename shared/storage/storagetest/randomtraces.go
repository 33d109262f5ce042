package storagetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"mastralambda/shared/mastra"
)

// Load is how much RunTraces commits: Rounds of Commits, each of up to Traces traces.
type Load struct{ Rounds, Commits, Traces int }

// RunTraces checks that what many commits leave behind, with spans that are committed again or late, traces and threads that are
// deleted and reads in between, is what a list of all spans says it is. SEED makes it another load.
func RunTraces(t *testing.T, s mastra.Storage, load Load) {
	random := randomOf(t)
	var tenants []*traced
	for range 2 {
		w := &traced{env: &env{T: t, s: s, ctx: newTenant(t.Context())}, Rand: random, traces: map[string]*aTrace{}}
		var b mastra.Batch
		for i := range owners {
			b.Threads = append(b.Threads, thread(fmt.Sprint("thread", i), owners[i]))
		}
		w.commit(b)
		tenants = append(tenants, w)
	}
	for round := range load.Rounds {
		for range load.Commits {
			tenants[random.IntN(2)].write(1 + random.IntN(load.Traces))
		}
		if round%3 == 1 {
			tenants[random.IntN(2)].forget(load)
		}
		for _, w := range tenants {
			for range 24 {
				w.ask(round)
			}
			w.outlines(round)
		}
	}
}

func randomOf(t *testing.T) *rand.Rand {
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), "1"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return rand.New(rand.NewPCG(seed, 2))
}

// traced is what a tenant's traces should be.
type traced struct {
	*env
	*rand.Rand
	traces  map[string]*aTrace
	ids     []string
	threads int // deleted ones
	n       int // messages
}

type aTrace struct {
	from                  mastra.Time
	run, thread, resource string
	within                bool          // the thread is that of spans below the root
	spans                 []mastra.Span // as they were committed last
	roots                 []string      // in the order of their commits
}

var (
	owners    = []string{"ann", "ann", "bob", "ann", "bob"}
	spanTypes = []string{mastra.SpanAgentRun, mastra.SpanToolCall, mastra.SpanModelGeneration}
)

// write commits spans of so many traces, some of them known before.
func (w *traced) write(traces int) {
	var b mastra.Batch
	for range traces {
		var id string
		if len(w.ids) > 0 && w.IntN(5) == 0 {
			id = w.ids[w.IntN(len(w.ids))]
		} else {
			id = w.newTrace()
		}
		if slices.ContainsFunc(b.Spans, func(s mastra.Span) bool { return s.TraceID == id }) {
			continue
		}
		t := w.traces[id]
		first := mastra.Time(0) // when a root starts: no other span of its commit starts before, and with the first one none comes again
		earlier := map[string]bool{}
		for i := range t.spans {
			earlier[t.spans[i].SpanID] = true
		}
		for i := range 1 + w.IntN(5) {
			s := w.span(t, id, i == 0 && w.IntN(4) > 0, first)
			if s.StartedAt < first || first != 0 && len(t.roots) == 1 && earlier[s.SpanID] {
				continue
			}
			if s.Root() {
				first = s.StartedAt
			}
			b.Spans = append(b.Spans, s)
			t.keep(&s)
		}
		if t.thread != "" && len(t.roots) > 0 && w.IntN(2) == 0 {
			w.n++
			b.Messages = append(b.Messages, message(fmt.Sprint("m", w.n), t.thread, base+mastra.Time(w.n)))
		}
	}
	w.commit(b)
}

func (w *traced) newTrace() string {
	t := &aTrace{from: base + mastra.Time(len(w.ids)*60_000), run: mastra.NewID()}
	if w.IntN(3) == 0 {
		t.run = fmt.Sprint("run", w.IntN(9)) // a client's
	}
	id := mastra.TraceOfRun(t.run)
	if id == "" {
		id = mastra.NewTraceID()
	}
	if i := w.threads + w.IntN(len(owners)+2); i < len(owners) {
		t.thread, t.resource, t.within = fmt.Sprint("thread", i), owners[i], w.IntN(4) == 0
	} else if w.IntN(2) == 0 {
		t.resource = "ann"
	}
	w.traces[id], w.ids = t, append(w.ids, id)
	return id
}

func (w *traced) span(t *aTrace, id string, root bool, after mastra.Time) mastra.Span {
	at := max(after, t.from) + mastra.Time(w.IntN(40_000))
	kind := w.IntN(5)
	s := mastra.Span{TraceID: id, SpanID: fmt.Sprint("s", w.IntN(8)), ParentID: "s9", Type: spanTypes[w.IntN(3)], Name: fmt.Sprint("name ", w.IntN(6)), StartedAt: at,
		EntityType: []string{"agent", "workflow_run"}[kind%2], EntityID: fmt.Sprint("e", kind), EntityName: fmt.Sprint("E", kind), RunID: t.run, ThreadID: t.thread, ResourceID: t.resource,
		Input: mastra.JSON(fmt.Sprint(w.IntN(1 << 30)))}
	if root {
		s.ParentID, s.SpanID = "", fmt.Sprint("root", w.IntN(2))
		if t.within { // as an agent's conversation is in the trace of a workflow
			s.ThreadID = ""
		}
		if w.IntN(2) == 0 {
			s.Name = "agent run: '" + s.EntityID + "'"
		}
	}
	if before := t.span(s.SpanID); before != nil { // one that is committed again is what it was
		s.StartedAt, s.Type, s.Name, s.EntityType, s.EntityID, s.EntityName = before.StartedAt, before.Type, before.Name, before.EntityType, before.EntityID, before.EntityName
	}
	s.EndedAt = s.StartedAt + 1 + mastra.Time(w.IntN(30_000))
	switch w.IntN(12) {
	case 0, 1:
		s.Error = mastra.JSON(`{"message":"no"}`)
	case 2:
		s.EndedAt = 0
	case 3:
		s.Tags = []string{"t0", fmt.Sprint("t", w.IntN(400))}
	}
	return s
}

func (t *aTrace) span(id string) *mastra.Span {
	if i := slices.IndexFunc(t.spans, func(s mastra.Span) bool { return s.SpanID == id }); i >= 0 {
		return &t.spans[i]
	}
	return nil
}

func (t *aTrace) keep(s *mastra.Span) {
	if before := t.span(s.SpanID); before != nil {
		*before = *s
	} else {
		t.spans = append(t.spans, *s)
	}
	if s.Root() {
		t.roots = append(t.roots, s.SpanID)
	}
}

// forget deletes some traces, and a thread.
func (w *traced) forget(load Load) {
	gone := map[string]bool{}
	for range 1 + min(len(w.ids), load.Traces*load.Commits)/8 {
		gone[w.ids[w.IntN(len(w.ids))]] = true
	}
	w.ok(w.s.DeleteTraces(w.ctx, append(slices.Collect(maps.Keys(gone)), mastra.NewTraceID())))
	if w.threads < len(owners)-1 {
		name := fmt.Sprint("thread", w.threads)
		w.threads++
		for id, t := range w.traces {
			if t.thread == name {
				t.thread = ""
				gone[id] = gone[id] || slices.ContainsFunc(t.spans, func(s mastra.Span) bool { return s.ThreadID == name })
			}
		}
		w.ok(w.s.DeleteThread(w.ctx, name))
	}
	w.ids = slices.DeleteFunc(w.ids, func(id string) bool { return gone[id] })
	maps.DeleteFunc(w.traces, func(id string, _ *aTrace) bool { return gone[id] })
}

// query is one that somebody might make.
func (w *traced) query() (q mastra.TraceQuery) {
	often := func(n int) bool { return w.IntN(n) == 0 }
	kind := w.IntN(6)
	if often(5) {
		q.EntityID = fmt.Sprint("e", kind)
	}
	if often(6) {
		q.EntityType = []string{"agent", "workflow_run"}[kind%2]
	}
	if often(9) {
		q.EntityName = fmt.Sprint("E", kind)
	}
	if often(9) {
		q.SpanType = spanTypes[w.IntN(3)]
	}
	if often(8) {
		q.Name = []string{fmt.Sprint("name ", w.IntN(7)), fmt.Sprintf("agent run: 'e%d'", kind)}[w.IntN(2)]
	}
	if often(5) {
		q.Status = []string{"error", "success", "running"}[w.IntN(3)]
	}
	if often(8) {
		q.RunID = fmt.Sprint("run", w.IntN(10))
		if len(w.ids) > 0 && often(2) {
			q.RunID = w.traces[w.ids[w.IntN(len(w.ids))]].run
		}
	}
	if often(8) {
		q.ThreadID = fmt.Sprint("thread", w.IntN(len(owners)+1))
	}
	if often(8) {
		q.ResourceID = []string{"ann", "bob", "eve"}[w.IntN(3)]
	}
	if often(6) {
		q.Tags = []string{"t0", fmt.Sprint("t", w.IntN(400))}[:1+w.IntN(2)]
	}
	if often(4) {
		q.From = base + mastra.Time(w.IntN(len(w.ids)*60_000+1))
	}
	if often(4) {
		q.To = base + mastra.Time(w.IntN(len(w.ids)*60_000+1))
	}
	q.OrderByEnd, q.Ascending, q.Uncounted = often(4), often(2), often(4)
	if often(6) {
		q.Types = [][]string{spanTypes[:1], spanTypes[1:], mastra.BranchTypes}[w.IntN(3)]
	}
	if q.Types == nil && often(6) {
		failed := often(2)
		q.ChildError = &failed
	}
	if often(8) {
		q.Match = func(s *mastra.Span) bool { return s.StartedAt%3 == 0 }
	}
	q.PerPage = 1 + w.IntN(50)
	return q
}

// wanted are the spans that a query asks for, in its order.
func (w *traced) wanted(q *mastra.TraceQuery) (want []mastra.Span) {
	for _, t := range w.traces {
		failed := slices.ContainsFunc(t.spans, func(s mastra.Span) bool { return !s.Root() && len(s.Error) > 0 })
		if q.ChildError != nil && failed != *q.ChildError {
			continue
		}
		for _, s := range t.spans {
			listed := slices.Contains(q.Types, s.Type)
			if q.Types == nil {
				listed = len(t.roots) > 0 && s.SpanID == t.roots[len(t.roots)-1]
			}
			if listed && q.Finds(&s) {
				want = append(want, s)
			}
		}
	}
	slices.SortFunc(want, func(a, b mastra.Span) int {
		c := cmp.Compare(placeIn(q, &a), placeIn(q, &b))
		if !q.Ascending {
			c = -c
		}
		return c
	})
	return want
}

func placeIn(q *mastra.TraceQuery, s *mastra.Span) mastra.Time {
	if q.OrderByEnd {
		return s.EndedAt
	}
	return s.StartedAt
}

func shown(q mastra.TraceQuery) string {
	failed := "any"
	if q.ChildError != nil {
		failed = fmt.Sprint(*q.ChildError)
	}
	return fmt.Sprintf("%+v, child failed: %s", q, failed)
}

// ask compares an answer with what it should be. Equal times may come in any order.
func (w *traced) ask(round int) {
	q := w.query()
	want := w.wanted(&q)
	seen := map[string]bool{}
	for _, q.Page = range []int{0, 1, 4} {
		p, err := w.s.Traces(w.ctx, q)
		if err != nil {
			w.Fatalf("round %d, %s: %v", round, shown(q), err)
		}
		from := min(len(want), q.PerPage*q.Page)
		part := want[from:min(len(want), from+q.PerPage)]
		if !q.Uncounted && p.Total != len(want) || len(p.Items) != len(part) || p.HasMore != (len(want) > from+q.PerPage) {
			w.Fatalf("round %d, %s: %d of %d (more: %v), want %d of %d", round, shown(q), len(p.Items), p.Total, p.HasMore, len(part), len(want))
		}
		for i, got := range p.Items {
			at := slices.IndexFunc(want, func(s mastra.Span) bool { return s.TraceID == got.TraceID && s.SpanID == got.SpanID })
			if key := got.TraceID + got.SpanID; at < 0 || seen[key] || placeIn(&q, &got) != placeIn(&q, &part[i]) || got.EndedAt != want[at].EndedAt || string(got.Input) != string(want[at].Input) {
				w.Fatalf("round %d, %s: %d is %+v, want %+v", round, shown(q), i, got, part[i])
			} else {
				seen[key] = true
			}
		}
	}
}

// outlines checks that all spans are in the outlines of their time, in order, and that those of one trace are there alone.
func (w *traced) outlines(round int) {
	q := mastra.SpanQuery{Ascending: w.IntN(2) == 0}
	if w.IntN(2) == 0 {
		q.From, q.To = base+mastra.Time(w.IntN(len(w.ids)*60_000+1)), base+mastra.Time(len(w.ids)*60_000)
	}
	seen, last := map[string]bool{}, mastra.Time(0)
	w.ok(w.s.Outlines(w.ctx, q, func(spans []mastra.Span) bool {
		first := slices.MinFunc(spans, func(a, b mastra.Span) int { return cmp.Compare(a.StartedAt, b.StartedAt) }).StartedAt
		if w.traces[spans[0].TraceID] == nil || first < q.From || q.To != 0 && first > q.To || last != 0 && first != last && first > last != q.Ascending {
			w.Fatalf("round %d, %+v: outlines of %s from %v after %v", round, q, spans[0].TraceID, first, last)
		}
		last = first
		for _, s := range spans {
			seen[s.TraceID+s.SpanID] = true
		}
		return true
	}))
	for id, t := range w.traces {
		for _, s := range t.spans {
			if !seen[id+s.SpanID] && q.From == 0 && q.To == 0 {
				w.Fatalf("round %d: no outline of %s in %s", round, s.SpanID, id)
			}
		}
		got := w.trace(id)
		if len(got) != len(t.spans) {
			w.Fatalf("round %d: %d spans of %s, want %d", round, len(got), id, len(t.spans))
		}
		if w.IntN(8) > 0 {
			continue
		}
		for _, s := range got {
			if want := t.span(s.SpanID); want == nil || want.EndedAt != s.EndedAt || string(want.Input) != string(s.Input) {
				w.Fatalf("round %d: %+v, want %+v", round, s, want)
			}
		}
	}
}
