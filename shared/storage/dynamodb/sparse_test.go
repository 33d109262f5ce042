package dynamodb

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

func total(t *testing.T, ctx context.Context, s *Store, q mastra.TraceQuery) int {
	t.Helper()
	q.PerPage = 100
	p, err := s.Traces(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if p.Total != len(p.Items) {
		t.Errorf("%+v: %d traces of %d", q, len(p.Items), p.Total)
	}
	return p.Total
}

// noted is a root that stands in every list that a trace can stand in.
func noted(id string, at mastra.Time) mastra.Span {
	return mastra.Span{TraceID: id, SpanID: "s", Name: "mine", Type: mastra.SpanAgentRun, StartedAt: at, EndedAt: at + 5, EntityType: "agent", EntityID: "a", EntityName: "A", RunID: "run", ResourceID: "me",
		Tags: []string{"x"}, Error: mastra.JSON(`{"message":"no"}`)}
}

var narrow = []mastra.TraceQuery{{Status: "error"}, {Tags: []string{"x"}}, {Tags: []string{"x"}, Status: "error"}, {Name: "mine"}, {RunID: "run"}, {ResourceID: "me"}, {EntityType: "agent"}, {EntityName: "A"}, {SpanType: mastra.SpanAgentRun},
	{EntityType: "agent", EntityID: "a"}}

// thin are the items that find a trace.
func thin(t *testing.T, ctx context.Context, s *Store, r *mastra.Span) (found []item) {
	t.Helper()
	for _, it := range sparseItems(mastra.Tenant(ctx), r.TraceID, r, filedByResource) {
		stored, err := s.get(ctx, s.tables.Observability, pkOf(it), skOf(it))
		if err != nil {
			t.Fatal(err)
		}
		if stored != nil {
			found = append(found, stored)
		}
	}
	return found
}

// Traces that a former version wrote are found by every filter beside those of this one, whether they are kept for ever or not; those of
// the range alone are looked through.
func TestFormerTraces(t *testing.T) {
	for _, kept := range []time.Duration{0, 100 * 24 * time.Hour} {
		s, ctx := openTest(t), newTenant(t)
		s.Keep(mastra.Retention{Traces: kept})
		now := s.time()
		for i := range 4 {
			r := noted(fmt.Sprint("former", i), now-mastra.Time(10+i)*24*3_600_000)
			if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{r}}); err != nil {
				t.Fatal(err)
			}
			makeFormer(t, ctx, s, &r)
		}
		for _, q := range narrow {
			if n := total(t, ctx, s, q); n != 4 {
				t.Errorf("%+v: %d traces before there are others, want 4", q, n)
			}
		}
		for i := range 3 {
			if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{noted(fmt.Sprint("new", i), now-mastra.Time(i))}}); err != nil {
				t.Fatal(err)
			}
		}
		until, err := s.former(ctx, mastra.Tenant(ctx))
		if most := now + overlap + 60_000; err != nil || until == 0 || until > most || kept > 0 && until > now-8*24*3_600_000 {
			t.Errorf("former ones until %v, %v", until, err)
		}
		for _, q := range append(narrow, mastra.TraceQuery{}) {
			if n := total(t, ctx, s, q); n != 7 {
				t.Errorf("%+v: %d traces, want 7", q, n)
			}
			if q.From = now - 10; total(t, ctx, s, q) != 3 {
				t.Errorf("%+v: not 3 traces", q)
			}
		}
		again := noted("former3", now-13*24*3_600_000) // one that this version goes on with is no former one
		again.SpanID = "second"
		if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{again}}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteTraces(ctx, []string{"former0", "former1", "former2", "new0"}); err != nil {
			t.Fatal(err)
		}
		if until, err := s.former(ctx, mastra.Tenant(ctx)); err != nil || until != 0 {
			t.Errorf("former ones until %v, %v", until, err)
		}
		for _, q := range append(narrow, mastra.TraceQuery{}) {
			if n := total(t, ctx, s, q); n != 3 {
				t.Errorf("%+v: %d traces, want 3", q, n)
			}
		}
	}
}

