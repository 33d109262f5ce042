// Package engine runs workflows: it walks the graph, checkpoints each step's result before the next begins, suspends,
// resumes, and takes over what another process left behind.
package engine

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// Engine is a mastra.WorkflowEngine over a mastra.Storage. It is safe for concurrent use; many processes may share a storage.
type Engine struct {
	supervisor *runlog.Supervisor
	streams    *runlog.Recorder
	owner      string // the beginning of what its executions are called in leases
	executions atomic.Int64
	lease      time.Duration
	heartbeat  time.Duration
	handsOver  bool
	version    int64
	attempts   int
	graphs     sync.Map // *mastra.Graph -> mastra.JSON
	unanswered unanswered

	mu      sync.Mutex
	running map[runKey]*execution // those whose run is stored: the heartbeat renews them
	live    int
	tended  bool
	drained chan struct{} // made by Drain, closed when nothing is live
}

type runKey struct{ tenant, id string }

// Option changes what New makes.
type Option func(*Engine)

// Lease says how long a run is safe from others after its owner's last sign of life (30 s), and how often there is one (10 s).
func Lease(lease, heartbeat time.Duration) Option {
	return func(e *Engine) { e.lease, e.heartbeat = lease, heartbeat }
}

// Attempts says how often in a row a run is taken over from a process that died, without getting further, before it has
// failed: 10 unless said.
func Attempts(n int) Option { return func(e *Engine) { e.attempts = n } }

// Version is the code's: one that is deployed later has a higher one. A run that was begun by newer code, and does not fit
// this one, is left to that. 0 is not known.
func Version(v int64) Option { return func(e *Engine) { e.version = v } }

// newOwner names an execution.
func (e *Engine) newOwner() string {
	return e.owner + "." + strconv.FormatInt(e.executions.Add(1), 36)
}

// New makes an Engine whose goroutines s owns. Each has a name of its own in leases.
func New(s *runlog.Supervisor, opts ...Option) *Engine {
	e := &Engine{supervisor: s, streams: runlog.NewRecorder(s), owner: mastra.NewID(), lease: 30 * time.Second, heartbeat: 10 * time.Second, attempts: 10, running: map[runKey]*execution{}}
	for _, o := range opts {
		o(e)
	}
	return e
}

var _ mastra.WorkflowEngine = (*Engine)(nil)

// Create makes a pending run. One of the same workflow that exists is returned as it is.
func (e *Engine) Create(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall) (*mastra.Run, error) {
	head, err := e.head(ctx, m, w, c)
	if err != nil {
		return nil, err
	}
	head.Status, head.Input, head.Fingerprint = mastra.StatusPending, nil, ""
	err = m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: head, Create: true}}})
	if mastra.CodeOf(err) == mastra.CodeConflict {
		run, err := e.load(ctx, m, w, head.ID)
		if run != nil && err != nil {
			return nil, taken(head.ID)
		}
		return run, err
	}
	if err != nil {
		return nil, err
	}
	return &head, nil
}

// Start runs to the end or to a suspension. Where the run exists already it joins it.
func (e *Engine) Start(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall) (*mastra.Run, error) {
	x, joined, err := e.start(ctx, m, w, c, waiting)
	switch {
	case err != nil:
		return nil, err
	case x == nil:
		return e.await(ctx, m, joined)
	}
	return x.wait(ctx)
}

// Background starts and returns once the run is durable.
func (e *Engine) Background(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall) (*mastra.Run, error) {
	x, joined, err := e.start(ctx, m, w, c, background)
	if err != nil || x == nil {
		return joined, err
	}
	return x.begun(ctx)
}

// Stream starts and returns the run's chunks. One that has ended is a CodeConflict.
func (e *Engine) Stream(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall) (iter.Seq2[mastra.Chunk, error], error) {
	x, joined, err := e.start(ctx, m, w, c, streaming)
	switch {
	case err != nil:
		return nil, err
	case x == nil && joined.Status.Ended():
		return nil, mastra.Errorf(mastra.CodeConflict, "Workflow run %s already finished with status %q. Stream a new runId.", joined.ID, joined.Status)
	case x == nil || x.log == nil:
		return e.follow(ctx, m, w.Graph(), c.RunID), nil
	}
	if _, err := x.begun(ctx); err != nil {
		return nil, err
	}
	return x.chunks(ctx), nil
}

