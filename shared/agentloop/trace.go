package agentloop

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// trace collects the spans of a run. They are encoded once and committed together.
type trace struct {
	spans          []mastra.Span // behind an empty place for those above them
	generation     span
	recalled       [2]mastra.Time // when recalling began and ended
	metadata       mastra.JSON    // of every span
	called         mastra.Time    // when the model was called, behind processors
	step           string         // the span of the step under way
	structuring    string         // that of the model that makes JSON out of its answer, where another one does
	apart          mastra.Usage   // what that took, and has a span of its own
	apartCost      float64
	parameters     mastra.JSON // of the model's calls
	parametersMade bool
	given          mastra.Messages // what the caller sent, where processors changed it
	room           room            // of their contents
}

// above is how many spans stand above those of steps and tools at most: the root, the recall, the generation.
const above = 3

// add adds a span behind those that there are, and behind the place of those above them.
func (t *trace) add(s mastra.Span) *mastra.Span {
	if t.spans == nil {
		t.spans = make([]mastra.Span, above, above+5)
	}
	t.spans = append(t.spans, s)
	return &t.spans[len(t.spans)-1]
}

// room is what the contents of a run's spans are written into, one behind the other: a few allocations instead of one each.
type room struct{ b []byte }

// open is where the next content is written, of about n bytes. It is handed back to close before the next one is begun.
func (r *room) open(n int) []byte {
	if cap(r.b)-len(r.b) < n {
		r.b = make([]byte, 0, max(n, 4<<10))
	}
	return r.b[len(r.b):]
}

func (r *room) close(b []byte) mastra.JSON {
	r.b = b
	return b[:len(b):len(b)]
}

// span is one that has begun.
type span struct {
	id string
	at mastra.Time
}

// begin begins the span of step n, and with the first step that of the generation.
func (x *run) begin(n int, at int64) span {
	if x.trace.generation.id == "" {
		x.trace.generation = span{generationOf(x.SpanID), mastra.Time(at)}
	}
	x.trace.step = mastra.SpanIDFrom(x.SpanID, strconv.Itoa(n))
	return span{x.trace.step, mastra.Time(at)}
}

// generationOf is the id of the generation's span below a run's root. Who resumes the run names it, in any process.
func generationOf(root string) string { return mastra.SpanIDFrom(root, "generation") }

// recallStep adds the spans of a step that another process carried out and could not write, its last piece first known to have ended.
func (x *run) recallStep(n int) {
	if x.untraced || x.closed {
		return
	}
	s := &x.Steps[n]
	at, end := x.begin(n, s.StartedAt), s.StartedAt
	for i := range s.Pieces {
		end = max(end, s.Pieces[i].At)
	}
	x.inferenceTraced(n, at, nil)
	x.trace.spans[len(x.trace.spans)-1].EndedAt = mastra.Time(end)
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil && c.Client == "" && !c.declined() {
			x.trace.add(x.toolTraced(c, x.tool(c.Name), s.toolSpan(c, at.id), at, s.Pieces[i].At, true))
			end = max(end, c.EndAt)
		}
	}
	x.stepTraced(n, at, x.prompt, true, nil)
	x.trace.spans[len(x.trace.spans)-1].EndedAt = mastra.Time(end)
}

// at is the place of a span of the run.
func (x *run) at(id string) mastra.SpanRef {
	return mastra.SpanRef{TraceID: x.TraceID, SpanID: id, RunID: x.RunID, Options: &x.call.Tracing}
}

// newSpan is a span of the run's agent.
func (x *run) newSpan(kind, name string, s span, parent string) mastra.Span {
	return mastra.Span{TraceID: x.TraceID, SpanID: s.id, ParentID: parent, Name: name, Type: kind, StartedAt: s.at, EndedAt: x.now(),
		EntityType: "agent", EntityID: x.agent.ID, EntityName: x.agent.Name, RunID: x.RunID, ThreadID: x.call.ThreadID, ResourceID: x.resourceID,
		Metadata: x.trace.metadata}
}

// appendMetadata says which run of whom it is.
func (x *run) appendMetadata(b []byte) []byte {
	b = appendMember(b, `{"runId":`, x.RunID)
	b = appendOptional(b, `,"resourceId":`, x.resourceID)
	b = appendOptional(b, `,"threadId":`, x.call.ThreadID)
	if x.Resumed != 0 {
		b = appendMember(append(b, `,"resumed":true`...), `,"resumedFromSpanId":`, cmp.Or(x.From, x.ParentID))
	}
	return x.call.Tracing.About(mastra.RequestContextOf(x.ctx), append(b, '}'))
}