// makeFormer makes a trace what a former version wrote: nothing but the summary, counted without saying by whom.
func makeFormer(t *testing.T, ctx context.Context, s *Store, r *mastra.Span) {
	t.Helper()
	table, tenant := s.tables.Observability, mastra.Tenant(ctx)
	for _, it := range thin(t, ctx, s, r) {
		if _, err := s.write(ctx, remove(table, pkOf(it), skOf(it), "", nil), ""); err != nil {
			t.Fatal(err)
		}
	}
	counter := day(r.StartedAt, s.keep.Traces) + "#" + fmt.Sprint(shardOf(r.TraceID))
	for _, o := range []op{
		update(table, tracePK(tenant, r.TraceID), summaryKey, "REMOVE #f", "", nil),
		update(table, counters(tenant, "traces"), counter, "REMOVE #since ADD #f :less", "", item{":less": number(-1)}),
	} {
		if _, err := s.write(ctx, o, ""); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.query(ctx, query{table: table, pk: namesPK(tenant)})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range names {
		if _, err := s.write(ctx, update(table, pkOf(it), skOf(it), "REMOVE #r", "", nil), ""); err != nil {
			t.Fatal(err)
		}
	}
	s.names.kinds.Clear()
}

// A commit that fails leaves nothing that finds its traces; what a process left that died is passed over, and taken away in time.
func TestNothingFindsWhatIsNotThere(t *testing.T) {
	ctx, good := newTenant(t), openTest(t)
	r := noted("x", 1_790_000_000_000)
	s := faulty(t, func(operation string, n int, body string) string {
		if operation == "PutItem" && strings.Contains(body, summaryKey) {
			return "ValidationException"
		}
		return ""
	})
	if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{r}}); err == nil {
		t.Fatal("the commit succeeded")
	}
	if left := thin(t, ctx, good, &r); len(left) != 0 {
		t.Errorf("%d items are left", len(left))
	}
	s = faulty(t, func(operation string, n int, body string) string { // it dies: nothing is taken back
		if operation == "PutItem" && strings.Contains(body, summaryKey) || operation == "DeleteItem" {
			return "ValidationException"
		}
		return ""
	})
	if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{r}}); err == nil {
		t.Fatal("the commit succeeded")
	}
	if left := thin(t, ctx, good, &r); len(left) != 5 {
		t.Fatalf("%d items are left", len(left))
	}
	list := func(q mastra.TraceQuery) int {
		t.Helper()
		q.PerPage = 10
		p, err := good.Traces(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.Items)
	}
	for _, q := range narrow {
		if n := list(q); n != 0 {
			t.Errorf("%+v: %d traces", q, n)
		}
	}
	if left := thin(t, ctx, good, &r); len(left) != 5 { // its summary may be on its way
		t.Errorf("%d items are left", len(left))
	}
	now := time.Now()
	good.now = func() time.Time { return now.Add(2 * time.Hour) }
	for _, q := range narrow {
		list(q)
	}
	if left := thin(t, ctx, good, &r); len(left) != 1 { // that of the resource is no list by itself
		t.Errorf("%d items are left", len(left))
	}
	for _, q := range narrow {
		if n := total(t, ctx, good, q); n != 0 {
			t.Errorf("%+v: %d traces", q, n)
		}
	}
	good.now = time.Now
	if err := good.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{r}}); err != nil {
		t.Fatal(err)
	}
	for _, q := range narrow {
		if n := total(t, ctx, good, q); n != 1 {
			t.Errorf("%+v: %d traces", q, n)
		}
	}
	if err := good.DeleteTraces(ctx, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	if left := thin(t, ctx, good, &r); len(left) != 0 {
		t.Errorf("%d items are left of a deleted trace", len(left))
	}
}

// Branches are counted with the commit that they come in, and as often as they are deleted.
func TestBranchTotal(t *testing.T) {
	for _, kept := range []time.Duration{0, time.Hour} {
		s, ctx := openTest(t), newTenant(t)
		s.Keep(mastra.Retention{Traces: kept})
		now := s.time()
		sp := func(trace, id, parent, kind string) mastra.Span {
			return mastra.Span{TraceID: trace, SpanID: id, ParentID: parent, Type: kind, StartedAt: now, EndedAt: now + 1}
		}
		for i, spans := range [][]mastra.Span{
			{sp("x", "root", "", mastra.SpanAgentRun), sp("x", "m", "root", mastra.SpanModelStep), sp("x", "tool", "root", mastra.SpanToolCall)},
			{sp("x", "tool2", "root", mastra.SpanToolCall)},
			{sp("alone", "tool", "root", mastra.SpanToolCall)},
			{sp("y", "root", "", mastra.SpanAgentRun)},
			{sp("y", "other", "", mastra.SpanWorkflowRun)}, // a second root
		} {
			if err := s.Commit(ctx, &mastra.Batch{Spans: spans}); err != nil {
				t.Fatal(err)
			}
			if n, ok, err := s.branchTotal(ctx); n != []int{2, 3, 4, 5, 6}[i] || !ok || err != nil {
				t.Errorf("%d branches after %d commits, %v, %v", n, i+1, ok, err)
			}
		}
		for i, id := range []string{"x", "x", "alone", "y"} {
			if err := s.DeleteTraces(ctx, []string{id}); err != nil {
				t.Fatal(err)
			}
			if n, ok, err := s.branchTotal(ctx); n != []int{3, 3, 2, 0}[i] || !ok || err != nil {
				t.Errorf("%d branches after %d deletions, %v, %v", n, i+1, ok, err)
			}
		}
	}
}

// What finds a trace goes when it goes.
func TestRetentionOfThinItems(t *testing.T) {
	s, ctx := openTest(t), newTenant(t)
	s.Keep(mastra.Retention{Traces: time.Hour})
	r := noted("x", s.time())
	if err := s.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{r}}); err != nil {
		t.Fatal(err)
	}
	items := thin(t, ctx, s, &r)
	for _, it := range items {
		if got, want := numberOf(it[TTLAttribute]), int64(r.StartedAt)/1000+3600; got != want {
			t.Errorf("%s may be deleted at %d, want %d", pkOf(it), got, want)
		}
	}
	if len(items) != 5 {
		t.Errorf("%d items", len(items))
	}
	s.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	for _, q := range narrow {
		q.PerPage = 10
		if p, err := s.Traces(ctx, q); err != nil || len(p.Items) != 0 { // the number of all may count what went today
			t.Errorf("%+v: %d traces, %v", q, len(p.Items), err)
		}
	}
}
