package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/runlog"
	"mastralambda/shared/storage/sqlite"
	"mastralambda/shared/webhook"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// The example of the Standard Webhooks.
func TestSign(t *testing.T) {
	got := webhook.Sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
}

type receiver struct {
	*httptest.Server
	status atomic.Int32
	mu     sync.Mutex
	got    []string // ids and bodies
	wrong  []string
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	r.status.Store(200)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		id, at := q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp")
		if err != nil || q.Header.Get("webhook-signature") != webhook.Sign(secret, id, at, body) {
			r.wrong = append(r.wrong, string(body))
		}
		r.got = append(r.got, id+" "+string(body))
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

func TestRunsThatEndAreTold(t *testing.T) {
	r := receive(t)
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor := runlog.NewSupervisor(log)
	e, q := engine.New(supervisor), local.Open(store)
	t.Cleanup(func() {
		if err := errors.Join(supervisor.Drain(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	ok := mastra.NewWorkflow[int, int]("ok").Then(mastra.NewStep("a", func(_ context.Context, n int) (int, error) { return n + 1, nil }))
	bad := mastra.NewWorkflow[int, int]("bad").Then(mastra.NewStep("a", func(context.Context, int) (int, error) { return 0, errors.New("no") }))
	waits := mastra.NewWorkflow[int, int]("waits").Then(mastra.NewPausable("ask", func(_ context.Context, n int, a *int) (int, error) {
		if a == nil {
			return 0, mastra.Suspend(nil)
		}
		return n, nil
	}))
	quiet := mastra.NewWorkflow[int, int]("quiet").Then(mastra.NewStep("a", func(_ context.Context, n int) (int, error) { return n, nil }))
	m, err := mastra.New(mastra.Config{Workflows: []mastra.Workflow{ok, bad, waits, quiet}, Webhooks: []mastra.Webhook{{ID: "own", URL: r.URL, Secret: secret, Workflows: []string{"ok", "bad", "waits"}}},
		Backends: mastra.Backends{Storage: store, Engine: e, Queue: q, Logger: log}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for id, w := range map[string]mastra.Workflow{"r1": ok, "r2": bad, "r3": waits, "r4": quiet} {
		if _, err := e.Start(ctx, m, w, mastra.WorkflowCall{RunID: id, Input: mastra.JSON("1")}); err != nil {
			t.Fatal(err)
		}
	}
	handle := webhook.New(m).Handle
	for sent, early := range map[time.Duration]bool{0: true, -2 * mastra.WriteWithin: false} { // the message is faster than the end of a run that waits
		err := handle(ctx, mastra.Work{Tenant: "-", ID: "r3", Data: mastra.JSON(fmt.Sprintf(`{"hook":"own","pass":0,"sent":%q}`, mastra.TimeOf(time.Now().Add(sent))))})
		if errors.As(err, new(*mastra.Again)) != early || !early && err != nil {
			t.Errorf("sent %v ago: %v", -sent, err)
		}
	}
	if err := e.Cancel(ctx, m, waits, "r3"); err != nil {
		t.Fatal(err)
	}
	work := func() (over bool, some bool) {
		t.Helper()
		d, err := q.Receive(ctx, 0, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return d != nil && queue.Process(ctx, log, q, d, handle), d != nil
	}
	for range 3 {
		if over, _ := work(); !over {
			t.Fatal("it is not over")
		}
	}
	all := strings.Join(r.received(), "\n")
	for _, want := range []string{`"type":"workflow.run.success"`, `"runId":"r1","status":"success","result":2`, `"status":"failed","error":{"message":"no","name":"Error"}`, `"runId":"r3","status":"canceled"`} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not in\n%s", want, all)
		}
	}
	if _, some := work(); some || len(r.received()) != 3 || len(r.wrong) != 0 {
		t.Errorf("%d are told, wrongly signed %v", len(r.received()), r.wrong)
	}
	// A receiver that is down is told later, under the same id.
	r.status.Store(503)
	if _, err := e.TimeTravel(ctx, m, ok, mastra.WorkflowTravel{RunID: "r1", Step: []string{"a"}, Input: mastra.JSON("5")}); err != nil {
		t.Fatal(err)
	}
	if over, some := work(); over || !some {
		t.Error("a 503 is taken for an answer")
	}
	r.status.Store(200)
	time.Sleep(queue.Backoff(1) + 100*time.Millisecond)
	if over, _ := work(); !over {
		t.Error("it is not told again")
	}
	got := r.received()
	a, _, _ := strings.Cut(got[3], " ")
	b, _, _ := strings.Cut(got[4], " ")
	first, _, _ := strings.Cut(got[0], " ")
	if len(got) != 5 || a != b || a == first || !strings.Contains(got[4], `"result":6`) {
		t.Errorf("%v", got)
	}
}

func TestWhatAWebhookMustBe(t *testing.T) {
	for url, good := range map[string]bool{"https://example.com/hook": true, "http://localhost:3000": true, "http://127.0.0.1/x": true, "http://example.com": false, "ftp://example.com": false, "example.com": false, "": false} {
		_, err := mastra.New(mastra.Config{Webhooks: []mastra.Webhook{{URL: url, Secret: secret}}})
		if (err == nil) != good {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := mastra.New(mastra.Config{Webhooks: []mastra.Webhook{{URL: "https://a.example", Secret: "short"}}}); err == nil {
		t.Error("a short secret is taken")
	}
	if _, err := mastra.New(mastra.Config{Webhooks: []mastra.Webhook{{URL: "https://a.example", Secret: secret}}, Backends: mastra.Backends{Webhook: &mastra.Webhook{URL: "https://b.example", Secret: secret}}}); err == nil {
		t.Error("two of one name")
	}
	env := map[string]string{"WEBHOOK_URL": "https://a.example"}
	get := func(k string) string { return env[k] }
	if _, err := webhook.FromEnv(get); err == nil {
		t.Error("no secret")
	}
	env["WEBHOOK_SECRET"] = secret
	if h, err := webhook.FromEnv(get); err != nil || h.URL != "https://a.example" {
		t.Error(h, err)
	}
}