// tracedError is an error with what its span says besides, so that programs tell it from others: as the reference server's does.
type tracedError struct {
	error
	id, category string
	details      mastra.JSON
}

func (e *tracedError) Unwrap() error { return e.error }

func errorJSON(err error) mastra.JSON {
	if err == nil {
		return nil
	}
	e := runError(err)
	b := []byte{'{'}
	var known *tracedError
	if errors.As(err, &known) {
		b = appendMember(b, `"id":`, known.id)
		if known.details != nil {
			b = appendJSON(b, `,"details":`, known.details)
		}
		b = append(appendMember(b, `,"category":`, known.category), `,"domain":"AGENT",`...)
	}
	return append(appendMember(appendMember(b, `"message":`, e.Message), `,"name":`, e.Name), '}')
}

// appendDetails appends a usage as spans show it: nothing where the model has said nothing of it.
func appendDetails(b []byte, u mastra.Usage) []byte {
	if u == (mastra.Usage{}) {
		return append(b, "{}"...)
	}
	b = appendInt(b, `{"inputTokens":`, int64(u.InputTokens))
	b = appendInt(b, `,"outputTokens":`, int64(u.OutputTokens))
	b = appendInt(b, `,"inputDetails":{"text":`, int64(u.InputTokens-u.CachedInputTokens-u.CacheCreationInputTokens))
	if u.CachedInputTokens > 0 {
		b = appendInt(b, `,"cacheRead":`, int64(u.CachedInputTokens))
	}
	if u.CacheCreationInputTokens > 0 {
		b = appendInt(b, `,"cacheWrite":`, int64(u.CacheCreationInputTokens))
	}
	b = appendInt(b, `},"outputDetails":{"text":`, int64(u.OutputTokens-u.ReasoningTokens))
	if u.ReasoningTokens > 0 {
		b = appendInt(b, `,"reasoning":`, int64(u.ReasoningTokens))
	}
	return append(b, "}}"...)
}

func appendCalled(b []byte, s *step) []byte {
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil {
			b = appendMember(comma(b), `{"toolCallId":`, c.ID)
			b = appendMember(b, `,"toolName":`, c.Name)
			b = append(appendJSON(b, `,"args":`, c.args()), '}')
		}
	}
	return b
}

// appendCost appends what a model call cost, in US dollars.
func appendCost(b []byte, info mastra.ModelInfo, cost float64) []byte {
	b = appendMember(b, `,"costContext":{"provider":`, info.Provider)
	b = appendMember(b, `,"model":`, info.ID)
	b = strconv.AppendFloat(append(b, `,"estimatedCost":`...), cost, 'f', -1, 64)
	return append(b, `,"costUnit":"USD"}`...)
}

// canceled says whether somebody has broken the run off: that is no failure of it.
func (x *run) canceled() bool { return errors.Is(context.Cause(x.ctx), runlog.ErrCanceled) }

// stepEnded is how the spans of a step say that it ended, and why it failed.
func (x *run) stepEnded(s *step, err error) (finish string, failed mastra.JSON) {
	var tripped *mastra.Tripwire
	switch {
	case err != nil && x.canceled():
		return cmp.Or(string(s.Finish), "aborted"), nil
	case errors.As(err, &tripped): // its span says it
		return cmp.Or(string(s.Finish), string(mastra.FinishTripwire)), nil
	case err != nil:
		failed = errorJSON(failure(x.ctx, err))
	}
	return string(cmp.Or(s.Finish, mastra.FinishError)), failed
}

// stepTraced adds the span of step n, which was given prompt.
func (x *run) stepTraced(n int, at span, prompt []mastra.PromptMessage, mayGoOn bool, err error) {
	if x.untraced {
		return
	}
	s := &x.Steps[n]
	out := x.newSpan(mastra.SpanModelStep, "step: "+strconv.Itoa(n), at, x.trace.generation.id)
	finish, failed := x.stepEnded(s, err)
	room := &x.trace.room
	b := appendInt(room.open(256), `{"stepIndex":`, int64(n))
	b = appendMember(b, `,"messageId":`, x.MessageID)
	b = appendDetails(append(b, `,"usage":`...), s.Usage)
	b = strconv.AppendBool(append(b, `,"isContinued":`...), err == nil && mayGoOn && (s.continued() || s.Refused != nil))
	b = appendMember(b, `,"finishReason":`, finish)
	out.Attributes = room.close(append(b, `,"warnings":[]}`...))
	b = append(room.open(256), out.Metadata[:len(out.Metadata)-1]...)
	b = appendMember(b, `,"modelMetadata":{"modelId":`, x.info.ID)
	b = appendMember(b, `,"modelVersion":`, x.info.Version)
	out.Metadata = room.close(append(appendMember(b, `,"modelProvider":`, x.info.Provider), "}}"...))
	if !x.call.Tracing.HideInput {
		if n > 0 && x.Steps[n-1].Refused != nil {
			prompt = x.Steps[n-1].Refused.told(prompt)
		}
		out.Input = room.close(appendBrief(room.open(lengthOf(prompt)), prompt))
	}
	if !x.call.Tracing.HideOutput {
		said := s
		if s.Refused != nil {
			said = s.Refused.step()
		}
		out.Output = room.close(x.appendRead(said.appendSaid(room.open(128)), n))
		if x.structured != nil {
			x.objectTraced(n, at)
		}
	}
	out.Error = failed
	x.trace.add(out)
}

