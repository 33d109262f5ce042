package agentloop

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// How long a claim is held, renewed, and kept for a repeat.
const (
	lease        = 30 * time.Second
	renewBefore  = 20 * time.Second // what is left of a lease when it is renewed
	keepExplicit = 24 * time.Hour
	keepAuto     = 5 * time.Minute
	pollEvery    = 250 * time.Millisecond // for the outcome of another process
	releaseAfter = 25 * time.Millisecond  // answered claims are deleted together
)

// claims are the records of requests that this process works on or has not answered yet. One goroutine, which the
// supervisor owns, renews their leases and deletes those that were answered.
type claims struct {
	owner string
	runs  *runlog.Supervisor

	mu      sync.Mutex
	entries map[string]*entry // by tenant and key
	tending bool
	kick    chan struct{}
}

// entry is one claim. A request without an explicit key gives it up once it was answered.
type entry struct {
	of       *claims
	id       string
	print    string // the request's fingerprint
	explicit bool
	m        *mastra.Mastra
	ctx      context.Context // with the tenant, without an end
	client   context.Context // the request's
	ended    chan struct{}   // closed when the run has ended
	log      atomic.Pointer[runlog.Log]
	result   *mastra.AgentResult
	err      error

	write  sync.Mutex   // one write to the storage at a time
	claim  mastra.Claim // as it is stored; under write
	answer string       // the message that the stored claim names; under write

	// Under of.mu.
	gone     bool   // the answer did not arrive
	answered bool   // to be deleted, or taken up by the next one of its key
	dropped  bool   // not in of.entries
	held     bool   // it is in the storage, this process its owner
	release  func() // of the supervisor, which is not idle before an answered claim is deleted
}

func newClaims(s *runlog.Supervisor) *claims {
	return &claims{owner: mastra.NewID(), runs: s, entries: map[string]*entry{}, kick: make(chan struct{}, 1)}
}

// enter finds out what a request is to do: go on with an entry of its own, wait for another one, or (both nil) run
// without a claim, beside one that is answered to somebody else.
func (c *claims) enter(ctx context.Context, m *mastra.Mastra, r *mastra.Request, key string, explicit bool) (mine, other *entry, err error) {
	id := mastra.Tenant(ctx) + "\x00" + key
	e := &entry{of: c, id: id, print: r.Fingerprint, explicit: explicit, m: m, ctx: context.WithoutCancel(ctx), client: ctx, ended: make(chan struct{})}
	e.claim = mastra.Claim{Key: key, Fingerprint: r.Fingerprint}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.entries[id]; o != nil {
		switch {
		case o.print != r.Fingerprint:
			return nil, nil, reused()
		case o.answered && o.done(): // not deleted yet: taken up again, which saves both
			o.dropped = true
			o.release()
			e.held, e.claim = true, o.claim
		case !explicit && !o.gone && o.client.Err() == nil:
			return nil, nil, nil
		case !o.done():
			return nil, o, nil
		case o.err == nil && o.held:
			return nil, o, nil
		default: // it failed: this one goes on from its record
			o.dropped = true
		}
	}
	c.entries[id] = e
	c.tend()
	return e, nil, nil
}

func (e *entry) done() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// end tells those who wait how the run ended.
func (e *entry) end(result *mastra.AgentResult, err error) {
	e.result, e.err = result, err
	close(e.ended)
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	switch {
	case e.gone: // the stored record answers from now on
		e.drop()
	case e.answered:
		e.of.wake()
	}
}

// leave is told whether the answer arrived. Where it did, a claim without an explicit key has served its purpose.
func (e *entry) leave(answered bool) {
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	switch {
	case e.explicit:
		e.gone = true
	case answered && e.dropped: // the client was gone before this was said: the record expires, and nobody waits for that
	case answered && !e.answered:
		e.answered, e.release = true, e.of.runs.Hold()
		e.of.wake()
		return
	case !answered:
		e.gone = true
	}
	if e.done() {
		e.drop()
	}
}

