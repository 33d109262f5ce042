package workflows_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/sqlite"
)

// The workflows of the reference application.
type (
	Name struct {
		Name string `json:"name"`
	}
	Greeting struct {
		Greeting string `json:"greeting"`
	}
	Pair struct {
		A float64 `json:"a"`
		B float64 `json:"b"`
	}
	Value struct {
		Value float64 `json:"value"`
	}
	Both struct {
		Add Value `json:"add"`
		Mul Value `json:"mul"`
	}
	Sums struct {
		Sum     float64 `json:"sum"`
		Product float64 `json:"product"`
	}
	Size struct {
		Size string `json:"size"`
	}
	Amount struct {
		Amount float64 `json:"amount"`
	}
	Approval struct {
		Approved bool `json:"approved"`
	}
	Reason struct {
		Reason string `json:"reason"`
	}
	Decision struct {
		Amount   float64 `json:"amount"`
		Approved bool    `json:"approved"`
	}
	Status struct {
		Status string `json:"status"`
	}
	X struct {
		X mastra.JSON `json:"x"`
	}
	Ms struct {
		Ms float64 `json:"ms"`
	}
	Done struct {
		Done bool `json:"done"`
	}
)

func reference() []mastra.Workflow {
	calculate := func(id string, f func(a, b float64) float64) *mastra.Step {
		return mastra.NewStep(id, func(_ context.Context, in Pair) (Value, error) { return Value{f(in.A, in.B)}, nil })
	}
	size := func(s string) *mastra.Step {
		return mastra.NewStep(s, func(context.Context, Sums) (Size, error) { return Size{s}, nil })
	}
	mapping := mastra.NewStep("", func(_ context.Context, in mastra.JSON) (mastra.JSON, error) {
		var b Both
		if err := schema.Unmarshal(in, &b); err != nil {
			return nil, err
		}
		return schema.Marshal(Sums{b.Add.Value, b.Mul.Value})
	})
	return []mastra.Workflow{
		mastra.NewWorkflow[Name, Greeting]("sequential-workflow").Named("sequentialWorkflow").Describe("Two steps").
			Then(mastra.NewStep("upper", func(_ context.Context, in Name) (Name, error) { return Name{strings.ToUpper(in.Name)}, nil }).Describe("Upper-case")).
			Then(mastra.NewStep("greet", func(_ context.Context, in Name) (Greeting, error) { return Greeting{"Hello, " + in.Name + "!"}, nil })),
		mastra.NewWorkflow[Pair, mastra.JSON]("branching-workflow").Named("branchingWorkflow").
			Parallel(calculate("add", func(a, b float64) float64 { return a + b }), calculate("mul", func(a, b float64) float64 { return a * b })).
			Then(mapping.Describe("async ({ inputData }) => ({ sum: inputData.add.value, product: inputData.mul.value })")).
			Branch(mastra.When(func(s Sums) bool { return s.Sum >= 10 }, size("big")).Describe("async ({ inputData }) => inputData.sum >= 10"),
				mastra.When(func(s Sums) bool { return s.Sum < 10 }, size("small")).Describe("async ({ inputData }) => inputData.sum < 10")),
		mastra.NewWorkflow[Amount, Status]("approval-workflow").Named("approvalWorkflow").
			Then(mastra.NewStep("prepare", func(_ context.Context, in Amount) (Amount, error) { return in, nil })).
			Then(mastra.SuspendsWith[Reason](mastra.NewPausable("approve", func(_ context.Context, in Amount, a *Approval) (Decision, error) {
				if a == nil {
					return Decision{}, mastra.Suspend(Reason{"approve " + text(in.Amount) + "?"})
				}
				return Decision{in.Amount, a.Approved}, nil
			}))).
			Then(mastra.NewStep("settle", func(_ context.Context, in Decision) (Status, error) {
				if in.Approved {
					return Status{"paid " + text(in.Amount)}, nil
				}
				return Status{"rejected"}, nil
			})),
		mastra.NewWorkflow[X, mastra.JSON]("failing-workflow").Named("failingWorkflow").
			Then(mastra.NewStep("fail-step", func(context.Context, X) (mastra.JSON, error) { return nil, errors.New("step failed on purpose") })),
		mastra.NewWorkflow[Ms, Done]("slow-workflow").Named("slowWorkflow").
			Then(mastra.NewStep("slow-step", func(ctx context.Context, in Ms) (Done, error) {
				select {
				case <-time.After(time.Duration(in.Ms) * time.Millisecond):
				case <-ctx.Done():
				}
				return Done{true}, nil
			})),
	}
}

