package engine_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func resume(t *testing.T, p *process, w mastra.Workflow, c mastra.WorkflowResume) *mastra.Run {
	t.Helper()
	run, err := p.engine.Resume(context.Background(), p.Mastra, w, c)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestSuspend(t *testing.T) {
	type answers struct {
		Ask  int `json:"ask"`
		Ask2 int `json:"ask2"`
		Inc  int `json:"inc"`
	}
	inner := mastra.NewWorkflow[int, int]("inner").Then(step("i1", inc)).Then(ask("ask"))
	add := func(n string) mastra.JSON { return mastra.JSON(`{"add":` + n + `}`) }
	for _, c := range []struct {
		name     string
		workflow mastra.Workflow
		waits    string // what is suspended at first
		resumes  []mastra.WorkflowResume
		want     string
	}{
		{"a step", mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(ask("ask")).Then(step("b", double)),
			`[["ask"]]`, []mastra.WorkflowResume{{Data: add("5")}}, "14"},
		{"two of three at once", mastra.NewWorkflow[int, answers]("w").Parallel(ask("ask"), ask("ask2"), step("inc", inc)),
			`[["ask"],["ask2"]]`, []mastra.WorkflowResume{{Step: []string{"ask2"}, Data: add("5")}, {Data: add("6")}}, `{"ask":7,"ask2":6,"inc":2}`},
		{"in a branch", mastra.NewWorkflow[int, map[string]int]("w").Branch(mastra.When(func(int) bool { return true }, ask("ask")), mastra.When(func(int) bool { return false }, ask("never"))),
			`[["ask"]]`, []mastra.WorkflowResume{{Step: []string{"ask"}, Data: add("5")}}, `{"ask":6}`},
		{"nested", mastra.NewWorkflow[int, int]("w").Then(inner).Then(step("b", double)),
			`[["inner","ask"]]`, []mastra.WorkflowResume{{Step: []string{"inner", "ask"}, Data: add("5")}}, "14"},
		{"nested, by its workflow", mastra.NewWorkflow[int, int]("w").Then(inner).Then(step("b", double)),
			`[["inner","ask"]]`, []mastra.WorkflowResume{{Step: []string{"inner"}, Data: add("5")}}, "14"},
		{"in a foreach, all turns begun", mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", func(context.Context, int) ([]int, error) { return []int{1, 2}, nil })).ForEach(ask("ask"), 2),
			`[["ask"]]`, []mastra.WorkflowResume{{Data: add("5")}, {Data: add("5")}}, "[6,7]"},
		{"in a loop, each turn", mastra.NewWorkflow[int, int]("w").Until(ask("ask"), mastra.Cond(func(n int) bool { return n > 10 })),
			`[["ask"]]`, []mastra.WorkflowResume{{Data: add("5")}, {Data: add("7")}}, "13"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := inNewFile(t, c.workflow)
			run := start(t, p, c.workflow, mastra.WorkflowCall{Input: mastra.JSON("1")})
			if waits, _ := schema.Marshal(run.Suspended); run.Status != mastra.StatusSuspended || string(waits) != c.waits {
				t.Fatalf("%s %s %v", run.Status, waits, run.Error)
			}
			for _, r := range c.resumes {
				if run.Status.Ended() { // a foreach may have had all its turns suspended at once
					break
				}
				r.RunID = run.ID
				run = resume(t, p, c.workflow, r)
			}
			if run.Status != mastra.StatusSuccess || string(run.Result) != c.want {
				t.Errorf("%s %s %+v, want %s", run.Status, run.Result, run.Error, c.want)
			}
			trace, err := p.store.Trace(context.Background(), run.TraceID)
			if err != nil {
				t.Fatal(err)
			}
			parents := map[string]bool{}
			for _, s := range trace {
				parents[s.SpanID] = true
			}
			for _, s := range trace {
				if s.ParentID != "" && !parents[s.ParentID] {
					t.Errorf("the span %q hangs in the air", s.Name)
				}
			}
		})
	}
}

