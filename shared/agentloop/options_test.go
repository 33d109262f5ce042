package agentloop_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/storage/sqlite"
)

// judged remembers who was to judge.
type judged struct{ by [][]string }

func (j *judged) Score(_ context.Context, _ *mastra.Mastra, scorers []*mastra.Scorer, _ mastra.ScorerRun) {
	var ids []string
	for _, s := range scorers {
		if s.Rate > 0 {
			ids = append(ids, s.ID)
		}
	}
	j.by = append(j.by, ids)
}

func TestACallChoosesItsModelAndScorers(t *testing.T) {
	store, err := sqlite.Open(t.TempDir() + "/db")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	scorer := func(id string) *mastra.Scorer {
		return mastra.NewScorer(id, id, "", func(context.Context, mastra.ScorerRun) (mastra.Verdict, error) { return mastra.Verdict{}, nil })
	}
	quiet := slog.New(slog.DiscardHandler)
	runs, j := runlog.NewSupervisor(quiet), &judged{}
	runner := agentloop.New(runs)
	own, other := &script{steps: [][]mastra.ModelPart{said("own")}}, &script{steps: [][]mastra.ModelPart{said("other")}}
	m, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{{ID: "a", Name: "A", Model: "test/own", Scorers: []*mastra.Scorer{scorer("one")}}}, Scorers: []*mastra.Scorer{scorer("two"), scorer("three")},
		Backends: mastra.Backends{Agents: runner, Storage: store, Logger: quiet, Scoring: j, Models: func(id string) (mastra.LanguageModel, error) {
			switch id {
			case "test/own":
				return own, nil
			case "test/other":
				return other, nil
			}
			return nil, mastra.Errorf(mastra.CodeInvalid, "There is no model %s", id)
		}}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Mastra: m, runs: runs, runner: runner}
	for want, c := range map[string]mastra.AgentCall{"own": {}, "other": {Model: "test/other", Scorers: []mastra.ScorerChoice{{ID: "two", Rate: 1}, {ID: "three"}}, ScoringData: true}} {
		c.Messages = mastra.UserMessage("x")
		r, err := w.generate(t.Context(), "a", c)
		if err != nil || r.Text != want || (r.Scoring != nil) != c.ScoringData {
			t.Errorf("%+v, %v", r, err)
		}
		if got := strings.Join(j.by[len(j.by)-1], " "); got != map[string]string{"own": "one", "other": "two"}[want] {
			t.Errorf("judged by %s", got)
		}
	}
	_, err = w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("x"), Model: "test/none"})
	var known *mastra.Error
	if !errors.As(err, &known) || len(known.Issues) != 1 || known.Issues[0].Field != "model" || !strings.Contains(known.Issues[0].Message, "test/none") {
		t.Error(err)
	}
}

func TestAnAnswerIsSavedStepByStep(t *testing.T) {
	var w *world
	var seen atomic.Value
	look := mastra.NewTool("look", "", func(ctx context.Context, _ struct{}) (string, error) {
		seen.Store(thread(t, w.Storage))
		return "looked", nil
	})
	steps := [][]mastra.ModelPart{append(said("first")[:3], asks("look", "{}")...), asks("look", "{}")}
	for _, perStep := range []bool{true, false} {
		w = newWorld(t, &script{steps: steps}, &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{look}})
		if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("x"), ThreadID: "t", ResourceID: "u", SavePerStep: perStep}); err != nil {
			t.Fatal(err)
		}
		want := "user x"
		if perStep {
			want += "; assistant first"
		}
		if got := seen.Load(); got != want {
			t.Errorf("per step %t: %s", perStep, got)
		}
		if got := thread(t, w.Storage); got != "user x; assistant first" {
			t.Error(got)
		}
	}
}
