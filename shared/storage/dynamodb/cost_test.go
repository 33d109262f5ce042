package dynamodb

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/runlog"
	"mastralambda/shared/server"
)

// A million request units on demand in us-east-1, in dollars.
const dollarsRead, dollarsWrite = 0.125, 0.625

// What operations cost, in requests and units as DynamoDB itself counts them. The table of the README comes from here.
func TestCost(t *testing.T) {
	var m meter
	s := openTest(t, m.attach)
	ctx := mastra.WithPrincipal(t.Context(), &mastra.Principal{Tenant: rand.Text()[:8]}) // about as long as they are: each key has it
	check := func(name string, c cost, calls, trips int, read, write float64) {
		t.Helper()
		t.Logf("%-52s %v   $%.2f a million", name, c, c.read*dollarsRead+c.write*dollarsWrite)
		if c.calls > calls || c.trips > trips || c.read > read || c.write > write {
			t.Errorf("%s takes more than %d requests, %d in sequence, %v RRU, %v WRU: %v", name, calls, trips, read, write, c)
		}
	}

	agent := &mastra.Agent{ID: "a", Name: "A", Instructions: "Answer.", Memory: &mastra.Memory{LastMessages: 10}}
	fails := &mastra.Agent{ID: "f", Name: "F", Memory: agent.Memory, Model: "test/fails"}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	runs := runlog.NewSupervisor(log)
	app, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{agent, fails}, Backends: mastra.Backends{Storage: s, Logger: log, Agents: agentloop.New(runs),
		Models: func(id string) (mastra.LanguageModel, error) {
			if id == fails.Model {
				return failingModel{offline.New(0)}, nil
			}
			return offline.New(0), nil
		}}})
	if err != nil {
		t.Fatal(err)
	}
	generate := func(ctx context.Context, thread string) func() error {
		return func() error {
			_, err := app.Agents.Generate(mastra.NewContext(ctx, app), app, agent, mastra.AgentCall{Messages: mastra.UserMessage("How does memory in agents work?"), ThreadID: thread, ResourceID: "me"})
			return err
		}
	}
	check("generate, memory and trace, the first of a process", m.of(t, generate(ctx, "first")), 13, 3, 4, 16) // the names of what it has not seen are written down
	check("generate, memory and trace, in a new thread", m.of(t, generate(ctx, "t")), 11, 3, 4, 14)
	check("generate, memory and trace", m.of(t, generate(ctx, "t")), 9, 3, 3, 11)
	idle(t, s, ctx, "idle")
	check("generate, memory and trace, in a thread long idle", m.of(t, generate(ctx, "idle")), 9, 3, 3, 14)
	tagged := mastra.AgentCall{Messages: mastra.UserMessage("How does memory in agents work?"), ThreadID: "t", ResourceID: "me", Tracing: mastra.TracingOptions{Tags: []string{"red"}}}
	call := func(a *mastra.Agent, c mastra.AgentCall, fails bool) func() error {
		return func() error {
			if _, err := app.Agents.Generate(mastra.NewContext(ctx, app), app, a, c); (err != nil) != fails {
				return fmt.Errorf("generate: %w", err)
			}
			return nil
		}
	}
	check("generate with a tag, the first", m.of(t, call(agent, tagged, false)), 11, 3, 3, 13) // the tag's name is written down
	check("generate with a tag", m.of(t, call(agent, tagged, false)), 10, 3, 3, 12)
	broken := tagged
	broken.Tracing.Tags = nil
	_ = call(fails, broken, true)()
	check("generate that fails", m.of(t, call(fails, broken, true)), 10, 3, 3, 12)
	stateless := mastra.AgentCall{Messages: tagged.Messages}
	check("generate without memory", m.of(t, call(agent, stateless, false)), 2, 1, 0, 4)
	stateless.ResourceID = "me"
	check("generate without memory, of a resource", m.of(t, call(agent, stateless, false)), 3, 1, 0, 5)
	post := overHTTP(t, app, runs)
	// The claim that joins repeats is made beside the recall, settled with the answer and, behind it, given up.
	check("generate over HTTP", m.of(t, post(ctx, "t", "")), 11, 3+1, 3, 13)
	check("generate over HTTP, with an Idempotency-Key", m.of(t, post(ctx, "t", "key")), 11, 3, 3, 13)
	check("generate over HTTP, in a new thread", m.of(t, post(ctx, "new over HTTP", "")), 13, 3+1, 3, 16)
	idle(t, s, ctx, "idle over HTTP")
	check("generate over HTTP, in a thread long idle", m.of(t, post(ctx, "idle over HTTP", "")), 11, 3+1, 3, 16)

	secret, key := server.NewKey("cost", mastra.Principal{Tenant: mastra.Tenant(ctx)}, 1)
	if err := s.AddAPIKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	app.Auth = server.APIKeys{Store: server.Remember(s, server.KeyFreshness)}
	withKey := overHTTP(t, app, runs, "Authorization", "Bearer "+secret)
	check("generate over HTTP, the first with an API key", m.of(t, withKey(t.Context(), "t", "")), 12, 4+1, 4, 14)
	check("generate over HTTP, with an API key", m.of(t, withKey(t.Context(), "t", "")), 11, 3+1, 3, 14)
	app.Auth = nil

	own := agent.Memory
	agent.Memory = &mastra.Memory{LastMessages: 10, WorkingMemory: &mastra.WorkingMemory{}}
	check("generate, with a working memory", m.of(t, generate(ctx, "t")), 10, 3, 3.5, 16) // read beside the thread
	agent.Memory = own
	notes := mastra.Notes{Of: mastra.NotesOf{ResourceID: "me"}, Data: "# Notes"}
	check("a resource's working memory, changed", m.of(t, func() error { return s.SaveWorkingMemory(ctx, notes) }), 1, 1, 0, 1)
	notes.Of = mastra.NotesOf{ThreadID: "t"}
	check("a thread's working memory, changed", m.of(t, func() error { return s.SaveWorkingMemory(ctx, notes) }), 1, 1, 0, 4)

	stream := func(runID string) func() error {
		return func() error {
			chunks, err := app.Agents.Stream(mastra.NewContext(ctx, app), app, agent, mastra.AgentCall{Messages: mastra.UserMessage("How does memory in agents work?"), ThreadID: "t", ResourceID: "me", RunID: runID})
			if err != nil {
				return err
			}
			for _, err := range chunks {
				if err != nil {
					return err
				}
			}
			return nil
		}
	}
	check("stream, memory and trace", m.of(t, stream("")), 10, 3, 3, 18)
	check("stream under a run id of the client's", m.of(t, stream("run")), 12, 4, 3, 18) // whose it is has to be looked up, and its trace to be found by it
	check("observe's empty poll", m.of(t, func() error {
		_, err := s.Chunks(ctx, "run", mastra.Position{Epoch: 1 << 40}, 16)
		return err
	}), 1, 1, 1, 0)

	var said *mastra.Page[mastra.Message]
	if said, err = s.Messages(ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 2}}); err != nil {
		t.Fatal(err)
	}
	check("two messages by id, each with its neighbours", m.of(t, func() error {
		_, err := s.MessagesAround(ctx, []mastra.MessageRef{{ID: said.Items[0].ID, Before: 1, After: 1}, {ID: said.Items[1].ID, Before: 1, After: 1}})
		return err
	}), 7, 2, 8, 0)

	b := mastra.Batch{Threads: []mastra.Thread{{ID: "page", ResourceID: "me", CreatedAt: 1, UpdatedAt: 1}}}
	for i := range 200 {
		b.Messages = append(b.Messages, mastra.Message{ID: fmt.Sprint("m", i), ThreadID: "page", Role: "user", CreatedAt: mastra.Time(i), Content: mastra.JSON(`{"content":"` + strings.Repeat("x ", 200) + `"}`)})
	}
	if err := s.Commit(ctx, &b); err != nil {
		t.Fatal(err)
	}
	page := func(q mastra.MessageQuery) func() error {
		return func() error { q.ThreadID = "page"; _, err := s.Messages(ctx, q); return err }
	}
	check("the newest 40 messages", m.of(t, page(mastra.MessageQuery{Descending: true, Paging: mastra.Paging{PerPage: 40}})), 1, 1, 8, 0)
	check("the oldest 40 messages", m.of(t, page(mastra.MessageQuery{Paging: mastra.Paging{PerPage: 40}})), 2, 1, 8, 0)

	check("start-async of 3 steps", m.of(t, func() error { return threeSteps(ctx, s, "w") }), 4, 4, 0, 10)
	flow := mastra.NewWorkflow[string, string]("three").Then(text3("trim")).Then(text3("upper")).Then(text3("greet"))
	three, err := mastra.New(mastra.Config{Workflows: []mastra.Workflow{flow}, Backends: mastra.Backends{Storage: s, Logger: log, Engine: engine.New(runs)}})
	if err != nil {
		t.Fatal(err)
	}
	check("start-async of 3 steps, by the engine, with its trace", m.of(t, func() error {
		run, err := three.Engine.Start(ctx, three, flow, mastra.WorkflowCall{Input: mastra.JSON(`" ada "`)})
		if err == nil && run.Status != mastra.StatusSuccess {
			t.Errorf("%+v", run)
		}
		return err
	}), 7, 4, 0, 18)
	var read *mastra.Run
	check("a run with its steps", m.of(t, func() (err error) { read, err = s.Run(ctx, "w"); return err }), 1, 1, 2, 0)
	if len(read.Steps) != 3 || read.Status != mastra.StatusSuccess {
		t.Fatalf("the run is %+v", read)
	}
	held := mastra.Run{ID: "alive", WorkflowID: "flow", Status: mastra.StatusRunning, CreatedAt: 9, Owner: "p", Input: mastra.JSON(`"` + strings.Repeat("large ", 5000) + `"`)}
	if err := s.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: held, Create: true}}}); err != nil {
		t.Fatal(err)
	}
	check("a heartbeat", m.of(t, func() error { _, err := s.Lease(ctx, "alive", "p", 10); return err }), 2, 2, 2, 1)
	if err := s.DeleteRun(ctx, "alive"); err != nil { // Expired is about all tenants
		t.Fatal(err)
	}
	for i := range 30 {
		if err := threeSteps(ctx, s, fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
		if err := generate(ctx, "t")(); err != nil {
			t.Fatal(err)
		}
	}
	check("20 runs of a workflow", m.of(t, func() error {
		p, err := s.Runs(ctx, mastra.RunQuery{WorkflowID: "flow", Paging: mastra.Paging{PerPage: 20}})
		if err == nil && len(p.Items) != 20 {
			t.Errorf("%d runs", len(p.Items))
		}
		return err
	}), 10, 3, 16, 0)
	check("20 traces", m.of(t, func() error {
		p, err := s.Traces(ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 20}})
		if err == nil && len(p.Items) != 20 {
			t.Errorf("%d traces", len(p.Items))
		}
		return err
	}), 6, 2, 12, 0)
	check("20 traces of a thread", m.of(t, func() error {
		p, err := s.Traces(ctx, mastra.TraceQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 20}})
		if err != nil {
			return err
		}
		all, err := s.Traces(ctx, mastra.TraceQuery{Match: func(r *mastra.Span) bool { return r.ThreadID == "t" }, Paging: mastra.Paging{PerPage: 20}})
		if err == nil && (len(p.Items) != 20 || p.Total != all.Total || p.Items[0].TraceID != all.Items[0].TraceID || p.Items[19].TraceID != all.Items[19].TraceID) {
			t.Errorf("%d traces of %d, by looking through all of them %d", len(p.Items), p.Total, all.Total)
		}
		return err
	}), 8, 3, 60, 0)
	check("20 threads", m.of(t, func() error {
		_, err := s.Threads(ctx, mastra.ThreadQuery{ResourceID: "me", Paging: mastra.Paging{PerPage: 20}})
		return err
	}), 3, 3, 25, 0)
}

