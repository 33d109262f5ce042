package agentloop_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/sqlite"
)

// counted is an agent with memory and a tool that counts how often it ran.
func counted() (*mastra.Agent, *atomic.Int32) {
	var ran atomic.Int32
	tool := mastra.NewTool("pay", "", func(context.Context, nameIn) (string, error) { ran.Add(1); return "paid", nil })
	return &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 10}, Tools: []mastra.Callable{tool}}, &ran
}

// paying calls the tool once; the next call fails, and every later one says "done".
func paying() *script {
	return &script{steps: [][]mastra.ModelPart{asks("pay", `{"name":"x"}`), nil}, errs: []error{nil, errors.New("overloaded")}}
}

func request(explicit, fingerprint string) (context.Context, *mastra.Request) {
	r := &mastra.Request{IdempotencyKey: explicit, Fingerprint: fingerprint}
	return mastra.WithRequest(context.Background(), r), r
}

// What holds of claims holds over a storage that commits them before the messages, too.
func TestClaimsFirst(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"ARepeatGoesOnWhereTheFirstFailed":     TestARepeatGoesOnWhereTheFirstFailed,
		"AnAnswerThatDidNotArriveIsGivenAgain": TestAnAnswerThatDidNotArriveIsGivenAgain,
		"AnExplicitKey":                        TestAnExplicitKey,
		"TheSameRequestInFlight":               TestTheSameRequestInFlight,
		"AProcessThatDiedIsTakenOver":          TestAProcessThatDiedIsTakenOver,
		"ALongRunKeepsItsLease":                TestALongRunKeepsItsLease,
	} {
		t.Run(name, test)
	}
}

type claimsFirst struct{ mastra.Storage }

func (claimsFirst) ClaimsFirst() {}

var payCall = mastra.AgentCall{Messages: mastra.UserMessage("pay"), ThreadID: "t", ResourceID: "r"}

func stored(t *testing.T, w *world) []mastra.Message {
	t.Helper()
	_, m, err := w.Storage.Recall(context.Background(), "t", 100)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestARepeatGoesOnWhereTheFirstFailed(t *testing.T) {
	for _, key := range []string{"", "key-1"} {
		agent, ran := counted()
		model := paying()
		w := newWorld(t, model, agent)
		ctx, r := request(key, "f")
		if _, err := w.generate(ctx, "a", payCall); mastra.CodeOf(err) != mastra.CodeUpstream {
			t.Fatal(err)
		}
		r.End(false)
		before := stored(t, w)
		ctx, r = request(key, "f")
		got, err := w.generate(ctx, "a", payCall)
		if err != nil {
			t.Fatal(err)
		}
		r.End(true)
		after := stored(t, w)
		if ran.Load() != 1 || got.Text != "done" || len(got.Steps) != 2 || len(got.ToolResults) != 1 || len(model.asked) != 3 {
			t.Errorf("key %q: the tool ran %d times; %+v", key, ran.Load(), got)
		}
		if len(before) != 2 || len(after) != 2 || before[0].ID != after[0].ID || before[1].ID != after[1].ID || len(got.Remembered) != 0 || len(got.Messages) != 2 {
			t.Errorf("key %q: %+v, then %+v", key, before, after)
		}
		spans, err := w.Storage.Trace(context.Background(), got.TraceID)
		if err != nil || spans[0].Status() != "success" {
			t.Errorf("key %q: the trace is %s, %v", key, spans[0].Status(), err)
		}
	}
}

func TestAnAnswerThatDidNotArriveIsGivenAgain(t *testing.T) {
	agent, ran := counted()
	model := &script{steps: [][]mastra.ModelPart{asks("pay", `{"name":"x"}`), said("first"), asks("pay", `{"name":"x"}`), said("second")}}
	w := newWorld(t, model, agent)
	ctx, r := request("", "f")
	first, err := w.generate(ctx, "a", payCall)
	if err != nil {
		t.Fatal(err)
	}
	r.End(false)
	for range 2 { // the repeat may get lost, too
		ctx, r = request("", "f")
		again, err := w.generate(ctx, "a", payCall)
		if err != nil || again.Text != "first" || again.RunID != first.RunID || again.Response.ID != first.Response.ID || len(again.Messages) != 2 {
			t.Fatalf("%+v, %v", again, err)
		}
		r.End(false)
	}
	ctx, r = request("", "f")
	chunks, err := w.stream(ctx, "a", payCall)
	if want := "start step-start tool-call tool-result step-finish step-start text-start text-delta text-end step-finish finish"; err != nil || types(chunks) != want {
		t.Fatalf("%s, %v", types(chunks), err)
	}
	r.End(true)
	if ran.Load() != 1 || len(stored(t, w)) != 2 {
		t.Errorf("the tool ran %d times", ran.Load())
	}

	ctx, r = request("", "f") // it has arrived: a user says "pay" once more and means it
	second, err := w.generate(ctx, "a", payCall)
	if err != nil || second.Text != "second" || ran.Load() != 2 || len(stored(t, w)) != 4 {
		t.Errorf("%+v, %v", second, err)
	}
	r.End(true)
	if err := w.runs.Idle(context.Background()); err != nil { // an instance that freezes then leaves no claim that answers the next "pay"
		t.Fatal(err)
	}
	if c, err := w.Storage.Claim(context.Background(), "auto:f"); err != nil || c != nil {
		t.Errorf("the claim is still there: %+v, %v", c, err)
	}
}

func TestAnExplicitKey(t *testing.T) {
	agent, ran := counted()
	w := newWorld(t, &script{steps: [][]mastra.ModelPart{asks("pay", `{"name":"x"}`)}}, agent)
	ctx, r := request("k", "f")
	first, err := w.generate(ctx, "a", payCall)
	if err != nil {
		t.Fatal(err)
	}
	r.End(true)
	ctx, r = request("k", "f")
	again, err := w.generate(ctx, "a", payCall)
	if err != nil || again.RunID != first.RunID || ran.Load() != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	r.End(true)
	ctx, _ = request("k", "another")
	if _, err := w.generate(ctx, "a", payCall); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("another request under the key: %v", err)
	}
	ctx, _ = request("k", "another")
	ctx = mastra.WithPrincipal(ctx, &mastra.Principal{ID: "somebody else"})
	if _, err := w.generate(ctx, "a", payCall); err != nil {
		t.Errorf("another caller's key: %v", err)
	}
}

