package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
)

func TestBail(t *testing.T) {
	early := func(_ context.Context, n int) (int, error) {
		if n > 5 {
			return 0, mastra.Bail(-1)
		}
		return n, nil
	}
	nested := mastra.NewWorkflow[int, int]("inner").Then(step("early", early)).Then(step("i2", double))
	for name, c := range map[string]struct {
		w           mastra.Workflow
		want, steps string
	}{
		"ends the run":                    {mastra.NewWorkflow[int, int]("w").Then(step("early", early)).Then(step("b", inc)), "-1", "early"},
		"ends a nested workflow alone":    {mastra.NewWorkflow[int, int]("w").Then(nested).Then(step("b", inc)), "0", "inner inner.early b"},
		"beside others":                   {mastra.NewWorkflow[int, pair]("w").Parallel(step("double", early), step("inc", inc)), "-1", "double inc"},
		"within a foreach, ends all":      {mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("early", early), 1).Then(mastra.Map(func(l []int) []int { return l })), "-1", "list early"},
		"within a loop, ends the run too": {mastra.NewWorkflow[int, int]("w").Until(step("early", func(ctx context.Context, n int) (int, error) { return early(ctx, n+1) }), mastra.Cond(func(n int) bool { return n > 100 })), "-1", "early"},
	} {
		t.Run(name, func(t *testing.T) {
			p := inNewFile(t, c.w)
			run := start(t, p, c.w, mastra.WorkflowCall{Input: mastra.JSON("9")})
			if run.Status != mastra.StatusSuccess || string(run.Result) != c.want || names(run) != c.steps {
				t.Errorf("%s %s %s %+v", run.Status, run.Result, names(run), run.Error)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := func(times int, seen *[]int) func(context.Context, int) (int, error) {
			return func(ctx context.Context, n int) (int, error) {
				*seen = append(*seen, mastra.RetryCount(ctx))
				if mastra.RetryCount(ctx) < times {
					return 0, fmt.Errorf("try %d", mastra.RetryCount(ctx))
				}
				return n, nil
			}
		}
		var seen []int
		own := mastra.Retry{Attempts: 3, Delay: time.Second, MaxDelay: 3 * time.Second}
		for _, c := range []struct {
			name  string
			w     mastra.Workflow
			want  string
			tries int
			took  time.Duration
		}{
			{"none", mastra.NewWorkflow[int, int]("w").Then(step("a", failing(1, &seen))), "try 0", 1, 0},
			{"the workflow's, at a fixed pace", mastra.NewWorkflow[int, int]("w").Retries(mastra.Retry{Attempts: 2, Delay: time.Minute}).Then(step("a", failing(2, &seen))), "7", 3, 2 * time.Minute},
			{"the step's own, slower and slower", mastra.NewWorkflow[int, int]("w").Retries(mastra.Retry{Attempts: 1}).Then(step("a", failing(9, &seen)).Retries(own)), "try 3", 4, 6 * time.Second},
			{"not of input that does not fit", mastra.NewWorkflow[int, mastra.JSON]("w").Retries(own).Then(mastra.NewStep("s", func(context.Context, int) (mastra.JSON, error) { return mastra.JSON(`"text"`), nil })).Then(step("a", failing(9, &seen))), "Step input validation failed", 0, 0},
		} {
			seen = nil
			p := inNewFile(t, c.w)
			begin := time.Now()
			run := start(t, p, c.w, mastra.WorkflowCall{Input: mastra.JSON("7")})
			got := string(run.Result)
			if run.Error != nil {
				got = run.Error.Message
			}
			if !strings.HasPrefix(got, c.want) || len(seen) != c.tries || time.Since(begin) < c.took {
				t.Errorf("%s: %s after %v in %s", c.name, got, seen, time.Since(begin))
			}
		}
	})
}

type tally struct {
	Count int    `json:"count"`
	Who   string `json:"who,omitempty"`
}

func TestSharedState(t *testing.T) {
	ctx := context.Background()
	count := func(id string) *mastra.Step {
		return step(id, func(ctx context.Context, n int) (int, error) {
			s, err := mastra.State[tally](ctx)
			if err != nil {
				return 0, err
			}
			s.Count++
			if err := mastra.SetState(ctx, s); err != nil {
				return 0, err
			}
			if id == "bad" {
				return 0, errors.New("no")
			}
			return n + s.Count, nil
		})
	}
	inner := mastra.NewWorkflow[int, int]("inner").Then(count("i1"))
	w := mastra.WithState[tally](mastra.NewWorkflow[int, int]("w").Then(count("a")).Then(inner).Then(ask("ask")).Then(count("b")))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1"), State: mastra.JSON(`{"count":5,"who":"ada"}`)})
	if string(run.State) != `{"count":7,"who":"ada"}` || run.Status != mastra.StatusSuspended {
		t.Fatalf("%s %s", run.Status, run.State)
	}
	run = resume(t, p, w, mastra.WorkflowResume{RunID: run.ID, Data: mastra.JSON(`{"add":0}`)})
	if string(run.Result) != "22" || string(run.State) != `{"count":8,"who":"ada"}` {
		t.Errorf("%s %s", run.Result, run.State)
	}
	for _, state := range []string{"", `{"count":"x"}`, `5`} {
		if _, err := p.engine.Start(ctx, p.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1"), State: mastra.JSON(state)[:len(state):len(state)]}); state != "" && mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", state, err)
		}
	}
	if _, err := p.engine.Start(ctx, p.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1")}); mastra.CodeOf(err) != mastra.CodeInvalid || !strings.Contains(err.Error(), "count") {
		t.Errorf("no state: %v", err)
	}
	bad := mastra.NewWorkflow[int, int]("bad").Then(count("bad"))
	q := inNewFile(t, bad)
	if run := start(t, q, bad, mastra.WorkflowCall{Input: mastra.JSON("1"), State: mastra.JSON(`{"count":1}`)}); string(run.State) != `{"count":1}` {
		t.Errorf("a failed step changed the state: %s", run.State)
	}
}

