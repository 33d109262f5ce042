package agentloop_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mastralambda/shared/mastra"
)

// seen remembers what scorers were shown.
type seen struct{ runs []mastra.ScorerRun }

func (s *seen) Score(_ context.Context, _ *mastra.Mastra, _ []*mastra.Scorer, run mastra.ScorerRun) {
	s.runs = append(s.runs, run)
}

// What a run does after it has waited has a root span of its own below the one before, and so has its score, wherever it goes on.
func TestAResumedRunIsTracedAndScoredAsOne(t *testing.T) {
	var ran atomic.Int32
	path := filepath.Join(t.TempDir(), "db")
	agent := deleter(&ran)
	agent.Scorers = []*mastra.Scorer{mastra.NewScorer("s", "", "", func(context.Context, mastra.ScorerRun) (mastra.Verdict, error) { return mastra.Verdict{}, nil })}
	begin := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, agent)
	call := mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("a", 32), ParentSpanID: strings.Repeat("b", 16), Metadata: mastra.JSON(`{"k":1}`)}}
	before, err := begin.generate(t.Context(), "a", call)
	if err != nil || before.FinishReason != mastra.FinishSuspended {
		t.Fatalf("%+v, %v", before, err)
	}
	there := newProcess(t, path, 0, &script{}, agent)
	var shown seen
	there.Scoring = &shown
	after, err := there.runner.Resume(t.Context(), there.Mastra, agent, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)})
	if err != nil || after.Text != "done" || after.TraceID != before.TraceID || after.SpanID == before.SpanID {
		t.Fatalf("%+v, %v", after, err)
	}
	spans, err := there.Storage.Trace(t.Context(), before.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	root := func(id string) mastra.Span {
		i := slices.IndexFunc(spans, func(s mastra.Span) bool { return s.SpanID == id })
		if i < 0 {
			t.Fatalf("no span %s", id)
		}
		return spans[i]
	}
	first, second := root(before.SpanID), root(after.SpanID)
	if first.Name != "agent run: 'a'" || !first.Remote || strings.Contains(string(first.Metadata), "resumed") {
		t.Errorf("before: %+v", first)
	}
	model := spans[slices.IndexFunc(spans, func(s mastra.Span) bool { return s.Type == mastra.SpanModelGeneration })]
	want := `{"k":1,"runId":"run","resumed":true,"resumedFromSpanId":"` + model.SpanID + `"}`
	if second.Name != "agent run: 'a' (resumed)" || second.Remote || model.ParentID != before.SpanID || second.ParentID != model.SpanID || second.StartedAt < first.EndedAt || string(second.Metadata) != want {
		t.Errorf("after: %+v, metadata %s", second, second.Metadata)
	}
	for _, s := range spans {
		if s.ParentID == after.SpanID && !strings.Contains(string(s.Metadata), `"resumed":true`) {
			t.Errorf("%s: %s", s.Name, s.Metadata)
		}
	}
	if len(shown.runs) != 1 || shown.runs[0].SpanID != after.SpanID || string(shown.runs[0].Metadata) != want {
		t.Errorf("scorers were shown %+v", shown.runs)
	}
}