func TestResumeRefuses(t *testing.T) {
	w := mastra.NewWorkflow[int, map[string]int]("w").Parallel(ask("ask"), ask("ask2"))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
	for _, c := range []struct {
		name string
		mastra.WorkflowResume
		code mastra.Code
		text string
	}{
		{"an unknown run", mastra.WorkflowResume{RunID: "nope"}, mastra.CodeNotFound, "Workflow run not found"},
		{"no step, where two wait", mastra.WorkflowResume{RunID: run.ID, Data: mastra.JSON(`{"add":1}`)}, mastra.CodeInvalid,
			`Multiple suspended steps found: [ask], [ask2]. Please specify which step to resume using the "step" parameter.`},
		{"another step", mastra.WorkflowResume{RunID: run.ID, Step: []string{"nostep"}}, mastra.CodeConflict,
			`This workflow step "nostep" was not suspended. Available suspended steps: [ask, ask2]`},
		{"wrong data", mastra.WorkflowResume{RunID: run.ID, Step: []string{"ask"}, Data: mastra.JSON(`{"add":"x"}`)}, mastra.CodeInvalid,
			"Invalid resume data: \n- add: Invalid input: expected number, received string"},
		{"no data", mastra.WorkflowResume{RunID: run.ID, Step: []string{"ask"}}, mastra.CodeInvalid,
			"Invalid resume data: \n- : Invalid input: expected object, received undefined"},
	} {
		_, err := p.engine.Resume(context.Background(), p.Mastra, w, c.WorkflowResume)
		if e, ok := err.(*mastra.Error); !ok || e.Code != c.code || e.Message != c.text {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What a request says beside its body is there for steps behind a suspension too, in whatever process; what the answer says wins.
func TestRequestContextIsKept(t *testing.T) {
	told := mastra.NewStep("told", func(ctx context.Context, _ int) (mastra.RequestContext, error) {
		return mastra.RequestContextOf(ctx), nil
	})
	w := mastra.NewWorkflow[int, mastra.RequestContext]("w").Then(ask("ask")).Then(told)
	onBoth(t, w, func(t *testing.T, a, b *process) {
		ctx := mastra.WithRequestContext(t.Context(), mastra.RequestContext{"tier": mastra.JSON(`"gold"`), "lang": mastra.JSON(`"de"`)})
		run, err := a.engine.Start(ctx, a.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		if err != nil || run.Status != mastra.StatusSuspended {
			t.Fatalf("%+v %v", run, err)
		}
		ctx = mastra.WithRequestContext(t.Context(), mastra.RequestContext{"lang": mastra.JSON(`"fr"`)})
		run, err = b.engine.Resume(ctx, b.Mastra, w, mastra.WorkflowResume{RunID: run.ID, Data: mastra.JSON(`{"add":1}`)})
		if err != nil || string(run.Result) != `{"lang":"fr","tier":"gold"}` {
			t.Errorf("%+v %v", run, err)
		}
	})
}

// A step asks what it has declared, or fails.
func TestWhatAStepAsks(t *testing.T) {
	type question struct {
		Text string `json:"text"`
	}
	for _, c := range []struct {
		payload any
		want    mastra.RunStatus
		text    string
	}{
		{question{"how many?"}, mastra.StatusSuspended, ""},
		{map[string]int{"text": 5}, mastra.StatusFailed, "Step suspend data validation failed: \n- text: "},
		{map[string]string{}, mastra.StatusFailed, "Step suspend data validation failed: \n- text: "},
		{func() {}, mastra.StatusFailed, "does not encode"},
	} {
		s := mastra.SuspendsWith[question](mastra.NewPausable("ask", func(context.Context, int, *Answer) (int, error) { return 0, mastra.Suspend(c.payload) }))
		w := mastra.NewWorkflow[int, int]("w").Then(s)
		run := start(t, inNewFile(t, w), w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		if run.Status != c.want || c.text != "" && !strings.Contains(run.Error.Message, c.text) {
			t.Errorf("%v: %s %+v", c.payload, run.Status, run.Error)
		}
	}
}

// Of 100 resumes of one step one wins, whatever process they come to.
func TestOneResumeWins(t *testing.T) {
	var ran atomic.Int32
	w := mastra.NewWorkflow[int, int]("w").Then(ask("ask")).Then(step("after", func(_ context.Context, n int) (int, error) { ran.Add(1); return n, nil }))
	onBoth(t, w, func(t *testing.T, a, b *process) {
		ran.Store(0)
		run := start(t, a, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		var won, lost atomic.Int32
		atOnce(100, func(i int) {
			p := []*process{a, b}[i%2]
			switch _, err := p.engine.Resume(context.Background(), p.Mastra, w, mastra.WorkflowResume{RunID: run.ID, Data: mastra.JSON(`{"add":1}`)}); mastra.CodeOf(err) {
			case "":
				won.Add(1)
			case mastra.CodeConflict:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
		if won.Load() != 1 || lost.Load() != 99 || ran.Load() != 1 {
			t.Errorf("%d won, %d lost, the next step ran %d times", won.Load(), lost.Load(), ran.Load())
		}
	})
}

// 100 starts with one runId run once, and all are answered its result.
func TestOneStartRuns(t *testing.T) {
	var ran atomic.Int32
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", func(_ context.Context, n int) (int, error) { ran.Add(1); return n, nil })).Then(step("b", inc))
	onBoth(t, w, func(t *testing.T, a, b *process) {
		ran.Store(0)
		atOnce(100, func(i int) {
			p := []*process{a, b}[i%2]
			run, err := p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{RunID: "one", Input: mastra.JSON("1")})
			if err != nil || string(run.Result) != "2" {
				t.Errorf("%v %+v", err, run)
			}
		})
		if ran.Load() != 1 {
			t.Errorf("it ran %d times", ran.Load())
		}
		if _, err := b.engine.Start(context.Background(), b.Mastra, w, mastra.WorkflowCall{RunID: "one", Input: mastra.JSON("2")}); mastra.CodeOf(err) != mastra.CodeConflict {
			t.Errorf("another input joins: %v", err)
		}
	})
}

func atOnce(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { f(i) })
	}
	wait.Wait()
}