// inferenceTraced adds the span of step n's model call, which has just ended.
func (x *run) inferenceTraced(n int, parent span, err error) {
	if x.untraced {
		return
	}
	s := &x.Steps[n]
	out := x.newSpan(mastra.SpanModelInference, "inference: "+strconv.Itoa(n), span{mastra.SpanIDFrom(parent.id, "inference"), max(parent.at, x.trace.called)}, parent.id)
	finish, failed := x.stepEnded(s, err)
	room := &x.trace.room
	b := appendInt(room.open(384), `{"stepIndex":`, int64(n))
	b = appendMember(b, `,"model":`, x.info.ID)
	b = appendMember(b, `,"provider":`, x.info.Provider)
	if p := x.parameters(); p != nil {
		b = append(append(b, `,"parameters":`...), p...)
	}
	if x.call.Network || x.structured.answered() && !x.structured.InPrompt {
		b = append(b, `,"responseFormat":"json_schema"`...)
	}
	b = append(b, `,"streaming":true,"availableTools":[`...)
	for _, t := range x.tools {
		if !x.call.Network { // which chooses among them in words
			b = schema.AppendString(comma(b), t.Name())
		}
	}
	b = appendMember(b, `],"toolChoice":`, cmp.Or(x.call.ToolChoice.Tool, x.call.ToolChoice.Mode, "auto"))
	b = appendDetails(append(b, `,"usage":`...), s.Usage)
	if s.Cost > 0 {
		b = appendCost(b, x.info, s.Cost)
	}
	b = appendMember(b, `,"finishReason":`, finish)
	b = appendMember(b, `,"warnings":[],"responseModel":`, s.ModelID)
	if len(s.Pieces) > 0 {
		b = appendTime(b, `,"completionStartTime":`, mastra.Time(s.Pieces[0].At))
	}
	out.Attributes = room.close(append(b, '}'))
	if !x.call.Tracing.HideOutput {
		b = s.appendSaid(room.open(128))
		if r := s.reasoning(); r != "" {
			b = append(appendMember(b[:len(b)-1], `,"reasoning":`, r), '}')
		}
		out.Output = room.close(b)
	}
	out.Error = failed
	x.trace.add(out)
}

// structuringTraced adds the spans of the call of another model that made JSON out of the answer of the step under way: what it took is
// that model's.
func (x *run) structuringTraced(began mastra.Time, text string, used mastra.ModelPart) {
	x.trace.apart, x.trace.apartCost = x.trace.apart.Plus(used.Usage), x.trace.apartCost+used.Cost
	if x.untraced {
		return
	}
	info := x.structured.by.Info()
	x.trace.structuring = mastra.NewSpanID()
	all := x.newSpan(mastra.SpanModelGeneration, "llm: '"+info.ID+"'", span{x.trace.structuring, began}, x.trace.step)
	call := x.newSpan(mastra.SpanModelInference, "inference: structured output", span{mastra.NewSpanID(), began}, x.trace.structuring)
	b := appendMember(appendMember(nil, `{"model":`, info.ID), `,"provider":`, info.Provider)
	b = appendDetails(append(b, `,"responseFormat":"json_schema","streaming":true,"usage":`...), used.Usage)
	if used.Cost > 0 {
		b = appendCost(b, info, used.Cost)
	}
	call.Attributes = append(appendMember(b, `,"finishReason":`, string(cmp.Or(used.Finish, mastra.FinishError))), '}')
	all.Attributes, all.Model = call.Attributes, &mastra.ModelUse{Provider: info.Provider, Model: info.ID, Usage: used.Usage}
	if used.Cost > 0 {
		all.Model.Cost = &mastra.Cost{Amount: used.Cost, Unit: "USD"}
	}
	if !x.call.Tracing.HideOutput {
		all.Output = append(appendMember(nil, `{"text":`, text), '}')
		call.Output = append(appendMember(nil, `{"text":`, text), `,"toolCalls":[]}`...)
	}
	x.trace.add(all)
	x.trace.add(call)
}

