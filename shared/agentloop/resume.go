package agentloop

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// Resume answers a call that a suspended run waits for, and runs to the end or the next suspension.
func (r *Runner) Resume(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentResume) (*mastra.AgentResult, error) {
	x, err := r.resume(ctx, m, a, c)
	if err != nil {
		return nil, err
	}
	if x.m.Storage != nil && !x.nested {
		r.kept.add(x)
		defer r.kept.drop(x)
	}
	if err := x.task.Do(x.perform); err != nil {
		return nil, err
	}
	return x.result, nil
}

// ResumeStream is Resume as chunks: those behind what was streamed before.
func (r *Runner) ResumeStream(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentResume) (iter.Seq2[mastra.Chunk, error], error) {
	x, err := r.resume(ctx, m, a, c)
	if err != nil {
		return nil, err
	}
	return x.stream(ctx)
}

// Observe yields a run's chunks behind after until its stream stops, wherever the run goes on.
func (r *Runner) Observe(ctx context.Context, m *mastra.Mastra, runID string, after mastra.Position) (iter.Seq2[mastra.Chunk, error], error) {
	chunks, err := r.chunks.Reader(ctx, m, runID, after)
	if err != nil {
		return nil, err
	}
	return limited(ctx, m, runID, "observe", chunks), nil
}

// limited ends a stream before the invocation that it is answered in.
func limited(ctx context.Context, m *mastra.Mastra, runID, at string, chunks func(context.Context, func(mastra.Chunk, error) bool)) iter.Seq2[mastra.Chunk, error] {
	if m.Queue == nil || m.Alone {
		return func(yield func(mastra.Chunk, error) bool) { chunks(ctx, yield) }
	}
	return runlog.Limited(ctx, mastra.Chunk{Type: mastra.ChunkGoesOn, RunID: runID, From: mastra.FromAgent, Payload: mastra.GoesOn{At: at}}, chunks)
}

// find reads a run of the agent that ctx may see.
func find(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, runID string) (*mastra.Run, error) {
	none := mastra.Errorf(mastra.CodeNotFound, "Agent %q could not find a suspended run for runId %q. The run may have already completed, never suspended, or the runId is invalid.", a.Name, runID)
	if m.Storage == nil {
		return nil, none
	}
	stored, err := m.Storage.Run(ctx, runID)
	if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && (stored.WorkflowID != mastra.AgentRuns+a.ID || stored.ResourceID != mastra.Resource(ctx, stored.ResourceID)) {
		return nil, none
	}
	return stored, err
}

func notSuspended(a *mastra.Agent, runID string) error {
	return mastra.Errorf(mastra.CodeConflict, "Agent %q cannot resume run %q: it is not suspended, or somebody else resumed it", a.Name, runID)
}

// resume makes a suspended run ready to go on, and returns when that is durable: of several at once one comes through.
func (r *Runner) resume(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentResume) (*run, error) {
	stored, err := find(ctx, m, a, c.RunID)
	if err != nil {
		return nil, err
	}
	if stored.Status != mastra.StatusSuspended {
		return nil, notSuspended(a, c.RunID)
	}
	if len(c.Context) > 0 {
		merged := mastra.RequestContext{}
		for _, all := range []mastra.RequestContext{stored.Context, c.Context} {
			for k, v := range all {
				merged[k] = v
			}
		}
		stored.Context = merged
	}
	stored.Owner = r.kept.owner
	x, err := r.restore(ctx, m, a, stored)
	if err != nil {
		return nil, err
	}
	ok := false
	defer func() {
		if !ok {
			x.task.End()
		}
	}()
	x.call.Tracing = x.call.Tracing.Anew(c.Tracing)
	x.goesOn()
	if err := x.answerCall(c); err != nil {
		return nil, err
	}
	n := len(x.Steps)
	u, err := x.update(mastra.StatusRunning, x.Steps)
	if err != nil {
		return nil, err
	}
	u.From = mastra.StatusSuspended
	x.watch()
	if err := x.commitResumed(ctx, u); mastra.CodeOf(err) == mastra.CodeConflict {
		return nil, notSuspended(a, c.RunID)
	} else if err != nil {
		return nil, err
	}
	x.rec.kept, x.rec.renewed = n-1, m.Now() // the last one changes again
	x.ready()
	ok = true
	return x, nil
}

