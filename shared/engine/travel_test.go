package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mastralambda/shared/mastra"
)

func travel(t *testing.T, p *process, w mastra.Workflow, c mastra.WorkflowTravel) *mastra.Run {
	t.Helper()
	run, err := p.engine.TimeTravel(context.Background(), p.Mastra, w, c)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestTimeTravel(t *testing.T) {
	ctx := context.Background()
	var runs atomic.Int32
	counted := step("b", func(_ context.Context, n int) (int, error) { runs.Add(1); return 2 * n, nil })
	inner := mastra.NewWorkflow[int, int]("inner").Then(step("i1", inc)).Then(step("i2", double))
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(counted).Then(inner).
		Branch(mastra.When(func(n int) bool { return n < 1000 }, step("small", inc)), mastra.When(func(n int) bool { return n >= 1000 }, step("big", double))).
		Then(mastra.Map(func(m map[string]int) int { return m["small"] + m["big"] }))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
	if string(run.Result) != "11" {
		t.Fatalf("%s %+v", run.Result, run.Error)
	}
	recorded := func(output string) mastra.Object[mastra.StepResult] {
		return mastra.Object[mastra.StepResult]{{Key: "b", Value: mastra.StepResult{Status: mastra.StatusSuccess, Output: mastra.JSON(output)}}}
	}
	for _, c := range []struct {
		name string
		c    mastra.WorkflowTravel
		want string
		runs int32
	}{
		{"the same again", mastra.WorkflowTravel{Step: []string{"b"}}, "11", 1},
		{"another input", mastra.WorkflowTravel{Step: []string{"b"}, Input: mastra.JSON("10")}, "43", 1},
		{"behind it", mastra.WorkflowTravel{Step: []string{"inner"}}, "43", 0},
		{"into a nested workflow", mastra.WorkflowTravel{Step: []string{"inner", "i2"}}, "43", 0},
		{"other results before it", mastra.WorkflowTravel{Step: []string{"inner"}, Context: recorded("1")}, "5", 0},
		{"to the beginning", mastra.WorkflowTravel{Step: []string{"a"}, Input: mastra.JSON("0")}, "7", 1},
		{"an arm that is chosen", mastra.WorkflowTravel{Step: []string{"big"}, Input: mastra.JSON("4")}, "15", 0},
	} {
		runs.Store(0)
		c.c.RunID = run.ID
		got := travel(t, p, w, c.c)
		if string(got.Result) != c.want || runs.Load() != c.runs {
			t.Errorf("%s: %s, %d runs of b, %+v", c.name, got.Result, runs.Load(), got.Error)
		}
		stored, err := p.store.Run(ctx, run.ID)
		if err != nil || string(stored.Result) != c.want || stored.Pass == 0 {
			t.Errorf("%s: %v %+v", c.name, err, stored)
		}
	}
	for name, c := range map[string]mastra.WorkflowTravel{
		"no such step":        {Step: []string{"z"}},
		"no step":             {},
		"input that is wrong": {Step: []string{"b"}, Input: mastra.JSON(`"x"`)},
		"an answer to nobody": {Step: []string{"b"}, Data: mastra.JSON("1")},
	} {
		c.RunID = run.ID
		if _, err := p.engine.TimeTravel(ctx, p.Mastra, w, c); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	pending, err := p.engine.Create(ctx, p.Mastra, w, mastra.WorkflowCall{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.engine.TimeTravel(ctx, p.Mastra, w, mastra.WorkflowTravel{RunID: pending.ID, Step: []string{"b"}}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("what comes before is not on record: %v", err)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := p.engine.TimeTravel(ctx, p.Mastra, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"b"}}); err == nil {
				won.Add(1)
			} else if mastra.CodeOf(err) != mastra.CodeConflict {
				t.Error(err)
			}
		})
	}
	all.Wait()
	stored, err := p.store.Run(ctx, run.ID)
	if err != nil || won.Load() == 0 || stored.Pass != 7+int(won.Load()) {
		t.Errorf("%d won, %v %+v", won.Load(), err, stored)
	}
}

func TestTimeTravelOfASuspendedRun(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(ask("ask")).Then(step("b", double))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
	run = travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"ask"}, Data: mastra.JSON(`{"add":3}`)})
	if string(run.Result) != "10" {
		t.Errorf("%s %+v", run.Result, run.Error)
	}
	run = travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"a"}})
	if run.Status != mastra.StatusSuspended {
		t.Errorf("%+v", run)
	}
}

