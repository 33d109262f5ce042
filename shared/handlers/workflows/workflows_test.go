package workflows_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func TestExecute(t *testing.T) {
	m, s := open(t)
	run, err := workflows.Execute(context.Background(), m, workflows.ExecuteInput{WorkflowID: "sequential-workflow", TriggerData: mastra.JSON(`{"name":"x"}`)})
	if err != nil || run.Status != mastra.StatusSuccess || string(run.Result) != `{"greeting":"Hello, X!"}` || run.RunID == "" {
		t.Errorf("%+v %v", run, err)
	}
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"sequentialWorkflow/execute", `{"inputData":{"name":"y"}}`, 200, `"result":{"greeting":"Hello, Y!"}`},
		{"branchingWorkflow/execute", `{}`, 400, `"issues":[{"field":"triggerData.a","message":"Required"},{"field":"triggerData.b","message":"Required"}]`},
		{"branchingWorkflow/execute", `{"triggerData":{"a":"x"}}`, 400, `{"field":"triggerData.b","message":"Required"}`},
		{"branchingWorkflow/start-async", `{"inputData":5}`, 400, `"issues":[{"field":"inputData","message":"Invalid input: expected object, received number"}]`},
		{"failingWorkflow/execute", `{"triggerData":{"x":1}}`, 200, `"status":"failed"`},
		{"nothing/execute", `{}`, 404, `{"error":"Workflow not found"}`},
		{"constructor/execute", `{}`, 404, `{"error":"Workflow not found"}`},
		{"sequentialWorkflow/start-async", `{"inputData":{"name":"y"},"perStep":true}`, 200, `{"status":"paused"`},
		{"sequentialWorkflow/stream", `{"inputData":{"name":"y"}}`, 400, `{"field":"runId","message":"Required"}`},
		{"sequentialWorkflow/stream?runId=s", `{"inputData":{"name":5}}`, 400, `Invalid input data`},
		{"approvalWorkflow/runs/nope/cancel", ``, 404, `{"error":"Workflow run not found"}`},
	} {
		if w := send(s, "POST", "/api/workflows/"+c.path, c.body); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
}