// waits is an agent whose tool waits at the gate.
func waits(gate, here chan struct{}) (*mastra.Agent, *atomic.Int32) {
	var ran atomic.Int32
	tool := mastra.NewTool("pay", "", func(context.Context, nameIn) (string, error) {
		ran.Add(1)
		here <- struct{}{}
		<-gate
		return "paid", nil
	})
	return &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 10}, Tools: []mastra.Callable{tool}}, &ran
}

func TestTheSameRequestInFlight(t *testing.T) {
	for _, c := range []struct {
		name      string
		key       string
		gone      bool
		ran, kept int
	}{
		{"its client waits: another one is meant", "", false, 2, 4},
		{"its client has gone: the repeat waits for it", "", true, 1, 2},
		{"an explicit key: it waits in any case", "k", false, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate, here := make(chan struct{}), make(chan struct{}, 2)
			agent, ran := waits(gate, here)
			w := newWorld(t, payer{}, agent)
			results := make(chan *mastra.AgentResult, 2)
			start := func(ctx context.Context) {
				go func() {
					r, err := w.generate(ctx, "a", payCall)
					if err != nil {
						t.Error(err)
					}
					results <- r
				}()
			}
			ctx, _ := request(c.key, "f")
			ctx, leave := context.WithCancel(ctx)
			defer leave()
			start(ctx)
			<-here
			if c.gone {
				leave()
			}
			second, _ := request(c.key, "f")
			start(second)
			if c.ran == 2 {
				<-here
			}
			close(gate)
			a, b := <-results, <-results
			if int(ran.Load()) != c.ran || (a.RunID == b.RunID) != (c.ran == 1) || len(stored(t, w)) != c.kept {
				t.Errorf("the tool ran %d times, %d messages", ran.Load(), len(stored(t, w)))
			}
		})
	}
}

// payer calls the tool and then says done, whoever asks.
type payer struct{ fixed }

func (payer) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	if q.Messages[len(q.Messages)-1].Role == "tool" {
		return fixed(said("done")).Stream(ctx, q)
	}
	return fixed(asks("pay", `{"name":"x"}`)).Stream(ctx, q)
}

func TestAProcessThatDiedIsTakenOver(t *testing.T) {
	store, err := sqlite.Open(t.TempDir() + "/test.db")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	agent, ran := counted()

	// The first process has run its tool, and made that durable, when it stops.
	stop, here := make(chan struct{}), make(chan struct{})
	dying := stuck{payer{}, stop, here}
	first := newWorldOn(t, store, dying, agent)
	failed := make(chan error)
	ctx, _ := request("", "f")
	go func() { _, err := first.generate(ctx, "a", payCall); failed <- err }()
	<-here

	second := newWorldOn(t, store, payer{}, agent)
	var late atomic.Bool
	second.Now = func() time.Time {
		if late.Load() {
			return time.Now().Add(time.Minute)
		}
		return time.Now()
	}
	ctx, leave := context.WithCancel(ctx)
	ctx = mastra.WithRequest(ctx, &mastra.Request{Fingerprint: "f"})
	done := make(chan error)
	go func() { _, err := second.generate(ctx, "a", payCall); done <- err }()
	select { // the lease holds: it waits
	case err := <-done:
		t.Fatal(err)
	case <-time.After(50 * time.Millisecond):
	}
	late.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	leave()
	if m := stored(t, second); ran.Load() != 1 || len(m) != 2 {
		t.Errorf("the tool ran %d times, %d messages", ran.Load(), len(m))
	}

	close(stop) // the first one was only slow: it must not write over the second's
	if err := <-failed; mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("%v", err)
	}
	for _, w := range []*world{first, second} {
		if err := w.runs.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// stuck is a model that stops before it answers what a tool said.
type stuck struct {
	payer
	stop, here chan struct{}
}

func (s stuck) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	if q.Messages[len(q.Messages)-1].Role == "tool" {
		close(s.here)
		<-s.stop
	}
	return s.payer.Stream(ctx, q)
}

func TestALongRunKeepsItsLease(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(dir + "/test.db")
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		tool := mastra.NewTool("pay", "", func(context.Context, nameIn) (string, error) { time.Sleep(5 * time.Minute); return "paid", nil })
		w := newWorldOn(t, store, payer{}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{tool}})
		ctx, r := request("", "f")
		done := make(chan error)
		go func() {
			_, err := w.generate(ctx, "a", payCall)
			r.End(err == nil)
			done <- err
		}()
		for range 4 {
			time.Sleep(time.Minute)
			c, err := store.Claim(context.Background(), "auto:f")
			if err != nil || c == nil || c.LeaseUntil <= mastra.TimeOf(time.Now()) {
				t.Errorf("%+v, %v", c, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.runs.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
