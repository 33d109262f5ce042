package dynamodb

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// What is kept for some time says when DynamoDB may delete it, each kind by its own age, and is not shown any longer from then on.
func TestRetention(t *testing.T) {
	now := time.Now()
	s, ctx := openTest(t), newTenant(t)
	s.now = func() time.Time { return now }
	s.Keep(mastra.Retention{Traces: time.Hour, Scores: 3 * time.Hour})
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	write := func(id string) mastra.Time {
		t.Helper()
		at := mastra.TimeOf(now)
		of := mastra.Origin{EntityType: "agent", EntityID: "a", RunID: "r"}
		if err := s.Commit(ctx, &mastra.Batch{
			Spans:  []mastra.Span{{TraceID: id, SpanID: "root", StartedAt: at, EndedAt: at, EntityType: "agent", EntityID: "a"}, {TraceID: "loose-" + id, SpanID: "c", ParentID: "r", StartedAt: at}},
			Scores: []mastra.Score{{ID: "s-" + id, TraceID: "scored", ScorerID: "sc", CreatedAt: at, Origin: of}}, Feedback: []mastra.Feedback{{ID: "f-" + id, TraceID: "scored", CreatedAt: at}},
		}); err != nil {
			t.Fatal(err)
		}
		return at
	}
	at := write("old")
	for pk, kept := range map[string]time.Duration{
		tracePK(tenant, "old"): time.Hour, tracePK(tenant, "loose-old"): time.Hour,
		partition(tenant, "JS", "s-old"): 3 * time.Hour, partition(tenant, "JF", "f-old"): 0,
		sharded(tenant, scoreList(kindScore), shardOf("s-old")):    3 * time.Hour,
		entityList(tenant, "agent", "a", shardOf("s-old")):         3 * time.Hour,
		sharded(tenant, scoreList(kindFeedback), shardOf("f-old")): 0,
	} {
		items, err := s.query(ctx, query{table: table, pk: pk, consistent: true})
		if err != nil || len(items) != 1 {
			t.Fatalf("%s: %d items, %v", pk, len(items), err)
		}
		want := (int64(at) + kept.Milliseconds()) / 1000
		if kept == 0 {
			want = 0
		}
		if got := numberOf(items[0][TTLAttribute]); got != want {
			t.Errorf("%s may be deleted at %d, want %d", pk, got, want)
		}
	}
	shown := func() string {
		t.Helper()
		list := func(n int, err error) int {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		traces := func(q mastra.TraceQuery) int {
			q.PerPage = 10
			p, err := s.Traces(ctx, q)
			if err == nil && p.Total < len(p.Items) { // it may count what went today
				t.Errorf("%d traces of %d", len(p.Items), p.Total)
			}
			return list(len(p.Items), err)
		}
		scores := func(q mastra.ScoreQuery) int {
			q.PerPage = 10
			p, err := s.Scores(ctx, q)
			return list(len(p.Items), err)
		}
		feedback, err := s.Feedback(ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 10}})
		spans := 0
		outlines := s.Outlines(ctx, mastra.SpanQuery{}, func(part []mastra.Span) bool { spans += len(part); return true })
		_, one := s.Trace(ctx, "old")
		return fmt.Sprint(traces(mastra.TraceQuery{}), traces(mastra.TraceQuery{EntityType: "agent", EntityID: "a"}), list(spans, outlines), mastra.CodeOf(one) == mastra.CodeNotFound,
			scores(mastra.ScoreQuery{}), scores(mastra.ScoreQuery{ScorerID: "sc"}), scores(mastra.ScoreQuery{RunID: "r"}), scores(mastra.ScoreQuery{TraceID: "scored"}), scores(mastra.ScoreQuery{ID: "s-old"}),
			scores(mastra.ScoreQuery{EntityType: "agent", EntityID: "a"}), list(len(feedback.Items), err))
	}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "1 1 2 false 1 1 1 1 1 1 1"},
		{2 * time.Hour, "0 0 0 true 1 1 1 1 1 1 1"},
		{2 * time.Hour, "0 0 0 true 0 0 0 0 0 0 1"},
	} {
		now = now.Add(step.after)
		if got := shown(); got != step.want {
			t.Errorf("after %v: %q, want %q", step.after, got, step.want)
		}
	}
	write("new")
	if got, want := shown(), "1 1 2 true 1 1 1 1 0 1 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// All items of a run that expires go with it: its head, its lease and large values.
func TestRunsHaveATTL(t *testing.T) {
	s, ctx := openTest(t), newTenant(t)
	var large strings.Builder // that does not compress
	for range 200 {
		large.WriteString(rand.Text())
	}
	r := mastra.Run{ID: "run", WorkflowID: "agent:a", Status: mastra.StatusRunning, Owner: "p", Input: mastra.JSON(`"` + large.String() + `"`), ExpiresAt: mastra.TimeOf(time.Now().Add(time.Hour))}
	r.Steps.Set("0", mastra.StepResult{Status: mastra.StatusSuccess, Output: r.Input})
	if err := s.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: r, Create: true}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lease(ctx, "run", "p", mastra.TimeOf(time.Now())); err != nil {
		t.Fatal(err)
	}
	r.Status, r.Owner, r.Steps, r.ExpiresAt = mastra.StatusSuccess, "", nil, mastra.TimeOf(time.Now().Add(time.Minute))
	if err := s.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: r}}}); err != nil {
		t.Fatal(err)
	}
	items, err := s.query(ctx, query{table: s.tables.Runs, pk: runPK(mastra.Tenant(ctx), "run"), consistent: true})
	if err != nil || len(items) < 4 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	for _, it := range items {
		if at := numberOf(it[TTLAttribute]); at == 0 || skOf(it) == headKey && at > time.Now().Add(3*time.Minute).Unix() {
			t.Errorf("%s expires at %d", skOf(it), at)
		}
	}
}
