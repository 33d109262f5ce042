// Package storagetest holds what every storage promises as one suite of tests. Each test works in a tenant of its own,
// so that backends may share one database among all tests.
package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// test is one promise. Its name is a path: what it is about, and what is promised.
type test struct {
	name string
	run  func(*env)
}

// Run checks every promise of mastra.Storage. The store of open is closed by open's own cleanup.
func Run(t *testing.T, open func(t *testing.T) mastra.Storage) {
	store := open(t)
	for _, test := range slices.Concat(batchTests, threadTests, messageTests, memoryTests, runTests, chunkTests, claimTests, traceTests, filterTests, scoreTests, signalTests) {
		t.Run(test.name, func(t *testing.T) {
			test.run(&env{T: t, s: store, ctx: newTenant(t.Context())})
		})
	}
}

// env is one test at work in its tenant.
type env struct {
	*testing.T
	s   mastra.Storage
	ctx context.Context
}

func newTenant(ctx context.Context) context.Context {
	return mastra.WithPrincipal(ctx, &mastra.Principal{ID: "tester", Tenant: "test-" + rand.Text()})
}

// base is a moment long past: no test depends on today but those of leases and claims.
const base mastra.Time = 1_700_000_000_000

func now() mastra.Time { return mastra.TimeOf(time.Now()) }

func text(s string) mastra.JSON { return mastra.JSON(fmt.Sprintf("%q", s)) }

func thread(id, resource string) mastra.Thread {
	return mastra.Thread{ID: id, ResourceID: resource, Title: "title of " + id, Metadata: mastra.JSON(`{"a":1}`), CreatedAt: base, UpdatedAt: base}
}

func message(id, thread string, at mastra.Time) mastra.Message {
	return mastra.Message{ID: id, ThreadID: thread, ResourceID: "r", Role: "user", Type: "v2", CreatedAt: at, Content: mastra.JSON(`{"format": 2, "parts": [], "content": "<` + id + `>"}`)}
}

func (e *env) commit(b mastra.Batch) {
	e.Helper()
	e.ok(e.s.Commit(e.ctx, &b))
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("unexpected error: %v", err)
	}
}

// refuses wants an error of a code.
func (e *env) refuses(want mastra.Code, err error) {
	e.Helper()
	if got := mastra.CodeOf(err); got != want {
		e.Fatalf("error %v, want code %s", err, want)
	}
}

// shows wants an error of a code whose message says so much.
func (e *env) shows(want mastra.Code, message string, err error) {
	e.Helper()
	e.refuses(want, err)
	var shown *mastra.Error
	if !errors.As(err, &shown) || shown.Message != message {
		e.Fatalf("error %v, want the message %q", err, message)
	}
}

func (e *env) equal(got, want any) {
	e.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		e.Fatalf("got %s\nwant %s", g, w)
	}
}

// race calls f from n goroutines at once and returns how many had no error. All others must be conflicts.
func (e *env) race(n int, f func(i int) error) (winners int) {
	e.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		var claimed *mastra.ClaimedError
		switch {
		case err == nil:
			winners++
		case mastra.CodeOf(err) != mastra.CodeConflict && !errors.As(err, &claimed):
			e.Errorf("lost with %v, want a conflict", err)
		}
	}
	return winners
}

// pages reads a list page by page and returns the ids of all items in order.
func pages[T any](e *env, perPage int, id func(T) string, list func(mastra.Paging) (*mastra.Page[T], error)) []string {
	e.Helper()
	ids := []string{}
	for page := 0; ; page++ {
		p, err := list(mastra.Paging{Page: page, PerPage: perPage})
		e.ok(err)
		for _, item := range p.Items {
			ids = append(ids, id(item))
		}
		if len(p.Items) > perPage || p.HasMore != (page*perPage+len(p.Items) < p.Total) {
			e.Fatalf("page %d: %d items of %d, hasMore %v", page, len(p.Items), p.Total, p.HasMore)
		}
		if !p.HasMore {
			e.equal(len(ids), p.Total)
			return ids
		}
	}
}

var hostile = []string{`'; DROP TABLE threads; --`, `"quoted"`, "a\x00b", "a#b", "üñí-💥", "../..", "%00", "__proto__", "\n", " ", strings.Repeat("x", 3000), "\xff"}

