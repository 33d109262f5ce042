package agentloop

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// blocked says that a processor let nothing in: the model is not called and nothing is stored of what came.
func (x *run) blocked() bool { return x.Tripwire != nil && len(x.Steps) == 0 }

// trips says whether err is a processor's, and stops the run with it. What the model did not get to do is left out.
func (x *run) trips(err error) bool {
	if !errors.As(err, &x.Tripwire) {
		return false
	}
	ctx := mastra.WithSpan(x.ctx, x.at(x.SpanID)) // which it may not have begun
	x.m.Logger.WarnContext(ctx, "a processor stopped a run", "runId", x.RunID, "agent", x.agent.ID, "processor", x.Tripwire.ProcessorID, "reason", x.Tripwire.Reason)
	if n := len(x.Steps); n > 0 {
		s := &x.Steps[n-1]
		s.Pieces = slices.DeleteFunc(s.Pieces, func(p piece) bool { return p.Call != nil && !p.Call.done() })
	}
	return true
}

// process calls one function of a processor and adds its span, which says what input it was given and what it changed. What it fails
// with is told to the caller, as a tool's error is.
func (x *run) process(i int, phase string, seen look, f func(ctx context.Context, p *mastra.Processor) error) error {
	p := x.agent.Processors[i]
	began := span{mastra.NewSpanID(), x.now()}
	ctx := mastra.WithSpan(x.ctx, x.at(began.id))
	var given mastra.JSON
	if x.m.Traces(x.TraceID) && !x.call.Tracing.HideInput {
		given = seen.input() // before it is changed
	}
	err := x.ofProcessor(p, runlog.Safely(func() error { return f(ctx, p) }))
	if s := x.processorTraced(i, phase, began, err); s != nil {
		x.looked(s, seen, given, err)
	}
	return err
}

// ofProcessor says whose error it is.
func (x *run) ofProcessor(p *mastra.Processor, err error) error {
	var tripped *mastra.Tripwire
	var known *mastra.Error
	var panicked *runlog.PanicError
	switch {
	case err == nil:
	case errors.As(err, &tripped):
		named := *tripped
		named.ProcessorID = p.ID
		return &named
	case errors.As(err, &panicked):
		x.m.Logger.ErrorContext(x.ctx, "a processor panicked", "runId", x.RunID, "processor", p.ID, "panic", panicked.Value, "stack", string(panicked.Stack))
		return &mastra.Error{Code: mastra.CodeInternal, Message: "Internal Server Error", Err: err}
	case !errors.As(err, &known) && x.ctx.Err() == nil:
		return &mastra.Error{Code: mastra.CodeUserCode, Message: err.Error()}
	}
	return err
}

// processInput has the processors look at what comes in.
func (x *run) processInput() error {
	if len(x.agent.Processors) == 0 {
		return nil
	}
	x.trace.metadata = x.appendMetadata(make([]byte, 0, 160))
	x.trace.given = x.call.Messages
	err := x.processMessages(&x.call.Context)
	if s := x.call.Signal; s != nil && err == nil {
		x.call.Signal, err = x.processSignal(s)
	} else if err == nil {
		err = x.processMessages(&x.call.Messages)
	}
	if x.trips(err) {
		return nil
	}
	return err
}

// unbegun keeps the trace of a run that a processor failed before it began.
func (x *run) unbegun(failed error) {
	x.ctx = mastra.WithSpan(x.ctx, x.at(x.SpanID))
	x.m.Logger.ErrorContext(x.ctx, "a run failed", "runId", x.RunID, "agent", x.agent.ID, "error", failed)
	details := append(appendMember(nil, `{"runId":`, x.RunID), '}')
	spans := x.m.Record(x.ctx, x.traced(&tracedError{failed, "AGENT_PREPARE_STREAM_FAILED", "SYSTEM", details}, false))
	if len(spans) == 0 {
		return
	}
	if err := x.commit(context.WithoutCancel(x.ctx), &mastra.Batch{Spans: spans}); err != nil {
		x.m.Logger.ErrorContext(x.ctx, "the trace of a run was not stored", "runId", x.RunID, "agent", x.agent.ID, "error", err)
	}
}

func (x *run) processMessages(messages *mastra.Messages) error {
	if len(*messages) == 0 {
		return nil
	}
	own := make(mastra.Messages, len(*messages))
	for i, m := range *messages {
		m.Content, m.Parts = slices.Clone(m.All()), nil
		own[i] = m
	}
	for i, p := range x.agent.Processors {
		if p.Input == nil {
			continue
		}
		err := x.process(i, mastra.PhaseInput, lookAtMessages(&own), func(ctx context.Context, p *mastra.Processor) (err error) {
			own, err = p.Input(ctx, own)
			return err
		})
		switch {
		case err != nil:
			return err
		case len(own) == 0:
			return mastra.Errorf(mastra.CodeUserCode, "The processor %s left nothing of the messages", p.ID)
		}
	}
	*messages = own
	return nil
}

