// Package queuetest is the suite that every mastra.Queue passes.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/queue"
)

// Backend is what is tested.
type Backend struct {
	// Open opens an empty queue, and a second handle of the same one, as another process has it.
	Open func(t *testing.T) (q, other mastra.Queue)
	// Attempts is how often work is tried.
	Attempts int
	// Repeats says that work may come a second time though it was ended: SQS promises at least once.
	Repeats bool
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for _, c := range []struct {
		name string
		test func(*env)
	}{
		{"what was sent comes, whole", whole},
		{"nothing comes before its time", delayed},
		{"each is received by one", once},
		{"what is not ended comes again", redelivered},
		{"what is extended stays hidden", extended},
		{"what fails too often is dead, and can be sent again", dead},
		{"work that is to be done again counts anew", again},
		{"a handler that panics has failed", panics},
		{"a consumer ends with its context", consumed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q, other := b.Open(t)
			c.test(&env{T: t, q: q, other: other, attempts: b.Attempts, repeats: b.Repeats, ctx: t.Context()})
		})
	}
}

type env struct {
	*testing.T
	q, other mastra.Queue
	attempts int
	repeats  bool
	ctx      context.Context
}

func (e *env) send(w mastra.Work) {
	e.Helper()
	if err := e.q.Send(e.ctx, w); err != nil {
		e.Fatal(err)
	}
}

