package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// execution is a run as this process carries it out.
type execution struct {
	e        *Engine
	m        *mastra.Mastra
	g        *mastra.Graph
	key      runKey
	owner    string          // in the lease: of this execution alone, so that another one of this process has another fence
	ctx      context.Context // of the steps
	cancel   context.CancelCauseFunc
	store    context.Context // of the storage: it outlives a cancel
	log      *runlog.Log     // nil where nobody streams
	trace    *trace
	from     mastra.RunStatus // what the stored run is when the execution begins; "" where there is none
	resumed  bool             // somebody answered
	taken    bool             // another process began it
	named    bool             // whoever starts it chose its id
	watched  bool             // a message of the queue is in hand until the execution is done
	told     bool             // somebody is told that it has begun
	reset    bool             // the steps on record are replaced: time travel
	sent     mastra.JSON      // of a run that is sent back: what the step it begins with is given; nil: as recorded
	worked   atomic.Bool      // a step ran, or a sleep
	timer    *time.Timer      // hands over before the invocation ends; nil where nothing ends it
	cut      bool             // it was stopped in the middle of a step; guarded by mu
	further  bool             // a step has come out; guarded by mu
	asleep   int              // sleeps that have begun; guarded by mu
	passedOn atomic.Bool      // a message tells others of what is left to do
	until    mastra.Time      // when a run that sleeps is to go on; read after done

	handed   chan struct{} // closed when the run was handed over, or given up, in the middle of a step
	stored   chan struct{} // closed when the first checkpoint was written, or failed
	startErr error         // why it failed: read it after stored
	done     chan struct{} // closed at the end
	err      error         // why there is no end: read it after done
	waiters  atomic.Int32
	renewed  atomic.Int64 // when the lease was last renewed, Unix milliseconds

	emitting   sync.Mutex // one chunk at a time
	committing sync.Mutex // one checkpoint at a time: who finds nothing to write knows that all is written
	mu         sync.Mutex // guards what follows: branches run at once
	run        mastra.Run
	dirty      []string // keys of steps that changed since the last checkpoint
	first      bool     // no checkpoint was written yet
	closed     error    // why nothing may be written any more
	usage      usage
}

// launch carries x out; m, g, run, from, dirty, resumed and taken are set.
func (e *Engine) launch(ctx context.Context, x *execution, how manner) error {
	e.mu.Lock()
	if e.drained != nil && mastra.From(ctx) == nil { // a run within another one may still begin
		e.mu.Unlock()
		return errStopping
	}
	if how == background && e.handsOver && !x.taken {
		e.mu.Unlock()
		return e.sendOff(ctx, x)
	}
	e.live++
	e.mu.Unlock()
	task, err := e.supervisor.Begin(ctx, x.run.ID)
	if err != nil {
		e.gone(nil)
		return err
	}
	x.e, x.key, x.first = e, runKey{mastra.Tenant(ctx), x.run.ID}, true
	if x.owner == "" {
		x.owner = e.newOwner()
	}
	x.told = how != waiting
	x.stored, x.done, x.handed = make(chan struct{}), make(chan struct{}), make(chan struct{})
	inside := mastra.WithRequest(mastra.NewContext(task.Context(), x.m), nil) // what a step calls is not the request itself
	x.ctx, x.cancel = context.WithCancelCause(mastra.WithRequestContext(inside, x.run.Context))
	x.store = context.WithoutCancel(task.Context())
	x.trace = newTrace(ctx, x)
	x.ctx = mastra.WithSpanSink(mastra.WithSpan(x.ctx, x.trace.at(x.run.SpanID)), &x.trace.sink)
	if how == streaming || x.run.Epoch > 0 { // once somebody has asked for it, the stream goes on wherever the run does
		x.run.Epoch++
		x.log = e.streams.Open(x.store, x.m, runlog.Origin{RunID: x.run.ID, ResourceID: x.run.ResourceID, From: mastra.Position{Epoch: x.run.Epoch}})
	}
	if deadline, ok := x.ctx.Deadline(); ok && e.handsOver {
		left := time.Until(deadline)
		x.timer = time.AfterFunc(left-min(handOverTime, left/4), x.handOver)
	}
	task.Go(x.carry, nil)
	return nil
}