// processSignal is processMessages for one that comes to a thread.
func (x *run) processSignal(s *mastra.ThreadSignal) (*mastra.ThreadSignal, error) {
	if len(x.agent.Processors) == 0 {
		return s, nil
	}
	messages := mastra.Messages{{ID: s.ID, Role: "user", Content: s.Contents, Metadata: s.Metadata}}
	if err := x.processMessages(&messages); err != nil {
		return s, err
	}
	changed := *s
	changed.Contents = nil
	for _, m := range messages {
		changed.Contents = append(changed.Contents, m.All()...)
	}
	return &changed, nil
}

// processed asks the model, with the processors before and behind it.
func (x *run) processed(request *mastra.ModelRequest) (iter.Seq2[mastra.ModelPart, error], error) {
	if len(x.agent.Processors) == 0 {
		return x.model.Stream(x.ctx, request), nil
	}
	request.Messages = slices.Clone(request.Messages)
	for i := range request.Messages {
		request.Messages[i].Parts = slices.Clone(request.Messages[i].Parts)
	}
	request.Tools = slices.Clone(request.Tools)
	for i, p := range x.agent.Processors {
		if p.InputStep == nil {
			continue
		}
		if err := x.process(i, mastra.PhaseInputStep, x.lookAtRequest(request), func(ctx context.Context, p *mastra.Processor) error { return p.InputStep(ctx, request) }); err != nil {
			return nil, err
		}
	}
	x.trace.called = x.now()
	parts := x.model.Stream(x.ctx, request)
	for i, p := range x.agent.Processors {
		if p.OutputStream != nil {
			parts = x.processedBy(i, parts)
		}
	}
	return parts, nil
}

// processedBy is what a processor makes of the model's parts. Its span is that of the whole stream.
func (x *run) processedBy(i int, parts iter.Seq2[mastra.ModelPart, error]) iter.Seq2[mastra.ModelPart, error] {
	p := x.agent.Processors[i]
	return func(yield func(mastra.ModelPart, error) bool) {
		began := span{mastra.NewSpanID(), x.now()}
		ctx := mastra.WithSpan(x.ctx, x.at(began.id))
		var failed error
		chunks := 0
		start, elsewhere := time.Now(), time.Duration(0) // in the model, and with who reads
		defer func() {
			if s := x.processorTraced(i, mastra.PhaseOutputStream, began, failed); s != nil {
				took := time.Since(start) - elsewhere
				b := append(s.Attributes[:len(s.Attributes)-1], `,"hookDurationMs":`...)
				s.Attributes = append(strconv.AppendFloat(b, float64(took.Microseconds())/1000, 'f', -1, 64), '}')
				if failed == nil {
					s.Output = append(appendInt(nil, `{"totalChunks":`, int64(chunks)), '}')
				}
			}
		}()
		timed := func(yield func(mastra.ModelPart, error) bool) {
			asked := time.Now()
			for part, err := range parts {
				elsewhere += time.Since(asked)
				if !yield(part, err) {
					return
				}
				asked = time.Now()
			}
			elsewhere += time.Since(asked)
		}
		for part, err := range p.OutputStream(ctx, timed) {
			chunks++
			var tripped *mastra.Tripwire
			if errors.As(err, &tripped) && tripped.ProcessorID == "" {
				failed = x.ofProcessor(p, err)
				yield(mastra.ModelPart{}, failed)
				return
			}
			handed := time.Now()
			more := yield(part, err)
			if elsewhere += time.Since(handed); !more {
				return
			}
		}
	}
}

// retries is how often in a row the model was asked again before step n.
func (x *run) retries(n int) int {
	count := 0
	for count < n && x.Steps[n-1-count].Refused != nil {
		count++
	}
	return count
}

func (x *run) maxRetries() int {
	if most := x.call.MaxRetries; most != nil {
		return *most
	}
	return x.agent.MaxProcessorRetries
}

// processStep has the processors look at what the model wrote in step n. Where one wants it done again, the step is refused.
func (x *run) processStep(n int, mayGoOn bool) error {
	if len(x.agent.Processors) == 0 {
		return nil
	}
	s := &x.Steps[n]
	out := mastra.StepOutput{Number: n, Text: s.text(), Finish: s.Finish, Usage: s.Usage, Retries: x.retries(n), Steps: x.infos()[:n]}
	for _, c := range s.calls() {
		out.Calls = append(out.Calls, x.called(c))
	}
	for i, p := range x.agent.Processors {
		if p.OutputStep == nil {
			continue
		}
		err := x.process(i, mastra.PhaseOutputStep, look{input: func() mastra.JSON { return s.appendWritten(n) }}, func(ctx context.Context, p *mastra.Processor) error { return p.OutputStep(ctx, &out) })
		if err == nil {
			continue
		}
		var tripped *mastra.Tripwire
		if !errors.As(err, &tripped) {
			return err
		}
		if tripped.Again && mayGoOn && out.Retries < x.maxRetries() {
			s.Refused, s.Finish = &refused{*tripped, s.Pieces}, mastra.FinishRetry
			s.Pieces = nil
			return nil
		}
		s.Finish = mastra.FinishTripwire
		if x.log != nil {
			x.emitStepFinish(n, false)
		}
		return err
	}
	return nil
}