// goesOn begins what a run does after it has waited: what it did before has its spans already.
func (x *run) goesOn() {
	x.resumed, x.shown = true, mastra.NewID()
	x.From, x.Traced = generationOf(x.SpanID), len(x.Steps)
	x.ParentID, x.SpanID, x.Resumed = x.From, mastra.NewSpanID(), x.now()
}

// commitResumed makes it durable that a run goes on. Its thread's subscribers elsewhere hear of it, and where no other run of the
// thread goes on, messages come to this one.
func (x *run) commitResumed(ctx context.Context, u mastra.RunUpdate) error {
	ctx = context.WithoutCancel(ctx)
	if x.call.ThreadID == "" {
		return x.commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{u}})
	}
	block, err := note(threadLog+x.call.ThreadID, x.resourceID, x.m.Now(), threadRun{x.RunID})
	if err != nil {
		return err
	}
	for {
		b := &mastra.Batch{Runs: []mastra.RunUpdate{u}, Chunks: []mastra.ChunkBlock{block}}
		turn, last, err := turnOf(ctx, x.m, x.agent, mastra.AgentCall{ThreadID: x.call.ThreadID, ResourceID: x.resourceID})
		if err != nil {
			return err
		}
		if last == nil || last.ID == x.RunID || last.Status != mastra.StatusRunning {
			b.Claims = []mastra.ClaimUpdate{turn.taken(x)}
		}
		if err = x.commit(ctx, b); err == nil || b.Claims == nil {
			return err
		}
		if again, err := turn.lost(ctx, x.m, err); !again {
			return err
		}
	}
}

// answerCall gives the answer to the call that it is for.
func (x *run) answerCall(c mastra.AgentResume) error {
	waiting := x.waiting()
	var call *call
	for _, w := range waiting {
		if w.ID == c.ToolCallID || c.ToolCallID == "" && len(waiting) == 1 {
			call = w
		}
	}
	switch {
	case call == nil && c.ToolCallID == "":
		return mastra.Invalid("toolCallId", "Several tool calls wait: say which one is answered")
	case call == nil:
		return mastra.Errorf(mastra.CodeConflict, "Agent %q cannot resume tool call %q because it is not suspended.", x.agent.Name, c.ToolCallID)
	}
	switch {
	case call.Waits == waitsApproval:
		var d decision
		if err := decisions().Decode(c.Data, &d); err != nil {
			return below("resumeData", err)
		}
		if call.Sub != nil {
			call.Answer = c.Data
		} else {
			call.Verdict, call.Reason = &d.Approved, d.Reason
		}
	case call.Sub != nil:
		if call.Sub.Resume != "" {
			var any mastra.JSON
			if s, err := schema.Parse(mastra.JSON(call.Sub.Resume)); err != nil {
				return err
			} else if err := s.Decode(c.Data, &any); err != nil {
				return below("resumeData", err)
			}
		}
		call.Answer = c.Data
	default:
		if t := x.tool(call.Name); t != nil && t.Resume != nil {
			var any mastra.JSON
			if err := t.Resume.Decode(c.Data, &any); err != nil {
				return below("resumeData", err)
			}
		}
		call.Answer = c.Data
	}
	if call.Verdict == nil && call.Answer == nil {
		call.Answer = mastra.JSON("null")
	}
	x.Answered = answered(call, c.Data)
	call.Waits = ""
	return nil
}

