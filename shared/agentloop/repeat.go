package agentloop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// claimed says whether the run's request is one that a repeat must find, and the key of its claim. Without an explicit
// key there is nothing to protect where no tool runs and no message is kept.
func (x *run) claimed(ctx context.Context) (r *mastra.Request, key string, explicit bool) {
	r = mastra.RequestOf(ctx)
	switch {
	case r == nil, mastra.SpanOf(ctx).Inside(), x.m.Storage == nil: // of a run within another one, only the outer counts
		return nil, "", false
	case r.IdempotencyKey != "":
		caller := ""
		if p := mastra.Caller(ctx); p != nil {
			caller = p.ID
		}
		return r, "key:" + caller + ":" + r.IdempotencyKey, true
	case r.Fingerprint == "", len(x.tools) == 0 && !x.stores():
		return nil, "", false
	}
	return r, "auto:" + r.Fingerprint, false
}

// admit recalls and commits what must be durable before the model is called. Where the request is a repeat, the run goes
// on from what the first one left, or the entry of that one comes back to be waited for.
func (x *run) admit(ctx context.Context) (other *entry, err error) {
	request, key, explicit := x.claimed(ctx)
	if request != nil {
		x.entry, other, err = x.r.claims.enter(ctx, x.m, request, key, explicit)
		if err != nil {
			return nil, err
		}
		if other != nil {
			request.OnEnd(other.leave)
			return other, nil
		}
	}
	if x.entry == nil {
		if err := x.recall(); err != nil {
			return nil, err
		}
		b := &mastra.Batch{}
		if err := x.opening(b); err != nil {
			return nil, err
		}
		if len(b.Threads)+len(b.Messages)+len(b.Runs) == 0 {
			return nil, nil
		}
		x.goAhead(b)
		return nil, x.commit(x.ctx, b)
	}
	if err := x.take(); err != nil {
		x.entry.discard()
		x.entry = nil
		return nil, err
	}
	request.OnEnd(x.entry.leave)
	return nil, nil
}

// take takes the claim, from whoever left it. It is committed with the user's messages, or before them.
func (x *run) take() error {
	e := x.entry
	_, claimsFirst := x.m.Storage.(mastra.ClaimsFirst)
	if claimsFirst {
		if err := x.takeIn(); err != nil {
			return err
		}
		x.early = true
	}
	anew := x.state
	var found *mastra.Claim // one that nobody works on
	if e.held {
		found = &e.claim // our own, of a request that was answered
	}
	for first := true; ; {
		var u mastra.ClaimUpdate
		var err error // of the claim
		if claimsFirst && !x.closed {
			var failed error
			if u, err, failed = x.claimBeside(found, first); failed != nil {
				return failed
			}
		} else {
			if err := x.recall(); err != nil {
				return err
			}
			if x.closed {
				e.took(mastra.ClaimUpdate{Claim: *found})
				return nil
			}
			b := &mastra.Batch{}
			if first {
				if err := x.opening(b); err != nil {
					return err
				}
			}
			if u, err = x.claiming(found); err != nil {
				return err
			}
			b.Claims = []mastra.ClaimUpdate{u}
			x.goAhead(b)
			err = x.m.Storage.Commit(x.ctx, b)
		}
		var claimed *mastra.ClaimedError
		switch {
		case err == nil:
			e.took(u)
			return nil
		case errors.As(err, &claimed):
			found = &claimed.Existing
		case found != nil && mastra.CodeOf(err) == mastra.CodeConflict: // it expired, or somebody was faster
			now, failed := x.m.Storage.Claim(x.ctx, e.claim.Key)
			if failed != nil {
				return failed
			}
			if now != nil && now.Owner == found.Owner && now.LeaseUntil == found.LeaseUntil {
				return err // the conflict is not about the claim
			}
			found = now
		default:
			return err
		}
		if found, err = x.settled(found); err != nil {
			return err
		}
		x.early = false
		first = found == nil || !x.adopt(found)
		if first {
			x.state, x.closed, x.again, x.early = anew, false, false, claimsFirst
		}
	}
}

// goAhead lets the model be asked while a commit is on its way to the disk, where its caller learns of the run no sooner than by what
// the model says. Tools wait for it (landed).
func (x *run) goAhead(b *mastra.Batch) {
	b.Ahead = x.call.Signal == nil && len(b.Runs) == 0
	x.ahead = b.Ahead
}

// landed waits until what was committed ahead is on the disk.
func (x *run) landed() error {
	if !x.ahead {
		return nil
	}
	x.ahead = false
	return x.commit(x.ctx, &mastra.Batch{})
}

// claiming is the write that makes the claim, or takes it over.
func (x *run) claiming(found *mastra.Claim) (u mastra.ClaimUpdate, err error) {
	state, err := x.encode()
	u = mastra.ClaimUpdate{Claim: x.entry.next(x, mastra.StatusRunning, state), Create: found == nil, Answer: x.MessageID}
	if found != nil && found.Owner != x.entry.of.owner {
		u.From = found.Owner
	}
	return u, err
}

