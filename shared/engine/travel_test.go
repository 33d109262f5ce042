package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/mastra"
)

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
