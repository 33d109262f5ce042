package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// What is older than it is kept goes while newer things are written; the rest stays.
func TestRetention(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s, err := Open(filepath.Join(t.TempDir(), "db"), Clock(func() time.Time { return now }), Keep(mastra.Retention{Traces: time.Hour, Scores: 3 * time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	write := func(name string, n int) {
		for i := range n {
			id, at := fmt.Sprintf("%s-%d", name, i), mastra.TimeOf(now)
			b := mastra.Batch{Spans: []mastra.Span{{TraceID: id, SpanID: "r", StartedAt: at, EndedAt: at + 1}, {TraceID: id, SpanID: "c", ParentID: "r", StartedAt: at, EndedAt: at}},
				Scores: []mastra.Score{{ID: id, CreatedAt: at}}, Feedback: []mastra.Feedback{{ID: id, CreatedAt: at}}}
			if err := s.Commit(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() (traces, spans, scores, feedback int) {
		p, err := s.Traces(t.Context(), mastra.TraceQuery{})
		if err == nil {
			traces = p.Total
			err = s.Outlines(t.Context(), mastra.SpanQuery{}, func(all []mastra.Span) bool { spans += len(all); return true })
		}
		if err == nil {
			var p *mastra.Page[mastra.Score]
			p, err = s.Scores(t.Context(), mastra.ScoreQuery{})
			scores = p.Total
		}
		if err == nil {
			var p *mastra.Page[mastra.Feedback]
			p, err = s.Feedback(t.Context(), mastra.ScoreQuery{})
			feedback = p.Total
		}
		if err != nil {
			t.Fatal(err)
		}
		return traces, spans, scores, feedback
	}
	write("old", 100)
	now = now.Add(2 * time.Hour)
	write("new", 300)
	if traces, spans, scores, feedback := count(); traces != 300 || spans != 600 || scores != 400 || feedback != 400 {
		t.Errorf("after two hours: %d traces, %d spans, %d scores, %d feedback", traces, spans, scores, feedback)
	}
	if _, err := s.Trace(t.Context(), "old-7"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("an old trace: %v", err)
	}
	now = now.Add(30 * time.Minute)
	write("newest", 10)
	if spans, err := s.Trace(t.Context(), "new-7"); err != nil || len(spans) != 2 {
		t.Errorf("a new trace: %d spans, %v", len(spans), err)
	}
	now = now.Add(2 * time.Hour)
	write("last", 500)
	if traces, _, scores, feedback := count(); traces != 500 || scores != 500+10+300 || feedback != 910 {
		t.Errorf("at the end: %d traces, %d scores, %d feedback", traces, scores, feedback)
	}
}

// Runs that have expired go while others are written; those that have not ended stay.
func TestExpiredRunsGo(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s, err := Open(filepath.Join(t.TempDir(), "db"), Clock(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	write := func(name string, n int, status mastra.RunStatus) {
		for i := range n {
			r := mastra.Run{ID: fmt.Sprint(name, i), WorkflowID: "agent:a", Status: status, CreatedAt: mastra.TimeOf(now), ExpiresAt: mastra.TimeOf(now.Add(time.Hour)),
				Steps: mastra.Object[mastra.StepResult]{{Key: "0"}}}
			b := mastra.Batch{Runs: []mastra.RunUpdate{{Run: r, Create: true}}}
			if err := s.Commit(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows := func(table string) (n int64) {
		err := s.readers.read(t.Context(), func(c *conn) error {
			r, err := c.first("SELECT COUNT(*) FROM " + table)
			if err == nil {
				n = r.int(0)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write("waits", 10, mastra.StatusSuspended)
	write("old", 100, mastra.StatusSuccess)
	now = now.Add(2 * time.Hour)
	write("new", 200, mastra.StatusSuccess)
	for _, table := range []string{"runs", "run_inputs", "steps"} {
		if got := rows(table); got != 210 {
			t.Errorf("%s has %d rows", table, got)
		}
	}
	if p, err := s.Runs(t.Context(), mastra.RunQuery{WorkflowID: "agent:a"}); err != nil || p.Total != 210 {
		t.Errorf("%+v, %v", p, err)
	}
}
