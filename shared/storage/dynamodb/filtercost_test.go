package dynamodb

import (
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// What it costs to find some traces among more than a list looks through: a filtered list reads what matches, not what is stored.
func TestCostOfFilters(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 2300 traces")
	}
	var m meter
	s, ctx := openTest(t, m.attach), newTenant(t)
	const base = mastra.Time(1_790_000_000_000)
	root := func(i int) mastra.Span {
		run := mastra.NewID()
		return mastra.Span{TraceID: mastra.TraceOfRun(run), SpanID: "00000000000000aa", Name: "agent run: 'usual'", Type: mastra.SpanAgentRun, StartedAt: base + mastra.Time(i)*1000, EndedAt: base + mastra.Time(i)*1000 + 500,
			EntityType: "agent", EntityID: "usual", EntityName: "Usual", RunID: run, Input: mastra.JSON(`"` + strings.Repeat("What is the weather like? ", 10) + `"`), Output: mastra.JSON(`{"text":"Fine."}`)}
	}
	fast := openTest(t) // unmetered
	commit := func(b *mastra.Batch) {
		t.Helper()
		if err := fast.Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	var b mastra.Batch
	const many = maxKeys + 300
	var usual mastra.Span
	for i := range many {
		usual = root(i)
		b.Spans = append(b.Spans, usual)
	}
	commit(&b)
	commit(&mastra.Batch{Threads: []mastra.Thread{{ID: "mine", ResourceID: "me", CreatedAt: base, UpdatedAt: base}}})
	for i := range 30 { // one in some 80
		at := i * many / 30
		failed, tagged, named, rare, given, mine := root(at), root(at), root(at), root(at), root(at), root(at)
		failed.Error = mastra.JSON(`{"message":"no"}`)
		tagged.Tags = []string{"rare", fmt.Sprint("tag", i)}
		named.Name = "my own name"
		rare.EntityType, rare.EntityID, rare.EntityName, rare.Type, rare.Name = "workflow_run", "rare", "Rare", mastra.SpanWorkflowRun, "workflow run: 'rare'"
		given.RunID = fmt.Sprint("run", i)
		mine.ResourceID = "me"
		below := failed
		below.SpanID, below.ParentID, below.Type = "00000000000000bb", failed.SpanID, mastra.SpanToolCall
		b := mastra.Batch{Spans: []mastra.Span{failed, below, tagged, named, rare, given}}
		if i%2 == 0 {
			mine.ThreadID = "mine"
			b.Messages = []mastra.Message{{ID: fmt.Sprint("m", i), ThreadID: "mine", Role: "user", CreatedAt: mine.StartedAt, Content: mastra.JSON(`{"content":"What is the weather like?"}`)}}
		}
		b.Spans = append(b.Spans, mine)
		commit(&b)
	}
	check := func(name string, q mastra.TraceQuery, items, total int, calls, trips int, read float64) {
		t.Helper()
		q.PerPage = 20
		c := m.reading(t, trips, func() error {
			p, err := s.Traces(ctx, q)
			if err == nil && (len(p.Items) != items || !q.Uncounted && p.Total != total) {
				t.Errorf("%s: %d of %d, want %d of %d", name, len(p.Items), p.Total, items, total)
			}
			return err
		})
		t.Logf("%-40s %v", name, c)
		if c.calls > calls || c.trips > trips || c.read > read || c.write > 0 {
			t.Errorf("%s takes more than %d requests, %d in sequence, %v RRU", name, calls, trips, read)
		}
	}
	const all = many + 6*30
	match := func(*mastra.Span) bool { return true }
	check("all", mastra.TraceQuery{}, 20, all, 5, 2, 10)
	check("failed", mastra.TraceQuery{Status: "error"}, 20, 30, 10, 3, 20)
	check("failed, the last page", mastra.TraceQuery{Status: "error", Paging: mastra.Paging{Page: 1}}, 10, 30, 10, 3, 20)
	check("failed, uncounted", mastra.TraceQuery{Status: "error", Uncounted: true}, 20, 0, 6, 2, 20)
	check("failed, that meet a condition", mastra.TraceQuery{Status: "error", Match: match}, 20, 30, 6, 2, 25)
	check("successful", mastra.TraceQuery{Status: "success"}, 20, all-30, 18, 2, 20)
	check("of a range of time", mastra.TraceQuery{From: base, To: base + 2_200_000}, 20, 2201+6*29, 9, 2, 110)
	const branches = all + 30
	check("branches of a run", mastra.TraceQuery{Types: mastra.BranchTypes, RunID: usual.RunID}, 1, 1, 4, 4, 4)
	check("branches", mastra.TraceQuery{Types: mastra.BranchTypes}, 20, branches, 40, 5, 75)
	check("branches, a later page", mastra.TraceQuery{Types: mastra.BranchTypes, Paging: mastra.Paging{Page: 5}}, 20, branches, 50, 6, 125)
	check("branches, the oldest", mastra.TraceQuery{Types: mastra.BranchTypes, Ascending: true}, 20, branches, 40, 5, 75)
	counted, ok, err := fast.branchTotal(ctx)
	if err != nil || !ok || counted != branches {
		t.Errorf("%d branches, %v, %v", counted, ok, err)
	}
	yes, no := true, false
	check("with a failed child", mastra.TraceQuery{ChildError: &yes}, 20, 30, 6, 2, 20)
	check("without a failed child", mastra.TraceQuery{ChildError: &no}, 20, all-30, 11, 3, 30)
	check("running", mastra.TraceQuery{Status: "running"}, 0, 0, 10, 2, 5)
	check("tagged", mastra.TraceQuery{Tags: []string{"rare"}}, 20, 30, 10, 3, 20)
	check("tagged twice", mastra.TraceQuery{Tags: []string{"rare", "tag7"}}, 1, 1, 10, 3, 5)
	check("of a run of ours", mastra.TraceQuery{RunID: usual.RunID}, 1, 1, 4, 3, 4)
	check("of a run whose id was given", mastra.TraceQuery{RunID: "run7"}, 1, 1, 4, 3, 4)
	check("of no run", mastra.TraceQuery{RunID: "none"}, 0, 0, 4, 3, 4)
	check("of a resource", mastra.TraceQuery{ResourceID: "me"}, 20, 30, 8, 4, 25)
	check("of an entity", mastra.TraceQuery{EntityType: "workflow_run", EntityID: "rare"}, 20, 30, 10, 3, 20)
	check("of an entity that has most", mastra.TraceQuery{EntityType: "agent", EntityID: "usual"}, 20, all-30, 10, 3, 110)
	check("of an entity, failed", mastra.TraceQuery{EntityType: "agent", EntityID: "usual", Status: "error"}, 20, 30, 12, 3, 250)
	check("by a name of its own", mastra.TraceQuery{Name: "my own name"}, 20, 30, 11, 4, 20)
	check("by a usual name", mastra.TraceQuery{Name: "workflow run: 'rare'"}, 20, 30, 11, 4, 20)
	check("of a type", mastra.TraceQuery{SpanType: mastra.SpanWorkflowRun}, 20, 30, 11, 4, 20)
	check("of a type of entities", mastra.TraceQuery{EntityType: "workflow_run"}, 20, 30, 11, 4, 20)
	check("of an entity's id alone", mastra.TraceQuery{EntityID: "rare"}, 20, 30, 11, 4, 20)
	check("of an entity's name", mastra.TraceQuery{EntityName: "Rare"}, 20, 30, 11, 4, 20)
	check("of the type that most are of", mastra.TraceQuery{SpanType: mastra.SpanAgentRun}, 20, all-30, 12, 4, 110)
	check("of no such name", mastra.TraceQuery{EntityName: "None"}, 0, 0, 11, 4, 5)
}