// Resume goes on to the end or the next suspension.
func (e *Engine) Resume(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowResume) (*mastra.Run, error) {
	x, err := e.resume(ctx, m, w, c, waiting)
	if err != nil {
		return nil, err
	}
	return x.wait(ctx)
}

// ResumeStream is Resume as chunks.
func (e *Engine) ResumeStream(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowResume) (iter.Seq2[mastra.Chunk, error], error) {
	x, err := e.resume(ctx, m, w, c, streaming)
	if err != nil {
		return nil, err
	}
	return x.chunks(ctx), nil
}

// ResumeBackground resumes and returns once that is durable.
func (e *Engine) ResumeBackground(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowResume) (*mastra.Run, error) {
	x, err := e.resume(ctx, m, w, c, background)
	if err != nil {
		return nil, err
	}
	return x.begun(ctx)
}

// head is a run that begins now.
func (e *Engine) head(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall) (mastra.Run, error) {
	g := w.Graph()
	graph, err := e.graph(g)
	if err != nil {
		return mastra.Run{}, err
	}
	now := mastra.TimeOf(m.Now())
	if c.Input != nil { // one text for one value: a payload is compared with it
		c.Input = c.Input.Clone()
		if err := c.Input.Compact(); err != nil {
			return mastra.Run{}, mastra.Invalid("body", "Invalid JSON")
		}
	}
	run := mastra.Run{ID: c.RunID, WorkflowID: g.ID, ResourceID: mastra.Resource(ctx, c.ResourceID), Status: mastra.StatusRunning,
		Input: c.Input, Context: mastra.RequestContextOf(ctx), Graph: graph, Tracing: c.Tracing, Caller: mastra.Caller(ctx),
		State: c.State, PerStep: c.PerStep, Version: e.version, CreatedAt: now, UpdatedAt: now, Fence: 1}
	if run.ID == "" {
		run.ID = mastra.NewID()
	}
	run.Fingerprint, err = fingerprint(c.Input)
	return run, err
}

func (e *Engine) graph(g *mastra.Graph) (mastra.JSON, error) {
	if data, ok := e.graphs.Load(g); ok {
		return data.(mastra.JSON), nil
	}
	data, err := g.JSON()
	if err == nil {
		e.graphs.Store(g, data)
	}
	return data, err
}

// start begins a run, or returns the one that c.RunID names: as an execution where it runs here, else as it is stored.
func (e *Engine) start(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowCall, how manner) (*execution, *mastra.Run, error) {
	if err := validate("input", w.Graph().In, c.Input); err != nil {
		return nil, nil, err
	}
	if err := validateState(w.Graph().State, c.State); err != nil {
		return nil, nil, err
	}
	request, key := requested(ctx)
	if c.RunID == "" && request != nil {
		c.RunID = e.unanswered.take(key, m.Now())
	}
	head, err := e.head(ctx, m, w, c)
	if err != nil {
		return nil, nil, err
	}
	if request != nil {
		e.unanswered.watch(request, key, head.ID, m.Now)
	}
	if c.RunID == "" {
		x := &execution{m: m, g: w.Graph(), run: head}
		return x, nil, e.launch(ctx, x, how)
	}
	for {
		stored, err := e.load(ctx, m, w, c.RunID)
		from := mastra.RunStatus("")
		switch {
		case mastra.CodeOf(err) == mastra.CodeNotFound:
			if stored != nil { // it exists, but is not the caller's
				return nil, nil, taken(c.RunID)
			}
		case err != nil:
			return nil, nil, err
		case stored.Status == mastra.StatusPending:
			from = mastra.StatusPending
			head.CreatedAt, head.Fence = stored.CreatedAt, stored.Fence
			if stored.ResourceID != "" {
				head.ResourceID = stored.ResourceID
			}
		case stored.Fingerprint != head.Fingerprint:
			return nil, nil, mastra.Errorf(mastra.CodeConflict, "The run %s exists with another input", c.RunID)
		default:
			e.mu.Lock()
			x := e.running[runKey{mastra.Tenant(ctx), c.RunID}]
			e.mu.Unlock()
			return x, stored, nil
		}
		x := &execution{m: m, g: w.Graph(), run: head, from: from, named: true}
		if err := e.launch(ctx, x, how); err != nil {
			return nil, nil, err
		}
		if _, err := x.begun(ctx); mastra.CodeOf(err) != mastra.CodeConflict {
			return x, nil, err
		} // another start was first: look again
	}
}

