package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// handOverTime is how long before the end of an invocation its runs are handed over.
const handOverTime = time.Second

// HandOver is for processes whose time is limited, as a Lambda's is: what is begun without waiting, sleeps long, or is not
// done in time goes on through the Mastra's Queue, and a run that somebody waits for has a message there from its
// beginning on, in case that this process dies. Without it a process carries out what it begins, and Recover finds what
// others left behind.
func HandOver(e *Engine) { e.handsOver = true }

// enqueue sends a message of kind mastra.WorkRun.
func (x *execution) enqueue(at time.Time) error {
	message := mastra.RunWork{Sent: mastra.TimeOf(x.m.Now())}
	x.mu.Lock()
	if x.first {
		message.From = x.from
	}
	x.mu.Unlock()
	data, err := schema.Marshal(message)
	if err != nil {
		return err
	}
	if err := x.m.Queue.Send(x.store, mastra.Work{Kind: mastra.WorkRun, Tenant: x.key.tenant, ID: x.run.ID, Data: data, At: mastra.TimeOf(at)}); err != nil {
		x.m.Logger.ErrorContext(x.store, "the queue takes no work", "runId", x.run.ID, "error", err)
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The queue takes no work: try again later", Err: err}
	}
	return nil
}

// sendOff begins a run that a worker carries out.
func (e *Engine) sendOff(ctx context.Context, x *execution) error {
	x.e, x.key, x.first, x.store = e, runKey{mastra.Tenant(ctx), x.run.ID}, true, context.WithoutCancel(ctx)
	x.stored = make(chan struct{})
	x.trace = newTrace(ctx, x) // it says where the run's trace is
	if err := x.enqueue(x.m.Now()); err != nil {
		return err
	}
	x.run.Owner, x.run.LeaseUntil, x.run.Attempts = "", releasedLease, -1
	x.startErr = x.m.Storage.Commit(x.store, &mastra.Batch{Runs: []mastra.RunUpdate{x.update(false)}})
	close(x.stored)
	return nil
}

// giveAway leaves a run to others, at once or when its sleep ends. A message for them comes first; where none can be sent
// the run's lease is left to run out, and the message of its beginning finds that.
func (x *execution) giveAway() {
	if x.e.handsOver && errors.Is(x.err, errReleased) {
		x.mu.Lock()
		stored := x.closed == nil && !x.first
		x.mu.Unlock()
		at := x.m.Now()
		if x.until > 0 {
			at = x.until.Time()
		}
		if stored {
			if x.enqueue(at) != nil {
				return
			}
			x.passedOn.Store(true)
		}
	}
	x.release()
}

// handOver gives the run up in the middle of a step, for a worker to go on at once. The step is told to stop and runs again
// there; whatever it still does here is not recorded. A step that had a worker's whole time has failed.
func (x *execution) handOver() {
	defer close(x.handed)
	defer x.cancel(errReleased)
	x.mu.Lock()
	x.cut = true
	first, whole := x.first, x.taken && !x.further
	x.mu.Unlock()
	switch {
	case first: // of a run that is not stored there is nothing to go on with
	case whole:
		if err := x.finish(failed("a step did not end within the time that an invocation has")); err != nil {
			x.m.Logger.ErrorContext(x.store, "the run's end could not be stored", "runId", x.run.ID, "error", err)
		}
	case x.enqueue(x.m.Now()) == nil:
		x.passedOn.Store(true)
		x.release()
	}
}

// elsewhere waits for a run that goes on in another process, as long as there is time.
func (x *execution) elsewhere(ctx context.Context) (*mastra.Run, error) {
	run, err := x.m.Storage.Run(ctx, x.run.ID)
	if err != nil {
		return nil, err
	}
	return x.e.await(ctx, x.m, run)
}

// Work goes on with a run, from a message of kind mastra.WorkRun: to its end, a suspension, or the end of ctx. It returns an
// *mastra.Again where the run is not to be touched yet, or goes on later.
func (e *Engine) Work(ctx context.Context, m *mastra.Mastra, work mastra.Work) error {
	var message mastra.RunWork
	if len(work.Data) > 0 {
		if err := schema.Unmarshal(work.Data, &message); err != nil {
			return fmt.Errorf("the message of the run %s cannot be read: %w", work.ID, err)
		}
	}
	age := m.Now().Sub(message.Sent.Time())
	ctx = mastra.WithPrincipal(ctx, &mastra.Principal{Tenant: work.Tenant})
	x, run, err := e.take(ctx, m, work.ID, true)
	before := mastra.CodeOf(err) == mastra.CodeNotFound || run != nil && run.Status == message.From
	switch {
	case before && age < mastra.WriteWithin:
		return &mastra.Again{After: max(time.Second, age)}
	case before:
		return nil
	case err != nil || x == nil:
		return err
	}
	select {
	case <-x.done:
	case <-x.handed:
	case <-ctx.Done():
		return ctx.Err()
	}
	if x.passedOn.Load() {
		return nil
	}
	select {
	case <-x.done:
		if !errors.Is(x.err, errLost) && !errors.Is(x.err, errReleased) {
			return x.err
		}
	default:
	}
	return &mastra.Again{After: e.lease} // whoever has it may die, and nobody else may know of it
}

// announce queues the webhooks that are told of the end of a run. It comes before the end is stored, so that none is
// forgotten: whoever delivers looks whether it is.
func (e *Engine) announce(ctx context.Context, m *mastra.Mastra, run *mastra.Run) error {
	if len(m.Webhooks) == 0 || !run.Status.Ended() {
		return nil
	}
	for i := range m.Webhooks {
		h := &m.Webhooks[i]
		if !h.Wants(run.WorkflowID) {
			continue
		}
		if m.Queue == nil { // the run's end is not to fail of that
			m.Logger.ErrorContext(ctx, "a webhook needs a queue, and none is configured", "webhook", h.ID, "runId", run.ID)
			continue
		}
		data, err := schema.Marshal(mastra.WebhookWork{Hook: h.ID, Pass: run.Pass, Sent: mastra.TimeOf(m.Now())})
		if err != nil {
			return err
		}
		if err := m.Queue.Send(ctx, mastra.Work{Kind: mastra.WorkWebhook, Tenant: mastra.Tenant(ctx), ID: run.ID, Data: data}); err != nil {
			return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The queue takes no work: try again later", Err: err}
		}
	}
	return nil
}