// label is a step that waits under a label of its own.
func labelled(id string) *mastra.Step {
	return mastra.NewPausable(id, func(_ context.Context, n int, a *Answer) (int, error) {
		if a == nil {
			return 0, mastra.Suspend(map[string]int{"n": n}, fmt.Sprintf("%s-%d", id, n))
		}
		return n + a.Add, nil
	})
}

func TestSuspendAnywhere(t *testing.T) {
	ctx := context.Background()
	inner := mastra.NewWorkflow[int, int]("inner").Then(labelled("deep")).Then(step("i2", double))
	add := func(n int) mastra.JSON { return mastra.JSON(fmt.Sprintf(`{"add":%d}`, n)) }
	t.Run("branches", func(t *testing.T) {
		w := mastra.NewWorkflow[int, map[string]int]("w").Parallel(labelled("x"), labelled("y"), inner)
		p := inNewFile(t, w)
		run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		if len(run.Suspended) != 3 {
			t.Fatalf("%v", run.Suspended)
		}
		if _, err := p.engine.Resume(ctx, p.Mastra, w, mastra.WorkflowResume{RunID: run.ID, Data: add(1)}); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("which one? %v", err)
		}
		for _, c := range []mastra.WorkflowResume{{Step: []string{"y"}, Data: add(1)}, {Label: "deep-1", Data: add(2)}} {
			c.RunID = run.ID
			if run = resume(t, p, w, c); run.Status != mastra.StatusSuspended {
				t.Fatalf("%+v", run)
			}
		}
		if _, err := p.engine.Resume(ctx, p.Mastra, w, mastra.WorkflowResume{RunID: run.ID, Label: "deep-1", Data: add(1)}); mastra.CodeOf(err) != mastra.CodeConflict {
			t.Errorf("a label that is used: %v", err)
		}
		if run = resume(t, p, w, mastra.WorkflowResume{RunID: run.ID, Data: add(4)}); string(run.Result) != `{"x":5,"y":2,"inner":6}` {
			t.Errorf("%s %+v", run.Result, run.Error)
		}
	})
	t.Run("turns", func(t *testing.T) {
		for name, each := range map[string]mastra.Runnable{"of a step": labelled("each"), "of a workflow": inner} {
			w := mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(each, 2)
			p := inNewFile(t, w)
			run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("4")})
			if waits := suspendedTurns(run); waits != "0 1" { // no more are begun
				t.Fatalf("%s: %s wait", name, waits)
			}
			one := 1
			run = resume(t, p, w, mastra.WorkflowResume{RunID: run.ID, Index: &one, Data: add(10)})
			if waits := suspendedTurns(run); waits != "0 2" && waits != "0 2 3" { // the rest begins meanwhile
				t.Fatalf("%s: %s wait", name, waits)
			}
			for i := 0; run.Status == mastra.StatusSuspended && i < 5; i++ {
				run = resume(t, p, w, mastra.WorkflowResume{RunID: run.ID, Data: add(20)})
			}
			want := "[20,11,22,23]"
			if name == "of a workflow" {
				want = "[40,22,44,46]"
			}
			if string(run.Result) != want {
				t.Errorf("%s: %s %+v", name, run.Result, run.Error)
			}
		}
	})
}