// answered is what the span of a resumed run shows as its input: the answer, and the call that it is for.
func answered(c *call, data mastra.JSON) mastra.JSON {
	var all mastra.Object[mastra.JSON]
	if data.Kind() != '{' || schema.Unmarshal(data, &all) != nil {
		all = mastra.Object[mastra.JSON]{{Key: "resumeData", Value: data}}
	}
	for _, m := range []struct{ key, value string }{{"toolCallId", c.ID}, {"toolName", c.shownName()}} {
		if text, err := schema.Marshal(m.value); err == nil {
			all.Set(m.key, text)
		}
	}
	out, err := schema.Marshal(all)
	if err != nil {
		return nil
	}
	return out
}

func below(field string, err error) error {
	var invalid *schema.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	e := &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body"}
	for _, i := range invalid.Issues {
		if i.Field == "root" || i.Field == "body" || i.Field == "" {
			i.Field = field
		} else {
			i.Field = field + "." + i.Field
		}
		e.Issues = append(e.Issues, i)
	}
	return e
}

// restore makes a run of what is stored of it. The caller ends its task where it does not carry it out.
func (r *Runner) restore(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, stored *mastra.Run) (_ *run, err error) {
	var o origin
	if err := schema.Unmarshal(stored.Input, &o); err != nil {
		return nil, fmt.Errorf("run %s: %w", stored.ID, err)
	}
	if o.State.Version != stateVersion {
		return nil, fmt.Errorf("run %s was written by another version", stored.ID)
	}
	ctx = mastra.WithSpan(mastra.WithRequestContext(ctx, stored.Context), mastra.SpanRef{})
	task, err := r.runs.Begin(ctx, stored.ID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			task.End()
		}
	}()
	model, err := languageModel(m, a, o.Call.Model)
	if err != nil {
		return nil, err
	}
	x := newRun(r, task, m, a, o.Call, model, stored.ID)
	x.state, x.resourceID = o.State, stored.ResourceID
	for i := 0; ; i++ {
		s, ok := stored.Steps.Get(strconv.Itoa(i))
		if !ok {
			break
		}
		var one step
		if err := schema.Unmarshal(s.Output, &one); err != nil {
			return nil, fmt.Errorf("run %s, step %d: %w", stored.ID, i, err)
		}
		x.Steps = append(x.Steps, one)
	}
	if s, ok := stored.Steps.Get(streamKey); ok {
		var at streamed
		if err := schema.Unmarshal(s.Output, &at); err != nil {
			return nil, fmt.Errorf("run %s: %w", stored.ID, err)
		}
		x.streamed = at.Seq
	}
	rec := &x.rec
	rec.made, rec.fence, rec.owner, rec.kept, rec.created = true, stored.Fence, stored.Owner, len(x.Steps), stored.CreatedAt
	if n := len(x.Steps); n > 0 && !x.Steps[n-1].complete() {
		rec.kept--
	}
	rec.whole = x.Steps[:rec.kept:rec.kept]
	rec.renewed = m.Now()
	if err := x.prepare(); err != nil {
		return nil, err
	}
	return x, x.recall()
}