// A step within a loop or foreach is a target like others: a loop goes on from its first turn, a foreach from all of its turns.
func TestTimeTravelIntoLoops(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	noted := func(id string, f func(int) int) *mastra.Step {
		return step(id, func(_ context.Context, n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, fmt.Sprintf("%s(%d)", id, n))
			return f(n), nil
		})
	}
	plus := func(d int) func(int) int { return func(n int) int { return n + d } }
	looped := mastra.NewWorkflow[int, int]("looped").Then(noted("l1", plus(1))).Then(noted("l2", plus(2)))
	each := mastra.NewWorkflow[int, int]("each").Then(noted("e1", plus(10))).Then(noted("e2", plus(-7)))
	deep := mastra.NewWorkflow[int, int]("deep").Then(noted("d1", plus(0))).Then(mastra.NewStep("list", upTo)).ForEach(each, 2).Then(mastra.NewStep("sum", total))
	w := mastra.NewWorkflow[int, int]("w").Then(noted("a", plus(0))).
		Until(looped, mastra.Cond(func(n int) bool { return n >= 6 })).
		Then(mastra.NewStep("list", upTo)).ForEach(each, 3).Then(mastra.NewStep("sum", total)).
		While(deep, mastra.Cond(func(n int) bool { return n < 0 }))
	p := inNewFile(t, w)
	run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("2")}) // 2, 5, 8; 0…7 each plus 3 is 52; 0…51 each plus 3
	const result = "1482"
	if string(run.Result) != result {
		t.Fatalf("%s %+v", run.Result, run.Error)
	}
	for _, c := range []struct {
		c            mastra.WorkflowTravel
		want, begins string
	}{
		{mastra.WorkflowTravel{Step: []string{"looped"}}, result, "l1(2) l2(3) l1(5) l2(6)"},
		{mastra.WorkflowTravel{Step: []string{"looped", "l2"}}, result, "l2(3) l1(5) l2(6)"},
		{mastra.WorkflowTravel{Step: []string{"looped", "l2"}, Input: mastra.JSON("1")}, "627", "l2(1) l1(3) l2(4) e1("}, // 3, 6; 0…5 each plus 3 is 33
		{mastra.WorkflowTravel{Step: []string{"looped", "l1"}, Input: mastra.JSON("2")}, result, "l1(2) l2(3) l1(5) l2(6)"},
	} {
		ran = nil
		c.c.RunID = run.ID
		got := travel(t, p, w, c.c)
		if string(got.Result) != c.want || !strings.HasPrefix(strings.Join(ran, " "), c.begins) {
			t.Errorf("%v: %s, not %s, %+v: %.60s", c.c.Step, got.Result, c.want, got.Error, strings.Join(ran, " "))
		}
	}
	ran = nil
	if got := travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"each", "e2"}}); string(got.Result) != result {
		t.Errorf("%s %+v", got.Result, got.Error)
	}
	if first := ran[:8]; slices.ContainsFunc(first, func(s string) bool { return !strings.HasPrefix(s, "e2(1") }) || strings.HasPrefix(ran[8], "e") {
		t.Errorf("%v", ran[:9])
	}
	ran = nil
	if got := travel(t, p, w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{"deep", "each", "e2"}}); string(got.Result) != result {
		t.Errorf("%s %+v", got.Result, got.Error)
	}
	if len(ran) != 52 || slices.ContainsFunc(ran, func(s string) bool { return !strings.HasPrefix(s, "e2(") }) {
		t.Errorf("%d: %.80v", len(ran), ran)
	}
	for _, path := range []string{"each x", "looped x", "looped l1 x", "sum x", "each e1 x"} {
		if _, err := p.engine.TimeTravel(t.Context(), p.Mastra, w, mastra.WorkflowTravel{RunID: run.ID, Step: strings.Fields(path)}); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Turns that wait are answered by time travel as well; those that are done are left alone.
func TestTimeTravelAnswersTurns(t *testing.T) {
	var ran sync.Map
	odd := mastra.NewPausable("odd", func(_ context.Context, n int, a *Answer) (int, error) {
		if n%2 == 1 && a == nil {
			return 0, mastra.Suspend(map[string]int{"n": n})
		}
		if _, again := ran.LoadOrStore(n, true); again {
			return 0, fmt.Errorf("%d runs twice", n)
		}
		if a != nil {
			n += a.Add
		}
		return n, nil
	})
	around := mastra.NewWorkflow[int, int]("around").Then(step("first", inc)).Then(mastra.NewPausable("wait", func(_ context.Context, n int, a *Answer) (int, error) {
		if a == nil {
			return 0, mastra.Suspend(nil)
		}
		return n + a.Add, nil
	}))
	for name, c := range map[string]struct {
		w    mastra.Workflow
		step string
		want string
	}{
		"a foreach":               {mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(odd, 4), "odd", "[0,101,2,103]"},
		"a loop":                  {mastra.NewWorkflow[int, int]("w").Until(ask("ask"), mastra.Cond(func(n int) bool { return n > 100 })), "ask", "104"},
		"within a foreach":        {mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(around, 4), "around wait", "[101,102,103,104]"},
		"within a loop, one turn": {mastra.NewWorkflow[int, int]("w").Until(around, mastra.Cond(func(n int) bool { return n > 100 })), "around wait", "105"},
	} {
		p := inNewFile(t, c.w)
		run := start(t, p, c.w, mastra.WorkflowCall{Input: mastra.JSON("4")})
		if run.Status != mastra.StatusSuspended {
			t.Fatalf("%s: %+v", name, run)
		}
		run = travel(t, p, c.w, mastra.WorkflowTravel{RunID: run.ID, Step: strings.Fields(c.step), Data: mastra.JSON(`{"add":100}`)})
		if string(run.Result) != c.want {
			t.Errorf("%s: %s %s %+v", name, run.Status, run.Result, run.Error)
		}
		if !strings.Contains(c.step, " ") {
			if _, err := p.engine.TimeTravel(t.Context(), p.Mastra, c.w, mastra.WorkflowTravel{RunID: run.ID, Step: []string{c.step}, Data: mastra.JSON(`{"add":1}`)}); mastra.CodeOf(err) != mastra.CodeInvalid {
				t.Errorf("%s that does not wait: %v", name, err)
			}
		}
	}
}