// toolSpan is the id of the span of a call. A model may give two calls of a step one id.
func (s *step) toolSpan(c *call, parent string) string {
	name := c.ID
	for i := range s.Pieces {
		other := s.Pieces[i].Call
		if other == c {
			break
		}
		if other != nil && other.ID == c.ID {
			name += "'"
		}
	}
	return mastra.SpanIDFrom(parent, name)
}

// appendSaid is what the model wrote in a step, as spans show it.
func (s *step) appendSaid(b []byte) []byte {
	b = appendMember(b, `{"text":`, s.text())
	return append(appendCalled(append(b, `,"toolCalls":[`...), s), "]}"...)
}

// appendWritten is what a step has come to before its tools run.
func (s *step) appendWritten(n int) []byte {
	b := appendMember(appendInt(nil, `{"stepNumber":`, int64(n)), `,"finishReason":`, string(s.Finish))
	b = appendMember(b, `,"text":`, s.text())
	if calls := appendCalled([]byte{'['}, s); len(calls) > 1 {
		b = append(append(append(b, `,"toolCalls":`...), calls...), ']')
	}
	return append(b, '}')
}

// toolTraced is the span of a tool call.
func (x *run) toolTraced(c *call, t *mastra.Tool, id string, parent span, began int64, valid bool) mastra.Span {
	out := x.newSpan(mastra.SpanToolCall, "tool: '"+c.Name+"'", span{id, mastra.Time(began)}, parent.id)
	out.EntityType, out.EntityID, out.EntityName, out.EndedAt = "tool", c.Name, c.Name, mastra.Time(c.EndAt)
	b := []byte(`{"toolType":"tool"`)
	if t != nil {
		b = appendOptional(b, `,"toolDescription":`, t.Description)
	}
	b = appendMember(b, `,"toolCallId":`, c.ID)
	if c.Waits == "" {
		b = strconv.AppendBool(append(b, `,"success":`...), valid && c.Error == nil)
	} else {
		out.EndedAt = x.now()
	}
	out.Attributes, out.Context = append(b, '}'), x.contextTraced()
	if !x.call.Tracing.HideInput {
		out.Input = c.args()
	}
	if c.Error != nil {
		out.Error = append(appendMember(appendMember(nil, `{"message":`, c.Error.Message), `,"name":`, c.Error.Name), '}')
	} else if !x.call.Tracing.HideOutput {
		out.Output = c.Result
	}
	return out
}

// parameters are the settings of the model's calls, nil where there are none.
func (x *run) parameters() mastra.JSON {
	if t := &x.trace; !t.parametersMade {
		t.parametersMade = true
		if !reflect.ValueOf(x.call.Settings).IsZero() {
			if data, err := schema.Marshal(x.call.Settings); err == nil {
				t.parameters = data
			}
		}
	}
	return x.trace.parameters
}

// contextTraced is the request context, which the spans of whoever sees it have.
func (x *run) contextTraced() mastra.JSON {
	rc := mastra.RequestContextOf(x.ctx)
	if len(rc) == 0 || x.call.Tracing.HideInput {
		return nil
	}
	data, err := schema.Marshal(rc)
	if err != nil {
		return nil
	}
	return data
}

// appendRead adds to what step n said, or the last one so far, the object that was read from it.
func (x *run) appendRead(b []byte, n int) []byte {
	if x.structured == nil || x.structured.object == nil || n != len(x.Steps)-1 || x.Steps[n].calledAny() {
		return b
	}
	return append(appendJSON(b[:len(b)-1], `,"object":`, x.structured.object), '}')
}

// objectTraced adds the object to the span of the model's call below at that made it: the last one.
func (x *run) objectTraced(n int, at span) {
	for i := range slices.Backward(x.trace.spans) {
		if s := &x.trace.spans[i]; s.Type == mastra.SpanModelInference && s.ParentID == cmp.Or(x.trace.structuring, at.id) {
			if s.Output != nil {
				s.Output = x.appendRead(s.Output, n)
			}
			return
		}
	}
}

