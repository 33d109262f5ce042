package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

func run(id string, status mastra.RunStatus) mastra.Run {
	return mastra.Run{ID: id, WorkflowID: "w", ResourceID: "r", Status: status, CreatedAt: base, UpdatedAt: base, Path: []string{}}
}

func (e *env) create(r mastra.Run) {
	e.Helper()
	e.commit(mastra.Batch{Runs: []mastra.RunUpdate{{Run: r, Create: true}}})
}

func (e *env) update(u mastra.RunUpdate) error {
	return e.s.Commit(e.ctx, &mastra.Batch{Runs: []mastra.RunUpdate{u}})
}

func (e *env) readRun(id string) *mastra.Run {
	e.Helper()
	r, err := e.s.Run(e.ctx, id)
	e.ok(err)
	return r
}

func step(key, output string) mastra.Member[mastra.StepResult] {
	return mastra.Member[mastra.StepResult]{Key: key, Value: mastra.StepResult{Status: mastra.StatusSuccess, Payload: text("in"), Output: mastra.JSON(output), StartedAt: 1, EndedAt: 2}}
}

var runTests = []test{
	{"runs/kept", func(e *env) {
		want := run("run", mastra.StatusSuspended)
		want.Input, want.Result, want.Graph = mastra.JSON(`{"n":1}`), mastra.JSON(`{}`), mastra.JSON(`[{"type":"step"}]`)
		want.Error = &mastra.RunError{Message: "no", Name: "Error"}
		want.Path, want.Suspended = []string{"a", "b"}, [][]string{{"b"}, {"c", "d"}}
		want.TraceID, want.SpanID, want.Fingerprint = "trace", "span", "print"
		want.Context = mastra.RequestContext{"user": text("ada")}
		want.Steps = mastra.Object[mastra.StepResult]{step("b", `{}`), step("a", `""`), step("c", `[]`)} // empty is not missing
		want.Fence, want.Owner, want.LeaseUntil = 3, "p", base+9
		e.create(want)
		got := e.readRun("run")
		e.equal(*got.Error, *want.Error)
		got.Error, want.Error = nil, nil
		e.equal(*got, want)
		_, err := e.s.Run(e.ctx, "none")
		e.shows(mastra.CodeNotFound, "Workflow run not found", err)
	}},
	{"runs/expired", func(e *env) {
		old, live := run("old", mastra.StatusSuccess), run("live", mastra.StatusSuccess)
		old.Input = text(strings.Repeat("x", 5000))
		old.ExpiresAt, live.ExpiresAt = now()-1, now()+60_000
		e.create(old)
		e.create(live)
		_, err := e.s.Run(e.ctx, "old")
		e.refuses(mastra.CodeNotFound, err)
		e.equal(e.readRun("live").ExpiresAt, live.ExpiresAt)
		e.refuses(mastra.CodeConflict, e.s.Commit(e.ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: live, Create: true}}}))
		again := run("old", mastra.StatusRunning) // its id is free again
		again.ExpiresAt = now() + 60_000
		e.create(again)
		again.Status, again.ExpiresAt = mastra.StatusFailed, now()-1
		e.ok(e.update(mastra.RunUpdate{Run: again}))
		_, err = e.s.Run(e.ctx, "old")
		e.refuses(mastra.CodeNotFound, err)
	}},
	{"runs/the whole allowed caller", func(e *env) {
		for _, permissions := range [][]string{nil, {}, {"agents:read"}} {
			r := run(fmt.Sprintf("run-%v-%v", permissions, permissions == nil), mastra.StatusRunning)
			r.Caller = &mastra.Principal{ID: "ada", Permissions: permissions}
			e.create(r)
			got := e.readRun(r.ID).Caller
			e.equal(got.May("agents:read"), r.Caller.May("agents:read"))
			e.equal(got.May("agents:execute"), r.Caller.May("agents:execute"))
		}
	}},
	{"runs/one creator", func(e *env) {
		e.equal(e.race(100, func(i int) error {
			r := run("run", mastra.StatusRunning)
			r.Owner = fmt.Sprint(i)
			return e.update(mastra.RunUpdate{Run: r, Create: true})
		}), 1)
	}},
	{"runs/checkpoints", func(e *env) {
		r := run("run", mastra.StatusRunning)
		r.Input, r.Graph = text("input"), text("graph")
		e.create(r)
		r.Steps = mastra.Object[mastra.StepResult]{step("one", `1`)}
		r.Path, r.UpdatedAt, r.Owner, r.LeaseUntil = []string{"one"}, base+1, "p", base+100
		e.ok(e.update(mastra.RunUpdate{Run: r}))
		r.Steps = mastra.Object[mastra.StepResult]{step("two", `2`), step("one", `11`)}
		r.Path = []string{"one", "two"}
		e.ok(e.update(mastra.RunUpdate{Run: r}))
		got := e.readRun("run")
		e.equal(got.Steps, mastra.Object[mastra.StepResult]{step("one", `11`), step("two", `2`)}) // in the order they began
		e.equal([]any{got.Path, got.UpdatedAt, got.Owner, got.LeaseUntil}, []any{[]string{"one", "two"}, base + 1, "p", base + 100})
		r.Steps, r.Status, r.Result, r.Input = mastra.Object[mastra.StepResult]{step("other", `3`)}, mastra.StatusSuccess, text("result"), text("new input")
		e.ok(e.update(mastra.RunUpdate{Run: r, Reset: true}))
		got = e.readRun("run")
		e.equal(got.Steps, r.Steps)
		e.equal([]any{got.Status, got.Result, got.Input, got.Graph}, []any{mastra.StatusSuccess, text("result"), text("new input"), text("graph")})
	}},
	{"runs/many steps", func(e *env) {
		r := run("run", mastra.StatusRunning)
		for i := range 300 {
			r.Steps = append(r.Steps, step(fmt.Sprint("step.", 299-i), fmt.Sprint(i)))
		}
		e.create(r)
		e.equal(e.readRun("run").Steps, r.Steps)
	}},
	{"runs/an ended one stays", func(e *env) {
		for _, status := range []mastra.RunStatus{mastra.StatusSuccess, mastra.StatusFailed, mastra.StatusCanceled, mastra.StatusBailed} {
			r := run(string(status), status)
			e.create(r)
			r.Status = mastra.StatusRunning
			e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: r}))
			e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: r, From: status}))
			e.equal(e.readRun(r.ID).Status, status)
		}
	}},
	{"runs/an ended one is sent back", func(e *env) {
		r := run("run", mastra.StatusSuccess)
		r.Steps = mastra.Object[mastra.StepResult]{step("one", `1`), step("two", `2`)}
		e.create(r)
		r.Status, r.Steps = mastra.StatusRunning, mastra.Object[mastra.StepResult]{step("one", `11`)}
		e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: r, Reset: true}))
		e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: r, Reset: true, From: mastra.StatusFailed}))
		e.equal(e.race(20, func(int) error {
			return e.update(mastra.RunUpdate{Run: r, Reset: true, From: mastra.StatusSuccess})
		}), 1)
		got := e.readRun("run")
		e.equal(got.Status, mastra.StatusRunning)
		e.equal(got.Steps, r.Steps)
		refs, err := e.s.Expired(e.ctx, now(), 1_000_000)
		e.ok(err)
		e.equal(slices.ContainsFunc(refs, func(ref mastra.RunRef) bool { return ref.RunID == "run" && ref.Tenant == mastra.Tenant(e.ctx) }), true)
	}},
	{"runs/one resumes", func(e *env) {
		e.create(run("run", mastra.StatusSuspended))
		e.equal(e.race(100, func(int) error {
			return e.update(mastra.RunUpdate{Run: run("run", mastra.StatusRunning), From: mastra.StatusSuspended})
		}), 1)
		e.equal(e.readRun("run").Status, mastra.StatusRunning)
	}},
	{"runs/fence", func(e *env) {
		r := run("run", mastra.StatusRunning)
		r.Fence = 2
		e.create(r)
		for _, fence := range []int64{0, 1, 3} {
			r.Fence = fence
			e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: r}))
		}
		r.Fence = 2
		e.ok(e.update(mastra.RunUpdate{Run: r}))
		e.equal(e.readRun("run").Fence, 2)
	}},
	{"runs/lease", func(e *env) {
		e.create(run("run", mastra.StatusRunning))
		soon := now() + 60_000
		got, err := e.s.Lease(e.ctx, "run", "a", soon)
		e.ok(err)
		e.equal([]any{got.Fence, got.Owner, got.LeaseUntil, got.WorkflowID}, []any{1, "a", soon, "w"})
		_, err = e.s.Lease(e.ctx, "run", "b", soon)
		e.refuses(mastra.CodeConflict, err)
		got, err = e.s.Lease(e.ctx, "run", "a", now()-1000) // its own again, and let go
		e.ok(err)
		e.equal(got.Fence, 1)
		stale := *got
		got, err = e.s.Lease(e.ctx, "run", "b", soon)
		e.ok(err)
		e.equal([]any{got.Fence, got.Owner}, []any{2, "b"})
		e.refuses(mastra.CodeConflict, e.update(mastra.RunUpdate{Run: stale}))
		e.ok(e.update(mastra.RunUpdate{Run: *got}))
		_, err = e.s.Lease(e.ctx, "none", "a", soon)
		e.shows(mastra.CodeNotFound, "Workflow run not found", err)
		// The steps come with it.
		got.Steps = mastra.Object[mastra.StepResult]{step("one", `1`)}
		e.ok(e.update(mastra.RunUpdate{Run: *got}))
		got, err = e.s.Lease(e.ctx, "run", "b", soon)
		e.ok(err)
		e.equal(got.Steps, mastra.Object[mastra.StepResult]{step("one", `1`)})
	}},
	{"runs/one takes a free lease", func(e *env) {
		e.create(run("run", mastra.StatusRunning))
		e.equal(e.race(50, func(i int) error {
			_, err := e.s.Lease(e.ctx, "run", fmt.Sprint("owner-", i), now()+60_000)
			return err
		}), 1)
		e.equal(e.readRun("run").Fence, 1)
	}},
	{"runs/expired of all tenants", func(e *env) {
		var want []mastra.RunRef
		for range 3 {
			e.ctx = newTenant(e.Context())
			for _, r := range []struct {
				id     string
				status mastra.RunStatus
				until  mastra.Time
			}{{"lost", mastra.StatusRunning, base}, {"asleep", mastra.StatusWaiting, base}, {"sleeps", mastra.StatusWaiting, base + 1000}, {"held", mastra.StatusRunning, base + 1000}, {"done", mastra.StatusSuccess, base}, {"paused", mastra.StatusSuspended, base}} {
				run := run(r.id, r.status)
				run.Owner, run.LeaseUntil = "a", r.until
				e.create(run)
			}
			// What was running and has ended is not found any more, what runs again is.
			for id, status := range map[string][2]mastra.RunStatus{"ended": {mastra.StatusRunning, mastra.StatusFailed}, "again": {mastra.StatusSuspended, mastra.StatusRunning}} {
				r := run(id, status[0])
				r.LeaseUntil = base
				e.create(r)
				r.Status = status[1]
				e.ok(e.update(mastra.RunUpdate{Run: r}))
			}
			want = append(want, mastra.RunRef{Tenant: mastra.Tenant(e.ctx), RunID: "lost"}, mastra.RunRef{Tenant: mastra.Tenant(e.ctx), RunID: "asleep"},
				mastra.RunRef{Tenant: mastra.Tenant(e.ctx), RunID: "again"})
		}
		refs, err := e.s.Expired(e.ctx, base+500, 1_000_000)
		e.ok(err)
		for _, w := range want {
			if !slices.Contains(refs, w) {
				e.Errorf("%v is missing", w)
			}
		}
		for _, r := range refs {
			if slices.Contains([]string{"held", "sleeps", "done", "paused", "ended"}, r.RunID) {
				e.Errorf("%v should not be there", r)
			}
		}
		refs, err = e.s.Expired(e.ctx, base+500, 2)
		e.ok(err)
		e.equal(len(refs), 2)
	}},
	{"runs/list", func(e *env) {
		for i := range 24 {
			r := run(fmt.Sprintf("r%02d", i), []mastra.RunStatus{mastra.StatusRunning, mastra.StatusSuccess, mastra.StatusFailed, mastra.StatusRunning, mastra.StatusWaiting, mastra.StatusFailed}[i%6])
			r.WorkflowID, r.ResourceID = []string{"a", "b"}[i%2], []string{"me", "you", "her", "him"}[i%4]
			r.CreatedAt, r.Input = base+mastra.Time(i), text("input")
			r.Steps = mastra.Object[mastra.StepResult]{step("one", `1`)}
			e.create(r)
		}
		for _, c := range []struct {
			q    mastra.RunQuery
			want func(i int) bool
		}{
			{mastra.RunQuery{WorkflowID: "a"}, func(i int) bool { return i%2 == 0 }},
			{mastra.RunQuery{WorkflowID: "none"}, func(int) bool { return false }},
			{mastra.RunQuery{WorkflowID: "b", ResourceID: "you"}, func(i int) bool { return i%4 == 1 }},
			{mastra.RunQuery{WorkflowID: "a", ResourceID: "you"}, func(int) bool { return false }},
			{mastra.RunQuery{WorkflowID: "a", Status: mastra.StatusFailed}, func(i int) bool { return i%6 == 2 }},
			{mastra.RunQuery{WorkflowID: "a", Status: mastra.StatusRunning}, func(i int) bool { return i%6 == 0 }},
			{mastra.RunQuery{WorkflowID: "a", Status: mastra.StatusWaiting}, func(i int) bool { return i%6 == 4 }},
			{mastra.RunQuery{WorkflowID: "a", Status: mastra.StatusWaiting, ResourceID: "me"}, func(i int) bool { return i%12 == 4 }},
			{mastra.RunQuery{WorkflowID: "b", Status: mastra.StatusRunning, From: base + 6, To: base + 15}, func(i int) bool { return i%6 == 3 && i >= 6 && i <= 15 }},
		} {
			want := []string{}
			for i := 23; i >= 0; i-- {
				if c.want(i) {
					want = append(want, fmt.Sprintf("r%02d", i))
				}
			}
			for _, perPage := range []int{2, 5, 50} {
				e.equal(pages(e, perPage, func(r mastra.Run) string { return r.ID }, func(p mastra.Paging) (*mastra.Page[mastra.Run], error) {
					c.q.Paging = p
					return e.s.Runs(e.ctx, c.q)
				}), want)
			}
		}
		p, err := e.s.Runs(e.ctx, mastra.RunQuery{WorkflowID: "b", Paging: mastra.Paging{PerPage: 1}})
		e.ok(err)
		e.equal([]any{p.Items[0].WorkflowID, p.Items[0].Input, len(p.Items[0].Steps)}, []any{"b", text("input"), 0})
	}},
	{"runs/delete", func(e *env) {
		r := run("run", mastra.StatusRunning)
		r.Steps = mastra.Object[mastra.StepResult]{step("one", `1`)}
		e.create(r)
		e.ok(e.s.DeleteRun(e.ctx, "run"))
		_, err := e.s.Run(e.ctx, "run")
		e.refuses(mastra.CodeNotFound, err)
		e.shows(mastra.CodeNotFound, "Workflow run not found", e.s.DeleteRun(e.ctx, "run"))
		p, err := e.s.Runs(e.ctx, mastra.RunQuery{WorkflowID: "w", Paging: mastra.Paging{PerPage: 5}})
		e.ok(err)
		e.equal(p.Total, 0)
		e.create(run("run", mastra.StatusPending))
		e.equal(len(e.readRun("run").Steps), 0)
	}},
}

