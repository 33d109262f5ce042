package agentloop

import (
	"cmp"
	"reflect"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// trace collects the spans of a run. They are encoded once and committed together.
type trace struct {
	spans      []mastra.Span
	generation span
	recalled   [2]mastra.Time // when recalling began and ended
	metadata   mastra.JSON    // of every span
}

// span is one that has begun.
type span struct {
	id string
	at mastra.Time
}

// begin begins the span of a step, and with the first step that of the generation.
func (t *trace) begin(at int64) span {
	if t.generation.id == "" {
		t.generation = span{mastra.NewSpanID(), mastra.Time(at)}
	}
	return span{mastra.NewSpanID(), mastra.Time(at)}
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
		b = appendMember(append(b, `,"resumed":true`...), `,"resumedFromSpanId":`, x.ParentID)
	}
	return append(b, '}')
}

// rootMetadata is the caller's own metadata with the run's.
func (x *run) rootMetadata() mastra.JSON {
	own := x.trace.metadata
	given := mastra.JSON(append([]byte(nil), x.call.Tracing.Metadata...))
	if len(given) == 0 || given.Kind() != '{' || given.Compact(jsontext.AllowInvalidUTF8(true)) != nil || string(given) == "{}" {
		return own
	}
	var merged mastra.Object[mastra.JSON]
	for _, data := range []mastra.JSON{given, own} {
		var o mastra.Object[mastra.JSON]
		if schema.Unmarshal(data, &o) != nil {
			return own
		}
		for _, m := range o {
			merged.Set(m.Key, m.Value)
		}
	}
	data, err := schema.Marshal(merged)
	if err != nil {
		return own
	}
	return data
}

func errorJSON(err error) mastra.JSON {
	if err == nil {
		return nil
	}
	e := runError(err)
	return append(appendMember(appendMember(nil, `{"message":`, e.Message), `,"name":`, e.Name), '}')
}