var batchTests = []test{
	{"batch/nothing", func(e *env) { e.commit(mastra.Batch{}) }},
	{"batch/all or nothing", func(e *env) {
		run := mastra.Run{ID: "run", WorkflowID: "w", Status: mastra.StatusRunning, CreatedAt: base}
		claim := mastra.Claim{Key: "claim", Owner: "a", ExpiresAt: now() + 60_000}
		e.commit(mastra.Batch{
			Threads: []mastra.Thread{thread("mine", "me"), thread("other", "me")}, Messages: []mastra.Message{message("taken", "other", base)},
			Runs: []mastra.RunUpdate{{Run: run, Create: true}}, Claims: []mastra.ClaimUpdate{{Claim: claim, Create: true}},
		})
		stale := run
		stale.Fence = 7
		stolen := claim
		stolen.Owner = "b"
		for name, c := range map[string]struct {
			b    mastra.Batch
			want mastra.Code
		}{
			"thread of another": {mastra.Batch{Threads: []mastra.Thread{thread("mine", "you")}}, mastra.CodeForbidden},
			"message taken":     {mastra.Batch{Messages: []mastra.Message{message("taken", "mine", base)}}, mastra.CodeConflict},
			"no thread":         {mastra.Batch{Messages: []mastra.Message{message("lost", "nowhere", base)}}, mastra.CodeNotFound},
			"run exists":        {mastra.Batch{Runs: []mastra.RunUpdate{{Run: run, Create: true}}}, mastra.CodeConflict},
			"stale fence":       {mastra.Batch{Runs: []mastra.RunUpdate{{Run: stale}}}, mastra.CodeConflict},
			"no run":            {mastra.Batch{Runs: []mastra.RunUpdate{{Run: mastra.Run{ID: "none"}}}}, mastra.CodeNotFound},
			"claim held":        {mastra.Batch{Claims: []mastra.ClaimUpdate{{Claim: stolen}}}, mastra.CodeConflict},
		} {
			// Whatever else is in the batch stands before and behind what fails.
			c.b.Threads = append([]mastra.Thread{thread("fresh", "me")}, c.b.Threads...)
			c.b.Messages = append(append([]mastra.Message{message("first", "fresh", base)}, c.b.Messages...), message("last", "fresh", base))
			c.b.Runs = append([]mastra.RunUpdate{{Run: mastra.Run{ID: "fresh", WorkflowID: "w", CreatedAt: base}, Create: true}}, c.b.Runs...)
			c.b.Claims = append([]mastra.ClaimUpdate{{Claim: mastra.Claim{Key: "fresh", ExpiresAt: now() + 60_000}, Create: true}}, c.b.Claims...)
			c.b.Spans = []mastra.Span{{TraceID: "fresh", SpanID: "s", StartedAt: base}}
			c.b.Scores = []mastra.Score{{ID: "fresh"}}
			if err := e.s.Commit(e.ctx, &c.b); mastra.CodeOf(err) != c.want {
				e.Fatalf("%s: error %v, want code %s", name, err, c.want)
			}
			_, err := e.s.Thread(e.ctx, "fresh")
			e.refuses(mastra.CodeNotFound, err)
			_, err = e.s.Run(e.ctx, "fresh")
			e.refuses(mastra.CodeNotFound, err)
			_, err = e.s.Trace(e.ctx, "fresh")
			e.refuses(mastra.CodeNotFound, err)
			got, err := e.s.Claim(e.ctx, "fresh")
			e.ok(err)
			e.equal(got, (*mastra.Claim)(nil))
			runs, err := e.s.Runs(e.ctx, mastra.RunQuery{WorkflowID: "w", Paging: mastra.Paging{PerPage: 10}})
			e.ok(err)
			e.equal(runs.Total, 1)
			traces, err := e.s.Traces(e.ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 10}})
			e.ok(err)
			e.equal(traces.Total, 0)
			scores, err := e.s.Scores(e.ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 10}})
			e.ok(err)
			e.equal(scores.Total, 0)
		}
	}},
	{"batch/a failing neighbour", func(e *env) {
		// Batches that are written together do not fail together.
		winners := e.race(40, func(i int) error {
			b := mastra.Batch{Threads: []mastra.Thread{thread(fmt.Sprint("t", i), "me")}}
			if i%2 == 1 {
				b.Claims = []mastra.ClaimUpdate{{Claim: mastra.Claim{Key: "none", Owner: "a", ExpiresAt: now() + 60_000}}}
			}
			return e.s.Commit(e.ctx, &b)
		})
		e.equal(winners, 20)
		p, err := e.s.Threads(e.ctx, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 100}})
		e.ok(err)
		e.equal(p.Total, 20)
	}},
	{"batch/ended context", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		err := e.s.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
		if !errors.Is(err, context.Canceled) {
			e.Fatalf("error %v, want context.Canceled", err)
		}
		_, err = e.s.Thread(e.ctx, "t")
		e.refuses(mastra.CodeNotFound, err)
	}},
	{"tenants/apart", func(e *env) {
		e.commit(mastra.Batch{
			Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{message("m", "t", base)},
			Runs:   []mastra.RunUpdate{{Run: mastra.Run{ID: "run", WorkflowID: "w", CreatedAt: base}, Create: true}},
			Claims: []mastra.ClaimUpdate{{Claim: mastra.Claim{Key: "c", ExpiresAt: now() + 60_000}, Create: true}},
			Spans:  []mastra.Span{{TraceID: "trace", SpanID: "s", StartedAt: base}},
			Scores: []mastra.Score{{ID: "s"}}, Feedback: []mastra.Feedback{{ID: "f"}},
		})
		mine := e.ctx
		e.ctx = newTenant(e.Context())
		all := mastra.Paging{PerPage: 10}
		_, err := e.s.Thread(e.ctx, "t")
		e.refuses(mastra.CodeNotFound, err)
		_, err = e.s.Run(e.ctx, "run")
		e.refuses(mastra.CodeNotFound, err)
		_, err = e.s.Trace(e.ctx, "trace")
		e.refuses(mastra.CodeNotFound, err)
		_, err = e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: all})
		e.refuses(mastra.CodeNotFound, err)
		t, messages, err := e.s.Recall(e.ctx, "t", 10)
		e.ok(err)
		e.equal(t == nil && len(messages) == 0, true)
		claim, err := e.s.Claim(e.ctx, "c")
		e.ok(err)
		e.equal(claim, (*mastra.Claim)(nil))
		threads, err := e.s.Threads(e.ctx, mastra.ThreadQuery{Paging: all})
		e.ok(err)
		runs, err := e.s.Runs(e.ctx, mastra.RunQuery{WorkflowID: "w", Paging: all})
		e.ok(err)
		traces, err := e.s.Traces(e.ctx, mastra.TraceQuery{Paging: all})
		e.ok(err)
		scores, err := e.s.Scores(e.ctx, mastra.ScoreQuery{Paging: all})
		e.ok(err)
		feedback, err := e.s.Feedback(e.ctx, mastra.ScoreQuery{Paging: all})
		e.ok(err)
		e.equal([]int{threads.Total, runs.Total, traces.Total, scores.Total, feedback.Total}, []int{0, 0, 0, 0, 0})
		deleted, err := e.s.DeleteMessages(e.ctx, []string{"m"})
		e.ok(err)
		e.equal(deleted, 0)
		e.refuses(mastra.CodeNotFound, e.s.DeleteThread(e.ctx, "t"))
		e.refuses(mastra.CodeNotFound, e.s.DeleteRun(e.ctx, "run"))
		// The same ids are free here.
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "you")}, Messages: []mastra.Message{message("m", "t", base)},
			Runs:   []mastra.RunUpdate{{Run: mastra.Run{ID: "run", WorkflowID: "w", CreatedAt: base}, Create: true}},
			Claims: []mastra.ClaimUpdate{{Claim: mastra.Claim{Key: "c", ExpiresAt: now() + 60_000}, Create: true}}})
		kept, err := e.s.Thread(mine, "t")
		e.ok(err)
		e.equal(kept.ResourceID, "me")
	}},
	{"ids/hostile", func(e *env) {
		for _, id := range hostile {
			err := e.s.Commit(e.ctx, &mastra.Batch{
				Threads: []mastra.Thread{thread(id, "me")}, Messages: []mastra.Message{message(id, id, base)},
				Runs:   []mastra.RunUpdate{{Run: mastra.Run{ID: id, WorkflowID: id, CreatedAt: base}, Create: true}},
				Claims: []mastra.ClaimUpdate{{Claim: mastra.Claim{Key: id, ExpiresAt: now() + 60_000}, Create: true}},
				Spans:  []mastra.Span{{TraceID: id, SpanID: id, StartedAt: base}},
				Scores: []mastra.Score{{ID: id}},
			})
			if err != nil {
				e.refuses(mastra.CodeInvalid, err)
				continue
			}
			t, messages, err := e.s.Recall(e.ctx, id, 1)
			e.ok(err)
			e.equal(t.ID, id)
			e.equal(messages[0].ID, id)
			run, err := e.s.Run(e.ctx, id)
			e.ok(err)
			e.equal(run.ID, id)
			spans, err := e.s.Trace(e.ctx, id)
			e.ok(err)
			e.equal(spans[0].SpanID, id)
			claim, err := e.s.Claim(e.ctx, id)
			e.ok(err)
			e.equal(claim.Key, id)
		}
		e.refuses(mastra.CodeInvalid, e.s.Commit(e.ctx, &mastra.Batch{Threads: []mastra.Thread{thread("", "me")}}))
		for _, id := range hostile { // reading what cannot be written is no failure of the storage
			_, err := e.s.Thread(e.ctx, id+"'")
			e.refuses(mastra.CodeNotFound, err)
		}
	}},
}