func TestState(t *testing.T) {
	ctx := context.Background()
	nested := mastra.NewWorkflow[Name, Greeting]("outer").Then(reference()[0])
	m, s := open(t, nested)
	run, err := workflows.StartAsync(ctx, m, workflows.StartInput{WorkflowID: "outer", InputData: mastra.JSON(`{"name":"x"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Steps) != 2 {
		t.Errorf("the answer holds nested steps: %s", text(run.Steps))
	}
	path := "/api/workflows/outer/runs/" + run.RunID
	for query, want := range map[string]string{
		"":                           `"sequential-workflow.greet":{`,
		"?withNestedWorkflows=false": `"steps":{"sequential-workflow":{"status":"success"`,
		"?fields=result":             `"status":"success","result":{"greeting":"Hello, X!"}}`,
	} {
		if w := send(s, "GET", path+query, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if _, err := workflows.CreateRun(ctx, m, workflows.CreateRunInput{WorkflowID: "slowWorkflow", RunID: "slow"}); err != nil {
		t.Fatal(err)
	}
	if _, err := workflows.Start(ctx, m, workflows.RunInput{WorkflowID: "slowWorkflow", RunID: "slow", InputData: mastra.JSON(`{"ms":60000}`)}); err != nil {
		t.Fatal(err)
	}
	state := wait(t, m, "slowWorkflow", "slow", mastra.StatusRunning)
	if text(state.ActiveSteps) != `{"slow-step":[0]}` || !strings.Contains(text(state.Steps), `"status":"running"`) {
		t.Errorf("%s", text(state))
	}
	if _, err := workflows.CancelRun(ctx, m, workflows.CancelInput{WorkflowID: "slowWorkflow", RunID: "slow"}); err != nil {
		t.Error(err)
	}
	if _, err := workflows.CancelRun(ctx, m, workflows.CancelInput{WorkflowID: "slowWorkflow", RunID: "slow"}); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Error(err)
	}
}

// A run that sleeps is found as one that waits, and goes on all the same.
func TestARunThatSleeps(t *testing.T) {
	sleeper := mastra.NewWorkflow[Name, Name]("sleeper").Sleep(time.Hour)
	m, s := open(t, sleeper)
	if w := send(s, "POST", "/api/workflows/sleeper/create-run?runId=r", ""); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if w := send(s, "POST", "/api/workflows/sleeper/start?runId=r", `{"inputData":{"name":"x"}}`); w.Code != 200 {
		t.Fatal(w.Body)
	}
	state := wait(t, m, "sleeper", "r", mastra.StatusWaiting)
	if text(state.ActiveSteps) != `{"sleep_sleeper_0":[0]}` {
		t.Errorf("%s", text(state))
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "runs?status=waiting", "", 200, `"runId":"r","snapshot":{"runId":"r","status":"waiting"`},
		{"GET", "runs?status=running", "", 200, `{"runs":[],"total":0}`},
		{"POST", "restart-all-active-workflow-runs", `{}`, 200, "restarted"},
		{"POST", "time-travel?runId=r", `{"step":"sleep_sleeper_0"}`, 409, "still running"},
		{"DELETE", "runs/r", "", 409, "still running"},
		{"POST", "runs/r/cancel", "", 200, "cancelled"},
		{"GET", "runs?status=waiting", "", 200, `{"runs":[],"total":0}`},
	} {
		if w := send(s, c.method, "/api/workflows/sleeper/"+c.path, c.body); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

// An invocation that ends before the run does answers where to ask for it; a worker goes on, in time that starts anew.
func TestWhereToAsk(t *testing.T) {
	var began atomic.Int32
	w := mastra.NewWorkflow[Name, Name]("long").Then(mastra.NewStep("slow", func(ctx context.Context, in Name) (Name, error) {
		if began.Add(1) == 1 {
			<-ctx.Done()
			return in, ctx.Err()
		}
		return in, nil
	}))
	m, s := openWith(t, []engine.Option{engine.HandOver}, w)
	for _, path := range []string{"start-async?runId=a%20b", "execute"} {
		began.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "POST", "/api/workflows/long/"+path, strings.NewReader(`{"inputData":{"name":"x"}}`))
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		var answer struct {
			Status mastra.RunStatus `json:"status"`
			Next   string           `json:"next"`
		}
		if err := schema.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != 200 || answer.Status != mastra.StatusRunning || answer.Next == "" {
			t.Fatalf("%s: %d %s, %v", path, rec.Code, rec.Body, err)
		}
		d, err := m.Queue.Receive(t.Context(), 5*time.Second, time.Minute)
		if err != nil || d == nil {
			t.Fatal(d, err)
		}
		if err := m.Engine.(*engine.Engine).Work(t.Context(), m, d.Work); err != nil {
			t.Fatal(err)
		}
		if got := send(s, "GET", "/api"+answer.Next, ""); got.Code != 200 || !strings.Contains(got.Body.String(), `"status":"success"`) || !strings.Contains(got.Body.String(), `"result":{"name":"x"}`) {
			t.Errorf("%s: %d %s", answer.Next, got.Code, got.Body)
		}
	}
}

// A caller that is bound to a resource sees and touches that resource's runs only.
func TestBoundCaller(t *testing.T) {
	m, _ := open(t)
	ann := mastra.WithPrincipal(context.Background(), &mastra.Principal{ID: "1", Resource: "ann"})
	bob := mastra.WithPrincipal(context.Background(), &mastra.Principal{ID: "2", Resource: "bob"})
	in := workflows.StartInput{WorkflowID: "approvalWorkflow", RunID: "hers", ResourceID: "bob", InputData: mastra.JSON(`{"amount":1}`)}
	if _, err := workflows.StartAsync(ann, m, in); err != nil {
		t.Fatal(err)
	}
	of := func(ctx context.Context) map[string]error {
		_, run := workflows.Run(ctx, m, workflows.GetRunInput{WorkflowID: "approvalWorkflow", RunID: "hers"})
		_, resume := workflows.ResumeAsync(ctx, m, workflows.ResumeInput{WorkflowID: "approvalWorkflow", RunID: "hers", ResumeData: mastra.JSON(`{"approved":true}`)})
		_, cancel := workflows.CancelRun(ctx, m, workflows.CancelInput{WorkflowID: "approvalWorkflow", RunID: "hers"})
		return map[string]error{"run": run, "resume": resume, "cancel": cancel}
	}
	for name, err := range of(bob) {
		if mastra.CodeOf(err) != mastra.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := workflows.StartAsync(bob, m, in); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("he joins her run: %v", err)
	}
	for ctx, want := range map[context.Context]int{ann: 1, bob: 0} {
		if page, err := workflows.Runs(ctx, m, workflows.ListRunsInput{WorkflowID: "approvalWorkflow", ResourceID: "ann"}); err != nil || page.Total != want || len(page.Runs) != want {
			t.Errorf("%+v %v", page, err)
		}
	}
	if err := of(ann)["resume"]; err != nil {
		t.Error(err)
	}
}

// A repeat under an idempotency key joins the run; another input under the same key is refused.
func TestIdempotencyKey(t *testing.T) {
	_, s := open(t)
	post := func(key, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/api/workflows/sequentialWorkflow/execute", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	first := post("k1", `{"triggerData":{"name":"x"}}`)
	if again := post("k1", `{"triggerData":{"name":"x"}}`); again.Code != 200 || again.Body.String() != first.Body.String() {
		t.Errorf("%s\nthen %d %s", first.Body, again.Code, again.Body)
	}
	if other := post("k2", `{"triggerData":{"name":"x"}}`); other.Code != 200 || other.Body.String() == first.Body.String() {
		t.Errorf("another key joins: %s", other.Body)
	}
	if clash := post("k1", `{"triggerData":{"name":"y"}}`); clash.Code != 409 {
		t.Errorf("%d %s", clash.Code, clash.Body)
	}
}

func TestResumesAtOnce(t *testing.T) {
	_, s := open(t)
	send(s, "POST", "/api/workflows/approvalWorkflow/start-async?runId=r", `{"inputData":{"amount":1}}`)
	var codes [600]atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			w := send(s, "POST", "/api/workflows/approvalWorkflow/resume-async?runId=r", `{"step":"approve","resumeData":{"approved":true}}`)
			codes[w.Code].Add(1)
		})
	}
	wg.Wait()
	if codes[200].Load() != 1 || codes[409].Load() != 99 {
		t.Errorf("%d of 200, %d of 409", codes[200].Load(), codes[409].Load())
	}
}

// benchmark sends a request over HTTP, 16 at once.
func benchmark(b *testing.B, path, body string, ws ...mastra.Workflow) {
	_, s := open(b, ws...)
	h := httptest.NewServer(s)
	defer h.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	b.SetParallelism(8) // times two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := client.Post(h.URL+path, "application/json", strings.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != 200 {
				b.Fatal(err, r.StatusCode)
			}
			r.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}

func BenchmarkStartAsync(b *testing.B) {
	same := func(id string) *mastra.Step {
		return mastra.NewStep(id, func(_ context.Context, in Name) (Name, error) { return in, nil })
	}
	three := mastra.NewWorkflow[Name, Name]("three").Then(same("a")).Then(same("b")).Then(same("c"))
	benchmark(b, "/api/workflows/three/start-async", `{"inputData":{"name":"ann"}}`, three)
}

func BenchmarkStartAsyncParallel(b *testing.B) {
	benchmark(b, "/api/workflows/branchingWorkflow/start-async", `{"inputData":{"a":3,"b":4}}`)
}