// step is what was refused.
func (r *refused) step() *step { return &step{Pieces: r.Pieces} }

// feedback is what the model is told when it is asked again, as the reference server tells it.
func (r *refused) feedback() string {
	return "[Processor Feedback] Your previous response was not accepted: " + r.Tripwire.Reason + ". Please try again with the feedback in mind."
}

// told is a prompt with the feedback behind the system messages that it begins with.
func (r *refused) told(prompt []mastra.PromptMessage) []mastra.PromptMessage {
	at := 0
	for at < len(prompt) && prompt[at].Role == "system" {
		at++
	}
	return slices.Insert(slices.Clone(prompt), at, mastra.PromptText("system", r.feedback()))
}

// processTool has the processors look at what a tool returned.
func (x *run) processTool(n int, c *call) error {
	if c.Result == nil {
		return nil
	}
	for i, p := range x.agent.Processors {
		if p.ToolResult == nil {
			continue
		}
		r := mastra.ToolReturned{Number: n, CallID: c.ID, Tool: c.Name, Args: c.args(), Result: c.Result.Clone()}
		given := func() mastra.JSON {
			b := appendMember(appendInt(nil, `{"stepNumber":`, int64(n)), `,"toolCallId":`, c.ID)
			b = appendJSON(appendMember(b, `,"toolName":`, c.Name), `,"args":`, c.args())
			return append(appendJSON(b, `,"result":`, r.Result), '}')
		}
		changed := func() (mastra.JSON, []mutation) {
			if bytes.Equal(r.Result, c.Result) {
				return nil, nil
			}
			return append(appendJSON(nil, `{"result":`, r.Result), '}'), nil
		}
		err := x.process(i, mastra.PhaseToolResult, look{given, changed}, func(ctx context.Context, p *mastra.Processor) error { return p.ToolResult(ctx, &r) })
		if err == nil && r.Result.Compact() != nil {
			err = mastra.Errorf(mastra.CodeUserCode, "The processor %s left a result of a tool that is no JSON", p.ID)
		}
		if err != nil {
			c.Result, c.Error = nil, &mastra.RunError{Name: "Error", Message: "The result was withheld"}
			return err
		}
		c.Result = r.Result
	}
	return nil
}

// processResult has the processors look at the answer.
func (x *run) processResult() error {
	if len(x.agent.Processors) == 0 {
		return nil
	}
	a := mastra.Answer{Steps: x.infos(), Usage: x.totalUsage().Usage, Finish: x.Steps[len(x.Steps)-1].Finish}
	texts := func(do func(p *piece)) {
		for i := range x.Steps {
			for j := range x.Steps[i].Pieces {
				if p := &x.Steps[i].Pieces[j]; p.Kind == text {
					do(p)
				}
			}
		}
	}
	texts(func(p *piece) { a.Texts = append(a.Texts, p.Text) })
	count := len(a.Texts)
	for i, p := range x.agent.Processors {
		if p.OutputResult == nil {
			continue
		}
		before := strings.Join(a.Texts, "")
		given := func() mastra.JSON {
			b := appendMember(nil, `{"result":{"text":`, before)
			b = appendInt(appendMember(b, `,"finishReason":`, string(a.Finish)), `,"stepCount":`, int64(len(a.Steps)))
			return append(b, "}}"...)
		}
		changed := func() (mastra.JSON, []mutation) {
			after := strings.Join(a.Texts, "")
			if after == before {
				return nil, nil
			}
			return append(appendMember(nil, `{"messages":[{"role":"assistant","content":`, after), "}]}"...), nil
		}
		err := x.process(i, mastra.PhaseOutputResult, look{given, changed}, func(ctx context.Context, p *mastra.Processor) error { return p.OutputResult(ctx, &a) })
		switch {
		case err != nil:
			return err
		case len(a.Texts) != count:
			return mastra.Errorf(mastra.CodeUserCode, "The processor %s changed how many texts there are", p.ID)
		}
	}
	texts(func(p *piece) { p.Text, a.Texts = a.Texts[0], a.Texts[1:] })
	return nil
}

// trippedResult is the answer of a generate that a processor stopped: what the run did before, without an answer.
func (x *run) trippedResult() *mastra.AgentResult {
	total := x.totalUsage()
	none := mastra.JSON("[]")
	finish := mastra.FinishOther
	if n := len(x.Steps); n > 0 && x.Steps[n-1].Finish == mastra.FinishTripwire {
		finish = mastra.FinishTripwire
	}
	return &mastra.AgentResult{Usage: total, TotalUsage: total, Steps: []mastra.AgentStep{}, FinishReason: finish, TraceID: x.TraceID, SpanID: x.SpanID, RunID: x.RunID,
		Response: mastra.AgentResponse{Messages: none, UIMessages: none, DBMessages: none}, Tripwire: x.Tripwire, Remembered: x.remembered, Messages: slices.Concat(x.remembered, x.in.stored)}
}