var errStopping error = mastra.Errorf(mastra.CodeUnavailable, "The server is shutting down")

// carry walks the graph and writes the end.
func (x *execution) carry(context.Context) error {
	x.err = errReleased // stands where a step ends this goroutine
	defer x.end()
	x.emitStart()
	err := runlog.Safely(func() error {
		out, err := x.walk(x.g, "", x.run.Input, x.trace.root.SpanID)
		if err != nil {
			return err
		}
		return x.finish(out)
	})
	var p *runlog.PanicError
	if errors.As(err, &p) { // a fault of ours: taken over, the run would only meet it again
		x.m.Logger.ErrorContext(x.store, "the engine panicked", "runId", x.run.ID, "panic", p.Error(), "stack", string(p.Stack))
		err = x.finish(failed("internal error"))
	}
	var asleep *sleeping
	if errors.As(err, &asleep) {
		x.until, err = asleep.until, errReleased
	}
	x.err = err
	switch {
	case err == nil:
	case errors.Is(err, errLost) || errors.Is(err, errReleased):
		x.giveAway()
		x.m.Logger.InfoContext(x.store, "the run goes on elsewhere", "runId", x.run.ID, "reason", err.Error())
	case mastra.CodeOf(err) != mastra.CodeConflict:
		x.m.Logger.ErrorContext(x.store, "the run cannot go on", "runId", x.run.ID, "error", err)
	}
	return nil
}

// end tells all who wait.
func (x *execution) end() {
	x.mu.Lock()
	if x.closed == nil {
		x.closed = errReleased
	}
	first := x.first
	x.first = false
	x.mu.Unlock()
	if first {
		x.startErr = cmp.Or(x.err, errStopping)
		close(x.stored)
	}
	x.cancel(nil)
	if x.timer != nil {
		x.timer.Stop()
	}
	x.e.gone(x)
	close(x.done)
	if x.log != nil {
		x.log.Close()
	}
}

// gone forgets an execution.
func (e *Engine) gone(x *execution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x != nil && e.running[x.key] == x {
		delete(e.running, x.key)
	}
	if e.live--; e.live == 0 && e.drained != nil {
		close(e.drained)
	}
}

