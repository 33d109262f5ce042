package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// own notes an execution whose run is stored: from now on the heartbeat keeps its lease.
func (e *Engine) own(x *execution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[x.key] = x
	if !e.tended {
		e.tended = e.supervisor.Tend(e.tend)
	}
}

// tend renews leases until the runs have ended.
func (e *Engine) tend(stop <-chan struct{}) {
	ticker := time.NewTicker(e.heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		e.mu.Lock()
		due := make([]*execution, 0, len(e.running))
		for _, x := range e.running {
			if x.m.Now().UnixMilli()-x.renewed.Load() >= e.heartbeat.Milliseconds()/2 { // a checkpoint renews it too
				due = append(due, x)
			}
		}
		e.mu.Unlock()
		for _, x := range due {
			e.renew(x)
		}
	}
}

// renew prolongs the lease of a run that lasts, and sees whether it was cancelled or taken over meanwhile.
func (e *Engine) renew(x *execution) {
	ctx, cancel := context.WithTimeout(x.store, e.heartbeat)
	defer cancel()
	now := mastra.TimeOf(x.m.Now())
	if int64(now)-x.renewed.Load() >= e.lease.Milliseconds() { // late: another one may have had it, which is not to be disturbed
		if run, err := x.m.Storage.Run(ctx, x.run.ID); err != nil || run.Owner != x.owner {
			e.lose(x)
			return
		}
	}
	run, err := x.m.Storage.Lease(ctx, x.run.ID, x.owner, now+mastra.Time(e.lease.Milliseconds()))
	select {
	case <-x.done:
		return
	default:
	}
	switch {
	case err == nil && run.Status == mastra.StatusCanceled:
		x.cancel(runlog.ErrCanceled)
	case mastra.CodeOf(err) == mastra.CodeConflict || err == nil && (run.Fence != x.run.Fence || run.Status.Ended()):
		e.lose(x)
	case err != nil:
		x.m.Logger.WarnContext(ctx, "the run's lease could not be renewed", "runId", x.run.ID, "error", err)
	default:
		x.renewed.Store(int64(now))
	}
}

// lose ends an execution whose run is cancelled, or another's.
func (e *Engine) lose(x *execution) {
	run, err := x.m.Storage.Run(x.store, x.run.ID)
	if err == nil && run.Status == mastra.StatusCanceled {
		x.cancel(runlog.ErrCanceled)
		return
	}
	x.cancel(errLost)
}