func (e *env) receive(q mastra.Queue, wait, hidden time.Duration) *mastra.Delivery {
	e.Helper()
	d, err := q.Receive(e.ctx, wait, hidden)
	if err != nil {
		e.Fatal(err)
	}
	return d
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func whole(e *env) {
	want := mastra.Work{Kind: "run", Tenant: "ann's #1 / ünïcode", ID: strings.Repeat("long ", 100), Data: mastra.JSON(`{"a":["<b>",null,1.5]}`)}
	e.send(want)
	d := e.receive(e.other, 5*time.Second, time.Minute)
	if d == nil || d.Kind != want.Kind || d.Tenant != want.Tenant || d.ID != want.ID || string(d.Data) != string(want.Data) || d.Attempt != 1 {
		e.Fatalf("%+v", d)
	}
	e.must(d.Handle.Done(e.ctx))
	if d := e.receive(e.q, 0, time.Minute); d != nil {
		e.Errorf("it comes again: %+v", d)
	}
}

func delayed(e *env) {
	at := time.Now().Add(2 * time.Second)
	e.send(mastra.Work{Kind: "k", ID: "later", At: mastra.TimeOf(at)})
	e.send(mastra.Work{Kind: "k", ID: "now"})
	for _, want := range []string{"now", "later"} {
		d := e.receive(e.q, 10*time.Second, time.Minute)
		if d == nil || d.ID != want {
			e.Fatalf("%+v, want %s", d, want)
		}
		if want == "later" && time.Now().Before(at.Add(-10*time.Millisecond)) {
			e.Errorf("it came %s early", time.Until(at))
		}
		e.must(d.Handle.Done(e.ctx))
	}
}

func once(e *env) {
	const n = 30
	for i := range n {
		e.send(mastra.Work{Kind: "k", ID: fmt.Sprintf("%02d", i)})
	}
	var mu sync.Mutex
	var got []string
	var all sync.WaitGroup
	for i := range 4 {
		q := []mastra.Queue{e.q, e.other}[i%2]
		all.Go(func() {
			for {
				d, err := q.Receive(e.ctx, time.Second, time.Minute)
				if err != nil {
					e.Error(err)
				}
				if d == nil || err != nil {
					return
				}
				mu.Lock()
				got = append(got, d.ID)
				mu.Unlock()
				if err := d.Handle.Done(e.ctx); err != nil {
					e.Error(err)
				}
			}
		})
	}
	all.Wait()
	slices.Sort(got)
	if e.repeats {
		got = slices.Compact(got)
	}
	if len(got) != n || got[0] != "00" || got[n-1] != "29" {
		e.Errorf("%d of %d came: %v", len(got), n, got)
	}
}

func redelivered(e *env) {
	e.send(mastra.Work{Kind: "k", ID: "x"})
	first := e.receive(e.q, 5*time.Second, time.Second)
	if first == nil {
		e.Fatal("nothing came")
	}
	if d := e.receive(e.other, 0, time.Second); d != nil {
		e.Fatalf("two have it: %+v", d)
	}
	second := e.receive(e.other, 10*time.Second, time.Minute)
	if second == nil || second.Attempt != 2 {
		e.Fatalf("%+v", second)
	}
	e.must(second.Handle.Done(e.ctx))
}

func extended(e *env) {
	e.send(mastra.Work{Kind: "k", ID: "x"})
	d := e.receive(e.q, 5*time.Second, time.Second)
	e.must(d.Handle.Extend(e.ctx, time.Minute))
	if other := e.receive(e.other, 2*time.Second, time.Second); other != nil {
		e.Errorf("two have it: %+v", other)
	}
	e.must(d.Handle.Done(e.ctx))
}

func dead(e *env) {
	e.send(mastra.Work{Kind: "k", ID: "good"})
	e.send(mastra.Work{Kind: "k", ID: "bad", Data: mastra.JSON(`{"n":1}`)})
	for tries := 0; tries < e.attempts+1; {
		d := e.receive(e.q, 3*time.Second, time.Minute)
		if d == nil {
			break
		}
		if d.ID == "good" {
			e.must(d.Handle.Done(e.ctx))
			continue
		}
		if tries++; d.Attempt != tries {
			e.Errorf("attempt %d, not %d", d.Attempt, tries)
		}
		e.must(d.Handle.Fail(e.ctx, 0, errors.New("on purpose")))
	}
	var list []mastra.DeadWork
	for range 100 { // it may take a moment
		var err error
		if list, err = e.other.Dead(e.ctx, 10); err != nil {
			e.Fatal(err)
		}
		if len(list) > 0 {
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	if len(list) != 1 || list[0].Work.ID != "bad" || list[0].Attempts != e.attempts || list[0].Reason != "on purpose" || string(list[0].Work.Data) != `{"n":1}` {
		e.Fatalf("%+v", list)
	}
	if again, err := e.q.Dead(e.ctx, 10); err != nil || len(again) != 1 {
		e.Errorf("who looks changes nothing: %+v %v", again, err)
	}
	if err := e.q.Resend(e.ctx, "nope"); mastra.CodeOf(err) != mastra.CodeNotFound {
		e.Errorf("%v", err)
	}
	e.must(e.q.Resend(e.ctx, list[0].ID))
	d := e.receive(e.q, 10*time.Second, time.Minute)
	if d == nil || d.ID != "bad" || d.Attempt != 1 {
		e.Fatalf("%+v", d)
	}
	e.must(d.Handle.Done(e.ctx))
	if list, err := e.q.Dead(e.ctx, 10); err != nil || len(list) != 0 {
		e.Errorf("%+v %v", list, err)
	}
}

func again(e *env) {
	e.send(mastra.Work{Kind: "k", ID: "x"})
	times := 0
	for times < e.attempts+2 {
		d := e.receive(e.q, 5*time.Second, time.Minute)
		if d == nil || d.Attempt != 1 {
			e.Fatalf("%+v", d)
		}
		over := queue.Process(e.ctx, quiet(), e.q, d, func(context.Context, mastra.Work) error {
			if times++; times < e.attempts+2 {
				return &mastra.Again{}
			}
			return nil
		})
		if !over {
			e.Error("it is not over")
		}
	}
	if d := e.receive(e.q, 500*time.Millisecond, time.Minute); d != nil {
		e.Errorf("%+v", d)
	}
}

func panics(e *env) {
	e.send(mastra.Work{Kind: "k", ID: "x"})
	d := e.receive(e.q, 5*time.Second, time.Minute)
	if queue.Process(e.ctx, quiet(), e.q, d, func(context.Context, mastra.Work) error { panic("on purpose") }) {
		e.Error("it is over")
	}
	again := e.receive(e.q, 10*time.Second, time.Minute)
	if again == nil || again.Attempt != 2 {
		e.Fatalf("%+v", again)
	}
	queue.Process(e.ctx, quiet(), e.q, again, queue.Handlers{}.Handle) // nobody knows what to do with it
	last := e.receive(e.q, 15*time.Second, time.Minute)
	if last == nil || last.Attempt != 3 {
		e.Fatalf("%+v", last)
	}
	if !queue.Process(e.ctx, quiet(), e.q, last, queue.Handlers{"k": func(context.Context, mastra.Work) error { return nil }}.Handle) {
		e.Error("it is not over")
	}
}

func consumed(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	began, done := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(done)
		queue.Consume(ctx, quiet(), e.q, 2, func(_ context.Context, w mastra.Work) error {
			began <- w.ID
			time.Sleep(300 * time.Millisecond)
			began <- "done"
			return nil
		})
	}()
	e.send(mastra.Work{Kind: "k", ID: "x"})
	<-began
	cancel()
	<-done
	if len(began) != 1 { // what had begun was done
		e.Errorf("%d", len(began))
	}
	if d, err := e.other.Receive(e.ctx, 0, time.Second); err != nil || d != nil {
		e.Errorf("%+v %v", d, err)
	}
}