// begun waits for the first checkpoint and returns the run as it is then or later.
func (x *execution) begun(ctx context.Context) (*mastra.Run, error) {
	select {
	case <-x.stored:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if x.startErr != nil {
		return nil, x.startErr
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	run := x.run
	run.Steps = slices.Clone(run.Steps)
	return &run, nil
}

// wait waits for the end.
func (x *execution) wait(ctx context.Context) (*mastra.Run, error) {
	x.waiters.Add(1)
	defer x.waiters.Add(-1)
	select {
	case <-x.done:
	case <-x.handed:
		return x.elsewhere(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case x.err == nil:
		return &x.run, nil
	case errors.Is(x.err, errLost):
		run, err := x.m.Storage.Run(ctx, x.run.ID)
		if err != nil {
			return nil, err
		}
		return x.e.await(ctx, x.m, run)
	case errors.Is(x.err, errReleased) && x.e.handsOver:
		return x.elsewhere(ctx)
	case errors.Is(x.err, errReleased):
		return nil, errStopping
	}
	return nil, x.err
}

// ended is the final status, "" where there is none.
func (x *execution) ended() mastra.RunStatus {
	select {
	case <-x.done:
		if x.err == nil {
			return x.run.Status
		}
	default:
	}
	return ""
}

// result is the state of the step at key.
func (x *execution) result(key string) (mastra.StepResult, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.run.Steps.Get(key)
}

// record sets it; the next checkpoint writes it.
func (x *execution) record(key string, r mastra.StepResult) {
	x.settle(key, r, nil)
}

// settle is record, together with what the step left behind for the others: they become durable together.
func (x *execution) settle(key string, r mastra.StepResult, state mastra.JSON) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.run.Steps.Set(key, r)
	if !slices.Contains(x.dirty, key) {
		x.dirty = append(x.dirty, key)
	}
	if state != nil {
		x.run.State = state
	}
	if r.EndedAt != 0 || r.SuspendedAt != 0 {
		x.run.Attempts, x.further = 0, true
	}
}

// checkpoint makes durable what was recorded. It is called before any user code runs: no step begins before the results
// that it builds on are committed. An error ends the execution.
func (x *execution) checkpoint() error { return x.write(true) }

// write is checkpoint. yields says whether the run may be given up to others in its place, and the next step begin while this is on
// its way to the disk: what a power failure takes then runs again, as after any death of a process.
func (x *execution) write(yields bool) error {
	x.committing.Lock()
	defer x.committing.Unlock()
	if err := x.interrupted(); err != nil {
		return err
	}
	x.mu.Lock()
	if x.closed != nil || !x.first && len(x.dirty) == 0 {
		defer x.mu.Unlock()
		return x.closed
	}
	if !x.first && yields && x.yielding() {
		x.mu.Unlock()
		return errReleased // which releases the run, with what is dirty
	}
	up := x.update(true)
	first := x.first
	watch := first && x.e.handsOver && !x.watched
	x.mu.Unlock()
	if watch { // a process that dies is noticed, too: the message comes before the run is there
		if err := x.enqueue(x.m.Now().Add(x.e.lease + x.e.heartbeat)); err != nil {
			return x.refuse(err)
		}
	}
	return x.commit(&mastra.Batch{Runs: []mastra.RunUpdate{up}, Ahead: yields && (!x.told || !first)})
}

// yielding says that the process stops and nobody waits for the run here: another one may go on with it.
func (x *execution) yielding() bool { return x.waiters.Load() == 0 && x.e.stopping() }

// releasedLease is a lease that ended long ago: others see the run as one to take over.
const releasedLease mastra.Time = 1

// update is the write of all that is dirty. The caller holds mu.
func (x *execution) update(hold bool) mastra.RunUpdate {
	now := mastra.TimeOf(x.m.Now())
	x.run.UpdatedAt = now
	if hold {
		x.run.Owner, x.run.LeaseUntil = x.owner, now+mastra.Time(x.e.lease.Milliseconds())
		x.renewed.Store(int64(now))
	}
	up := mastra.RunUpdate{Run: x.run}
	if x.first {
		up.Create, up.From, up.Reset = x.from == "", x.from, x.reset
	}
	up.Run.Steps = make(mastra.Object[mastra.StepResult], 0, len(x.dirty))
	for _, m := range x.run.Steps {
		if slices.Contains(x.dirty, m.Key) {
			up.Run.Steps = append(up.Run.Steps, m)
		}
	}
	x.dirty = x.dirty[:0]
	return up
}

// refuse ends a run before anything of it is stored.
func (x *execution) refuse(err error) error {
	x.mu.Lock()
	x.closed, x.startErr, x.first = err, err, false
	x.mu.Unlock()
	close(x.stored)
	return err
}

// commit writes. The caller holds committing.
func (x *execution) commit(b *mastra.Batch) error {
	err := x.m.Storage.Commit(x.store, b)
	x.mu.Lock()
	first := x.first
	x.first = false
	if err != nil {
		if mastra.CodeOf(err) == mastra.CodeConflict && !first {
			err = errLost
		}
		x.closed = err
	}
	x.mu.Unlock()
	if first {
		if err == nil {
			x.e.own(x)
		}
		x.startErr = err
		close(x.stored)
	}
	return err
}

// interrupted is why the execution must stop, nil where it may go on. A cancel by name is none: the run ends in order.
func (x *execution) interrupted() error {
	if x.ctx.Err() == nil || x.canceled() {
		return nil
	}
	if cause := context.Cause(x.ctx); errors.Is(cause, errLost) {
		return errLost
	}
	return errReleased
}

// release gives the run up: another process may take it over at once. It waits for a checkpoint under way.
func (x *execution) release() {
	x.committing.Lock()
	defer x.committing.Unlock()
	x.mu.Lock()
	if x.closed != nil || x.first {
		x.closed = cmp.Or(x.closed, errReleased)
		x.mu.Unlock()
		return
	}
	x.run.Owner, x.run.LeaseUntil, x.closed = "", max(releasedLease, x.until), errReleased
	if !x.cut {
		x.run.Attempts-- // an orderly end is none of those that are counted
	}
	up := x.update(false)
	x.mu.Unlock()
	if err := x.commit(&mastra.Batch{Runs: []mastra.RunUpdate{up}}); err != nil && !errors.Is(err, errLost) {
		x.m.Logger.WarnContext(x.store, "the run's lease could not be released: it runs out", "runId", x.run.ID, "error", err)
	}
}

func (x *execution) canceled() bool { return errors.Is(context.Cause(x.ctx), runlog.ErrCanceled) }

// finish writes the end, or the suspension, together with the last results and the trace.
func (x *execution) finish(out outcome) error {
	x.committing.Lock()
	defer x.committing.Unlock()
	x.mu.Lock()
	if x.closed != nil {
		defer x.mu.Unlock()
		return x.closed
	}
	r := &x.run
	r.Status, r.Error, r.Result, r.Suspended = out.status, out.err, nil, nil
	switch out.status {
	case mastra.StatusSuccess:
		r.Result = out.output
	case mastra.StatusBailed:
		r.Status, r.Result, out.status = mastra.StatusSuccess, out.output, mastra.StatusSuccess
	case mastra.StatusSuspended:
		r.Suspended = suspendedPaths(r.Steps)
	}
	r.Owner, r.LeaseUntil = "", 0
	up := x.update(false)
	spans := x.trace.end(r)
	x.mu.Unlock()
	if err := x.e.announce(x.store, x.m, &up.Run); err != nil {
		return err
	}
	if err := x.commitLast(up, spans, out); err != nil {
		if errors.Is(err, errLost) && x.canceled() { // Cancel did not wait: what the steps did shows at least in trace and stream
			x.afterwards(spans, out)
		}
		return err
	}
	x.mu.Lock()
	x.closed = errReleased
	x.mu.Unlock()
	return nil
}

// afterwards stores what belongs to a run that somebody else has ended.
func (x *execution) afterwards(spans []mastra.Span, out outcome) {
	b := &mastra.Batch{Spans: spans}
	var block *mastra.ChunkBlock
	if x.log != nil {
		x.emitFinish(out)
		if block, _ = x.log.Block(true); block != nil {
			b.Chunks = append(b.Chunks, *block)
		}
	}
	err := x.m.Storage.Commit(x.store, b)
	if x.log != nil {
		x.log.Stored(block, err == nil)
	}
	if err != nil {
		x.m.Logger.WarnContext(x.store, "the trace of a canceled run was not stored", "runId", x.run.ID, "error", err)
	}
}

// commitLast stores the stream's last chunks together with the end, and shows them when that has succeeded.
func (x *execution) commitLast(up mastra.RunUpdate, spans []mastra.Span, out outcome) error {
	b := &mastra.Batch{Runs: []mastra.RunUpdate{up}, Spans: spans}
	if x.log == nil {
		return x.commit(b)
	}
	x.emitting.Lock()
	x.log.Hold()
	x.emitting.Unlock()
	x.emitFinish(out)
	block, err := x.log.Block(true)
	if err != nil {
		return err
	}
	if block != nil {
		b.Chunks = []mastra.ChunkBlock{*block}
	}
	err = x.commit(b)
	x.log.Stored(block, err == nil)
	if err != nil {
		x.log.Drop()
		return err
	}
	x.log.Show()
	return nil
}
