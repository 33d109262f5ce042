// Package runlog keeps a run apart from those who watch it: the Supervisor owns every goroutine of the runs,
// a Log holds what a run says, and readers come and go.
package runlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"mastralambda/shared/mastra"
)

// ErrCanceled is the cause of a run's context that was cancelled by name.
var ErrCanceled = errors.New("the run was canceled")

// errStopped is the cause of a run's context that outlived the time Drain had.
var errStopped = errors.New("the process is stopping")

// PanicError is a recovered panic.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Safely calls f and returns a panic of it as *PanicError.
func Safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return f()
}

// Supervisor owns the runs of a process and their goroutines. It is safe for concurrent use.
type Supervisor struct {
	log     *slog.Logger
	mu      sync.Mutex
	tasks   map[string]*Task // by tenant and id
	running int
	twins   int
	drained chan struct{} // made by Drain, closed when nothing runs
	idle    chan struct{} // made by Idle, closed and forgotten when nothing runs
	tending sync.WaitGroup
	stop    chan struct{} // closed when the runs have ended
	once    sync.Once
}

// NewSupervisor makes one; a nil logger is slog.Default().
func NewSupervisor(log *slog.Logger) *Supervisor {
	if log == nil {
		log = slog.Default()
	}
	return &Supervisor{log: log, tasks: map[string]*Task{}, stop: make(chan struct{})}
}

// Task is one run. Do or Go carries it out and ends it; End gives it up before that.
type Task struct {
	s      *Supervisor
	key    string
	id     string
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the deadline
	ended  bool               // under s.mu
}

type taskKey struct{}

// Apart is ctx without the run that it belongs to: what is begun with it is a run of its own.
func Apart(ctx context.Context) context.Context { return context.WithValue(ctx, taskKey{}, nil) }

// Begin registers a run. Its context has the values of ctx and keeps its deadline, but does not end with ctx. A run that is
// begun within another one, as a tool of it for example, ends with that one. A Supervisor that drains begins none but
// those within others: CodeUnavailable.
func (s *Supervisor) Begin(ctx context.Context, id string) (*Task, error) {
	return s.begin(ctx, id, false)
}

// BeginAfter registers what follows from a run and outlasts it: like Begin, but it does not end with the run that it is
// begun in.
func (s *Supervisor) BeginAfter(ctx context.Context, id string) (*Task, error) {
	return s.begin(ctx, id, true)
}

func (s *Supervisor) begin(ctx context.Context, id string, apart bool) (*Task, error) {
	t := &Task{s: s, id: id}
	parent, inner := ctx.Value(taskKey{}).(*Supervisor)
	inner = inner && parent == s
	run := ctx
	if !inner || apart {
		run = context.WithoutCancel(ctx)
		if deadline, ok := ctx.Deadline(); ok {
			run, t.stop = context.WithDeadline(run, deadline)
		}
		run = context.WithValue(run, taskKey{}, s)
	}
	t.ctx, t.cancel = context.WithCancelCause(run)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained != nil && !inner {
		t.release()
		return nil, mastra.Errorf(mastra.CodeUnavailable, "The server is shutting down")
	}
	s.running++
	s.add(t, mastra.Tenant(ctx)+"\x00"+id)
	return t, nil
}

// Context is the run's own.
func (t *Task) Context() context.Context { return t.ctx }

// Stop ends the run's context with cause.
func (t *Task) Stop(cause error) { t.cancel(cause) }

// Rename makes the run known under another id from now on.
func (t *Task) Rename(id string) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	tenant, _, _ := strings.Cut(t.key, "\x00")
	if t.ended || t.id == id {
		return
	}
	delete(t.s.tasks, t.key)
	t.id = id
	t.s.add(t, tenant+"\x00"+id)
}

// add enters t under mu. A second run of one id is not found by it, but Drain must find it.
func (s *Supervisor) add(t *Task, key string) {
	if s.tasks[key] != nil {
		s.twins++
		key += "\x00" + strconv.Itoa(s.twins)
	}
	t.key = key
	s.tasks[key] = t
}

// Do carries the run out in the calling goroutine. A panic comes back as *PanicError.
func (t *Task) Do(f func(context.Context) error) error {
	defer t.End()
	err := Safely(func() error { return f(t.ctx) })
	var p *PanicError
	if errors.As(err, &p) {
		t.s.log.ErrorContext(t.ctx, "a run panicked", "runId", t.id, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	}
	return err
}

// Go carries the run out in a goroutine. end, where not nil, is told how it ended, a *PanicError if f panicked, before
// the run counts as ended.
func (t *Task) Go(f func(context.Context) error, end func(error)) {
	go func() {
		_ = t.Do(func(ctx context.Context) error { // end was told
			err := Safely(func() error { return f(ctx) })
			if end != nil {
				end(err)
			}
			return err
		})
	}()
}

// End gives the run up, or marks it as ended. Do and Go call it.
func (t *Task) End() {
	t.release()
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	delete(t.s.tasks, t.key)
	t.s.ran()
}

// ran counts one less that runs, under mu.
func (s *Supervisor) ran() {
	if s.running--; s.running > 0 {
		return
	}
	if s.drained != nil {
		close(s.drained)
	}
	if s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

func (t *Task) release() {
	t.cancel(nil)
	if t.stop != nil {
		t.stop()
	}
}

// Cancel ends the run of that id of ctx's tenant: its context ends with ErrCanceled. It says whether there is one.
func (s *Supervisor) Cancel(ctx context.Context, id string) bool {
	s.mu.Lock()
	t := s.tasks[mastra.Tenant(ctx)+"\x00"+id]
	s.mu.Unlock()
	if t != nil {
		t.cancel(ErrCanceled)
	}
	return t != nil
}

// Tend runs f, which keeps something in order for the runs, until they have ended in Drain: then stop is closed and f
// returns soon. It says whether f was started: not after Drain.
func (s *Supervisor) Tend(f func(stop <-chan struct{})) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
		return false
	default:
	}
	s.tending.Add(1)
	go func() {
		defer s.tending.Done()
		var p *PanicError
		if errors.As(Safely(func() error { f(s.stop); return nil }), &p) {
			s.log.Error("a keeper of runs panicked", "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
		}
	}()
	return true
}

// Hold counts as something that runs, for Idle and Drain, until release is called, once. Where the Supervisor drains already,
// it counts for nothing.
func (s *Supervisor) Hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained != nil {
		return func() {}
	}
	s.running++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ran()
	}
}

// Idle waits until nothing runs, without keeping new runs from beginning; where ctx ends first it returns ctx's error.
func (s *Supervisor) Idle(ctx context.Context) error {
	s.mu.Lock()
	if s.running == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain begins no new runs and waits for those that there are, then for what tends them. Where ctx ends first, it cancels
// the runs, waits for nothing more and returns ctx's error.
func (s *Supervisor) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.drained == nil {
		s.drained = make(chan struct{})
		if s.running == 0 {
			close(s.drained)
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	select {
	case <-s.drained:
	case <-ctx.Done():
		s.mu.Lock()
		for _, t := range s.tasks {
			t.cancel(errStopped)
		}
		s.mu.Unlock()
		s.once.Do(func() { close(s.stop) })
		return ctx.Err()
	}
	s.once.Do(func() { close(s.stop) })
	go func() { s.tending.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
