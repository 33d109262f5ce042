package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/sqlite"
)

// process is an engine over a database, as one process has it.
type process struct {
	*mastra.Mastra
	engine *engine.Engine
	store  mastra.Storage
	path   string
}

func open(t testing.TB, path string, workflows []mastra.Workflow, opts ...engine.Option) *process {
	t.Helper()
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p := over(t, store, workflows, opts...)
	p.path = path
	return p
}

// over is a process over a storage of its own.
func over(t testing.TB, store mastra.Storage, workflows []mastra.Workflow, opts ...engine.Option) *process {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor := runlog.NewSupervisor(logger)
	p := &process{engine: engine.New(supervisor, opts...), store: store}
	var err error
	p.Mastra, err = mastra.New(mastra.Config{Workflows: workflows, Backends: mastra.Backends{Storage: store, Engine: p.engine, Logger: logger}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := supervisor.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func inNewFile(t testing.TB, workflows ...mastra.Workflow) *process {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "runs.db"), workflows)
}

func start(t *testing.T, p *process, w mastra.Workflow, c mastra.WorkflowCall) *mastra.Run {
	t.Helper()
	run, err := p.engine.Start(context.Background(), p.Mastra, w, c)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func double(_ context.Context, n int) (int, error) { return 2 * n, nil }
func inc(_ context.Context, n int) (int, error)    { return n + 1, nil }
func upTo(_ context.Context, n int) ([]int, error) {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list, nil
}
func total(_ context.Context, list []int) (sum int, _ error) {
	for _, n := range list {
		sum += n
	}
	return sum, nil
}

type pair struct {
	Double int `json:"double"`
	Inc    int `json:"inc"`
}

// Answer is what ask waits for.
type Answer struct {
	Add int `json:"add"`
}

func ask(id string) *mastra.Step {
	return mastra.NewPausable(id, func(_ context.Context, n int, a *Answer) (int, error) {
		if a == nil {
			return 0, mastra.Suspend(map[string]string{"question": "how many?"})
		}
		return n + a.Add, nil
	})
}

func step(id string, f func(context.Context, int) (int, error)) *mastra.Step {
	return mastra.NewStep(id, f)
}

func TestKinds(t *testing.T) {
	inner := mastra.NewWorkflow[int, int]("inner").Then(step("i1", double)).Then(mastra.Map(func(n int) int { return n + 100 }))
	small := mastra.When(func(n int) bool { return n < 10 }, step("small", inc)).Describe("n < 10")
	even := mastra.When(func(n int) bool { return n%2 == 0 }, step("even", double))
	tool := mastra.NewTool("tool", "Doubles", double)
	for _, c := range []struct {
		name     string
		workflow mastra.Workflow
		input    string
		want     string // the result, or the error's text
		steps    string // what is on record, in order
	}{
		{"then", mastra.NewWorkflow[int, int]("w").Then(step("a", double)).Then(step("b", inc)), "3", "7", "a b"},
		{"parallel", mastra.NewWorkflow[int, pair]("w").Parallel(step("double", double), step("inc", inc)), "3", `{"double":6,"inc":4}`, "double inc"},
		{"branch, one", mastra.NewWorkflow[int, map[string]int]("w").Branch(small, even), "11", `{}`, ""},
		{"branch, both", mastra.NewWorkflow[int, map[string]int]("w").Branch(small, even), "4", `{"small":5,"even":8}`, "small even"},
		{"map", mastra.NewWorkflow[int, int]("w").Parallel(step("double", double), step("inc", inc)).Then(mastra.Map(func(p pair) int { return p.Double * p.Inc })), "3", "24", "double inc mapping_w_0"},
		{"foreach", mastra.NewWorkflow[int, int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("double", double), 3).Then(mastra.NewStep("sum", total)), "10", "90", "list double sum"},
		{"foreach of none", mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("double", double), 3), "0", "[]", "list double"},
		{"until", mastra.NewWorkflow[int, int]("w").Until(step("inc", inc), mastra.Cond(func(n int) bool { return n >= 5 })), "1", "5", "inc"},
		{"until, at once", mastra.NewWorkflow[int, int]("w").Until(step("inc", inc), mastra.Cond(func(n int) bool { return n >= 5 })), "9", "10", "inc"},
		{"while", mastra.NewWorkflow[int, int]("w").While(step("double", double), mastra.Cond(func(n int) bool { return n < 100 })), "3", "192", "double"},
		{"sleep", mastra.NewWorkflow[int, int]("w").Sleep(1).Then(step("inc", inc)), "1", "2", "sleep_w_0 inc"},
		{"nested", mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(inner).Then(step("b", inc)), "1", "105", "a inner inner.i1 inner.mapping_inner_0 b"},
		{"nested in a foreach", mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(inner, 1), "2", "[100,102]", "list inner inner[0].i1 inner[0].mapping_inner_0 inner[1].i1 inner[1].mapping_inner_0"},
		{"nested in a loop", mastra.NewWorkflow[int, int]("w").Until(inner, mastra.Cond(func(n int) bool { return n > 500 })), "1", "708", ""},
		{"a tool", mastra.NewWorkflow[int, int]("w").Then(tool), "4", "8", "tool"},
		{"an error", mastra.NewWorkflow[int, int]("w").Then(step("bad", func(context.Context, int) (int, error) { return 0, errors.New("on purpose") })).Then(step("b", inc)), "1", "on purpose", "bad"},
		{"a panic", mastra.NewWorkflow[int, int]("w").Then(step("bad", func(context.Context, int) (int, error) { panic("secret") })), "1", "step panicked", "bad"},
		{"an error beside others", mastra.NewWorkflow[int, pair]("w").Parallel(step("double", double), step("inc", func(context.Context, int) (int, error) { return 0, errors.New("one of two") })), "1", "one of two", "double inc"},
		{"an error in a foreach", mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("bad", func(_ context.Context, n int) (int, error) {
			if n == 2 {
				return 0, errors.New("two")
			}
			return n, nil
		}), 1), "5", "two", "list bad"},
		{"a condition that panics", mastra.NewWorkflow[int, map[string]int]("w").Branch(mastra.When(func(int) bool { panic("secret") }, step("x", inc))), "1", "the condition of step x: step panicked", ""},
		{"an upstream error", mastra.NewWorkflow[int, int]("w").Then(step("bad", func(context.Context, int) (int, error) {
			return 0, &mastra.Error{Code: mastra.CodeUpstream, Message: "the model failed", Err: errors.New("key sk-1")}
		})), "1", "the model failed", "bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := inNewFile(t, c.workflow)
			run := start(t, p, c.workflow, mastra.WorkflowCall{Input: mastra.JSON(c.input)})
			got := string(run.Result)
			if run.Error != nil {
				got = run.Error.Message
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			stored, err := p.store.Run(context.Background(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			if names(stored) != c.steps && c.steps != "" {
				t.Errorf("steps %s, want %s", names(stored), c.steps)
			}
			a, _ := schema.Marshal(run.Steps)
			b, _ := schema.Marshal(stored.Steps)
			if string(a) != string(b) || stored.Status != run.Status {
				t.Errorf("answered %s\nbut stored %s", a, b)
			}
			trace, err := p.store.Trace(context.Background(), run.TraceID)
			if err != nil || trace[0].SpanID != run.SpanID {
				t.Errorf("%v %+v", err, trace)
			}
		})
	}
}

// names are the steps of a run as they show, without the turns.
func names(run *mastra.Run) string {
	var list []string
	for _, s := range run.Steps {
		if !mastra.IsTurn(s.Key) {
			list = append(list, mastra.StepName(s.Key))
		}
	}
	return strings.Join(list, " ")
}
