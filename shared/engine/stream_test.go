package engine_test

import (
	"context"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// kinds are the types of a stream's chunks, with the steps they are about.
func kinds(t *testing.T, p *process, w mastra.Workflow, c mastra.WorkflowCall) string {
	t.Helper()
	chunks, err := p.engine.Stream(context.Background(), p.Mastra, w, c)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for c, err := range chunks {
		if err != nil {
			t.Fatal(err)
		}
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimPrefix(c.Type, "workflow-")
		if _, rest, ok := strings.Cut(string(data), `"stepName":"`); ok {
			kind += " " + rest[:strings.IndexByte(rest, '"')]
		}
		list = append(list, kind)
	}
	return strings.Join(list, ", ")
}

func TestStream(t *testing.T) {
	inner := mastra.NewWorkflow[int, int]("inner").Then(step("i1", inc))
	for _, c := range []struct {
		name     string
		workflow mastra.Workflow
		want     string
	}{
		{"then", mastra.NewWorkflow[int, int]("w").Then(step("a", inc)), "start, step-start a, step-result a, finish"},
		{"suspended", mastra.NewWorkflow[int, int]("w").Then(ask("ask")), "start, step-start ask, step-suspended ask, finish"},
		{"nested", mastra.NewWorkflow[int, int]("w").Then(inner), "start, step-start inner, step-start inner.i1, step-result inner.i1, step-result inner, finish"},
		{"sleep", mastra.NewWorkflow[int, int]("w").Sleep(1), "start, step-waiting sleep_w_0, step-result sleep_w_0, finish"},
		{"foreach", mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("double", double), 1),
			"start, step-start list, step-result list, step-start double, step-progress double, step-progress double, step-result double, finish"},
		{"loop", mastra.NewWorkflow[int, int]("w").Until(step("inc", inc), mastra.Cond(func(n int) bool { return n >= 4 })),
			"start, step-start inc, step-result inc, step-start inc, step-result inc, finish"},
	} {
		p := inNewFile(t, c.workflow)
		if got := kinds(t, p, c.workflow, mastra.WorkflowCall{Input: mastra.JSON("2")}); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// One who joins sees the run from its beginning, also from another process; one who leaves does not stop it.
func TestStreamJoins(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	call := mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}
	chunks, err := p.engine.Stream(context.Background(), p.Mastra, w, call)
	if err != nil {
		t.Fatal(err)
	}
	for range chunks {
		break
	}
	<-began
	got := make(chan string, 2)
	for _, p := range []*process{p, other} {
		go func() { got <- kinds(t, p, w, call) }()
	}
	close(release)
	for range 2 {
		if want := "start, step-start a, step-result a, step-start block, step-result block, step-start b, step-result b, finish"; <-got != want {
			t.Errorf("want %s", want)
		}
	}
	if _, err := p.engine.Stream(context.Background(), p.Mastra, w, call); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("a finished run streams again: %v", err)
	}
}

// A repeat of a request without an answer joins its run; one of a request that was answered runs anew.
func TestRepeat(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc))
	p := inNewFile(t, w)
	send := func(answered bool) string {
		r := &mastra.Request{Fingerprint: "same"}
		run, err := p.engine.Start(mastra.WithRequest(context.Background(), r), p.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		if err != nil {
			t.Fatal(err)
		}
		r.End(answered)
		return run.ID
	}
	lost := send(false)
	if repeat := send(true); repeat != lost {
		t.Error("the repeat does not join")
	}
	if send(true) == lost {
		t.Error("a new request joins")
	}
}
