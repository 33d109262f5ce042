package memory_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/sqlite"
)

// few is a storage that looks through few traces at once, as DynamoDB does with many.
type few struct{ mastra.Storage }

func (f few) Traces(ctx context.Context, q mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	all := q
	all.ResourceID = ""
	if p, err := f.Storage.Traces(ctx, all); err != nil || p.Total > 7 {
		return nil, mastra.Errorf(mastra.CodeInvalid, "too many")
	}
	return f.Storage.Traces(ctx, q)
}

// All that there is of a resource goes, however much it is, and nothing of others.
func TestForget(t *testing.T) {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: few{s}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for i := range 120 {
		who, id, at := []string{"ann", "bob"}[i%2], fmt.Sprint("x", i), mastra.Time(1_700_000_000_000+i*i*1000)
		b := mastra.Batch{
			Spans:    []mastra.Span{{TraceID: id, SpanID: "root", StartedAt: at, EndedAt: at, ResourceID: who}},
			Scores:   []mastra.Score{{ID: "of-" + id, TraceID: id, CreatedAt: at}, {ID: id, CreatedAt: at, Origin: mastra.Origin{ResourceID: who}}},
			Feedback: []mastra.Feedback{{ID: id, TraceID: id, CreatedAt: at}},
		}
		if i < 60 {
			b.Spans[0].ThreadID = id
			b.Threads = []mastra.Thread{{ID: id, ResourceID: who, CreatedAt: at, UpdatedAt: at}}
			b.Messages = []mastra.Message{{ID: id, ThreadID: id, ResourceID: who, CreatedAt: at, Content: mastra.JSON(`{}`)}}
		}
		if err := s.Commit(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []string{"ann", "bob"} {
		if err := s.SaveWorkingMemory(ctx, mastra.Notes{Of: mastra.NotesOf{ResourceID: who}, Data: "notes"}); err != nil {
			t.Fatal(err)
		}
	}
	bound := mastra.WithPrincipal(ctx, &mastra.Principal{Resource: "bob"})
	if _, err := memory.Forget(bound, m, memory.ForgetInput{ResourceID: "ann"}); mastra.CodeOf(err) != mastra.CodeForbidden {
		t.Errorf("bob deletes ann: %v", err)
	}
	out, err := memory.Forget(ctx, m, memory.ForgetInput{ResourceID: "ann"})
	if want := (memory.Forgotten{Complete: true, Threads: 30, Traces: 30, Scores: 60}); err != nil || out != want {
		t.Errorf("%+v %v, want %+v", out, err, want)
	}
	left := func(what string, total int, err error, want int) {
		t.Helper()
		if err != nil || total != want {
			t.Errorf("%d %s are left, want %d (%v)", total, what, want, err)
		}
	}
	threads, err := s.Threads(ctx, mastra.ThreadQuery{})
	left("threads", threads.Total, err, 30)
	traces, err := s.Traces(ctx, mastra.TraceQuery{})
	left("traces", traces.Total, err, 60)
	scores, err := s.Scores(ctx, mastra.ScoreQuery{})
	left("scores", scores.Total, err, 120)
	feedback, err := s.Feedback(ctx, mastra.ScoreQuery{})
	left("pieces of feedback", feedback.Total, err, 60)
	for who, want := range map[string]string{"ann": "", "bob": "notes"} {
		if n, err := s.WorkingMemory(ctx, mastra.NotesOf{ResourceID: who}); err != nil || n.Data != want {
			t.Errorf("%s's notes: %+v %v", who, n, err)
		}
	}
	if out, err = memory.Forget(ctx, m, memory.ForgetInput{ResourceID: "ann"}); err != nil || out != (memory.Forgotten{Complete: true}) {
		t.Errorf("again: %+v %v", out, err)
	}
}
