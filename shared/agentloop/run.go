package agentloop

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
	"mastralambda/shared/runlog"
)

// run is one run of an agent. Its state is what a repeat needs to go on.
type run struct {
	state
	r     *Runner
	task  *runlog.Task
	ctx   context.Context // of the run: with the Mastra, without the request
	m     *mastra.Mastra
	agent *mastra.Agent
	call  mastra.AgentCall
	model mastra.LanguageModel
	info  mastra.ModelInfo

	tools      []*mastra.Tool // those offered
	resourceID string
	threadID   string // "" where nothing is remembered
	thread     *mastra.Thread
	remembered []mastra.Message
	observed   *recall.Observed // nil where the thread is not observed
	beyond     *beyond          // nil where the agent remembers nothing else
	window     int              // how many it may be
	context    intake
	in         intake
	known      []string // ids of input messages that the thread holds already
	prompt     []mastra.PromptMessage
	asked      int // how much of the prompt came before the first step

	log        *runlog.Log     // nil where nobody reads chunks
	base       int             // where the steps of the message under way begin
	opened     *opened         // nil where no message of a thread began it
	inThread   bool            // the thread's subscribers know it
	read       map[string]bool // the messages of its inbox that it has dealt with, by their ids
	streamed   int64           // how many chunks there were before
	shown      string          // the message's id in chunks
	resumed    bool            // somebody answered what it waited for
	taken      bool            // another process began it
	elsewhere  bool            // it goes on in another process
	nested     bool            // a tool or a step of another run runs it
	above      *run            // whose call of an agent it is, where it is one
	aboveCall  *call
	forwarding sync.Mutex
	rec        record
	lastFinish *mastra.Finish
	lastStep   int

	entry  *entry // nil where a repeat of the request finds nothing
	closed bool   // the state came with a whole answer
	again  bool   // it goes on from what another request left
	ahead  bool   // what it began with is on its way to the disk
	early  bool   // its messages got their ids before the thread was read

	structured *structured // nil where no JSON is asked for

	trace    trace
	sink     mastra.SpanSink // what tools and stores add to it
	untraced bool            // nothing of its trace is kept
	remote   bool            // the span above is a caller's, from outside
	answer   mastra.Message  // the assistant's
	result   *mastra.AgentResult
}

func newRun(r *Runner, task *runlog.Task, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall, model mastra.LanguageModel, id string) *run {
	ctx := mastra.NewContext(task.Context(), m)
	if mastra.RequestOf(ctx) != nil { // what runs within is not the request itself
		ctx = mastra.WithRequest(ctx, nil)
	}
	x := &run{r: r, task: task, ctx: ctx, m: m, agent: a, call: c, model: model, info: model.Info()}
	x.resourceID = mastra.Resource(ctx, c.ResourceID)
	if a.Memory != nil {
		x.threadID = c.ThreadID
	}
	x.Version, x.MessageID, x.SpanID, x.StartedAt = stateVersion, mastra.NewID(), mastra.NewSpanID(), x.now()
	x.Epoch = 1
	if c.RunID != "" { // a client may use one again: its streams come one behind the other
		x.Epoch = int64(x.StartedAt) / 1000
	}
	x.rec.owner, x.rec.fence = r.kept.owner, 1
	x.RunID = id
	x.TraceID, x.ParentID, x.remote = c.Tracing.Place(ctx, id, c.RunID == "")
	if x.nested = mastra.SpanOf(ctx).Inside(); x.nested {
		x.call.Tracing.Within(ctx)
	}
	x.ctx = mastra.WithSpanSink(ctx, &x.sink)
	return x
}

func (x *run) now() mastra.Time { return mastra.TimeOf(x.m.Now()) }

// ms is now in Unix milliseconds.
func (x *run) ms() int64 { return x.m.Now().UnixMilli() }