// TakeOver goes on, in the background, with a run whose process died: behind its last whole step, under a new epoch. It is an
// *mastra.Again where another one may have the run, or no message of the queue will look after it.
func (r *Runner) TakeOver(ctx context.Context, m *mastra.Mastra, stored *mastra.Run) error {
	if r.kept.find(ctx, stored.ID) != nil { // its heartbeat is late
		return &mastra.Again{After: lease}
	}
	stored, err := m.Storage.Lease(ctx, stored.ID, r.kept.owner, mastra.TimeOf(m.Now().Add(lease)))
	switch code := mastra.CodeOf(err); {
	case code == mastra.CodeConflict: // another one was first
		return &mastra.Again{After: lease}
	case code == mastra.CodeNotFound, err == nil && stored.Status != mastra.StatusRunning:
		return nil
	case err != nil:
		return err
	case stored.Attempts >= maxAttempts:
		return r.giveUp(ctx, m, stored, "The run was interrupted too often in the same place")
	}
	a, err := m.Agent(stored.WorkflowID[len(mastra.AgentRuns):])
	if err != nil {
		return r.giveUp(ctx, m, stored, "The agent is no longer there: its run cannot go on")
	}
	if stored.Caller != nil {
		ctx = mastra.WithPrincipal(ctx, stored.Caller)
	}
	x, err := r.restore(ctx, m, a, stored)
	if err != nil {
		return r.giveUp(ctx, m, stored, err.Error())
	}
	m.Logger.InfoContext(ctx, "a run is taken over", "runId", stored.ID, "agent", a.ID)
	x.taken = true
	x.streamed = 0
	x.rec.attempts = stored.Attempts + 1
	u, err := x.update(mastra.StatusRunning, nil)
	if err == nil {
		err = m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{u}})
	}
	if err != nil {
		x.task.End()
		return err
	}
	x.watch()
	watched := x.rec.watched || !x.toWatch()
	x.ready()
	if _, err = x.stream(ctx); err == nil && !watched {
		err = &mastra.Again{After: lease}
	}
	return err
}

// maxAttempts is how often in a row a run is taken over without getting a step further.
const maxAttempts = 5

// giveUp fails a run that cannot go on.
func (r *Runner) giveUp(ctx context.Context, m *mastra.Mastra, stored *mastra.Run, reason string) error {
	m.Logger.ErrorContext(ctx, "a run cannot be taken over", "runId", stored.ID, "workflow", stored.WorkflowID, "reason", reason)
	stored.Status, stored.Error = mastra.StatusFailed, &mastra.RunError{Message: "The run cannot go on", Name: "Error"}
	stored.UpdatedAt, stored.Owner, stored.LeaseUntil, stored.Steps = mastra.TimeOf(m.Now()), "", 0, nil
	stored.ExpiresAt = stored.UpdatedAt + mastra.Time(keptFor.Milliseconds())
	err := m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *stored}}})
	if mastra.CodeOf(err) == mastra.CodeConflict {
		return nil
	}
	return err
}

// epoch is that of the chunks which this process writes: whoever takes the run over has a higher fence.
func (x *run) epoch() int64 { return x.Epoch + x.rec.fence - 1 }

// stream carries the run out in the background and returns what it says from now on.
func (x *run) stream(ctx context.Context) (iter.Seq2[mastra.Chunk, error], error) {
	from := mastra.Position{Epoch: x.epoch(), Seq: x.streamed}
	if x.closed { // all of it is stored already
		x.log = &runlog.Log{}
	} else {
		x.log = x.r.chunks.Open(x.ctx, x.m, runlog.Origin{RunID: x.RunID, ResourceID: x.resourceID, From: from})
	}
	if x.entry != nil {
		x.entry.log.Store(x.log)
	}
	lasts := !x.closed && !x.nested && x.m.Storage != nil
	if lasts {
		x.r.kept.add(x)
		x.r.convs.enter(x)
	}
	log := x.log
	x.task.Go(x.perform, func(error) {
		if x.elsewhere {
			log.Abandon()
		} else {
			log.Close()
		}
		if lasts {
			x.r.kept.drop(x)
			x.r.convs.leave(x)
		}
	})
	read := func(ctx context.Context, yield func(mastra.Chunk, error) bool) {
		for c, err := range log.Read(ctx, int(from.Seq)) {
			if !yield(c, err) || err != nil {
				return
			}
			from = c.At
		}
		if !log.Stopped() && lasts { // it goes on elsewhere
			rest, err := x.r.chunks.Follow(ctx, x.m, x.RunID, from)
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			for c, err := range rest {
				if !yield(c, err) || err != nil {
					return
				}
			}
		}
	}
	if !lasts {
		return func(yield func(mastra.Chunk, error) bool) { read(ctx, yield) }, nil
	}
	return limited(ctx, x.m, x.RunID, "observe", read), nil
}
