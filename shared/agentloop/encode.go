package agentloop

import (
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// The shapes of a run's messages in JSON. They are written several times in an answer, so each is encoded once, without
// reflection, and the bytes are used again.

func appendMember(b []byte, key, value string) []byte {
	return schema.AppendString(append(b, key...), value)
}

func appendOptional(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendMember(b, key, value)
}

func appendInt(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

func appendTime(b []byte, key string, t mastra.Time) []byte {
	return t.AppendJSON(append(b, key...))
}

func appendJSON(b []byte, key string, v mastra.JSON) []byte {
	b = append(b, key...)
	if v == nil {
		return append(b, "null"...)
	}
	return append(b, v...)
}

// comma separates the members of a list: nothing stands after its bracket.
func comma(b []byte) []byte {
	if b[len(b)-1] == '[' {
		return b
	}
	return append(b, ',')
}

// stampedAt is what this server adds to a part.
func stampedAt(b []byte, key string, at int64) []byte {
	b = append(b, key...)
	b = appendInt(b, `{"mastra":{"createdAt":`, at)
	return append(b, "}}"...)
}

// appendPart is a piece as a part of an assistant's model message. A call is stamped only as long as it has no outcome.
func (p *piece) appendPart(b []byte, open bool) []byte {
	switch p.Kind {
	case called:
		b = appendMember(b, `{"type":"tool-call","toolCallId":`, p.Call.ID)
		b = appendMember(b, `,"toolName":`, p.Call.Name)
		b = appendJSON(b, `,"input":`, p.Call.args())
		if open || !p.Call.answeredYet() {
			b = stampedAt(b, `,"providerOptions":`, p.At)
		}
	case reasoning:
		b = appendMember(b, `{"type":"reasoning","text":`, p.Text)
		b = stampedAt(b, `,"providerOptions":`, p.At)
	default:
		b = appendMember(b, `{"type":"text","text":`, p.Text)
		b = stampedAt(b, `,"providerOptions":`, p.At)
	}
	return append(b, '}')
}

// appendOutput is a call's outcome as a model is told it.
func (c *call) appendOutput(b []byte) []byte {
	if c.declined() {
		return append(appendMember(b, `{"type":"text","value":`, c.reason()), '}')
	}
	if c.Error != nil {
		return append(appendMember(b, `{"type":"error-text","value":`, c.Error.Message), '}')
	}
	return append(appendJSON(b, `{"type":"json","value":`, c.Result), '}')
}

func (c *call) appendResult(b []byte) []byte {
	b = appendMember(b, `{"type":"tool-result","toolCallId":`, c.ID)
	b = appendMember(b, `,"toolName":`, c.Name)
	b = c.appendOutput(append(b, `,"output":`...))
	b = appendJSON(b, `,"input":`, c.args())
	return append(b, '}')
}

// appendMessages appends the model messages of a step, comma separated: the assistant's and, where it called tools, the
// tools'. An open step is shown as it is before its tools have answered.
func (s *step) appendMessages(b []byte, open bool) []byte {
	if len(s.Pieces) == 0 {
		return b
	}
	b = append(comma(b), `{"role":"assistant","content":[`...)
	for i := range s.Pieces {
		b = s.Pieces[i].appendPart(comma(b), open)
	}
	b = append(b, "]}"...)
	if !s.calledAny() {
		return b
	}
	b = append(b, `,{"role":"tool","content":[`...)
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil && !open && c.answeredYet() {
			b = c.appendResult(comma(b))
		}
	}
	return append(b, "]}"...)
}

// appendContent is a step's content list: what the model wrote, then what its tools answered.
func (s *step) appendContent(b []byte, open bool) []byte {
	b = append(b, '[')
	for i := range s.Pieces {
		b = s.Pieces[i].appendPart(comma(b), open)
	}
	for i := range s.Pieces {
		if c := s.Pieces[i].Call; c != nil && !open && c.answeredYet() {
			b = appendJSON(comma(b), `{"type":"tool-result","input":`, c.args())
			b = c.appendOutput(append(b, `,"output":`...))
			b = appendMember(b, `,"toolCallId":`, c.ID)
			b = appendMember(b, `,"toolName":`, c.Name)
			b = append(b, '}')
		}
	}
	return append(b, ']')
}

// appendInvocation is a call as a stored message holds it.
func (c *call) appendInvocation(b []byte) []byte {
	outcome := "call"
	switch {
	case c.declined():
		outcome = "output-denied"
	case c.Error != nil:
		outcome = "output-error"
	case c.Result != nil:
		outcome = "result"
	}
	b = appendMember(b, `{"state":`, outcome)
	b = appendMember(b, `,"toolCallId":`, c.ID)
	b = appendMember(b, `,"toolName":`, c.Name)
	b = appendJSON(b, `,"args":`, c.args())
	switch {
	case c.Error != nil:
		b = appendMember(b, `,"errorText":`, c.Error.Message)
	case c.Result != nil:
		b = appendJSON(b, `,"result":`, c.Result)
	}
	if c.Verdict != nil {
		a := c.approval()
		b = appendMember(b, `,"approval":{"id":`, a.ID)
		b = strconv.AppendBool(append(b, `,"approved":`...), a.Approved)
		b = append(appendOptional(b, `,"reason":`, a.Reason), '}')
	}
	return append(b, '}')
}

// appendStored is the content of the assistant's stored message.
func (x *run) appendStored(b []byte) []byte {
	b = append(b, `{"format":2,"parts":[`...)
	var texts []string
	calls := 0
	for n := x.base; n < len(x.Steps); n++ {
		s := &x.Steps[n]
		b = x.appendStepStart(b, n)
		for i := range s.Pieces {
			p := &s.Pieces[i]
			at := p.At
			b = comma(b)
			switch p.Kind {
			case called:
				if p.Call.answeredYet() {
					calls++
				}
				b = p.Call.appendInvocation(append(b, `{"type":"tool-invocation","toolInvocation":`...))
				at = max(at, p.Call.EndAt)
			case reasoning:
				b = appendMember(b, `{"type":"reasoning","reasoning":"","details":[{"type":"text","text":`, p.Text)
				b = append(b, "}]"...)
			default:
				texts = append(texts, p.Text)
				b = appendMember(b, `{"type":"text","text":`, p.Text)
			}
			b = append(appendInt(b, `,"createdAt":`, at), '}')
		}
	}
	b = append(b, ']')
	b = appendOptional(b, `,"content":`, strings.Join(texts, "\n"))
	if calls > 0 {
		b = append(b, `,"toolInvocations":[`...)
		for n := x.base; n < len(x.Steps); n++ {
			for _, c := range x.Steps[n].calls() {
				if c.answeredYet() {
					b = c.appendInvocation(comma(b))
				}
			}
		}
		b = append(b, ']')
	}
	b = append(b, `,"metadata":`...)
	return append(x.appendObject(x.appendWaiting(x.appendModel(b))), "}}"...)
}

// appendStepStart parts step n of a message from those before.
func (x *run) appendStepStart(b []byte, n int) []byte {
	if n == x.base || x.Steps[n].Refused != nil || x.retries(n) >= n-x.base {
		return b
	}
	return append(appendInt(comma(b), `{"type":"step-start","createdAt":`, x.Steps[n].StartedAt), '}')
}

// appendModel is the unclosed object that says which model made the message, in which trace.
func (x *run) appendModel(b []byte) []byte {
	b = appendMember(b, `{"modelId":`, x.info.ID)
	b = appendMember(b, `,"provider":`, x.info.Provider)
	return appendMember(b, `,"traceId":`, x.TraceID)
}

// appendObject appends the JSON that was asked for.
func (x *run) appendObject(b []byte) []byte {
	if x.structured == nil || x.structured.object == nil {
		return b
	}
	return appendJSON(b, `,"structuredOutput":`, x.structured.object)
}

func (x *run) appendOwner(b []byte) []byte {
	b = appendOptional(b, `,"threadId":`, x.threadID)
	return appendOptional(b, `,"resourceId":`, x.resourceOfMessages())
}

// appendDB is a list of one: the assistant's message as it is stored.
func (x *run) appendDB(b []byte) []byte {
	if x.answer.ID == "" {
		return append(b, "[]"...)
	}
	b = appendMember(b, `[{"id":`, x.answer.ID)
	b = appendJSON(b, `,"role":"assistant","content":`, x.answer.Content)
	b = appendTime(b, `,"createdAt":`, x.answer.CreatedAt)
	return append(x.appendOwner(b), "}]"...)
}

// appendUI is a list of one: the assistant's message as user interfaces show it, up to step last.
func (x *run) appendUI(b []byte, last int) []byte {
	if x.answer.ID == "" {
		return append(b, "[]"...)
	}
	b = appendMember(b, `[{"id":`, x.answer.ID)
	b = x.appendObject(x.appendModel(append(b, `,"role":"assistant","metadata":`...)))
	b = appendTime(b, `,"createdAt":`, x.answer.CreatedAt)
	b = append(x.appendOwner(b), `},"parts":[`...)
	for n := x.base; n <= last; n++ {
		s := &x.Steps[n]
		b = x.appendStepStart(b, n)
		for i := range s.Pieces {
			b = s.Pieces[i].appendUI(comma(b))
		}
	}
	return append(b, "]}]"...)
}

func (p *piece) appendUI(b []byte) []byte {
	c := p.Call
	if c == nil {
		kind := `{"type":"text","text":`
		if p.Kind == reasoning {
			kind = `{"type":"reasoning","text":`
		}
		b = appendMember(b, kind, p.Text)
		return append(stampedAt(b, `,"providerMetadata":`, p.At), '}')
	}
	b = appendMember(b, `{"type":`, "tool-"+c.Name)
	b = appendMember(b, `,"toolCallId":`, c.ID)
	b = appendJSON(b, `,"input":`, c.args())
	switch {
	case c.declined():
		b = appendMember(b, `,"output":`, c.reason())
		return append(b, `,"state":"output-available"}`...)
	case c.Error != nil:
		b = appendMember(b, `,"errorText":`, c.Error.Message)
		return append(b, `,"state":"output-error"}`...)
	case c.Result != nil:
		b = appendJSON(b, `,"output":`, c.Result)
		return append(b, `,"state":"output-available"}`...)
	}
	b = append(b, `,"state":"input-available"`...)
	return append(stampedAt(b, `,"callProviderMetadata":`, p.At), '}')
}