// perform carries the run out: its steps, then what is kept of them, and then its answer.
func (x *run) perform(context.Context) (err error) {
	defer func() {
		if x.entry != nil {
			x.entry.end(x.result, err)
		}
	}()
	defer func() { // a fault of our own must not leave readers without an end
		if p := recover(); p != nil {
			if x.log != nil {
				x.log.Drop()
			}
			x.emitError(fmt.Errorf("panic: %v", p))
			panic(p)
		}
	}()
	switch {
	case x.taken:
		x.emit(mastra.ChunkEpoch, mastra.Epoch{Epoch: x.epoch(), Steps: x.rec.kept})
	case x.blocked():
	case !x.resumed:
		x.emitStart()
		if x.call.Signal != nil {
			x.emitSignal(x.call.Signal)
		}
		for i := range x.Steps {
			if x.Tripwire == nil {
				x.emitAgain(i)
			}
		}
	}
	if x.closed || x.Tripwire != nil {
		if len(x.waiting()) > 0 {
			return x.conclude(errSuspended)
		}
		return x.conclude(nil)
	}
	err = runlog.Safely(func() error {
		if err := x.steps(); err != nil {
			return err
		}
		return x.processResult()
	})
	if x.trips(err) {
		return x.conclude(nil)
	}
	var p *runlog.PanicError
	if errors.As(err, &p) {
		x.m.Logger.ErrorContext(x.ctx, "the model panicked", "runId", x.RunID, "agent", x.agent.ID, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	}
	switch cause := context.Cause(x.ctx); {
	case err == nil, errors.Is(err, errSuspended), errors.Is(err, errLost):
	case errors.Is(cause, errLost):
		err = errLost
	case cause != nil && !errors.Is(cause, runlog.ErrCanceled):
		if x.release() == nil { // this process stops, or its time is over: another one goes on
			x.elsewhere = true
			return errReleased
		}
		err = failure(x.ctx, err)
	default:
		err = failure(x.ctx, err)
	}
	return x.conclude(err)
}

// stop breaks the run off.
func (x *run) stop(cause error) { x.task.Stop(cause) }

func (x *run) maxSteps() int {
	switch {
	case x.call.MaxSteps > 0:
		return x.call.MaxSteps
	case x.agent.MaxSteps > 0:
		return x.agent.MaxSteps
	}
	return DefaultMaxSteps
}

// steps asks the model until it has nothing more to ask of its tools.
func (x *run) steps() error {
	limit := x.maxSteps()
	if n := len(x.Steps); n > 0 && !x.Steps[n-1].complete() { // its calls were answered
		if err := x.goOn(n-1, n < limit); err != nil {
			return err
		}
		if err := x.checkpoint(n-1, n < limit); err != nil {
			return err
		}
	}
	for n := len(x.Steps); n < limit && (n == 0 || x.Steps[n-1].continued() || x.Steps[n-1].Next != "" || x.Steps[n-1].Refused != nil); n++ {
		x.Steps = append(x.Steps, step{StartedAt: x.ms()})
		if err := x.step(n, n+1 < limit); err != nil {
			return err
		}
		if came, err := x.came(n, n+1 < limit); err != nil {
			return err
		} else if came {
			limit++
			continue
		}
		if err := x.checkpoint(n, n+1 < limit); err != nil {
			return err
		}
		if x.agent.StopWhen != nil && x.agent.StopWhen(x.infos()) {
			return nil
		}
	}
	return nil
}

// infos are the steps as StopWhen sees them.
func (x *run) infos() []mastra.StepInfo {
	list := make([]mastra.StepInfo, len(x.Steps))
	for i := range x.Steps {
		s := &x.Steps[i]
		list[i] = mastra.StepInfo{Text: s.text(), Finish: s.Finish, Usage: s.Usage}
		for _, c := range s.calls() {
			list[i].ToolCalls = append(list[i].ToolCalls, c.Name)
		}
	}
	return list
}

// checkpoint makes a step durable that another one follows.
func (x *run) checkpoint(n int, mayGoOn bool) error {
	x.noteStep(n)
	if !mayGoOn || !x.Steps[n].continued() {
		return nil
	}
	x.rec.mu.Lock()
	made := x.rec.made
	x.rec.mu.Unlock()
	b := &mastra.Batch{}
	ctx := context.WithoutCancel(x.ctx)
	if x.call.SavePerStep && x.stores() {
		if x.makeAnswer(); x.answer.ID != "" {
			b.Messages = []mastra.Message{x.answer}
		}
	}
	switch {
	case made:
	case x.entry != nil:
		return x.entry.store(ctx, x, b, mastra.StatusRunning)
	case len(b.Messages) > 0:
		return x.commit(ctx, b)
	default:
		return nil
	}
	return x.withChunks(b, false, func() error {
		return x.writeRecord(b, mastra.StatusRunning, n+1, func() error {
			if x.entry != nil {
				return x.entry.store(ctx, x, b, mastra.StatusRunning)
			}
			return x.commit(ctx, b)
		})
	})
}
