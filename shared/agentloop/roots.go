package agentloop

import (
	"cmp"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// ending is how a run, or a part of it, came to its end.
type ending struct {
	failure  mastra.JSON // nil: it has not failed
	canceled bool
	waits    []*call // what it waits for, where it is suspended
}

// finish is the reason that the generation has ended for.
func (e *ending) finish(last mastra.FinishReason) string {
	switch {
	case e.canceled:
		return "aborted"
	case len(e.waits) > 0:
		return string(mastra.FinishSuspended)
	case last == "":
		return string(mastra.FinishError)
	}
	return string(last)
}

// appendInput appends what the run was asked, as its caller put it.
func (x *run) appendInput(b []byte) []byte {
	given := x.call.Messages
	if x.trace.given != nil {
		given = x.trace.given
	}
	switch {
	case x.Answered != nil:
		return append(b, x.Answered...)
	case x.call.Signal != nil:
		return appendBrief(b, x.in.prompt)
	case len(given) == 1 && given[0].Bare:
		return schema.AppendString(b, given[0].Content[0].Text)
	}
	return appendGiven(b, given)
}

func appendGiven(b []byte, given mastra.Messages) []byte {
	b = append(b, '[')
	for i := range given {
		m := mastra.PromptMessage{Role: given[i].Role, Parts: given[i].All()}
		b = appendMember(comma(b), `{"role":`, m.Role)
		b = append(schema.AppendString(append(b, `,"content":`...), brief(&m)), '}')
	}
	return append(b, ']')
}

// appendSuspended appends what a suspended run waits for.
func appendSuspended(b []byte, c *call) []byte {
	reason := "tool-call-suspended"
	if c.Waits == waitsApproval {
		reason = "tool-call-approval"
	}
	b = appendMember(b, `{"status":"suspended","reason":`, reason)
	b = appendMember(b, `,"toolCallId":`, c.ID)
	return append(appendMember(b, `,"toolName":`, c.shownName()), '}')
}

func (x *run) rootSpan(hideInput, hideOutput bool, ended ending) mastra.Span {
	name := x.call.Tracing.RootSpanName
	if name == "" {
		name = "agent run: '" + x.agent.ID + "'"
		if x.Resumed != 0 {
			name += " (resumed)"
		}
	}
	s := x.newSpan(mastra.SpanAgentRun, name, span{x.SpanID, cmp.Or(x.Resumed, x.StartedAt)}, x.ParentID)
	room := &x.trace.room
	b := append(room.open(256), '{')
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
			b = schema.AppendString(comma(b), t.Name())
		}
		b = append(b, ']')
	}
	if x.Tripwire != nil {
		b = appendTripwire(b, x.Tripwire)
	}
	s.Attributes, s.Metadata, s.Tags, s.Error = room.close(append(b, '}')), x.trace.metadata, x.call.Tracing.Tags, ended.failure
	s.Remote = x.remote && x.Resumed == 0
	s.Context = x.contextTraced()
	if !hideInput {
		s.Input = room.close(x.appendInput(room.open(128)))
	}
	switch {
	case ended.canceled:
		s.Output = mastra.JSON(`{"status":"aborted","reason":"abort"}`)
	case len(ended.waits) > 0:
		s.Output = appendSuspended(nil, ended.waits[0])
	case hideOutput || ended.failure != nil:
	case x.Tripwire != nil:
		if data, err := schema.Marshal(x.Tripwire); err == nil {
			s.Output = append(append([]byte(`{"tripwire":`), data...), '}')
		}
	default:
		b = appendMember(room.open(256), `{"text":`, x.text())
		s.Output = room.close(append(b, `,"files":[]}`...))
		if x.structured != nil {
			s.Output = x.appendRead(s.Output, len(x.Steps)-1)
		}
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

func (x *run) generationSpan(hideInput, hideOutput bool, ended ending) mastra.Span {
	s := x.newSpan(mastra.SpanModelGeneration, "llm: '"+x.info.ID+"'", x.trace.generation, x.SpanID)
	last := &x.Steps[len(x.Steps)-1]
	room := &x.trace.room
	b := appendMember(room.open(1024), `{"model":`, x.info.ID)
	b = appendMember(b, `,"provider":`, x.info.Provider)
	b = append(b, `,"streaming":true,"parameters":`...)
	if p := x.parameters(); p != nil {
		b = append(b, p...)
	} else {
		b = append(b, "{}"...)
	}
	if len(x.tools) > 0 {
		b = append(b, `,"tools":[`...)
		for _, t := range x.tools {
			b = appendMember(comma(b), `{"type":"function","name":`, t.Name())
			b = appendMember(b, `,"description":`, t.Description)
			b = append(appendJSON(b, `,"parameters":`, t.Input.JSON()), '}')
		}
		b = append(b, ']')
	}
	reason := last.Finish
	if reason == "" && x.Tripwire != nil {
		reason = mastra.FinishTripwire
	}
	b = appendMember(b, `,"finishReason":`, ended.finish(reason))
	b = appendMember(b, `,"responseId":`, last.ResponseID)
	b = appendMember(b, `,"responseModel":`, last.ModelID)
	if len(x.Steps[0].Pieces) > 0 {
		b = appendTime(b, `,"completionStartTime":`, mastra.Time(x.Steps[0].Pieces[0].At))
	}
	var usage mastra.Usage
	cost := 0.0
	for i := min(x.Traced, len(x.Steps)); i < len(x.Steps); i++ { // what was asked before this part is counted there
		usage, cost = usage.Plus(x.Steps[i].Usage), cost+x.Steps[i].Cost
	}
	usage, cost = usage.Minus(x.trace.apart), cost-x.trace.apartCost
	b = appendDetails(append(b, `,"usage":`...), usage)
	s.Model = &mastra.ModelUse{Provider: x.info.Provider, Model: cmp.Or(last.ModelID, x.info.ID), Usage: usage}
	if cost > 0 {
		b = appendCost(b, x.info, cost)
		s.Model.Cost = &mastra.Cost{Amount: cost, Unit: "USD"}
	}
	s.Attributes, s.Context, s.Error = room.close(append(b, '}')), x.contextTraced(), ended.failure
	if !hideInput {
		prompt := x.prompt[:x.asked]
		s.Input = room.close(append(appendPrompt(append(room.open(lengthOf(prompt)), `{"messages":`...), prompt), '}'))
	}
	if !hideOutput {
		b = append(room.open(512), `{"files":[],"reasoning":[`...)
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
		s.Output = room.close(append(b, '}'))
		if x.structured != nil {
			s.Output = x.appendRead(s.Output, len(x.Steps)-1)
		}
	}
	return s
}
