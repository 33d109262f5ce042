package mastra

import "mastralambda/shared/schema"

import "strconv"

// AppendJSON appends the result as schema.Marshal encodes it, in a fraction of the time: most of its bytes are JSON already.
func (r *AgentResult) AppendJSON(b []byte) (_ []byte, err error) {
	b = schema.AppendString(append(b, `{"text":`...), r.Text)
	b = r.Usage.AppendJSON(append(b, `,"usage":`...))
	b = append(b, `,"steps":[`...)
	for i := range r.Steps {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = r.Steps[i].append(b); err != nil {
			return nil, err
		}
	}
	b = schema.AppendString(append(b, `],"finishReason":`...), string(r.FinishReason))
	b = appendList(b, `,"warnings":`, r.Warnings)
	b = append(b, `,"request":{}`...)
	if b, err = appendChunks(b, `,"reasoning":`, r.Reasoning); err != nil {
		return nil, err
	}
	b = appendMember(b, `,"reasoningText":`, r.ReasoningText)
	if b, err = appendChunks(b, `,"toolCalls":`, r.ToolCalls); err != nil {
		return nil, err
	}
	if b, err = appendChunks(b, `,"toolResults":`, r.ToolResults); err != nil {
		return nil, err
	}
	b = appendList(b, `,"sources":`, r.Sources)
	b = appendList(b, `,"files":`, r.Files)
	b = r.Response.append(append(b, `,"response":`...))
	b = r.TotalUsage.AppendJSON(append(b, `,"totalUsage":`...))
	if r.Object != nil {
		b = appendJSON(b, `,"object":`, r.Object)
	}
	b = strconv.AppendBool(append(b, `,"usedFallbackValue":`...), r.UsedFallbackValue)
	b = schema.AppendString(append(b, `,"traceId":`...), r.TraceID)
	b = schema.AppendString(append(b, `,"spanId":`...), r.SpanID)
	b = schema.AppendString(append(b, `,"runId":`...), r.RunID)
	if r.SuspendPayload != nil {
		b = appendJSON(b, `,"suspendPayload":`, r.SuspendPayload)
	}
	b = appendMember(b, `,"resumeSchema":`, r.ResumeSchema)
	b = r.Tripwire.append(b)
	if d := r.Scoring; d != nil {
		b = append(appendJSON(appendJSON(b, `,"scoringData":{"input":`, d.Input), `,"output":`, d.Output), '}')
	}
	b = appendMessages(b, `,"messages":`, r.Messages)
	b = appendMessages(b, `,"rememberedMessages":`, r.Remembered)
	return append(b, '}'), nil
}

func (s *AgentStep) append(b []byte) (_ []byte, err error) {
	b = schema.AppendString(append(b, `{"stepType":`...), s.StepType)
	b = appendList(b, `,"sources":`, s.Sources)
	b = appendList(b, `,"files":`, s.Files)
	if b, err = appendChunks(b, `,"toolCalls":`, s.ToolCalls); err != nil {
		return nil, err
	}
	if b, err = appendChunks(b, `,"toolResults":`, s.ToolResults); err != nil {
		return nil, err
	}
	b = appendJSON(b, `,"content":`, s.Content)
	b = schema.AppendString(append(b, `,"text":`...), s.Text)
	b = schema.AppendString(append(b, `,"reasoningText":`...), s.ReasoningText)
	if b, err = appendChunks(b, `,"reasoning":`, s.Reasoning); err != nil {
		return nil, err
	}
	b = appendList(b, `,"staticToolCalls":`, s.StaticToolCalls)
	b = appendList(b, `,"dynamicToolCalls":`, s.DynamicToolCalls)
	b = appendList(b, `,"staticToolResults":`, s.StaticToolResults)
	b = appendList(b, `,"dynamicToolResults":`, s.DynamicToolResults)
	b = schema.AppendString(append(b, `,"finishReason":`...), string(s.FinishReason))
	b = s.Usage.AppendJSON(append(b, `,"usage":`...))
	b = appendList(b, `,"warnings":`, s.Warnings)
	b = s.Response.append(append(b, `,"request":{},"response":`...))
	return append(s.Tripwire.append(b), '}'), nil
}

// append appends the member tripwire where there is one.
func (t *Tripwire) append(b []byte) []byte {
	if t == nil {
		return b
	}
	b = schema.AppendString(append(b, `,"tripwire":{"reason":`...), t.Reason)
	if t.Again {
		b = append(b, `,"retry":true`...)
	}
	if t.Metadata != nil {
		b = appendJSON(b, `,"metadata":`, t.Metadata)
	}
	return append(appendMember(b, `,"processorId":`, t.ProcessorID), '}')
}

func (r *AgentResponse) append(b []byte) []byte {
	b = r.ModelAnswer.append(append(b, '{'))
	b = appendJSON(b, `,"messages":`, r.Messages)
	b = appendJSON(b, `,"uiMessages":`, r.UIMessages)
	if r.DBMessages != nil {
		b = appendJSON(b, `,"dbMessages":`, r.DBMessages)
	}
	return append(b, '}')
}

func appendChunks(b []byte, key string, chunks []Chunk) (_ []byte, err error) {
	b = append(append(b, key...), '[')
	for i, c := range chunks {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = c.Append(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMessages(b []byte, key string, messages []Message) []byte {
	b = append(append(b, key...), '[')
	for i := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		m := &messages[i]
		b = schema.AppendString(append(b, `{"id":`...), m.ID)
		b = schema.AppendString(append(b, `,"role":`...), m.Role)
		b = m.CreatedAt.AppendJSON(append(b, `,"createdAt":`...))
		b = appendMember(b, `,"threadId":`, m.ThreadID)
		b = appendMember(b, `,"resourceId":`, m.ResourceID)
		b = appendMember(b, `,"type":`, m.Type)
		b = append(appendJSON(b, `,"content":`, m.Content), '}')
	}
	return append(b, ']')
}

func appendList(b []byte, key string, list []JSON) []byte {
	b = append(append(b, key...), '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, "", v)
	}
	return append(b, ']')
}