// appendDetails appends a usage as spans show it.
func appendDetails(b []byte, u mastra.Usage) []byte {
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
func (x *run) appendCost(b []byte, cost float64) []byte {
	b = appendMember(b, `,"costContext":{"provider":`, x.info.Provider)
	b = appendMember(b, `,"model":`, x.info.ID)
	b = strconv.AppendFloat(append(b, `,"estimatedCost":`...), cost, 'f', -1, 64)
	return append(b, `,"costUnit":"USD"}`...)
}

// stepTraced adds the span of step n, which was given prompt.
func (x *run) stepTraced(n int, at span, prompt []mastra.PromptMessage, mayGoOn bool, err error) {
	if x.untraced {
		return
	}
	s := &x.Steps[n]
	out := x.newSpan(mastra.SpanModelStep, "step: "+strconv.Itoa(n), at, x.trace.generation.id)
	finish := s.Finish
	if finish == "" {
		finish = mastra.FinishError
	}
	b := appendInt(make([]byte, 0, 256), `{"stepIndex":`, int64(n))
	b = appendMember(b, `,"messageId":`, x.MessageID)
	b = appendDetails(append(b, `,"usage":`...), s.Usage)
	b = strconv.AppendBool(append(b, `,"isContinued":`...), err == nil && mayGoOn && s.continued())
	b = appendMember(b, `,"finishReason":`, string(finish))
	out.Attributes = append(b, `,"warnings":[]}`...)
	b = append(make([]byte, 0, 256), out.Metadata[:len(out.Metadata)-1]...)
	b = appendMember(b, `,"modelMetadata":{"modelId":`, x.info.ID)
	b = appendMember(b, `,"modelVersion":`, x.info.Version)
	out.Metadata = append(appendMember(b, `,"modelProvider":`, x.info.Provider), "}}"...)
	if !x.call.Tracing.HideInput {
		out.Input = appendBrief(make([]byte, 0, 256), prompt)
	}
	if !x.call.Tracing.HideOutput {
		out.Output = s.appendSaid(make([]byte, 0, 128))
	}
	if err != nil {
		out.Error = errorJSON(failure(x.ctx, err))
	}
	x.trace.spans = append(x.trace.spans, out)
}

// inferenceTraced adds the span of step n's model call, which has just ended.
func (x *run) inferenceTraced(n int, parent span, err error) {
	if x.untraced {
		return
	}
	s := &x.Steps[n]
	out := x.newSpan(mastra.SpanModelInference, "inference: "+strconv.Itoa(n), span{mastra.NewSpanID(), parent.at}, parent.id)
	finish := s.Finish
	if finish == "" {
		finish = mastra.FinishError
	}
	b := appendInt(make([]byte, 0, 320), `{"stepIndex":`, int64(n))
	b = appendMember(b, `,"model":`, x.info.ID)
	b = appendMember(b, `,"provider":`, x.info.Provider)
	b = append(b, `,"streaming":true,"availableTools":[`...)
	for _, t := range x.tools {
		b = appendString(comma(b), t.Name())
	}
	b = appendMember(b, `],"toolChoice":`, cmp.Or(x.call.ToolChoice.Tool, x.call.ToolChoice.Mode, "auto"))
	b = appendDetails(append(b, `,"usage":`...), s.Usage)
	if s.Cost > 0 {
		b = x.appendCost(b, s.Cost)
	}
	b = appendMember(b, `,"finishReason":`, string(finish))
	b = appendMember(b, `,"warnings":[],"responseModel":`, s.ModelID)
	if len(s.Pieces) > 0 {
		b = appendTime(b, `,"completionStartTime":`, mastra.Time(s.Pieces[0].At))
	}
	out.Attributes = append(b, '}')
	if !x.call.Tracing.HideOutput {
		out.Output = s.appendSaid(make([]byte, 0, 128))
	}
	if err != nil {
		out.Error = errorJSON(failure(x.ctx, err))
	}
	x.trace.spans = append(x.trace.spans, out)
}

// appendSaid is what the model wrote in a step, as spans show it.
func (s *step) appendSaid(b []byte) []byte {
	b = appendMember(b, `{"text":`, s.text())
	return append(appendCalled(append(b, `,"toolCalls":[`...), s), "]}"...)
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
	b = strconv.AppendBool(append(b, `,"success":`...), valid && c.Error == nil)
	out.Attributes = append(b, '}')
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

// traced are all spans of the run, the root first.
func (x *run) traced(failed error) []mastra.Span {
	if x.untraced {
		return nil
	}
	hideInput, hideOutput := x.call.Tracing.HideInput, x.call.Tracing.HideOutput
	failure := errorJSON(failed)
	root := x.rootSpan(hideInput, hideOutput, failure)
	all := make([]mastra.Span, 1, len(x.trace.spans)+4)
	all[0] = root
	if x.remembers() {
		s := x.newSpan(mastra.SpanMemory, "memory: recall", span{mastra.NewSpanID(), x.trace.recalled[0]}, x.SpanID)
		s.EntityType, s.EntityID, s.EntityName, s.EndedAt = "input_processor", "message-history", "MessageHistory", x.trace.recalled[1]
		s.Attributes = append(appendInt(nil, `{"operationType":"recall","processorPhase":"input","messageCount":`, int64(len(x.remembered))), '}')
		if !hideInput {
			s.Input = append(x.appendStoredMessages([]byte(`{"messages":[`), x.in.stored), "]}"...)
		}
		s.Output = mastra.JSON("{}")
		all = append(all, s)
	}
	if x.trace.generation.id != "" && len(x.Steps) > 0 {
		all = append(all, x.generationSpan(hideInput, hideOutput, failure))
	}
	all = append(all, x.trace.spans...)
	for _, s := range x.sink.Take() {
		s.ThreadID, s.ResourceID, s.Metadata = x.call.ThreadID, x.resourceID, x.trace.metadata
		all = append(all, s)
	}
	if x.stores() && x.answer.ID != "" {
		s := x.newSpan(mastra.SpanMemory, "memory: save", span{mastra.NewSpanID(), x.now()}, x.SpanID)
		s.EntityType, s.EntityID, s.EntityName = "output_processor", "message-history", "MessageHistory"
		s.Attributes = append(appendInt(nil, `{"operationType":"save","processorPhase":"outputResult","messageCount":`, int64(len(x.in.stored)+1)), '}')
		if !hideInput {
			b := x.appendStoredMessages(append(make([]byte, 0, 1024), `{"messages":[`...), x.in.stored)
			b = x.appendStoredMessages(b, []mastra.Message{x.answer})
			s.Input = append(b, "]}"...)
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

func (x *run) rootSpan(hideInput, hideOutput bool, failure mastra.JSON) mastra.Span {
	name := x.call.Tracing.RootSpanName
	if name == "" {
		name = "agent run: '" + x.agent.ID + "'"
		if x.Resumed != 0 {
			name += " (resumed)"
		}
	}
	s := x.newSpan(mastra.SpanAgentRun, name, span{x.SpanID, cmp.Or(x.Resumed, x.StartedAt)}, x.ParentID)
	b := append(make([]byte, 0, 256), '{')
	if x.remembers() {
		b = append(appendMember(b, `"conversationId":`, x.threadID), ',')
	}
	instructions := x.agent.Instructions
	if x.call.Instructions != "" {
		instructions = x.call.Instructions
	}
	b = appendMember(b, `"instructions":`, instructions)
	if len(x.tools) > 0 {
		b = append(b, `,"availableTools":[`...)
		for _, t := range x.tools {
			b = appendString(comma(b), t.Name())
		}
		b = append(b, ']')
	}
	if x.Tripwire != nil {
		b = appendTripwire(b, x.Tripwire)
	}
	s.Attributes, s.Metadata, s.Tags, s.Error = append(b, '}'), x.rootMetadata(), x.call.Tracing.Tags, failure
	s.Remote = x.remote && x.Resumed == 0
	if rc := mastra.RequestContextOf(x.ctx); len(rc) > 0 && !hideInput {
		s.Context, _ = schema.Marshal(rc) // JSON always encodes
	}
	if !hideInput {
		s.Input = appendBrief(make([]byte, 0, 128), x.in.prompt)
	}
	switch {
	case hideOutput || failure != nil:
	case x.Tripwire != nil:
		if data, err := schema.Marshal(x.Tripwire); err == nil {
			s.Output = append(append([]byte(`{"tripwire":`), data...), '}')
		}
	default:
		b = appendMember(make([]byte, 0, 128), `{"text":`, x.text())
		s.Output = append(b, `,"files":[]}`...)
	}
	return s
}

// text is what the model wrote in all steps.
func (x *run) text() string {
	out := ""
	for i := range x.Steps {
		out += x.Steps[i].text()
	}
	return out
}

func (x *run) generationSpan(hideInput, hideOutput bool, failure mastra.JSON) mastra.Span {
	s := x.newSpan(mastra.SpanModelGeneration, "llm: '"+x.info.ID+"'", x.trace.generation, x.SpanID)
	last := &x.Steps[len(x.Steps)-1]
	b := appendMember(make([]byte, 0, 512), `{"model":`, x.info.ID)
	b = appendMember(b, `,"provider":`, x.info.Provider)
	b = append(b, `,"streaming":true,"parameters":`...)
	parameters := mastra.JSON("{}")
	if !reflect.ValueOf(x.call.Settings).IsZero() {
		if data, err := schema.Marshal(x.call.Settings); err == nil {
			parameters = data
		}
	}
	b = append(b, parameters...)
	if len(x.tools) > 0 {
		b = append(b, `,"tools":[`...)
		for _, t := range x.tools {
			b = appendMember(comma(b), `{"type":"function","name":`, t.Name())
			b = appendMember(b, `,"description":`, t.Description)
			b = append(appendJSON(b, `,"parameters":`, t.Input.JSON()), '}')
		}
		b = append(b, ']')
	}
	finish := last.Finish
	if finish == "" {
		finish = mastra.FinishError
	}
	b = appendMember(b, `,"finishReason":`, string(finish))
	b = appendMember(b, `,"responseId":`, last.ResponseID)
	b = appendMember(b, `,"responseModel":`, last.ModelID)
	if len(x.Steps[0].Pieces) > 0 {
		b = appendTime(b, `,"completionStartTime":`, mastra.Time(x.Steps[0].Pieces[0].At))
	}
	usage, cost := x.totalUsage().Usage, 0.0
	for i := range x.Steps {
		cost += x.Steps[i].Cost
	}
	b = appendDetails(append(b, `,"usage":`...), usage)
	s.Model = &mastra.ModelUse{Provider: x.info.Provider, Model: cmp.Or(last.ModelID, x.info.ID), Usage: usage}
	if cost > 0 {
		b = x.appendCost(b, cost)
		s.Model.Cost = &mastra.Cost{Amount: cost, Unit: "USD"}
	}
	s.Attributes = append(b, '}')
	s.Error = failure
	if !hideInput {
		s.Input = append(appendPrompt(append(make([]byte, 0, 256), `{"messages":`...), x.prompt[:x.asked]), '}')
	}
	if !hideOutput {
		b = append(make([]byte, 0, 256), `{"files":[],"reasoning":[`...)
		for i := range x.Steps {
			if r := x.Steps[i].reasoning(); r != "" {
				b = append(appendMember(comma(b), `{"text":`, r), '}')
			}
		}
		b = appendMember(b, `],"sources":[],"text":`, x.text())
		b = append(b, `,"warnings":[]`...)
		calls := []byte{'['}
		for i := range x.Steps {
			calls = appendCalled(calls, &x.Steps[i])
		}
		if len(calls) > 1 {
			b = append(append(append(b, `,"toolCalls":`...), calls...), ']')
		}
		s.Output = append(b, '}')
	}
	return s
}