func (e *env) claims(u mastra.ClaimUpdate) error {
	return e.s.Commit(e.ctx, &mastra.Batch{Claims: []mastra.ClaimUpdate{u}})
}

func (e *env) readClaim(key string) *mastra.Claim {
	e.Helper()
	c, err := e.s.Claim(e.ctx, key)
	e.ok(err)
	return c
}

var claimTests = []test{
	{"claims/repeats store no message twice", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
		request := func(i int) mastra.Batch {
			return mastra.Batch{Messages: []mastra.Message{message(fmt.Sprint("m", i), "t", base+mastra.Time(i))}, Spans: []mastra.Span{{TraceID: fmt.Sprint("trace", i), SpanID: "s", StartedAt: base}},
				Claims: []mastra.ClaimUpdate{{Create: true, Claim: mastra.Claim{Key: "k", Owner: fmt.Sprint("o", i), ExpiresAt: now() + 60_000}}}}
		}
		e.equal(e.race(6, func(i int) error { b := request(i); return e.s.Commit(e.ctx, &b) }), 1)
		_, said, err := e.s.Recall(e.ctx, "t", 10)
		e.ok(err)
		e.equal(len(said), 1)
		e.equal("o"+said[0].ID[1:], e.readClaim("k").Owner)
		page, err := e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
		e.ok(err)
		e.equal(page.Total, 1)
		traces, err := e.s.Traces(e.ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 10}})
		e.ok(err)
		e.equal(traces.Total, 1)

		// Whoever lost the claim meanwhile settles nothing.
		lost := request(9)
		lost.Claims = []mastra.ClaimUpdate{{Claim: mastra.Claim{Key: "k", Owner: "o9", ExpiresAt: now() + 60_000}}}
		e.refuses(mastra.CodeConflict, e.s.Commit(e.ctx, &lost))
		_, said, err = e.s.Recall(e.ctx, "t", 10)
		e.ok(err)
		e.equal(len(said), 1)
	}},
	{"claims/kept", func(e *env) {
		want := mastra.Claim{Key: "k", Fingerprint: "f", RunID: "run", Status: mastra.StatusRunning, Owner: "a", LeaseUntil: base, State: mastra.JSON(`{"n": 1}`), ExpiresAt: now() + 60_000}
		e.ok(e.claims(mastra.ClaimUpdate{Claim: want, Create: true}))
		e.equal(*e.readClaim("k"), want)
		e.equal(e.readClaim("none"), (*mastra.Claim)(nil))
	}},
	{"claims/one creator", func(e *env) {
		winner := make(chan string, 100)
		e.equal(e.race(100, func(i int) error {
			owner := fmt.Sprint(i)
			err := e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: "k", Owner: owner, ExpiresAt: now() + 60_000}, Create: true})
			if err == nil {
				winner <- owner
			}
			return err
		}), 1)
		owner := <-winner
		e.equal(e.readClaim("k").Owner, owner)
		err := e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: "k", Owner: "late", ExpiresAt: now() + 60_000}, Create: true})
		var claimed *mastra.ClaimedError
		if !errors.As(err, &claimed) {
			e.Fatalf("error %v, want a ClaimedError", err)
		}
		e.equal(claimed.Existing.Owner, owner)
	}},
	{"claims/held", func(e *env) {
		c := mastra.Claim{Key: "k", Owner: "a", ExpiresAt: now() + 60_000}
		e.refuses(mastra.CodeConflict, e.claims(mastra.ClaimUpdate{Claim: c}))
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, Create: true}))
		c.Status, c.State = mastra.StatusSuccess, text("answer")
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c}))
		e.equal(*e.readClaim("k"), c)
		c.Owner = "b"
		e.refuses(mastra.CodeConflict, e.claims(mastra.ClaimUpdate{Claim: c}))
		e.refuses(mastra.CodeConflict, e.claims(mastra.ClaimUpdate{Claim: c, From: "x"}))
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, From: "a"})) // taken over
		e.equal(e.readClaim("k").Owner, "b")
		c.Owner = "a"
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, Delete: true})) // not its own any more: it stays
		e.equal(e.readClaim("k").Owner, "b")
		c.Owner = "b"
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, Delete: true}))
		e.equal(e.readClaim("k"), (*mastra.Claim)(nil))
	}},
	{"claims/one takes over", func(e *env) {
		e.ok(e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: "k", Owner: "a", ExpiresAt: now() + 60_000}, Create: true}))
		e.equal(e.race(50, func(i int) error {
			return e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: "k", Owner: fmt.Sprint("b", i), ExpiresAt: now() + 60_000}, From: "a"})
		}), 1)
	}},
	{"claims/expired", func(e *env) {
		c := mastra.Claim{Key: "k", Owner: "a", ExpiresAt: now() - 1000}
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, Create: true}))
		e.equal(e.readClaim("k"), (*mastra.Claim)(nil))
		e.refuses(mastra.CodeConflict, e.claims(mastra.ClaimUpdate{Claim: c})) // not there any more
		c.Owner, c.ExpiresAt = "b", now()+60_000
		e.ok(e.claims(mastra.ClaimUpdate{Claim: c, Create: true}))
		e.equal(e.readClaim("k").Owner, "b")
	}},
	{"claims/many expired", func(e *env) {
		for i := range 300 { // enough for whatever clears them away
			e.ok(e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: fmt.Sprint("old", i), Owner: "a", ExpiresAt: base}, Create: true}))
			if i%50 == 0 {
				e.ok(e.claims(mastra.ClaimUpdate{Claim: mastra.Claim{Key: fmt.Sprint("live", i), Owner: "a", ExpiresAt: now() + 60_000}, Create: true}))
			}
		}
		for i := 0; i < 300; i += 50 {
			e.equal(e.readClaim(fmt.Sprint("live", i)).Owner, "a")
		}
	}},
}
