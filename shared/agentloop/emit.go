package agentloop

import (
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// The chunks of a run. Callers look first whether there is a log: a run that nobody streams must not pay for them.

func (x *run) emit(kind string, payload any) {
	if x.log == nil {
		return
	}
	x.emitChunk(mastra.Chunk{Type: kind, RunID: x.RunID, From: mastra.FromAgent, Payload: payload})
}

func (x *run) emitChunk(c mastra.Chunk) {
	if x.above != nil {
		x.above.forward(x.aboveCall, c)
		return
	}
	if err := x.log.Append(c); err != nil {
		x.m.Logger.ErrorContext(x.ctx, "a chunk does not encode", "runId", x.RunID, "type", c.Type, "error", err)
	}
}

// messageID is the message's id as chunks show it: a resumed run begins another one for them, though not in the thread.
func (x *run) messageID() string {
	if x.shown != "" {
		return x.shown
	}
	return x.MessageID
}

func (x *run) emitStart() {
	if x.log != nil && !x.call.Network {
		x.emit(mastra.ChunkStart, mastra.RunStart{ID: x.agent.ID, MessageID: x.messageID()})
	}
}

func (x *run) emitDelta(part mastra.ModelPart) {
	c := mastra.Chunk{Type: mastra.ChunkReasoningDelta, RunID: x.RunID, From: mastra.FromAgent, Payload: mastra.TextDelta{ID: part.ID, Text: part.Text}}
	if part.Type == mastra.ModelTextDelta {
		c.Type, c.Text = mastra.ChunkTextDelta, part.Text
	}
	x.emitChunk(c)
}

func (x *run) emitBlockEnd(reasoning bool, id string) {
	if reasoning {
		x.emit(mastra.ChunkReasoningEnd, mastra.Block{ID: id})
	} else {
		x.emit(mastra.ChunkTextEnd, mastra.Block{Type: mastra.ChunkTextEnd, ID: id})
	}
}

func (x *run) called(c *call) mastra.ToolCalled {
	out := mastra.ToolCalled{ToolCallID: c.ID, ToolName: c.Name, Args: c.Args}
	if c.Client != "" {
		out.Observability = &mastra.Traceparent{Traceparent: "00-" + x.TraceID + "-" + c.Client + "-01"}
	}
	return out
}

func (c *call) answered() mastra.ToolAnswered {
	return mastra.ToolAnswered{Args: c.args(), ToolCallID: c.ID, ToolName: c.Name, Result: c.Result}
}

func (x *run) emitCall(c *call) { x.emit(mastra.ChunkToolCall, x.called(c)) }

func (x *run) emitOutcome(c *call) {
	switch {
	case !c.answeredYet():
	case x.call.Network:
		x.emitDone(c)
	case c.declined():
		x.emit(mastra.ChunkDenied, mastra.ToolDenied{ToolCallID: c.ID, ToolName: c.Name, Args: c.args(), Approval: c.approval()})
	case c.Error != nil:
		x.emit(mastra.ChunkToolError, mastra.ToolFailed{Error: *c.Error, Args: c.Args, ToolCallID: c.ID, ToolName: c.Name})
	default:
		x.emit(mastra.ChunkToolResult, c.answered())
	}
}

// emitAgain shows a step that an earlier request did.
func (x *run) emitAgain(n int) {
	switch {
	case x.log == nil:
		return
	case x.call.Network:
		x.emitRouteAgain(n)
		return
	}
	s := &x.Steps[n]
	x.emit(mastra.ChunkStepStart, mastra.StepStart{MessageID: x.messageID(), StartedAt: s.StartedAt})
	for i := range s.Pieces {
		switch p := &s.Pieces[i]; p.Kind {
		case called:
			x.emitCall(p.Call)
		case reasoning:
			x.emit(mastra.ChunkReasoningStart, mastra.Block{ID: p.ID})
			x.emitDelta(mastra.ModelPart{Type: mastra.ModelReasoningDelta, ID: p.ID, Text: p.Text})
			x.emitBlockEnd(true, p.ID)
		default:
			x.emit(mastra.ChunkTextStart, mastra.Block{ID: p.ID})
			x.emitDelta(mastra.ModelPart{Type: mastra.ModelTextDelta, ID: p.ID, Text: p.Text})
			x.emitBlockEnd(false, p.ID)
		}
	}
	for _, c := range s.calls() {
		x.emitOutcome(c)
	}
	if !s.complete() {
		return
	}
	x.emitStepFinish(n, n+1 < len(x.Steps) || !x.closed && n+1 < x.maxSteps())
}

func (x *run) emitStepFinish(n int, mayGoOn bool) {
	if x.call.Network {
		return
	}
	s := &x.Steps[n]
	f := x.finish(n)
	f.StepResult.IsContinued = s.continued() && mayGoOn
	if r := s.Refused; r != nil {
		t := &r.Tripwire
		f.StepResult.IsContinued, f.StepResult.RetryReason, f.StepResult.RetryMetadata, f.StepResult.RetryProcessorID = true, t.Reason, t.Metadata, t.ProcessorID
		f.ProcessorRetryCount, f.RetryFeedback = x.retries(n)+1, r.feedback()
		f.Output.Text = r.step().text()
	}
	if x.resumed && f.StepResult.IsContinued {
		f.StepResult.MessageID = x.messageID()
	}
	f.Output.Usage = usage(s.Usage, s.Usage)
	x.emit(mastra.ChunkStepFinish, f)
}

// emitEnd ends the stream: with finish, or with what went wrong.
func (x *run) emitEnd(failed error) {
	n := len(x.Steps) - 1
	if failed == nil && x.Tripwire != nil {
		x.emit(mastra.ChunkTripwire, x.Tripwire)
		return
	}
	if failed != nil {
		if mastra.CodeOf(failed) == mastra.CodeConflict && x.ctx.Err() != nil {
			x.emit(mastra.ChunkAbort, struct{}{})
			return
		}
		if x.emitError(failed); n < 0 || x.call.Network {
			return
		}
		if x.Steps[n].Finish == "" {
			f := x.finish(n)
			f.StepResult.Reason = mastra.FinishError
			f.Output.Usage = usage(x.Steps[n].Usage, x.Steps[n].Usage)
			x.emit(mastra.ChunkStepFinish, f)
		}
	}
	if x.call.Network {
		x.emitNetworkEnd()
		return
	}
	f := x.finish(n)
	if failed != nil {
		f.StepResult.Reason = mastra.FinishError
	}
	f.Output.Usage = x.totalUsage()
	if x.agent.Memory != nil { // as the reference server: its output processors add it
		f.Response = x.response(n, n, false)
	}
	x.emit(mastra.ChunkFinish, f)
}

func (x *run) emitError(err error) {
	if x.log != nil {
		x.emit(mastra.ChunkError, mastra.Failure{Type: mastra.ChunkError, Error: runError(err)})
	}
}

// finish is the payload of step n's end; the last one's is that of the run's end, too.
func (x *run) finish(n int) mastra.Finish {
	s := &x.Steps[n]
	if f := x.lastFinish; f != nil && n == x.lastStep && s.Finish == f.StepResult.Reason {
		return *f
	}
	f := mastra.Finish{MessageID: x.messageID(), StepResult: mastra.StepReason{Reason: s.Finish}, Metadata: x.answered(s)}
	f.Output.Text = s.text()
	if x.structured != nil {
		f.Output.Object = x.structured.object
	}
	for _, c := range s.calls() {
		f.Output.ToolCalls = append(f.Output.ToolCalls, x.called(c))
	}
	f.Output.Steps = x.appendSteps(make([]byte, 0, 1024), n)
	response := x.appendResponse(make([]byte, 0, 512), n, nil)
	b := make([]byte, 0, 3*len(response)+512)
	b = x.r.texts.appendModelMessages(append(b, '['), x.remembered)
	for i := range x.context.stored {
		b = x.r.texts.appendModelMessages(b, x.context.stored[i:i+1])
	}
	user := x.r.texts.appendModelMessages([]byte{'['}, x.in.stored)
	b = appendList(b, user[1:])
	b = append(appendList(b, response), ']')
	f.Messages = mastra.FinishMessages{All: b, User: append(user, ']'), NonUser: append(append([]byte{'['}, response...), ']')}
	x.lastFinish, x.lastStep = &f, n
	return f
}

// appendList appends members to a list that is not closed.
func appendList(b, members []byte) []byte {
	if len(members) == 0 {
		return b
	}
	return append(comma(b), members...)
}

// appendResponse appends what the run said up to step n, as the members of a list. A step in open is shown as it was
// before its tools had answered.
func (x *run) appendResponse(b []byte, n int, open *step) []byte {
	b = append(b, '[')
	start := len(b)
	for i := range x.Steps[:n+1] {
		s := &x.Steps[i]
		b = s.appendMessages(b, s == open)
	}
	return b[start:]
}

// appendSteps appends the steps up to n. The reference server takes each step's messages down before its tools have
// answered, and the content of the newest one too; readers are used to it.
func (x *run) appendSteps(b []byte, n int) []byte {
	b = append(b, '[')
	for i := range x.Steps[:n+1] {
		s := &x.Steps[i]
		shown := s
		if s.Refused != nil {
			shown = s.Refused.step()
		}
		b = append(comma(b), `{"content":`...)
		b = shown.appendContent(b, i == n)
		b = appendUsage(append(b, `,"usage":`...), s.Usage)
		b = appendMember(b, `,"warnings":[],"response":{"id":`, s.ResponseID)
		b = appendTime(b, `,"timestamp":`, s.Timestamp)
		b = appendMember(b, `,"modelId":`, s.ModelID)
		b = append(b, `,"messages":[`...)
		if s.Refused == nil {
			b = append(appendList(b, x.appendResponse(nil, i, s)), "]}}"...)
			continue
		}
		before := append([]byte{'['}, x.appendResponse(nil, i, nil)...)
		b = append(appendList(b, shown.appendMessages(before, true)[1:]), "]}"...)
		if data, err := schema.Marshal(&s.Refused.Tripwire); err == nil {
			b = appendJSON(b, `,"tripwire":`, data)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}
