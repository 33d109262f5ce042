package agentloop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
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
	beyond     *beyond // nil where the agent remembers nothing else
	window     int     // how many it may be
	context    intake
	in         intake
	known      []string // ids of input messages that the thread holds already
	prompt     []mastra.PromptMessage
	asked      int // how much of the prompt came before the first step

	log        *runlog.Log     // nil where nobody reads chunks
	base       int             // where the steps of the message under way begin
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

	structured *structured // nil where no JSON is asked for

	trace    trace
	sink     mastra.SpanSink // what tools and stores add to it
	untraced bool            // nothing of its trace is kept
	remote   bool            // the span above is a caller's, from outside
	answer   mastra.Message  // the assistant's
	result   *mastra.AgentResult
}

func newRun(r *Runner, task *runlog.Task, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall, model mastra.LanguageModel) *run {
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
	x.TraceID, x.ParentID, x.remote = c.Tracing.Place(ctx)
	x.nested = mastra.SpanOf(ctx).Inside()
	x.ctx = mastra.WithSpanSink(ctx, &x.sink)
	return x
}

func (x *run) now() mastra.Time { return mastra.TimeOf(x.m.Now()) }

// ms is now in Unix milliseconds.
func (x *run) ms() int64 { return x.m.Now().UnixMilli() }

// offerTools lists the tools that the model is told of: the agent's, then those that the caller runs itself.
func (x *run) offerTools() error {
	if n := len(x.agent.Tools) + len(x.call.ClientTools); n > 0 {
		x.tools = make([]*mastra.Tool, 0, n+1)
	}
	offer := func(t *mastra.Tool) {
		if x.call.ActiveTools == nil || slices.Contains(x.call.ActiveTools, t.Name()) {
			x.tools = append(x.tools, t)
		}
	}
	for _, c := range x.agent.Tools {
		offer(c.Tool())
	}
	x.offerNotes()
	for _, c := range x.call.ClientTools {
		if x.tool(c.Name) != nil {
			return mastra.Invalid("clientTools."+c.Name, "The agent has a tool of this name")
		}
		if c.Input == nil {
			c.Input = mastra.JSON(`{"type":"object"}`)
		}
		s, err := schema.Parse(c.Input)
		if err != nil {
			return mastra.Invalid("clientTools."+c.Name+".inputSchema", "Invalid JSON Schema")
		}
		offer(mastra.NewClientTool(c.Name, c.Description, s))
	}
	if name := x.call.ToolChoice.Tool; name != "" && x.tool(name) == nil {
		return mastra.Invalid("toolChoice.toolName", "The agent has no such tool")
	}
	return nil
}

