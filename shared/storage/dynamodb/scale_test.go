package dynamodb

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/mastra"
)

// The first and the last page of a long thread cost what those of a short one do.
func TestLongThread(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 10000 messages")
	}
	var m meter
	s, ctx := openTest(t), newTenant(t)
	for n := range 5 {
		b := mastra.Batch{Threads: []mastra.Thread{{ID: "t", ResourceID: "me", CreatedAt: 1, UpdatedAt: 1}}}
		for i := range 2000 {
			at := mastra.Time(2000*n + i)
			b.Messages = append(b.Messages, mastra.Message{ID: fmt.Sprintf("m%d", int(at)), ThreadID: "t", CreatedAt: at, Content: mastra.JSON(`{"content":"` + strings.Repeat("x", 200) + `"}`)})
		}
		if err := s.Commit(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	metered := openTest(t, m.attach)
	for _, c := range []struct {
		page       int
		descending bool
		first      string
		calls      int
		read       float64
	}{{0, false, "m0", 2, 6}, {0, true, "m9999", 1, 6}, {249, false, "m9960", 2, 6}, {249, true, "m39", 2, 6}, {1, false, "m40", 2, 10}} {
		var p *mastra.Page[mastra.Message]
		took := m.of(t, func() (err error) {
			p, err = metered.Messages(ctx, mastra.MessageQuery{ThreadID: "t", Descending: c.descending, Paging: mastra.Paging{Page: c.page, PerPage: 40}})
			return err
		})
		t.Logf("page %d, descending %v: %v", c.page, c.descending, took)
		if len(p.Items) != 40 || p.Total != 10_000 || p.Items[0].ID != c.first || p.HasMore != (c.page == 0 || c.page == 1) {
			t.Errorf("page %d, descending %v: %d items of %d from %s on, more: %v", c.page, c.descending, len(p.Items), p.Total, p.Items[0].ID, p.HasMore)
		}
		if took.calls > c.calls || took.read > c.read {
			t.Errorf("page %d, descending %v: %v, want %d requests, %v RRU", c.page, c.descending, took, c.calls, c.read)
		}
	}
	took := m.of(t, func() error { _, _, err := metered.Recall(ctx, "t", 10); return err })
	if took.calls != 1 || took.read > 2 {
		t.Errorf("recall: %v", took)
	}
	if _, err := s.Messages(ctx, mastra.MessageQuery{ThreadID: "t", From: 1, Paging: mastra.Paging{PerPage: 5}}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("a range of nearly all: error %v", err)
	}
	if p, err := s.Messages(ctx, mastra.MessageQuery{ThreadID: "t", From: 5000, To: 5009, Paging: mastra.Paging{PerPage: 5}}); err != nil || p.Total != 10 || p.Items[0].ID != "m5000" {
		t.Errorf("a narrow range: %+v, %v", p, err)
	}
	if err := s.DeleteThread(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	left, err := s.query(ctx, query{table: s.tables.Threads, pk: threadPK(mastra.Tenant(ctx), "t"), consistent: true})
	if err != nil || len(left) != 0 {
		t.Errorf("%d items are left, %v", len(left), err)
	}
}

// A filtered list that would read too much asks for a narrower range, in which it answers.
func TestTooManyToFilter(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 2100 traces")
	}
	s, ctx := openTest(t), newTenant(t)
	var b mastra.Batch
	for i := range maxKeys + 100 {
		b.Spans = append(b.Spans, mastra.Span{TraceID: fmt.Sprint("x", i), SpanID: "s", Name: fmt.Sprint("name", i%2), StartedAt: mastra.Time(i + 1)})
	}
	if err := s.Commit(ctx, &b); err != nil {
		t.Fatal(err)
	}
	q := mastra.TraceQuery{Name: "name1", Paging: mastra.Paging{PerPage: 10}}
	if p, err := s.Traces(ctx, q); err != nil || p.Total != (maxKeys+100)/2 || len(p.Items) != 10 { // there is a list of them
		t.Errorf("%+v, %v", p, err)
	}
	q.Name, q.Match = "", func(r *mastra.Span) bool { return r.Name == "name1" }
	if _, err := s.Traces(ctx, q); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("error %v", err)
	}
	q.From, q.To = 1001, 1100
	if p, err := s.Traces(ctx, q); err != nil || p.Total != 50 || len(p.Items) != 10 {
		t.Errorf("%+v, %v", p, err)
	}
	q.From, q.To, q.Uncounted = 0, 0, true
	if p, err := s.Traces(ctx, q); err != nil || len(p.Items) != 10 || !p.HasMore { // its first page alone is there to be had
		t.Errorf("%+v, %v", p, err)
	}
	p, err := s.Traces(ctx, mastra.TraceQuery{Paging: mastra.Paging{Page: 105, PerPage: 10}}) // the middle, unfiltered
	if err != nil || p.Total != maxKeys+100 || len(p.Items) != 10 || p.Items[0].TraceID != fmt.Sprint("x", maxKeys+100-1051) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, ascending := range []bool{false, true} { // outlines of all, each once and in order
		n := 0
		err := s.Outlines(ctx, mastra.SpanQuery{Ascending: ascending}, func(spans []mastra.Span) bool {
			n++
			want := mastra.Time(n)
			if !ascending {
				want = mastra.Time(maxKeys + 100 + 1 - n)
			}
			if len(spans) != 1 || spans[0].StartedAt != want {
				t.Errorf("%+v in place %d", spans, n)
				return false
			}
			return true
		})
		if err != nil || n != maxKeys+100 {
			t.Errorf("%d outlines, %v", n, err)
		}
	}
}