// overHTTP makes requests as a deployed function serves them; they end when what follows the answer has ended, too.
func overHTTP(t *testing.T, app *mastra.Mastra, runs *runlog.Supervisor, header ...string) func(ctx context.Context, thread, key string) func() error {
	srv, err := server.New(server.Server{Mastra: app, Prefix: "/api"}, agents.Routes())
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, thread, key string) func() error {
		return func() error {
			r := httptest.NewRequestWithContext(ctx, "POST", "/api/agents/a/generate", strings.NewReader(`{"messages": "How does memory in agents work?", "memory": {"thread": "`+thread+`", "resource": "me"}}`))
			r.Header.Set("Idempotency-Key", key)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			if w.Code != 200 {
				return fmt.Errorf("%d %s", w.Code, w.Body)
			}
			return runs.Idle(ctx) // as the function does before its instance freezes
		}
	}
}

// failingModel fails.
type failingModel struct{ mastra.LanguageModel }

func (failingModel) Stream(context.Context, *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		yield(mastra.ModelPart{}, mastra.Errorf(mastra.CodeInvalid, "no"))
	}
}

// idle makes a thread whose last message is long past.
func idle(t *testing.T, s *Store, ctx context.Context, id string) {
	t.Helper()
	if err := s.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{{ID: id, ResourceID: "me", CreatedAt: 1, UpdatedAt: 1}},
		Messages: []mastra.Message{{ID: "old " + id, ThreadID: id, Role: "user", CreatedAt: 5, Content: mastra.JSON(`{}`)}}}); err != nil {
		t.Fatal(err)
	}
}