func (x *run) tool(name string) *mastra.Tool {
	for _, t := range x.tools {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

func (x *run) remembers() bool { return x.threadID != "" }
func (x *run) stores() bool    { return x.threadID != "" && !x.call.ReadOnly && !x.memory().ReadOnly }

// resourceOfMessages is whose the run's messages are; they are nobody's where they are not kept.
func (x *run) resourceOfMessages() string {
	if x.threadID == "" {
		return ""
	}
	return x.resourceID
}

// recall reads what the run begins with, and takes in the caller's messages.
func (x *run) recall() error {
	x.thread, x.remembered = nil, nil
	if x.remembers() {
		if x.m.Storage == nil {
			return mastra.Errorf(mastra.CodeUnavailable, "No storage is configured")
		}
		if x.resourceID == "" {
			return mastra.Errorf(mastra.CodeInvalid, "A resource ID is required when using memory. Provide memory.resource in the request body, or call with a key that is bound to one.")
		}
		last := x.memory().LastMessages
		if x.call.LastMessages != nil {
			last = *x.call.LastMessages
		}
		last = max(0, last)
		x.window = last
		own := 0 // messages of this very request that are stored already
		if len(x.Inputs) > 0 {
			own = len(x.Inputs) + 1
		}
		began := x.now()
		wait := x.lookBeyond()
		var err error
		x.thread, x.remembered, err = x.m.Storage.Recall(x.ctx, x.threadID, last+own)
		if errBeyond := wait(); err == nil && errBeyond != nil {
			return errBeyond
		}
		if err != nil {
			return fmt.Errorf("recall thread %s: %w", x.threadID, err)
		}
		if x.thread != nil && x.thread.ResourceID != x.resourceID {
			return mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
		}
		x.trace.recalled = [2]mastra.Time{began, x.now()}
	}
	if err := x.takeIn(); err != nil {
		return err
	}
	x.putTogether()
	return nil
}

func (x *run) takeIn() (err error) {
	at := x.now()
	if n := len(x.Inputs); n > 0 { // a repeat: what came first keeps its ids and times
		at = x.Inputs[0].At
		ours := func(m mastra.Message) bool {
			return m.ID == x.MessageID || slices.ContainsFunc(x.Inputs, func(s stamp) bool { return s.ID == m.ID })
		}
		if i := slices.IndexFunc(x.remembered, ours); i >= 0 {
			x.remembered = x.remembered[:i]
		}
		if extra := len(x.remembered) - x.window; extra > 0 {
			x.remembered = x.remembered[extra:]
		}
	}
	if n := len(x.remembered); n > 0 {
		at = max(at, x.remembered[n-1].CreatedAt+1)
	}
	if x.context, err = take(x.call.Context, at); err != nil {
		return err
	}
	if sig := x.call.Signal; sig != nil {
		x.in = intake{stored: []mastra.Message{x.signalled(sig, at)}}
		x.in.prompt = recalled(nil, x.in.stored)
	} else if x.in, err = take(x.call.Messages, at); err != nil {
		return err
	}
	stamped := len(x.Inputs) == len(x.in.stored) && len(x.Inputs) > 0
	x.known = nil
	for i := range x.in.stored {
		m := &x.in.stored[i]
		m.ThreadID, m.ResourceID = x.threadID, x.resourceOfMessages()
		if stamped {
			m.ID, m.CreatedAt = x.Inputs[i].ID, x.Inputs[i].At
			continue
		}
		// A client that sends its whole conversation, with ids, repeats what the thread holds.
		if j := slices.IndexFunc(x.remembered, func(o mastra.Message) bool { return o.ID == m.ID }); j >= 0 {
			x.known = append(x.known, m.ID)
			x.remembered = slices.Delete(x.remembered, j, j+1)
		}
	}
	if !stamped {
		x.Inputs = make([]stamp, len(x.in.stored))
		for i, m := range x.in.stored {
			x.Inputs[i] = stamp{m.ID, m.CreatedAt}
		}
	}
	return nil
}

// opening is what is committed before the model is called: the user's messages, in a thread that is made if need be.
func (x *run) opening(b *mastra.Batch) {
	if s := x.call.Signal; s != nil {
		x.announce(b)
		if s.Mailed && x.m.Storage != nil {
			b.Claims = append(b.Claims, claimed(x.m, s))
		}
	}
	if !x.stores() || x.blocked() {
		return
	}
	switch {
	case x.thread == nil:
		b.Threads = []mastra.Thread{{ID: x.threadID, ResourceID: x.resourceID, Title: x.call.ThreadTitle, Metadata: x.call.ThreadMetadata,
			CreatedAt: x.StartedAt, UpdatedAt: x.StartedAt}}
	case x.call.ThreadTitle != "" && x.call.ThreadTitle != x.thread.Title, len(x.call.ThreadMetadata) > 0:
		t := *x.thread
		if x.call.ThreadTitle != "" {
			t.Title = x.call.ThreadTitle
		}
		if len(x.call.ThreadMetadata) > 0 {
			t.Metadata = x.call.ThreadMetadata
		}
		t.UpdatedAt = x.StartedAt
		b.Threads = []mastra.Thread{t}
	}
	b.Messages = x.in.stored
	if len(x.known) > 0 {
		b.Messages = slices.DeleteFunc(slices.Clone(x.in.stored), func(m mastra.Message) bool { return slices.Contains(x.known, m.ID) })
	}
}

// ready puts the prompt together.
func (x *run) ready() {
	x.head()
	instructions := x.agent.Instructions
	if x.call.Instructions != "" {
		instructions = x.call.Instructions
	}
	x.prompt = make([]mastra.PromptMessage, 0, 4+len(x.remembered)+len(x.context.prompt)+len(x.in.prompt))
	lines := []string{instructions, x.call.System}
	if x.structured.answered() {
		lines = append(lines, x.structured.instructions()...)
	}
	for _, s := range lines {
		if s != "" {
			x.prompt = append(x.prompt, mastra.PromptMessage{Role: "system", Parts: []mastra.Part{{Type: mastra.PartText, Text: s}}})
		}
	}
	x.prompt = append(append(x.prompt, x.context.system...), x.in.system...)
	x.prompt = x.appendBeyond(x.prompt)
	x.prompt = recalled(x.prompt, x.remembered)
	x.prompt = append(append(x.prompt, x.context.prompt...), x.in.prompt...)
	x.asked = len(x.prompt)
	x.trace.metadata = x.appendMetadata(make([]byte, 0, 160))
	x.untraced = !x.m.Traces(x.TraceID)
	x.ctx = mastra.WithSpan(x.ctx, mastra.SpanRef{TraceID: x.TraceID, SpanID: x.SpanID, RunID: x.RunID})
	for i := range x.Steps {
		if s := &x.Steps[i]; s.complete() {
			x.prompt = recalled(appendStep(x.prompt, s), s.Came)
			if s.Next != "" {
				x.base, x.MessageID = i+1, s.Next
			}
		}
	}
}

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

// replaceRecord makes room for a run under an id that its client has used before.
func (x *run) replaceRecord() error {
	if x.m.Storage == nil {
		return nil
	}
	stored, err := x.m.Storage.Run(x.ctx, x.RunID)
	switch {
	case mastra.CodeOf(err) == mastra.CodeNotFound:
		return nil
	case err != nil:
		return err
	case stored.ResourceID != mastra.Resource(x.ctx, stored.ResourceID), stored.WorkflowID != mastra.AgentRuns+x.agent.ID, !stored.Status.Ended():
		return mastra.Errorf(mastra.CodeConflict, "The runId %s is taken by a run that has not ended", x.RunID)
	}
	if err = x.m.Storage.DeleteRun(x.ctx, x.RunID); mastra.CodeOf(err) == mastra.CodeNotFound {
		err = nil
	}
	return err
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
	for n := len(x.Steps); n < limit && (n == 0 || x.Steps[n-1].continued() || x.Steps[n-1].Next != ""); n++ {
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
	if !made {
		if x.entry != nil {
			return x.entry.checkpoint(x)
		}
		return nil
	}
	b := &mastra.Batch{}
	ctx := context.WithoutCancel(x.ctx)
	return x.withChunks(b, false, func() error {
		return x.writeRecord(b, mastra.StatusRunning, n+1, func() error {
			if x.entry != nil {
				return x.entry.store(ctx, x, b, mastra.StatusRunning)
			}
			return x.commit(ctx, b)
		})
	})
}

// conclude commits what came of the run, all at once, and answers. failed is why it came to nothing, or errSuspended.
func (x *run) conclude(failed error) error {
	suspended := errors.Is(failed, errSuspended)
	if errors.Is(failed, errLost) {
		x.elsewhere = true
		return mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere, or was canceled: ask for it by its runId")
	}
	if x.makeAnswer(); x.Tripwire != nil {
		x.answer = mastra.Message{}
	}
	switch {
	case x.log != nil && suspended:
		x.emitWaiting()
	case x.log != nil:
		x.log.Hold()
		x.emitEnd(failed)
	}
	if suspended {
		failed = nil
	}
	if !x.closed {
		if err := x.keep(failed, suspended); err != nil {
			x.m.Logger.ErrorContext(x.ctx, "the outcome of a run was not stored", "runId", x.RunID, "agent", x.agent.ID, "failed", failed, "error", err)
			if errors.Is(err, errLost) {
				x.elsewhere = true
				if x.log != nil {
					x.log.Drop()
				}
				return mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere, or was canceled: ask for it by its runId")
			}
			if failed == nil {
				failed = err
				if x.log != nil {
					x.log.Drop()
					x.emitEnd(failed)
				}
			}
		}
	}
	if failed == nil && !suspended && !x.closed && x.Tripwire == nil && len(x.agent.Scorers) > 0 && x.m.Scoring != nil {
		x.m.Scoring.Score(x.ctx, x.m, x.agent.Scorers, x.scorerRun())
	}
	if x.log != nil {
		x.log.Show()
	} else if failed == nil {
		x.result = x.makeResult()
		if suspended {
			x.suspendedResult(x.result)
		}
	}
	x.afterwards(failed)
	return failed
}

// commit commits where there is a storage: a test of an agent may do without.
func (x *run) commit(ctx context.Context, b *mastra.Batch) error {
	if x.m.Storage == nil {
		return nil
	}
	return x.m.Storage.Commit(ctx, b)
}

// makeAnswer makes the assistant's message of what the steps wrote. Its time is behind that of what it answers.
func (x *run) makeAnswer() {
	x.answer = mastra.Message{}
	for i := x.base; i < len(x.Steps); i++ {
		if len(x.Steps[i].Pieces) == 0 {
			continue
		}
		at := mastra.Time(x.Steps[i].Pieces[0].At)
		if n := len(x.Inputs); n > 0 {
			at = max(at, x.Inputs[n-1].At+1)
		}
		if x.base > 0 {
			came := x.Steps[x.base-1].Came
			at = max(at, came[len(came)-1].CreatedAt+1)
		}
		x.answer = mastra.Message{ID: x.MessageID, Role: "assistant", CreatedAt: at, ThreadID: x.threadID, ResourceID: x.resourceOfMessages()}
		x.answer.Content = x.appendStored(make([]byte, 0, 512))
		return
	}
}

// keep commits the answer, the trace, the claim and the record. The commit does not end with the run's context: what was
// done is kept.
func (x *run) keep(failed error, suspended bool) error {
	b := &mastra.Batch{}
	if x.stores() && x.answer.ID != "" {
		b.Messages = []mastra.Message{x.answer}
	}
	b.Spans = x.m.Record(x.ctx, x.traced(failed))
	ctx := context.WithoutCancel(x.ctx)
	status := mastra.StatusSuccess
	switch {
	case suspended:
		status = mastra.StatusSuspended
	case errors.Is(context.Cause(x.ctx), runlog.ErrCanceled):
		status = mastra.StatusCanceled
	case failed != nil:
		status = mastra.StatusFailed
	}
	return x.withChunks(b, true, func() error {
		return x.writeRecord(b, status, len(x.Steps), func() error {
			if x.entry == nil {
				return x.commit(ctx, b)
			}
			return x.entry.settle(ctx, x, b, failed)
		})
	})
}

// withChunks makes commit store what the stream has to be stored, too.
func (x *run) withChunks(b *mastra.Batch, stop bool, commit func() error) error {
	if x.log == nil {
		return commit()
	}
	chunks, err := x.log.Block(stop)
	if err != nil {
		return err
	}
	if chunks != nil {
		b.Chunks = []mastra.ChunkBlock{*chunks}
	}
	err = commit()
	x.log.Stored(chunks, err == nil)
	return err
}