func suspendedTurns(run *mastra.Run) string {
	var turns []string
	for _, s := range run.Steps {
		if mastra.IsTurn(s.Key) && s.Value.Status == mastra.StatusSuspended {
			turns = append(turns, fmt.Sprint(mastra.Turn(s.Key)))
		}
	}
	slices.Sort(turns)
	turns = slices.Compact(turns)
	return strings.Join(turns, " ")
}

func TestPerStep(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("b", double)).Then(step("c", inc))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1"), PerStep: true})
	if run.Status != mastra.StatusPaused || names(run) != "a" {
		t.Fatalf("%s %s", run.Status, names(run))
	}
	run = travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"b"}, PerStep: true})
	if run.Status != mastra.StatusPaused || names(run) != "a b" {
		t.Fatalf("%s %s", run.Status, names(run))
	}
	run = travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"c"}})
	if run.Status != mastra.StatusSuccess || string(run.Result) != "5" || fmt.Sprint(run.Path) != "[a b c]" {
		t.Errorf("%s %s %v", run.Status, run.Result, run.Path)
	}
}

func TestRestart(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	ctx := context.Background()
	if _, err := p.engine.Background(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
		t.Fatal(err)
	}
	<-began
	done := make(chan *mastra.Run, 2)
	for _, by := range []*process{p, other} {
		go func() {
			run, err := by.engine.Restart(ctx, by.Mastra, w, "run")
			if err != nil {
				t.Error(err)
			}
			done <- run
		}()
	}
	time.Sleep(20 * time.Millisecond)
	close(release)
	for range 2 {
		if run := <-done; run.Status != mastra.StatusSuccess || run.Fence != 1 {
			t.Errorf("%+v", run)
		}
	}
	if len(began) != 0 {
		t.Error("the step ran twice: somebody worked on the run")
	}
	if run, err := other.engine.Restart(ctx, other.Mastra, w, "run"); err != nil || run.Status != mastra.StatusSuccess {
		t.Errorf("%+v %v", run, err)
	}
	pending, err := p.engine.Create(ctx, p.Mastra, w, mastra.WorkflowCall{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.engine.Restart(ctx, p.Mastra, w, pending.ID); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Error(err)
	}
}

func TestSleepUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		due := mastra.AtTime(func(n int) time.Time { asked++; return time.Now().Add(time.Duration(n) * time.Hour) })
		w := mastra.NewWorkflow[int, int]("w").SleepUntil(mastra.At(time.Now().Add(-time.Hour))).SleepUntil(due.Describe("when it is due")).Then(step("b", inc))
		p := inNewFile(t, w)
		begin := time.Now()
		run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("3")})
		if d := time.Since(begin); string(run.Result) != "4" || d < 3*time.Hour || d > 3*time.Hour+time.Second || asked != 1 {
			t.Errorf("%s after %s, asked %d times", run.Result, d, asked)
		}
	})
}

