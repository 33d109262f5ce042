package scoring_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
	"mastralambda/shared/scoring"
	"mastralambda/shared/storage/sqlite"
)

// fixed is a model that says one thing.
type fixed struct {
	mastra.LanguageModel
	text string
}

func (f fixed) Stream(context.Context, *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		_ = yield(mastra.ModelPart{Type: mastra.ModelTextDelta, Text: f.text}, nil) && yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop, Usage: mastra.Usage{InputTokens: 7, OutputTokens: 2}, Cost: 0.5}, nil)
	}
}

type word struct {
	Text string `json:"text"`
}

// Scorers of agents and steps run after the answer: code, a model as a judge, one that fails, one that never sees a run.
func TestScorers(t *testing.T) {
	storage, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	length := mastra.NewScorer("length", "Length", "How much was said", func(_ context.Context, r mastra.ScorerRun) (mastra.Verdict, error) {
		return mastra.Verdict{Score: float64(len(r.Output)), Reason: "counted"}, nil
	})
	broken := mastra.NewScorer("broken", "", "", func(context.Context, mastra.ScorerRun) (mastra.Verdict, error) {
		return mastra.Verdict{}, errors.New("no idea")
	})
	panics := mastra.NewScorer("panics", "", "", func(context.Context, mastra.ScorerRun) (mastra.Verdict, error) { panic("oh") })
	judge := mastra.NewJudge("judge", "Judge", "Asks a model", "judge/m", "Is it true?")
	agent := &mastra.Agent{ID: "a", Name: "A", Instructions: "Answer.", Memory: &mastra.Memory{LastMessages: 5}, Scorers: []*mastra.Scorer{length, broken, judge, panics, length.Sampled(0)}}
	upper := mastra.NewStep("upper", func(_ context.Context, in word) (word, error) { return word{strings.ToUpper(in.Text)}, nil }).ScoredBy(length)
	flow := mastra.NewWorkflow[word, word]("flow").Then(upper)
	runs := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
	m, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{agent}, Workflows: []mastra.Workflow{flow}, Backends: mastra.Backends{Storage: storage, Logger: slog.New(slog.DiscardHandler),
		Agents: agentloop.New(runs), Engine: engine.New(runs), Scoring: scoring.New(runs),
		Models: func(id string) (mastra.LanguageModel, error) {
			if id == "judge/m" {
				return fixed{offline.New(0), `Well: {"score": 0.75, "reason": "mostly {so}"} is what I think.`}, nil
			}
			return offline.New(0), nil
		}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.AllScorers()) != 4 {
		t.Errorf("%d scorers are registered", len(m.AllScorers()))
	}
	ctx := mastra.NewContext(t.Context(), m)
	answer, err := m.Agents.Generate(ctx, m, agent, mastra.AgentCall{Messages: mastra.UserMessage("hi"), ThreadID: "t", ResourceID: "me",
		Tracing: mastra.TracingOptions{Metadata: mastra.JSON(`{"by":"qa","password":"secret","userId":"u1"}`), Tags: []string{"beta"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := flow.Run(ctx, word{"x"}); err != nil {
		t.Fatal(err)
	}
	if err := runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := storage.Scores(t.Context(), mastra.ScoreQuery{Ascending: true, Paging: mastra.Paging{PerPage: 20}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range page.Items {
		got = append(got, s.EntityType+" "+s.ScorerID)
		if s.ScoreTraceID == "" || s.RunID == "" || s.SpanID == "" || s.Source != "live" || len(s.Run) == 0 {
			t.Errorf("%+v", s)
		}
		if s.ScorerID == "judge" && (s.Score != 0.75 || s.Reason != "mostly {so}") {
			t.Errorf("the judge says %v, %q", s.Score, s.Reason)
		}
		if s.EntityType == "agent" && (s.UserID != "u1" || !slices.Equal(s.Tags, []string{"beta"}) || s.TraceID != answer.TraceID || s.ThreadID != "t" || s.ResourceID != "me") {
			t.Errorf("%+v", s.Origin)
		}
		for _, part := range map[string][]string{"agent": {`"by":"qa"`, `"runId":"` + answer.RunID + `"`, `"threadId":"t"`, `"scorerDefinition":`}, "workflow_step": {`"runId":"`, `"hasGroundTruth":false`}}[s.EntityType] {
			if !strings.Contains(string(s.Metadata), part) || strings.Contains(string(s.Metadata), "secret") {
				t.Errorf("%s of %s is said: %s, without %s", s.ScorerID, s.EntityType, s.Metadata, part)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"agent judge", "agent length", "workflow_step length"}) {
		t.Errorf("scores: %v", got)
	}
	failed, err := storage.Traces(t.Context(), mastra.TraceQuery{SpanType: mastra.SpanScorerRun, Status: "error", Paging: mastra.Paging{PerPage: 9}})
	if err != nil || failed.Total != 2 || strings.Contains(string(failed.Items[0].Error)+string(failed.Items[1].Error), "oh") {
		t.Errorf("%+v, %v", failed, err)
	}

	// A stored trace is scored later.
	m.Scoring.Score(ctx, m, []*mastra.Scorer{length}, mastra.ScorerRun{TraceID: answer.TraceID})
	m.Scoring.Score(ctx, m, []*mastra.Scorer{length}, mastra.ScorerRun{TraceID: "none"})
	if err := runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page, err = storage.Scores(t.Context(), mastra.ScoreQuery{TraceID: answer.TraceID, ScorerID: "length"}); err != nil || page.Total != 2 {
		t.Errorf("%d scores of the trace, %v", page.Total, err)
	}
}

// The score of a step that waited says that its run was resumed, as its span does.
func TestAResumedStepIsScored(t *testing.T) {
	storage, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	quiet := slog.New(slog.DiscardHandler)
	runs := runlog.NewSupervisor(quiet)
	length := mastra.NewScorer("length", "", "", func(_ context.Context, r mastra.ScorerRun) (mastra.Verdict, error) {
		return mastra.Verdict{Score: float64(len(r.Output))}, nil
	})
	flow := mastra.NewWorkflow[word, word]("flow").Then(mastra.NewPausable("ask", func(_ context.Context, in word, answer *word) (word, error) {
		if answer == nil {
			return word{}, mastra.Suspend(in)
		}
		return *answer, nil
	}).ScoredBy(length))
	m, err := mastra.New(mastra.Config{Workflows: []mastra.Workflow{flow}, Backends: mastra.Backends{Storage: storage, Logger: quiet, Engine: engine.New(runs), Scoring: scoring.New(runs)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := mastra.NewContext(t.Context(), m)
	run, err := m.Engine.Start(ctx, m, flow, mastra.WorkflowCall{Input: mastra.JSON(`{"text":"?"}`)})
	if err != nil || run.Status != mastra.StatusSuspended {
		t.Fatalf("%+v, %v", run, err)
	}
	if run, err = m.Engine.Resume(ctx, m, flow, mastra.WorkflowResume{RunID: run.ID, Data: mastra.JSON(`{"text":"!"}`)}); err != nil || run.Status != mastra.StatusSuccess {
		t.Fatalf("%+v, %v", run, err)
	}
	if err := runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := storage.Scores(t.Context(), mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 9}})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if got := string(page.Items[0].Metadata); !strings.Contains(got, `"resumed":true,"resumedFromSpanId":"`) {
		t.Error(got)
	}
}

// With a queue a judge of stored traces runs where its work is done: who asks for it needs no model. What is named like a
// secret is not in the message.
func TestScoringOnAQueue(t *testing.T) {
	storage, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = storage.Close() })
	ctx, quiet := t.Context(), slog.New(slog.DiscardHandler)
	runs := runlog.NewSupervisor(quiet)
	judge := mastra.NewJudge("judge", "Judge", "Asks a model", "judge/m", "Is it true?")
	with := func(b mastra.Backends) *mastra.Mastra {
		b.Storage, b.Logger = storage, quiet
		m, err := mastra.New(mastra.Config{Scorers: []*mastra.Scorer{judge}, Backends: b})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	queue := local.Open(storage)
	front := with(mastra.Backends{Queue: queue, Scoring: scoring.New(runs)})
	worker := with(mastra.Backends{Models: func(string) (mastra.LanguageModel, error) { return fixed{offline.New(0), `{"score": 0.25}`}, nil }})
	if err := storage.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{{TraceID: "t", SpanID: "root", StartedAt: 1, EndedAt: 2, RunID: "r", EntityType: "agent", EntityID: "a", Output: mastra.JSON(`"yes"`)}}}); err != nil {
		t.Fatal(err)
	}
	var in observability.ScoreTracesInput
	if err := schema.Unmarshal([]byte(`{"scorerName": "judge", "targets": [{"traceId": "t"}, {"traceId": "none"}]}`), &in); err != nil {
		t.Fatal(err)
	}
	if out, err := observability.ScoreTraces(ctx, front, in); err != nil || out.TraceCount != 2 {
		t.Fatalf("%+v %v", out, err)
	}
	front.Scoring.Score(ctx, front, []*mastra.Scorer{judge}, mastra.ScorerRun{RunID: "live", Input: mastra.JSON(`{"apiKey":"s3cret"}`), Output: mastra.JSON(`"x"`)})
	if err := runs.Idle(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d, err := queue.Receive(ctx, time.Second, time.Minute)
		if err != nil || d == nil {
			t.Fatalf("%+v %v", d, err)
		}
		if strings.Contains(string(d.Data), "s3cret") {
			t.Errorf("the message says %s", d.Data)
		}
		for range 2 { // messages may come twice
			if err := scoring.Handler(worker)(ctx, d.Work); err != nil {
				t.Error(err)
			}
		}
		if err := d.Handle.Done(ctx); err != nil {
			t.Error(err)
		}
	}
	page, err := storage.Scores(ctx, mastra.ScoreQuery{Ascending: true, Paging: mastra.Paging{PerPage: 20}})
	if err != nil || page.Total != 2 {
		t.Fatalf("%+v %v", page, err)
	}
	for _, s := range page.Items {
		if s.Score != 0.25 || s.Source != map[string]string{"r": "trace", "live": "live"}[s.RunID] {
			t.Errorf("%+v", s)
		}
		spans, err := storage.Trace(ctx, s.ScoreTraceID) // of the message that came twice, once
		if err != nil || len(spans) != 6 || spans[1].Type != mastra.SpanScorerStep || spans[1].ParentID != spans[0].SpanID || string(spans[1].Output) != "0.25" || !strings.Contains(string(spans[0].Output), `"success":true`) {
			t.Errorf("%+v, %v", spans, err)
		}
		names := "" // what the judge asked its model, and what that took, is below the scorer's step
		for i := 2; i < len(spans); i++ {
			if names += spans[i].Name + " "; spans[i].ParentID != spans[i-1].SpanID || spans[i].EntityID != "judge" || !strings.Contains(string(spans[i].Metadata), `"targetTraceId"`) {
				t.Errorf("%+v", spans[i])
			}
		}
		if names != "agent run: 'judge' llm: 'demo' step: 0 inference: 0 " {
			t.Error(names)
		}
		if string(spans[1].Attributes) != `{"step":"generateScore","stepType":"prompt","judgeModel":"demo"}` {
			t.Errorf("%s", spans[1].Attributes)
		}
		if use := spans[3].Use(); use == nil || use.Usage.InputTokens != 7 || use.Cost == nil || use.Cost.Amount != 0.5 || string(spans[5].Output) != `{"text":"{\"score\": 0.25}","files":[]}` {
			t.Errorf("%+v, %s", use, spans[5].Output)
		}
	}
	traces, err := storage.Traces(ctx, mastra.TraceQuery{SpanType: mastra.SpanScorerRun, Paging: mastra.Paging{PerPage: 20}})
	if err != nil || traces.Total != 2 {
		t.Errorf("%d traces of scorers, %v", traces.Total, err)
	}
}