func text(v any) string { data, _ := schema.Marshal(v); return string(data) }

// open is the reference application's workflows over a new database, and their routes.
func open(t testing.TB, ws ...mastra.Workflow) (*mastra.Mastra, *server.Server) {
	t.Helper()
	return openWith(t, nil, ws...)
}

func openWith(t testing.TB, opts []engine.Option, ws ...mastra.Workflow) (*mastra.Mastra, *server.Server) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "runs.db"))
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor := runlog.NewSupervisor(logger)
	m, err := mastra.New(mastra.Config{Workflows: append(reference(), ws...), Backends: mastra.Backends{Storage: store, Engine: engine.New(supervisor, opts...), Queue: local.Open(store), Logger: logger}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api", Origins: []string{"*"}}, workflows.Routes())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(supervisor.Drain(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return m, s
}

func send(s *server.Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// What differs from call to call is made equal.
var patterns = []struct {
	*regexp.Regexp
	with string
}{
	{regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"`), `"uuid"`},
	{regexp.MustCompile(`"[0-9a-f]{32}"`), `"trace"`},
	{regexp.MustCompile(`"[0-9a-f]{16}"`), `"span"`},
	{regexp.MustCompile(`:1\d{12}`), `:0`},
	{regexp.MustCompile(`"20\d\d-[^"]{17,19}Z"`), `"time"`},
}

func stable(t *testing.T, s string) (v any) {
	t.Helper()
	for _, p := range patterns {
		s = p.ReplaceAllString(s, p.with)
	}
	if err := schema.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

// differences are the places where two values differ.
func differences(at string, got, want any) (list []string) {
	g, gok := got.(map[string]any)
	w, wok := want.(map[string]any)
	if gok && wok {
		keys := maps.Clone(g)
		maps.Copy(keys, w)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			_, a := g[k]
			_, b := w[k]
			switch {
			case !a:
				list = append(list, at+"."+k+" is missing")
			case !b:
				list = append(list, at+"."+k+" is too much: "+text(g[k]))
			default:
				list = append(list, differences(at+"."+k, g[k], w[k])...)
			}
		}
		return list
	}
	ga, gok := got.([]any)
	wa, wok := want.([]any)
	if gok && wok && len(ga) == len(wa) {
		for i := range ga {
			list = append(list, differences(at+"[]", ga[i], wa[i])...)
		}
		return list
	}
	if inner, ok := want.(string); ok && strings.HasPrefix(inner, `{"json"`) { // a schema in a string
		var a, b any
		if s, ok := got.(string); ok && schema.Unmarshal([]byte(s), &a) == nil && schema.Unmarshal([]byte(inner), &b) == nil {
			return differences(at, a, b)
		}
	}
	if !reflect.DeepEqual(got, want) {
		list = append(list, at+" is "+text(got)+", not "+text(want))
	}
	return list
}

// The recorded conversations of the reference server, in the order they took place. Names that begin with a method are
// requests whose answers nobody recorded.
var conversation = []struct {
	name    string
	status  int      // instead of the recorded one, where ours is better on purpose
	allowed []string // differences that are wanted
}{
	{name: "list", allowed: []string{".failingWorkflow"}}, // any value is the schema true, not {}
	{name: "list-partial"}, {name: "get-by-key"},
	{name: "start-async"},
	{name: "start-async-runid"},
	{name: "start-async-branching"},
	{name: "start-async-bad-input", allowed: []string{".issues is too much"}},
	{name: "start-async-no-body", allowed: []string{".issues is too much"}},
	{name: "start-async-failing"},
	{name: "start-async-invalid-json"},
	{name: "create-run"}, {name: "POST /api/workflows/approvalWorkflow/create-run {}"},
	{name: "run-pending"}, {name: "start"}, {name: "run-bad-fields"},
	{name: "WAIT approvalWorkflow run-appr-1 suspended"},
	{name: `POST /api/workflows/approvalWorkflow/resume?runId=run-appr-1 {"step":"approve","resumeData":{"approved":true}}`},
	{name: "WAIT approvalWorkflow run-appr-1 success"},
	{name: "resume-again", status: 409},
	{name: "start-async-suspends"},
	{name: "resume-async-bad-data", allowed: []string{".issues is too much"}},
	{name: "resume-async-bad-step", status: 409},
	{name: `POST /api/workflows/approvalWorkflow/resume-async?runId=run-appr-2 {"step":["approve"],"resumeData":{"approved":false}}`},
	{name: "resume-async-unknown-run"},
	{name: "resume-no-runid", allowed: []string{`.issues[].message is "Required"`}},
	{name: "start-unknown-runid"},
	{name: "stream"}, {name: "stream-suspend"}, {name: "stream-suspend-close"}, {name: "resume-stream"}, {name: "stream-failing"},
	{name: "slow-start"}, {name: "slow-start-2"},
	{name: "POST /api/workflows/slowWorkflow/runs/run-slow-1/cancel {}"},
	{name: "run-canceled"}, {name: "run-get-404"},
	{name: "runs-list"}, {name: "runs-list-limit"}, {name: "runs-list-status"}, {name: "runs-list-bad-page"}, {name: "runs-list-bad-status"},
}

func TestRecordings(t *testing.T) {
	m, s := open(t)
	for _, c := range conversation {
		if words := strings.Fields(c.name); len(words) > 1 {
			if words[0] == "WAIT" {
				wait(t, m, words[1], words[2], mastra.RunStatus(words[3]))
			} else if w := send(s, words[0], words[1], words[2]); w.Code != 200 {
				t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
			}
			continue
		}
		recorded, err := os.ReadFile(filepath.Join("testdata", c.name+".http"))
		if err != nil {
			t.Fatal(err)
		}
		request, response, _ := strings.Cut(strings.ReplaceAll(string(recorded), "\r\n", "\n"), "########## RESPONSE")
		head, body, _ := strings.Cut(request, "\n\n")
		words := strings.Fields(head)
		w := send(s, words[0], words[1], strings.TrimSpace(body))
		_, response, _ = strings.Cut(response, "\n")
		head, want, _ := strings.Cut(response, "\n\n")
		status := map[bool]string{true: strings.Fields(head)[1], false: text(c.status)}[c.status == 0]
		if text(w.Code) != status {
			t.Errorf("%s: %d %s, not %s", c.name, w.Code, w.Body, status)
			continue
		}
		gots, wants := records(w.Body.String()), records(want)
		if len(gots) != len(wants) {
			t.Errorf("%s: %d records, not %d: %s", c.name, len(gots), len(wants), w.Body)
			continue
		}
		for i := range gots {
			for _, d := range differences("", stable(t, gots[i]), stable(t, wants[i])) {
				if !slices.ContainsFunc(c.allowed, func(a string) bool { return strings.HasPrefix(d, a) }) {
					t.Errorf("%s: %s", c.name, d)
				}
			}
		}
	}
}

func records(body string) (list []string) {
	for r := range strings.SplitSeq(strings.TrimSpace(body), "\x1e") {
		if r = strings.TrimSpace(r); r != "" {
			list = append(list, r)
		}
	}
	return list
}

// wait waits until a run has a status.
func wait(t *testing.T, m *mastra.Mastra, workflow, id string, status mastra.RunStatus) workflows.State {
	t.Helper()
	for range 500 {
		run, err := workflows.Run(context.Background(), m, workflows.GetRunInput{WorkflowID: workflow, RunID: id})
		if err != nil {
			t.Fatal(err)
		}
		if run.Status == status {
			return run
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("run %s does not become %s", id, status)
	return workflows.State{}
}