// Recover takes over what other processes left behind, at once and then each heartbeat, until ctx ends.
func (e *Engine) Recover(ctx context.Context, m *mastra.Mastra) error {
	ticker := time.NewTicker(e.heartbeat)
	defer ticker.Stop()
	for {
		if err := e.TakeOver(ctx, m); err != nil && ctx.Err() == nil {
			m.Logger.ErrorContext(ctx, "looking for runs to take over failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// takeAtOnce is how many runs one look takes over at most: others may take the rest.
const takeAtOnce = 100

// TakeOver takes over the runs whose owner's lease ran out and goes on with each in the background, from its last
// checkpoint: steps with a result are not run again, those that were interrupted are.
func (e *Engine) TakeOver(ctx context.Context, m *mastra.Mastra) error {
	if e.stopping() {
		return nil
	}
	refs, err := m.Storage.Expired(ctx, mastra.TimeOf(m.Now()), takeAtOnce)
	if err != nil {
		return err
	}
	var errs []error
	for _, ref := range refs {
		_, _, err := e.take(mastra.WithPrincipal(ctx, &mastra.Principal{Tenant: ref.Tenant}), m, ref.RunID, false)
		var again *mastra.Again
		if err != nil && !errors.As(err, &again) && mastra.CodeOf(err) != mastra.CodeNotFound {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// take begins to go on with a run that nobody works on. It returns no execution where there is nothing to do, with
// the run as it is stored, and an *mastra.Again where there may be later. watched says that a message about it is in hand.
func (e *Engine) take(ctx context.Context, m *mastra.Mastra, id string, watched bool) (*execution, *mastra.Run, error) {
	run, err := m.Storage.Run(ctx, id)
	switch {
	case err != nil:
		return nil, nil, err
	case !run.Status.Active():
		return nil, run, nil
	}
	if e.works(ctx, id) { // its heartbeat is late
		return nil, nil, &mastra.Again{After: e.lease}
	}
	now := mastra.TimeOf(m.Now())
	if run.LeaseUntil >= now && (run.Owner != "" || run.LeaseUntil > now+maxEarly) { // somebody works on it, or it sleeps
		return nil, nil, &mastra.Again{After: time.Duration(run.LeaseUntil-now)*time.Millisecond + time.Second}
	}
	if strings.HasPrefix(run.WorkflowID, mastra.AgentRuns) {
		if m.Agents == nil {
			return nil, run, nil
		}
		return nil, nil, m.Agents.TakeOver(ctx, m, run)
	}
	w, err := m.Workflow(run.WorkflowID)
	reason := ""
	if err != nil {
		reason = "The workflow " + run.WorkflowID + " is no longer there: its run cannot go on"
	} else if err := e.fits(w.Graph(), run); err != nil {
		reason = err.Error()
	}
	if reason != "" && run.Version > e.version && e.version != 0 {
		return nil, nil, &mastra.Again{After: newerCode}
	}
	released, owner := run.Owner == "", e.newOwner()
	run, err = m.Storage.Lease(ctx, id, owner, now+mastra.Time(e.lease.Milliseconds()))
	if mastra.CodeOf(err) == mastra.CodeConflict { // another one was first
		return nil, nil, &mastra.Again{After: e.lease}
	} else if err != nil {
		return nil, nil, err
	}
	if !run.Status.Active() {
		return nil, run, nil
	}
	if run.Attempts++; reason == "" && run.Attempts > e.attempts {
		reason = fmt.Sprintf("The run was interrupted %d times in a row in the same place: it does not go on", run.Attempts)
	}
	if reason != "" {
		return nil, nil, e.giveUp(ctx, m, run, reason)
	}
	if run.Caller != nil {
		ctx = mastra.WithPrincipal(ctx, run.Caller)
	}
	m.Logger.InfoContext(ctx, "a run is taken over", "runId", run.ID, "workflow", run.WorkflowID, "released", released)
	x := &execution{m: m, g: w.Graph(), run: *run, owner: owner, from: run.Status, taken: true, watched: watched}
	x.run.Status = mastra.StatusRunning
	return x, nil, e.launch(ctx, x, background)
}

// works says that the run is carried out here.
func (e *Engine) works(ctx context.Context, id string) bool {
	e.mu.Lock()
	x := e.running[runKey{mastra.Tenant(ctx), id}]
	e.mu.Unlock()
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed == nil
}

const (
	// maxEarly is how much earlier than a sleep ends a run may be taken over.
	maxEarly = 1000
	// newerCode is how long a run of newer code is left to it.
	newerCode = 15 * time.Second
)

// giveUp fails a run that cannot go on.
func (e *Engine) giveUp(ctx context.Context, m *mastra.Mastra, run *mastra.Run, reason string) error {
	m.Logger.ErrorContext(ctx, "a run cannot be taken over", "runId", run.ID, "workflow", run.WorkflowID, "reason", reason)
	run.Status, run.Error = mastra.StatusFailed, &mastra.RunError{Message: reason, Name: "Error"}
	run.UpdatedAt, run.Owner, run.LeaseUntil, run.Steps = mastra.TimeOf(m.Now()), "", 0, nil
	if err := e.announce(ctx, m, run); err != nil {
		return err
	}
	err := m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *run}}})
	if mastra.CodeOf(err) == mastra.CodeConflict {
		return nil
	}
	return err
}

// stopping says that the process begins no new runs.
func (e *Engine) stopping() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drained != nil
}

// Drain begins no new runs. Those that somebody waits for go on until ctx ends; the others stop at their next step, for
// another process to take over at once. Where ctx ends first the rest is given up in the middle of a step.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	if e.drained == nil {
		e.drained = make(chan struct{})
		if e.live == 0 {
			close(e.drained)
		}
	}
	e.mu.Unlock()
	select {
	case <-e.drained:
		return nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	var rest []*execution
	for _, x := range e.running {
		rest = append(rest, x)
	}
	e.mu.Unlock()
	for _, x := range rest {
		x.release()
		x.cancel(errReleased)
	}
	return ctx.Err()
}