// clientToolsTraced adds the spans of the calls of step n that the caller carries out: what it traces of them belongs below.
func (x *run) clientToolsTraced(n int) {
	for _, c := range x.Steps[n].calls() {
		t := x.tool(c.Name)
		if c.Client == "" || t == nil || x.untraced {
			continue
		}
		s := x.newSpan(mastra.SpanClientTool, "client_tool: '"+c.Name+"'", span{c.Client, x.now()}, x.SpanID)
		s.EntityType, s.EntityID, s.EntityName = "tool", c.Name, c.Name
		s.Attributes = append(appendOptional([]byte(`{"toolType":"client-tool"`), `,"toolDescription":`, t.Description), '}')
		if !x.call.Tracing.HideInput {
			s.Metadata = append(appendJSON(slices.Clone(s.Metadata[:len(s.Metadata)-1]), `,"args":`, c.args()), '}')
		}
		x.trace.add(s)
	}
}

// traced are all spans of the run, the root first. One that is suspended says what it waits for.
func (x *run) traced(failed error, suspended bool) []mastra.Span {
	if x.untraced {
		return nil
	}
	hideInput, hideOutput := x.call.Tracing.HideInput, x.call.Tracing.HideOutput
	ended := ending{canceled: failed != nil && x.canceled()}
	if suspended {
		ended.waits = x.waiting()
	}
	if !ended.canceled {
		ended.failure = errorJSON(failed)
	}
	room := &x.trace.room
	first := [above]mastra.Span{x.rootSpan(hideInput, hideOutput, ended)}
	n, asks := 1, false
	if x.remembers() && x.Resumed == 0 && x.trace.recalled[1] != 0 {
		s := x.newSpan(mastra.SpanMemory, "memory: recall", span{mastra.SpanIDFrom(x.SpanID, "recall"), x.trace.recalled[0]}, x.SpanID)
		s.EntityType, s.EntityID, s.EntityName, s.EndedAt = "input_processor", "message-history", "MessageHistory", x.trace.recalled[1]
		b := appendInt(room.open(128), `{"operationType":"recall","processorPhase":"input","messageCount":`, int64(len(x.remembered)))
		s.Attributes = room.close(append(appendInt(b, `,"lastMessages":`, int64(x.window)), '}'))
		if !hideInput {
			s.Input = room.close(append(x.appendStoredMessages(append(room.open(512), `{"messages":[`...), x.in.stored), "]}"...))
		}
		s.Output = mastra.JSON("{}")
		first[n] = s
		n++
	}
	if x.trace.generation.id != "" && len(x.Steps) > 0 {
		first[n] = x.generationSpan(hideInput, hideOutput, ended)
		n++
		asks = true
	}
	all := x.trace.spans
	if all == nil {
		all = make([]mastra.Span, above, above+1)
	}
	all = all[above-n:]
	copy(all, first[:n])
	for i := n; asks && i < len(all) && all[i].Type == mastra.SpanProcessorRun && all[i].ParentID == x.SpanID; i++ {
		all[i-1], all[i] = all[i], all[i-1] // what looked at the input stands before the model
	}
	for _, s := range x.sink.Take() {
		s.ThreadID, s.ResourceID, s.Metadata = x.call.ThreadID, x.resourceID, x.trace.metadata
		all = append(all, s)
	}
	if x.stores() && x.answer.ID != "" && !suspended {
		s := x.newSpan(mastra.SpanMemory, "memory: save", span{mastra.SpanIDFrom(x.SpanID, "save"), x.now()}, x.SpanID)
		s.EntityType, s.EntityID, s.EntityName = "output_processor", "message-history", "MessageHistory"
		s.Attributes = room.close(append(appendInt(room.open(128), `{"operationType":"save","processorPhase":"outputResult","messageCount":`, int64(len(x.in.stored)+1)), '}'))
		if !hideInput {
			b := x.appendStoredMessages(append(room.open(1024), `{"messages":[`...), x.in.stored)
			b = x.appendStoredMessages(b, []mastra.Message{x.answer})
			s.Input = room.close(append(b, "]}"...))
		}
		s.Output = mastra.JSON("{}")
		all = append(all, s)
	}
	return all
}

func (x *run) appendStoredMessages(b []byte, messages []mastra.Message) []byte {
	for i := range messages {
		m := &messages[i]
		b = appendMember(comma(b), `{"id":`, m.ID)
		b = appendMember(b, `,"role":`, m.Role)
		b = appendTime(b, `,"createdAt":`, m.CreatedAt)
		b = appendJSON(b, `,"content":`, m.Content)
		b = append(x.appendOwner(b), '}')
	}
	return b
}