// load reads a run that ctx may see. Where it is there but not to be seen, the error is the same as for one that is not,
// and the run is returned beside it.
func (e *Engine) load(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, id string) (*mastra.Run, error) {
	run, err := m.Storage.Run(ctx, id)
	if err != nil {
		if mastra.CodeOf(err) == mastra.CodeNotFound {
			err = errNoRun
		}
		return nil, err
	}
	if run.WorkflowID != w.Graph().ID || run.ResourceID != mastra.Resource(ctx, run.ResourceID) {
		return run, errNoRun
	}
	return run, nil
}

var errNoRun = mastra.Errorf(mastra.CodeNotFound, "Workflow run not found")

func taken(id string) error { return mastra.Errorf(mastra.CodeConflict, "The runId %s is taken", id) }

const (
	pollFast = 250 * time.Millisecond
	pollSlow = time.Second
	fastFor  = 10 * time.Second
)

// await waits for a run that another process carries out: until it has ended or waits for an answer.
func (e *Engine) await(ctx context.Context, m *mastra.Mastra, run *mastra.Run) (*mastra.Run, error) {
	for every, waited := pollFast, time.Duration(0); !run.Status.Rests(); waited += every {
		if waited >= fastFor {
			every = pollSlow
		}
		if deadline, ok := ctx.Deadline(); ok && e.handsOver && time.Until(deadline) < every+handOverTime {
			return run, nil // as it stands: the caller asks again
		}
		if err := runlog.Sleep(ctx, every); err != nil {
			return nil, err
		}
		var err error
		if run, err = m.Storage.Run(ctx, run.ID); err != nil {
			return nil, err
		}
	}
	return run, nil
}

// manner is what somebody who begins an execution waits for.
type manner int

const (
	waiting    manner = iota // for its end
	background               // for the run to be durable
	streaming                // for its chunks
)

// cancelWait is how long Cancel gives the running step to end by itself, so that its result is kept.
const cancelWait = 2 * time.Second

// Cancel ends a run; one that has ended is a CodeConflict.
func (e *Engine) Cancel(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, runID string) error {
	for {
		run, err := e.load(ctx, m, w, runID)
		if err != nil {
			return err
		}
		if run.Status.Ended() {
			return mastra.Errorf(mastra.CodeConflict, "Workflow run %s already finished with status %q", runID, run.Status)
		}
		e.mu.Lock()
		x := e.running[runKey{mastra.Tenant(ctx), runID}]
		e.mu.Unlock()
		if x != nil {
			x.cancel(runlog.ErrCanceled)
			timer := time.NewTimer(cancelWait)
			select {
			case <-x.done:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			if x.ended() == mastra.StatusCanceled {
				return nil
			}
			if run, err = e.load(context.WithoutCancel(ctx), m, w, runID); err != nil {
				return err
			} else if run.Status.Ended() {
				continue
			}
		}
		run.Status, run.UpdatedAt, run.Owner, run.LeaseUntil = mastra.StatusCanceled, mastra.TimeOf(m.Now()), "", 0
		run.Steps, run.Suspended = nil, nil
		if err := e.announce(ctx, m, run); err != nil {
			return err
		}
		err = m.Storage.Commit(context.WithoutCancel(ctx), &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *run}}})
		if mastra.CodeOf(err) != mastra.CodeConflict {
			return err
		}
	}
}

// errLost ends an execution whose run another process has, or that was cancelled elsewhere; errReleased one whose run
// was given up for others to take over.
var (
	errLost     = errors.New("the run has another owner")
	errReleased = errors.New("the run is given up")
)