// discard forgets an entry that never got its claim.
func (e *entry) discard() {
	if !e.done() {
		e.err = mastra.Errorf(mastra.CodeUnavailable, "The request it waits for was refused")
		close(e.ended)
	}
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	e.drop()
}

// drop takes the entry out of the registry, under of.mu.
func (e *entry) drop() {
	if !e.dropped {
		e.dropped = true
		if e.of.entries[e.id] == e {
			delete(e.of.entries, e.id)
		}
	}
}

// wait waits for the run of another request.
func (e *entry) wait(ctx context.Context) (*mastra.AgentResult, error) {
	select {
	case <-e.ended:
		if e.err == nil && e.result == nil {
			return nil, otherForm()
		}
		return e.result, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func otherForm() error {
	return mastra.Errorf(mastra.CodeConflict, "The request is answered in another form")
}

// tend starts the goroutine that looks after the claims, under mu.
func (c *claims) tend() {
	if !c.tending {
		c.tending = c.runs.Tend(c.keep)
	}
}

func (c *claims) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// keep deletes answered claims, a few at once, and renews leases, until stop; what was answered by then is deleted.
func (c *claims) keep(stop <-chan struct{}) {
	timer := time.NewTimer(lease - renewBefore)
	defer timer.Stop()
	for {
		answered, running := c.due()
		c.delete(answered)
		for _, e := range running {
			e.renew()
		}
		select {
		case <-c.kick:
			select { // more will follow
			case <-time.After(releaseAfter):
			case <-stop:
			}
		case <-timer.C:
			timer.Reset((lease - renewBefore) / 2)
		case <-stop:
			answered, _ = c.due()
			c.delete(answered)
			return
		}
	}
}

// due takes the answered entries out of the registry, and lists those whose lease is to be renewed.
func (c *claims) due() (answered, running []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		switch {
		case e.answered && e.done():
			e.drop()
			if e.held {
				answered = append(answered, e)
			} else {
				e.release()
			}
		case e.done():
			if e.client.Err() != nil { // nobody said how it ended: the record stays
				e.drop()
			}
		case e.held:
			running = append(running, e)
		}
	}
	return answered, running
}

// delete gives up what was answered, each tenant's in one commit.
func (c *claims) delete(answered []*entry) {
	byTenant := map[string]*mastra.Batch{}
	for _, e := range answered {
		t := mastra.Tenant(e.ctx)
		if byTenant[t] == nil {
			byTenant[t] = &mastra.Batch{}
		}
		byTenant[t].Claims = append(byTenant[t].Claims, mastra.ClaimUpdate{Claim: e.claim, Delete: true})
	}
	for _, e := range answered {
		t := mastra.Tenant(e.ctx)
		if b := byTenant[t]; b != nil {
			delete(byTenant, t)
			if err := e.m.Storage.Commit(e.ctx, b); err != nil {
				e.m.Logger.WarnContext(e.ctx, "answered requests were not forgotten; they expire", "error", err)
			}
		}
	}
	for _, e := range answered {
		e.release()
	}
}

// renew lengthens the lease of a run that takes its time.
func (e *entry) renew() {
	e.write.Lock()
	defer e.write.Unlock()
	now := e.m.Now()
	if e.done() || e.claim.Status != mastra.StatusRunning || e.claim.LeaseUntil > mastra.TimeOf(now.Add(renewBefore)) {
		return
	}
	c := e.claim
	c.LeaseUntil = mastra.TimeOf(now.Add(lease))
	c.ExpiresAt = max(c.ExpiresAt, mastra.TimeOf(now.Add(keepAuto)))
	if err := e.m.Storage.Commit(e.ctx, &mastra.Batch{Claims: []mastra.ClaimUpdate{{Claim: c, Answer: e.answer}}}); err != nil {
		e.m.Logger.WarnContext(e.ctx, "the lease of a run was not renewed", "runId", c.RunID, "error", err)
		return
	}
	e.claim = c
}
