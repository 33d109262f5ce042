package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue"
	"mastralambda/shared/queue/local"
)

// invocations are processes whose time is limited, over one storage and one queue.
func invocations(t *testing.T, w mastra.Workflow, opts ...engine.Option) (api, worker *process, q mastra.Queue) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runs.db")
	opts = append(opts, engine.HandOver)
	api, worker = open(t, path, []mastra.Workflow{w}, opts...), open(t, path, []mastra.Workflow{w}, opts...)
	q = local.Open(api.store.(mastra.WorkStore))
	api.Queue, worker.Queue = q, q
	return api, worker, q
}

// work does one piece of what the worker's queue has, within the given time.
func work(t *testing.T, p *process, limit time.Duration) bool {
	t.Helper()
	d, err := p.Queue.Receive(t.Context(), 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if d == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if !queue.Process(ctx, quiet, p.Queue, d, queue.Handlers{mastra.WorkRun: func(ctx context.Context, w mastra.Work) error { return p.engine.Work(ctx, p.Mastra, w) }}.Handle) {
		t.Error("the work is not over")
	}
	return true
}

// What is begun without waiting runs in the worker.
func TestTheWorkerRunsWhatIsStarted(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(ask("ask")).Then(step("b", double))
	api, worker, _ := invocations(t, w)
	ctx := t.Context()
	run, err := api.engine.Background(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
	if err != nil || run.Status != mastra.StatusRunning || len(run.Steps) != 0 || run.TraceID == "" {
		t.Fatalf("%+v %v", run, err)
	}
	if !work(t, worker, time.Minute) {
		t.Fatal("the queue is empty")
	}
	if run, err = api.store.Run(ctx, "run"); err != nil || run.Status != mastra.StatusSuspended || run.Attempts != 0 {
		t.Fatalf("%+v %v", run, err)
	}
	if _, err := api.engine.ResumeBackground(ctx, api.Mastra, w, mastra.WorkflowResume{RunID: "run", Data: mastra.JSON(`{"add":2}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.engine.ResumeBackground(ctx, api.Mastra, w, mastra.WorkflowResume{RunID: "run", Data: mastra.JSON(`{"add":2}`)}); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("resumed twice: %v", err)
	}
	for work(t, worker, time.Minute) {
	}
	run, err = api.store.Run(ctx, "run")
	if err != nil || string(run.Result) != "8" {
		t.Errorf("%+v %v", run, err)
	}
	if trace, err := api.store.Trace(ctx, run.TraceID); err != nil || len(trace) < 5 {
		t.Errorf("%d spans, %v", len(trace), err)
	}
}

// An invocation that has no time left hands over, and answers the run as it stands; the worker goes on at once.
func TestAnInvocationHandsOverBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first atomic.Bool
		w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("slow", func(ctx context.Context, n int) (int, error) {
			if first.CompareAndSwap(false, true) {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return n, nil
		})).Then(step("b", double))
		api, worker, _ := invocations(t, w)
		ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
		defer cancel()
		run, err := api.engine.Start(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
		if err != nil || run.Status != mastra.StatusRunning || ctx.Err() != nil {
			t.Fatalf("%+v %v %v", run, err, ctx.Err())
		}
		if !work(t, worker, time.Minute) {
			t.Fatal("the queue is empty")
		}
		run, err = api.store.Run(t.Context(), "run")
		if err != nil || run.Status != mastra.StatusSuccess || string(run.Result) != "4" {
			t.Errorf("%+v %v", run, err)
		}
	})
}

// A worker that runs out of time goes on in its next invocation; a step that has all of one has failed.
func TestAStepMustFitIntoAnInvocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := step("block", func(ctx context.Context, n int) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
		w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(block)
		api, worker, _ := invocations(t, w)
		ctx := t.Context()
		if _, err := api.engine.Background(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // in the first one a step came out
			if !work(t, worker, 400*time.Millisecond) {
				t.Fatal("the queue is empty")
			}
		}
		run, err := api.store.Run(ctx, "run")
		if err != nil || run.Status != mastra.StatusFailed || !strings.Contains(run.Error.Message, "did not end within the time") {
			t.Errorf("%+v %v", run, err)
		}
	})
}

// A long sleep is nobody's: the queue wakes the run.
func TestALongSleepWaitsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).SleepUntil(mastra.AtTime(func(int) time.Time { return time.Now().Add(11 * time.Second) })).Then(step("b", double))
		api, worker, q := invocations(t, w)
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		run, err := api.engine.Start(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
		if err != nil || run.Status != mastra.StatusWaiting {
			t.Fatalf("%+v %v", run, err)
		}
		stored, err := api.store.Run(t.Context(), "run")
		if err != nil || stored.Owner != "" || stored.LeaseUntil < mastra.TimeOf(time.Now()) {
			t.Fatalf("%+v %v", stored, err)
		}
		if err := worker.engine.TakeOver(t.Context(), worker.Mastra); err != nil {
			t.Fatal(err)
		}
		if again := worker.engine.Work(t.Context(), worker.Mastra, mastra.Work{Tenant: "-", ID: "run"}); !errors.As(again, new(*mastra.Again)) {
			t.Errorf("it is woken: %v", again)
		}
		if d, err := q.Receive(t.Context(), 15*time.Second, time.Minute); err != nil || d == nil || d.ID != "run" {
			t.Fatalf("%+v %v", d, err)
		} else if err := worker.engine.Work(t.Context(), worker.Mastra, d.Work); err != nil {
			t.Fatal(err)
		}
		if stored, err = api.store.Run(t.Context(), "run"); err != nil || string(stored.Result) != "4" {
			t.Errorf("%+v %v", stored, err)
		}
	})
}

// A run that an invocation dies in has a message from before its first write.
func TestAnInvocationThatDiesIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began, release := blocking()
		api, worker, q := invocations(t, w, engine.Lease(300*time.Millisecond, 2*time.Second)) // it beats too late: others take it for dead
		answered := make(chan error, 1)
		go func() {
			_, err := api.engine.Start(t.Context(), api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
			answered <- err
		}()
		<-began
		d, err := q.Receive(t.Context(), 5*time.Second, time.Minute)
		if err != nil || d == nil {
			t.Fatalf("%+v %v", d, err)
		}
		done := make(chan error, 1)
		go func() {
			for {
				err := worker.engine.Work(t.Context(), worker.Mastra, d.Work)
				if !errors.As(err, new(*mastra.Again)) { // until then it has a lease
					done <- err
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		<-began // the interrupted step runs again
		close(release)
		for _, err := range []error{<-done, <-answered} {
			if err != nil {
				t.Error(err)
			}
		}
		if run, err := api.store.Run(t.Context(), "run"); err != nil || run.Status != mastra.StatusSuccess || run.Fence < 2 {
			t.Errorf("%+v %v", run, err)
		}
	})
}

// A run that newer code began is left to it; one that older code began is refused, with a reason.
func TestNewerAndOlderCode(t *testing.T) {
	old := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("b", double))
	newer := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("c", double))
	path := filepath.Join(t.TempDir(), "runs.db")
	p1 := open(t, path, []mastra.Workflow{old}, engine.HandOver, engine.Version(1))
	p2 := open(t, path, []mastra.Workflow{newer}, engine.HandOver, engine.Version(2))
	q := local.Open(p1.store.(mastra.WorkStore))
	p1.Queue, p2.Queue = q, q
	ctx := t.Context()
	if _, err := p2.engine.Background(ctx, p2.Mastra, newer, mastra.WorkflowCall{RunID: "new", Input: mastra.JSON("1")}); err != nil {
		t.Fatal(err)
	}
	var again *mastra.Again
	if err := p1.engine.Work(ctx, p1.Mastra, mastra.Work{Tenant: "-", ID: "new"}); !errors.As(err, &again) {
		t.Errorf("older code takes it: %v", err)
	}
	if run, err := p1.store.Run(ctx, "new"); err != nil || run.Status != mastra.StatusRunning || run.Fence != 1 {
		t.Errorf("%+v %v", run, err)
	}
	if _, err := p1.engine.Background(ctx, p1.Mastra, old, mastra.WorkflowCall{RunID: "old", Input: mastra.JSON("1")}); err != nil {
		t.Fatal(err)
	}
	if err := p2.engine.Work(ctx, p2.Mastra, mastra.Work{Tenant: "-", ID: "old"}); err != nil {
		t.Fatal(err)
	}
	if run, err := p1.store.Run(ctx, "old"); err != nil || run.Status != mastra.StatusFailed || !strings.Contains(run.Error.Message, "changed since this run began") {
		t.Errorf("%+v %v", run, err)
	}
}

// Where the queue takes nothing, nothing is begun.
func TestNothingBeginsWithoutTheQueue(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc))
	p := open(t, filepath.Join(t.TempDir(), "runs.db"), []mastra.Workflow{w}, engine.HandOver)
	p.Queue = broken{}
	for _, begin := range []func(context.Context, *mastra.Mastra, mastra.Workflow, mastra.WorkflowCall) (*mastra.Run, error){p.engine.Start, p.engine.Background} {
		if _, err := begin(t.Context(), p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); mastra.CodeOf(err) != mastra.CodeUnavailable {
			t.Error(err)
		}
		if _, err := p.store.Run(t.Context(), "run"); mastra.CodeOf(err) != mastra.CodeNotFound {
			t.Error(err)
		}
	}
}

type broken struct{ mastra.Queue }

func (broken) Send(context.Context, mastra.Work) error { return errors.New("no queue today") }

// A message comes before the write that it is about: a worker that has it at once lets it come again, but not for ever.
func TestAMessageThatIsFasterThanItsRun(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(ask("ask")).Then(step("b", double))
	api, worker, q := invocations(t, w)
	ctx := t.Context()
	hasty := &hasty{Queue: q, work: func(work mastra.Work) error { return worker.engine.Work(ctx, worker.Mastra, work) }}
	api.Queue = hasty
	if _, err := api.engine.Background(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
		t.Fatal(err)
	}
	if err := worker.engine.Work(ctx, worker.Mastra, hasty.sent); err != nil {
		t.Fatal(err)
	}
	if _, err := api.engine.ResumeBackground(ctx, api.Mastra, w, mastra.WorkflowResume{RunID: "run", Data: mastra.JSON(`{"add":2}`)}); err != nil {
		t.Fatal(err)
	}
	if hasty.early != 2 {
		t.Errorf("%d of 2 messages come again", hasty.early)
	}
	if err := worker.engine.Work(ctx, worker.Mastra, hasty.sent); err != nil {
		t.Fatal(err)
	}
	if run, err := api.store.Run(ctx, "run"); err != nil || string(run.Result) != "6" {
		t.Errorf("%+v %v", run, err)
	}
	for _, from := range []string{`"success"`, `""`} { // an answer, and a run, that were never stored
		old := mastra.Work{Tenant: "-", ID: "run", Data: mastra.JSON(`{"from":` + from + `,"sent":1}`)}
		if from == `""` {
			old.ID = "none"
		}
		if err := worker.engine.Work(ctx, worker.Mastra, old); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
}

// hasty delivers what is sent before Send returns.
type hasty struct {
	mastra.Queue
	work  func(mastra.Work) error
	sent  mastra.Work
	early int
}

func (h *hasty) Send(_ context.Context, w mastra.Work) error {
	h.sent = w
	if errors.As(h.work(w), new(*mastra.Again)) {
		h.early++
	}
	return nil
}

// Whatever keeps a worker from leaving a run to the next one, some message about the run is there: it is the last one that
// knows of it.
func TestAWorkersMessageStays(t *testing.T) {
	stuck := func() *mastra.Step {
		return step("stuck", func(ctx context.Context, n int) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	}
	for name, c := range map[string]struct {
		w    *mastra.Flow[int, int]
		fail func(worker *process)
	}{
		"the time is over, and the queue takes nothing": {mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(stuck()), func(p *process) { p.Queue = broken{p.Queue} }},
		"a long sleep, and the queue takes nothing":     {mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Sleep(time.Hour), func(p *process) { p.Queue = broken{p.Queue} }},
		"a step that is too long, and the storage takes nothing": {mastra.NewWorkflow[int, int]("w").Then(stuck()), func(p *process) {
			p.Storage = &failing{p.store, func(b *mastra.Batch) bool { return len(b.Runs) > 0 && b.Runs[0].Run.Status.Ended() }}
		}},
		"a step's result, and the storage takes nothing": {mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("b", inc)), func(p *process) {
			p.Storage = &failing{p.store, func(b *mastra.Batch) bool { return len(b.Runs) > 0 && len(b.Runs[0].Run.Steps) > 1 }}
		}},
		"a step that does not listen, and a first write that takes long": {mastra.NewWorkflow[int, int]("w").Then(step("deaf", func(_ context.Context, n int) (int, error) { time.Sleep(time.Second); return n, nil })), func(p *process) {
			p.Storage = &failing{p.store, func(b *mastra.Batch) bool {
				if len(b.Runs) > 0 {
					time.Sleep(500 * time.Millisecond)
				}
				return false
			}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, worker, q := invocations(t, c.w, engine.Lease(300*time.Millisecond, 2*time.Second))
				if _, err := api.engine.Background(t.Context(), api.Mastra, c.w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
					t.Fatal(err)
				}
				c.fail(worker)
				d, err := q.Receive(t.Context(), time.Second, time.Minute)
				if err != nil || d == nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
				defer cancel()
				if err := worker.engine.Work(ctx, worker.Mastra, d.Work); err == nil {
					t.Error("the work is said to be done")
				}
				if run, err := api.store.Run(t.Context(), "run"); err != nil || !run.Status.Active() {
					t.Errorf("%+v %v", run, err)
				}
			})
		})
	}
}

// failing is a storage that does not take some batches.
type failing struct {
	mastra.Storage
	fails func(*mastra.Batch) bool
}

func (f *failing) Commit(ctx context.Context, b *mastra.Batch) error {
	if f.fails(b) {
		return errors.New("no storage today")
	}
	return f.Storage.Commit(ctx, b)
}

// A run that a request restarts is noticed, too, where that request's process dies.
func TestARestartIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began, release := blocking()
		api, _, q := invocations(t, w, engine.Lease(100*time.Millisecond, 2*time.Second))
		ctx := t.Context()
		if _, err := api.engine.Background(ctx, api.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}); err != nil {
			t.Fatal(err)
		}
		d, err := q.Receive(ctx, time.Second, time.Minute)
		if err != nil || d == nil || d.Handle.Done(ctx) != nil { // it is among the dead
			t.Fatal(d, err)
		}
		if _, err := api.engine.RestartBackground(ctx, api.Mastra, w, "run"); err != nil {
			t.Fatal(err)
		}
		<-began
		if d, err = q.Receive(ctx, 5*time.Second, time.Minute); err != nil || d == nil || d.ID != "run" {
			t.Errorf("%+v %v", d, err)
		}
		close(release)
	})
}