// claimBeside claims the request while the thread is read, and then commits the user's messages. A process that dies in between
// leaves a claim without its messages, or with some of them: a repeat stores them, under the same ids.
func (x *run) claimBeside(found *mastra.Claim, first bool) (u mastra.ClaimUpdate, refused, failed error) {
	if u, failed = x.claiming(found); failed != nil {
		return u, nil, failed
	}
	var claim sync.WaitGroup
	claim.Go(func() {
		refused = runlog.Safely(func() error { return x.m.Storage.Commit(x.ctx, &mastra.Batch{Claims: []mastra.ClaimUpdate{u}}) })
	})
	failed = x.recall()
	claim.Wait()
	if failed == nil && refused == nil && (first || len(x.Steps) == 0) {
		b := &mastra.Batch{Again: !first}
		if failed = x.opening(b); failed == nil && len(b.Threads)+len(b.Messages)+len(b.Runs) > 0 {
			failed = x.commit(x.ctx, b)
		}
	}
	if failed != nil && refused == nil {
		x.unclaim(u, failed)
	}
	return u, refused, failed
}

// unclaim lets a claim go whose request could not begin.
func (x *run) unclaim(u mastra.ClaimUpdate, why error) {
	let := mastra.ClaimUpdate{Claim: u.Claim, Delete: true}
	switch mastra.CodeOf(why) {
	case mastra.CodeInvalid, mastra.CodeNotFound, mastra.CodeForbidden, mastra.CodeConflict: // nothing of it is stored
	default: // something may be: a repeat goes on from here
		let.Delete, let.Claim.Status = false, mastra.StatusFailed
	}
	if err := x.m.Storage.Commit(context.WithoutCancel(x.ctx), &mastra.Batch{Claims: []mastra.ClaimUpdate{let}}); err != nil {
		x.m.Logger.WarnContext(x.ctx, "a request that failed was not forgotten; its lease expires", "error", err)
	}
}

// settled waits until nobody works on a claim any more, and refuses it to another request. nil is none at all.
func (x *run) settled(c *mastra.Claim) (*mastra.Claim, error) {
	for {
		switch {
		case c == nil:
			return nil, nil
		case c.Fingerprint != x.entry.print:
			return nil, reused()
		case c.Status != mastra.StatusRunning, c.LeaseUntil <= x.now():
			return c, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-x.ctx.Done():
			return nil, failure(x.ctx, x.ctx.Err())
		case <-x.entry.client.Done():
			return nil, x.entry.client.Err()
		}
		var err error
		if c, err = x.m.Storage.Claim(x.ctx, x.entry.claim.Key); err != nil {
			return nil, err
		}
	}
}

func reused() error {
	return mastra.Errorf(mastra.CodeConflict, "The Idempotency-Key was used for another request")
}

// adopt goes on from what a claim holds. A state that cannot be read is none: the run begins anew.
func (x *run) adopt(c *mastra.Claim) bool {
	s, err := decodeState(c.State)
	if err != nil {
		x.m.Logger.WarnContext(x.ctx, "a request is begun anew", "runId", c.RunID, "error", err)
		return false
	}
	x.state, x.closed = *s, c.Status == mastra.StatusSuccess
	x.Epoch++
	x.again = true
	x.task.Rename(x.RunID)
	return true
}

// next is the claim as it is to be stored.
func (e *entry) next(x *run, status mastra.RunStatus, state mastra.JSON) mastra.Claim {
	now := x.m.Now()
	c := e.claim
	c.RunID, c.Status, c.State, c.Owner = x.RunID, status, state, e.of.owner
	c.LeaseUntil, c.ExpiresAt = mastra.TimeOf(now.Add(lease)), mastra.TimeOf(now.Add(keepAuto))
	if e.explicit {
		c.ExpiresAt = mastra.TimeOf(now.Add(keepExplicit))
	}
	return c
}

// took notes that the claim is stored.
func (e *entry) took(u mastra.ClaimUpdate) {
	e.write.Lock()
	e.claim, e.answer = u.Claim, u.Answer
	e.write.Unlock()
	e.of.mu.Lock()
	e.held = true
	e.of.mu.Unlock()
}

// settle commits the outcome with all that b holds.
func (e *entry) settle(ctx context.Context, x *run, b *mastra.Batch, failed error) error {
	if failed == nil {
		return e.store(ctx, x, b, mastra.StatusSuccess)
	}
	whole := x.Steps // a step that was broken off is done again
	if n := len(whole); n > 0 && !whole[n-1].complete() {
		x.Steps = whole[:n-1]
	}
	err := e.store(ctx, x, b, mastra.StatusFailed)
	x.Steps = whole
	return err
}

// complete says that the model finished the step and that its calls have outcomes.
func (s *step) complete() bool {
	for _, c := range s.calls() {
		if !c.done() {
			return false
		}
	}
	return s.Finish != ""
}

func (e *entry) store(ctx context.Context, x *run, b *mastra.Batch, status mastra.RunStatus) error {
	state, err := x.encode()
	if err != nil {
		return err
	}
	e.write.Lock()
	defer e.write.Unlock()
	u := mastra.ClaimUpdate{Claim: e.next(x, status, state), Answer: x.MessageID}
	if status != mastra.StatusRunning && (e.explicit || status != mastra.StatusSuccess || e.answer != x.MessageID || e.claim.LeaseUntil < mastra.TimeOf(e.m.Now().Add(lease-renewBefore))) {
		u.Answer = ""
	}
	b.Claims = []mastra.ClaimUpdate{u}
	if err := e.m.Storage.Commit(ctx, b); err != nil {
		return fmt.Errorf("the claim of run %s: %w", x.RunID, err)
	}
	e.claim, e.answer = u.Claim, x.MessageID
	return nil
}