// The key of a step's effect is the same however often it is tried, and another one everywhere else.
func TestIdempotencyKeys(t *testing.T) {
	var mu sync.Mutex
	keys := map[string]string{}
	noted := func(id string) *mastra.Step {
		return step(id, func(ctx context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			place := fmt.Sprintf("%s %s %d", mastra.RunID(ctx), id, n)
			key := mastra.IdempotencyKey(ctx)
			if before, ok := keys[place]; ok != (mastra.RetryCount(ctx) > 0) || ok && before != key {
				t.Errorf("%s: %s, before %q", place, key, before)
			}
			if keys[place] = key; mastra.RetryCount(ctx) == 0 {
				return 0, errors.New("once more")
			}
			return n + 1, nil
		}).Retries(mastra.Retry{Attempts: 1})
	}
	inner := mastra.NewWorkflow[int, int]("inner").Then(noted("i"))
	w := mastra.NewWorkflow[int, int]("w").Then(noted("a")).Then(mastra.NewStep("list", upTo)).ForEach(noted("turn"), 2).ForEach(inner, 2).
		Then(mastra.NewStep("sum", total)).Until(noted("again"), mastra.Cond(func(n int) bool { return n > 20 }))
	p := inNewFile(t, w)
	for range 2 {
		start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("3")})
	}
	distinct := map[string]bool{}
	for _, k := range keys {
		distinct[k] = true
	}
	if len(keys) < 20 || len(distinct) != len(keys) {
		t.Errorf("%d keys of %d places", len(distinct), len(keys))
	}
	if mastra.IdempotencyKey(context.Background()) != "" {
		t.Error("there is a key outside of a step")
	}
}

// A step that runs at most once fails where its process died under it; one that had ended by itself is tried again.
func TestAtMostOnce(t *testing.T) {
	began, hold := make(chan bool, 2), make(chan struct{})
	defer close(hold)
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("once", func(context.Context, int) (int, error) {
		began <- true
		<-hold
		return 1, nil
	}).AtMostOnce())
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	ctx := context.Background()
	if _, err := p.engine.Background(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
		t.Fatal(err)
	}
	<-began
	run, err := p.store.Run(ctx, "run")
	if err != nil {
		t.Fatal(err)
	}
	run.LeaseUntil, run.Steps = 1, nil // its process is gone, as far as the others know
	if err := p.store.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *run}}}); err != nil {
		t.Fatal(err)
	}
	if err := other.engine.TakeOver(ctx, other.Mastra); err != nil {
		t.Fatal(err)
	}
	got := start(t, other, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
	if got.Status != mastra.StatusFailed || !strings.Contains(got.Error.Message, "at most once") || len(began) != 0 {
		t.Errorf("%+v", got.Error)
	}
	tries := 0
	again := mastra.NewWorkflow[int, int]("w").Then(step("once", func(context.Context, int) (int, error) {
		if tries++; tries == 1 {
			return 0, errors.New("an error is an end, too")
		}
		return tries, nil
	}).AtMostOnce().Retries(mastra.Retry{Attempts: 1}))
	if run := start(t, inNewFile(t, again), again, mastra.WorkflowCall{Input: mastra.JSON("1")}); string(run.Result) != "2" {
		t.Errorf("%+v", run)
	}
}

