package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// A trace shows each workflow as itself, also within another one, and what goes on below what called it.
func TestTheTraceOfAWorkflowWithin(t *testing.T) {
	inner := mastra.NewWorkflow[int, int]("inner").
		Sleep(time.Millisecond).
		Then(mastra.NewPausable("ask", func(_ context.Context, in int, answer *int) (int, error) {
			if answer == nil {
				return 0, mastra.Suspend("how many?")
			}
			return in + *answer, nil
		}))
	p := inNewFile(t, mastra.NewWorkflow[int, int]("outer").Then(inner))
	w, _ := p.Workflow("outer")
	ctx := mastra.WithRequestContext(t.Context(), mastra.RequestContext{"tenant": mastra.JSON(`"acme"`)})
	tracing := mastra.TracingOptions{Metadata: mastra.JSON(`{"k":1}`), RequestContextKeys: []string{"tenant"}}
	run, err := p.engine.Start(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1"), Tracing: tracing})
	if err != nil || run.Status != mastra.StatusSuspended {
		t.Fatalf("%+v, %v", run, err)
	}
	q := open(t, p.path, []mastra.Workflow{w}) // another process
	if run, err = q.engine.Resume(t.Context(), q.Mastra, w, mastra.WorkflowResume{RunID: "run", Step: []string{"inner", "ask"}, Data: mastra.JSON("2"), Tracing: mastra.TracingOptions{Tags: []string{"again"}}}); err != nil || string(run.Result) != "3" {
		t.Fatalf("%+v, %v", run, err)
	}
	spans, err := q.store.Trace(t.Context(), run.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, s := range spans {
		ids[s.SpanID] = s.Name
	}
	var got []string
	for _, s := range spans {
		if s.Name == "workflow run: 'outer' (resumed)" && (len(s.Tags) != 1 || s.Tags[0] != "again") {
			t.Errorf("its tags are %v", s.Tags)
		}
		_, from, _ := strings.Cut(string(s.Metadata), `"resumedFromSpanId":"`)
		got = append(got, strings.Join([]string{ids[s.ParentID], s.Name, s.EntityID, string(s.Input), ids[strings.TrimSuffix(from, `"}`)]}, "|"))
		if !strings.HasPrefix(string(s.Metadata), `{"tenant":"acme","k":1,"runId":"run"`) {
			t.Errorf("%s: %s", s.Name, s.Metadata)
		}
		if shows := s.EntityType == "workflow_step" || s.Root() || ids[s.ParentID] == "workflow run: 'outer'"; shows && s.Type != "workflow_sleep" && string(s.Context) != `{"tenant":"acme"}` {
			t.Errorf("%s: %s", s.Name, s.Context)
		}
	}
	for _, want := range []string{
		"|workflow run: 'outer'|outer|1|",
		"workflow run: 'outer'|workflow step: 'inner'|inner|1|",
		"workflow step: 'inner'|workflow run: 'inner'|inner|1|",
		"workflow run: 'inner'|sleep: 1ms|inner||",
		"workflow run: 'inner'|workflow step: 'ask'|ask|1|",
		"workflow run: 'outer'|workflow run: 'outer' (resumed)|outer|2|workflow run: 'outer'",
		"workflow run: 'outer' (resumed)|workflow step: 'inner'|inner|1|workflow run: 'outer'",
		"workflow step: 'inner'|workflow run: 'inner' (resumed)|inner|2|workflow run: 'inner'",
		"workflow run: 'inner' (resumed)|workflow step: 'ask'|ask|1|workflow run: 'outer'",
	} {
		found := false
		for i, line := range got {
			if line == want {
				found, got[i] = true, ""
				break
			}
		}
		if !found {
			t.Errorf("no span %s", want)
		}
	}
	for _, line := range got {
		if line != "" {
			t.Errorf("span %s", line)
		}
	}
}

// The error of a step says which step of which workflow it was, as the real server's does; the run's is its message.
func TestTheErrorOfAStepInATrace(t *testing.T) {
	p := inNewFile(t, mastra.NewWorkflow[int, int]("outer").Then(mastra.NewWorkflow[int, int]("inner").Then(mastra.NewStep("burn", func(context.Context, int) (int, error) {
		return 0, errors.New("it burns")
	}))))
	w, _ := p.Workflow("outer")
	run, err := p.engine.Start(t.Context(), p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
	if err != nil || run.Status != mastra.StatusFailed {
		t.Fatalf("%+v, %v", run, err)
	}
	spans, err := p.store.Trace(t.Context(), run.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	failed := func(workflow, step string) string {
		return `{"id":"WORKFLOW_STEP_INVOKE_FAILED","details":{"workflowId":"` + workflow + `","runId":"run","stepId":"workflow.` + workflow + `.step.` + step + `"},"category":"USER","domain":"MASTRA_WORKFLOW","message":"it burns","name":"Error"}`
	}
	want := map[string]string{"workflow run: 'outer'": `{"message":"it burns","name":"Error"}`, "workflow step: 'inner'": failed("outer", "inner"),
		"workflow run: 'inner'": `{"message":"it burns","name":"Error"}`, "workflow step: 'burn'": failed("inner", "burn")}
	for _, s := range spans {
		if string(s.Error) != want[s.Name] {
			t.Errorf("%s: %s", s.Name, s.Error)
		}
	}
	if len(spans) != len(want) {
		t.Errorf("%d spans", len(spans))
	}
}