// text3 is one of three steps.
func text3(id string) *mastra.Step {
	return mastra.NewStep(id, func(_ context.Context, s string) (string, error) { return s + id, nil })
}

// threeSteps are the commits of a workflow of three steps.
func threeSteps(ctx context.Context, s *Store, id string) error {
	r := mastra.Run{ID: id, WorkflowID: "flow", ResourceID: "me", Status: mastra.StatusRunning, CreatedAt: mastra.TimeOf(s.now()), Input: mastra.JSON(`{"name":" ada "}`),
		Graph: mastra.JSON(`[{"type":"step","step":{"id":"trim"}},{"type":"step","step":{"id":"upper"}},{"type":"step","step":{"id":"greet"}}]`), Owner: "p", LeaseUntil: 1}
	create := true
	for _, k := range []string{"", "trim", "upper", "greet"} {
		r.Steps = nil
		if k != "" {
			r.Path = append(r.Path, k)
			r.Steps = mastra.Object[mastra.StepResult]{{Key: k, Value: mastra.StepResult{Status: mastra.StatusSuccess, Payload: mastra.JSON(`{"name":" ada "}`), Output: mastra.JSON(`{"name":"ada"}`), StartedAt: 1700000000000, EndedAt: 1700000000005}}}
		}
		if k == "greet" {
			r.Status, r.Result = mastra.StatusSuccess, mastra.JSON(`{"greeting":"Hello, ADA!"}`)
		}
		if err := s.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: r, Create: create}}}); err != nil {
			return err
		}
		create = false
	}
	return nil
}