// A run whose process dies again and again in the same place ends.
func TestAttemptsAreSpent(t *testing.T) {
	w, _, release := blocking()
	close(release)
	p := inNewFile(t, w)
	graph, _ := w.Graph().JSON()
	ctx := context.Background()
	if err := p.store.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Create: true, Run: mastra.Run{ID: "run", WorkflowID: "w", Status: mastra.StatusRunning, Graph: graph,
		Input: mastra.JSON("1"), Owner: "gone", LeaseUntil: 1, Fence: 1, Attempts: 3}}}}); err != nil {
		t.Fatal(err)
	}
	other := open(t, p.path, []mastra.Workflow{w}, engine.Attempts(3))
	if err := other.engine.TakeOver(ctx, other.Mastra); err != nil {
		t.Fatal(err)
	}
	if run, err := p.store.Run(ctx, "run"); err != nil || run.Status != mastra.StatusFailed || !strings.Contains(run.Error.Message, "4 times in a row") {
		t.Errorf("%+v %v", run, err)
	}
}

func TestWriters(t *testing.T) {
	ctx := context.Background()
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", func(ctx context.Context, n int) (int, error) {
		if err := mastra.Write(ctx, map[string]int{"half": n / 2}); err != nil {
			return 0, err
		}
		return n, mastra.WriteChunk(ctx, "my-event", "x")
	}))
	p := inNewFile(t, w)
	chunks, err := p.engine.Stream(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("4")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for c, err := range chunks {
		if err != nil {
			t.Fatal(err)
		}
		data, _ := c.Encode()
		if c.Type == "my-event" || c.Type == "workflow-step-output" {
			got = append(got, string(data))
		}
	}
	want := []string{`{"type":"workflow-step-output","runId":"run","from":"USER","payload":{"stepName":"a","output":{"half":2},"runId":"run"}}`, `{"type":"my-event","runId":"run","from":"WORKFLOW","data":"x"}`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("4")}) // nobody follows
}

func TestExecuteStep(t *testing.T) {
	ctx := context.Background()
	stateful := mastra.NewPausable("s", func(ctx context.Context, n int, a *Answer) (int, error) {
		other, _, err := mastra.OutputOf[int](ctx, "other")
		if err != nil {
			return 0, err
		}
		if a == nil {
			return 0, mastra.Suspend("?")
		}
		return n + a.Add + other, mastra.SetState(ctx, map[string]int{"n": n})
	})
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Parallel(stateful, step("bad", func(context.Context, int) (int, error) { return 0, errors.New("no") })).Then(mastra.Map(func(map[string]int) int { return 0 }))
	p := inNewFile(t, w)
	for name, c := range map[string]struct {
		call        mastra.StepCall
		want, state string
	}{
		"a step":           {mastra.StepCall{Step: "a", Input: mastra.JSON("1")}, "success 2", ""},
		"one that waits":   {mastra.StepCall{Step: "s", Path: []int{1, 0}, Input: mastra.JSON("1")}, "suspended null", ""},
		"one that goes on": {mastra.StepCall{Step: "s", Input: mastra.JSON("1"), Data: mastra.JSON(`{"add":2}`), Results: mastra.Object[mastra.StepResult]{{Key: "other", Value: mastra.StepResult{Status: mastra.StatusSuccess, Output: mastra.JSON("40")}}}}, "success 43", `{"n":1}`},
		"one that fails":   {mastra.StepCall{Step: "bad", Input: mastra.JSON("1")}, "failed null", ""},
	} {
		rec, state, err := p.engine.ExecuteStep(ctx, p.Mastra, w, c.call)
		if err != nil || fmt.Sprintf("%s %s", rec.Status, rec.Output) != c.want || string(state) != c.state && c.state != "" {
			t.Errorf("%s: %+v %s %v", name, rec, state, err)
		}
	}
	for name, c := range map[string]mastra.StepCall{"nothing": {Step: "z"}, "elsewhere": {Step: "a", Path: []int{1}}, "too deep": {Step: "a", Path: []int{0, 0, 0}}, "no answer": {Step: "a", Data: mastra.JSON("1")}} {
		if _, _, err := p.engine.ExecuteStep(ctx, p.Mastra, w, c); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