// However many runs have not ended, they are counted and listed; those of one resource, as far as they can be looked through.
func TestManyRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 2100 runs")
	}
	var m meter
	s, ctx := openTest(t, m.attach), newTenant(t)
	for i := 0; i < maxKeys+100; i += 50 {
		var b mastra.Batch
		for j := range 50 {
			b.Runs = append(b.Runs, mastra.RunUpdate{Create: true, Run: mastra.Run{ID: fmt.Sprint("r", i+j), WorkflowID: "w", ResourceID: "me", Status: mastra.StatusSuspended, CreatedAt: mastra.Time(i + j + 1)}})
		}
		if err := s.Commit(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	q := mastra.RunQuery{WorkflowID: "w", Status: mastra.StatusSuspended, Paging: mastra.Paging{PerPage: 1}}
	took := m.of(t, func() error {
		p, err := s.Runs(ctx, q)
		if err == nil && (p.Total != maxKeys+100 || len(p.Items) != 1 || p.Items[0].ID != fmt.Sprint("r", maxKeys+99) || !p.HasMore) {
			t.Errorf("%+v", p)
		}
		return err
	})
	if took.read > 80 {
		t.Errorf("counting takes %v", took)
	}
	t.Logf("%d runs counted: %v", maxKeys+100, took)
	q.Paging = mastra.Paging{Page: 20, PerPage: 100}
	if p, err := s.Runs(ctx, q); err != nil || len(p.Items) != 100 || p.Items[99].ID != "r0" && !p.HasMore {
		t.Errorf("%v %+v", err, p)
	}
	q.ResourceID = "me"
	if _, err := s.Runs(ctx, q); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("%v", err)
	}
	// The number of all is kept once they were counted.
	total := func(want int, most float64) {
		t.Helper()
		took := m.of(t, func() error {
			p, err := s.Runs(ctx, mastra.RunQuery{WorkflowID: "w", Paging: mastra.Paging{PerPage: 1}})
			if err == nil && (p.Total != want || len(p.Items) != 1) {
				t.Errorf("%d runs, not %d", p.Total, want)
			}
			return err
		})
		if took.read > most {
			t.Errorf("%v RRU are %v", took, most)
		}
	}
	add := func(id string, at mastra.Time) {
		t.Helper()
		if err := s.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Create: true, Run: mastra.Run{ID: id, WorkflowID: "w", Status: mastra.StatusSuccess, CreatedAt: at}}}}); err != nil {
			t.Fatal(err)
		}
	}
	const all = maxKeys + 100
	total(all, 200)
	total(all, 8)
	add("new", s.time())
	total(all+1, 8)
	for i, id := range []string{"r7", "new"} { // one that is in the number, and one that is not
		if err := s.DeleteRun(ctx, id); err != nil {
			t.Fatal(err)
		}
		total(all-i, 8)
	}
	var wg sync.WaitGroup
	for i := range 20 { // whoever deletes meanwhile
		wg.Go(func() {
			if err := s.DeleteRun(ctx, fmt.Sprint("r", 100+i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	total(all-21, 8)
}

// Threads whose places in the index lag are listed in their exact order all the same.
func TestLaggingThreads(t *testing.T) {
	s, ctx := openTest(t), newTenant(t)
	const base = mastra.Time(1_700_000_000_000)
	var want []string
	for i := range 30 {
		id := fmt.Sprintf("t%02d", i)
		th := mastra.Thread{ID: id, ResourceID: "me", CreatedAt: base, UpdatedAt: base + mastra.Time(i)*5_000}
		if err := s.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{th}}); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	for i, id := range []string{"t20", "t03", "t27", "t11"} { // each by less than the slack, past others
		at := base + mastra.Time(numberIn(id))*5_000 + 40_001 + mastra.Time(i)
		if err := s.Commit(ctx, &mastra.Batch{Messages: []mastra.Message{{ID: "m" + id, ThreadID: id, CreatedAt: at, Content: mastra.JSON(`{}`)}}}); err != nil {
			t.Fatal(err)
		}
	}
	key := func(id string) int {
		n := numberIn(id) * 5_000
		if i := slices.Index([]string{"t20", "t03", "t27", "t11"}, id); i >= 0 {
			n += 40_001 + i
		}
		return n
	}
	slices.SortFunc(want, func(a, b string) int { return key(b) - key(a) })
	for _, resource := range []string{"", "me"} {
		for _, perPage := range []int{1, 4, 7, 50} {
			var got []string
			for page := 0; page*perPage < 30; page++ {
				p, err := s.Threads(ctx, mastra.ThreadQuery{ResourceID: resource, Paging: mastra.Paging{Page: page, PerPage: perPage}})
				if err != nil {
					t.Fatal(err)
				}
				for _, th := range p.Items {
					got = append(got, th.ID)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("resource %q, %d a page: %v, want %v", resource, perPage, got, want)
			}
		}
	}
}

func numberIn(id string) (n int) { _, _ = fmt.Sscanf(id, "t%d", &n); return n }
