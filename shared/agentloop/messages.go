package agentloop

import (
	"strings"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// intake is what came in with a call: the messages to be stored, and the same as a model is given them.
type intake struct {
	system []mastra.PromptMessage
	stored []mastra.Message
	prompt []mastra.PromptMessage
}

// take turns a caller's messages into stored ones. at is the time of the first; each of the next is a millisecond later,
// so that their order is the order of their times. Messages without an id get one.
func take(in mastra.Messages, at mastra.Time) (out intake, err error) {
	for i := range in {
		m := &in[i]
		parts := m.All()
		switch m.Role {
		case "system":
			out.system = append(out.system, mastra.PromptMessage{Role: "system", Parts: parts})
			continue
		case "tool":
			out.answer(parts)
			out.prompt = append(out.prompt, mastra.PromptMessage{Role: "tool", Parts: parts})
			continue
		}
		id := m.ID
		if id == "" {
			id = mastra.NewID()
		}
		when := at + mastra.Time(len(out.stored))
		content, err := storedContent(parts, int64(at), m.Metadata)
		if err != nil {
			return out, err
		}
		out.stored = append(out.stored, mastra.Message{ID: id, Role: m.Role, CreatedAt: when, Content: content})
		out.prompt = appendParts(out.prompt, m.Role, parts)
	}
	return out, nil
}

// answer puts the results of a tool message into the stored calls before it.
func (in *intake) answer(parts []mastra.Part) {
	for _, p := range parts {
		for i := range in.stored {
			var c mastra.Content
			if in.stored[i].Role != "assistant" || schema.Unmarshal(in.stored[i].Content, &c) != nil {
				continue
			}
			changed := false
			for j := range c.Parts {
				if v := c.Parts[j].Invocation; v != nil && v.ToolCallID == p.ToolCallID {
					v.State, v.Result, changed = "result", plainOutput(p.Output), true
				}
			}
			if !changed {
				continue
			}
			if data, err := schema.Marshal(c); err == nil {
				in.stored[i].Content = data
			}
		}
	}
}

// plainOutput takes the value out of {type, value}.
func plainOutput(output mastra.JSON) mastra.JSON {
	var o struct {
		Value mastra.JSON `json:"value"`
	}
	if output == nil || output.Kind() != '{' || schema.Unmarshal(output, &o) != nil || o.Value == nil {
		return output
	}
	return o.Value
}

// storedContent is the content of a caller's message as it is stored.
func storedContent(parts []mastra.Part, at int64, metadata mastra.JSON) (mastra.JSON, error) {
	if len(parts) == 1 && parts[0].Type == mastra.PartText { // most messages
		b := make([]byte, 0, 96+2*len(parts[0].Text)+len(metadata))
		b = appendMember(b, `{"format":2,"parts":[{"type":"text","text":`, parts[0].Text)
		b = appendInt(b, `,"createdAt":`, at)
		b = appendMember(b, `}],"content":`, parts[0].Text)
		if len(metadata) > 0 {
			b = appendJSON(b, `,"metadata":`, metadata)
		}
		return append(b, '}'), nil
	}
	c := mastra.Content{Format: 2, Parts: make([]mastra.Part, 0, len(parts)), Metadata: metadata}
	var texts []string
	for _, p := range parts {
		switch p.Type {
		case mastra.PartText:
			texts = append(texts, p.Text)
		case mastra.PartToolCall:
			args := p.Input
			if args == nil {
				args = mastra.JSON("{}")
			}
			p = mastra.Part{Type: mastra.PartInvocation, Invocation: &mastra.Invocation{State: "call", ToolCallID: p.ToolCallID, ToolName: p.ToolName, Args: args}}
		}
		if p.CreatedAt == 0 {
			p.CreatedAt = at
		}
		c.Parts = append(c.Parts, p)
	}
	c.Content = strings.Join(texts, "\n")
	return schema.Marshal(c)
}

// texts remembers what stored messages of nothing but text say: those of a busy thread are read again by each of its runs. A
// storage that keeps messages in memory hands out the same bytes again, which is how one is known.
type texts struct {
	mu    sync.Mutex
	known map[string]knownText // by message
}

type knownText struct {
	content mastra.JSON
	parts   []mastra.Part
}

const (
	maxTexts = 1024
	maxText  = 4 << 10 // bytes of a content
)

func (t *texts) find(m *mastra.Message) []mastra.Part {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known[m.ID]; len(k.content) > 0 && len(k.content) == len(m.Content) && &k.content[0] == &m.Content[0] {
		return k.parts
	}
	return nil
}

func (t *texts) keep(m *mastra.Message, parts []mastra.Part) {
	for i := range parts {
		p := &parts[i]
		if p.Type != mastra.PartText || len(p.Input)+len(p.Output)+len(p.Data)+len(p.Image)+len(p.ProviderOptions) > 0 || p.Invocation != nil {
			return
		}
	}
	if len(m.Content) > maxText || len(parts) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known) >= maxTexts {
		t.known = map[string]knownText{}
	}
	t.known[m.ID] = knownText{m.Content, parts}
}

// recalled appends stored messages to a prompt. One whose content cannot be read is left out.
func (t *texts) recalled(prompt []mastra.PromptMessage, messages []mastra.Message) []mastra.PromptMessage {
	for i := range messages {
		m := &messages[i]
		if m.Role == "signal" {
			var c mastra.Content
			if schema.Unmarshal(m.Content, &c) == nil {
				prompt = appendParts(prompt, "user", tagged(c))
			}
			continue
		}
		parts := t.find(m)
		if parts == nil {
			var c struct { // what else is there is not decoded: that costs as much as a model's whole answer
				Parts []mastra.Part `json:"parts"`
			}
			if schema.Unmarshal(m.Content, &c) != nil {
				continue
			}
			t.keep(m, c.Parts)
			parts = c.Parts
		}
		prompt = appendParts(prompt, m.Role, parts)
	}
	return prompt
}

// appendParts appends a message to a prompt. An assistant's message that holds calls beside their results is taken apart:
// models want the results in a message of their own behind the calls. A call without a result is left out.
func appendParts(prompt []mastra.PromptMessage, role string, parts []mastra.Part) []mastra.PromptMessage {
	var said, answered []mastra.Part
	flush := func() {
		if len(said) > 0 {
			prompt = append(prompt, mastra.PromptMessage{Role: role, Parts: said})
		}
		if len(answered) > 0 {
			prompt = append(prompt, mastra.PromptMessage{Role: "tool", Parts: answered})
		}
		said, answered = nil, nil
	}
	for _, p := range parts {
		switch p.Type {
		case mastra.PartInvocation:
			v := p.Invocation
			if v == nil || v.State == "call" {
				continue
			}
			said = append(said, mastra.Part{Type: mastra.PartToolCall, ToolCallID: v.ToolCallID, ToolName: v.ToolName, Input: v.Args})
			c := call{Result: v.Result}
			if v.State == "output-denied" && v.Approval != nil {
				c.Verdict, c.Reason = &v.Approval.Approved, v.Approval.Reason
			}
			if v.ErrorText != "" {
				c.Error = &mastra.RunError{Message: v.ErrorText}
			}
			answered = append(answered, mastra.Part{Type: mastra.PartToolResult, ToolCallID: v.ToolCallID, ToolName: v.ToolName, Output: c.appendOutput(nil)})
		case mastra.PartText, mastra.PartFile, mastra.PartImage, mastra.PartToolCall, mastra.PartToolResult:
			if len(answered) > 0 {
				flush()
			}
			p.CreatedAt = 0
			said = append(said, p)
		}
	}
	flush()
	return prompt
}

// appendStep appends what a step adds to the prompt of the next one.
func appendStep(prompt []mastra.PromptMessage, s *step) []mastra.PromptMessage {
	var said, answered []mastra.Part
	for i := range s.Pieces {
		p := &s.Pieces[i]
		switch p.Kind {
		case called:
			c := p.Call
			said = append(said, mastra.Part{Type: mastra.PartToolCall, ToolCallID: c.ID, ToolName: c.Name, Input: c.args()})
			answered = append(answered, mastra.Part{Type: mastra.PartToolResult, ToolCallID: c.ID, ToolName: c.Name, Output: c.appendOutput(nil)})
		case text:
			said = append(said, mastra.Part{Type: mastra.PartText, Text: p.Text})
		case reasoning:
			if p.Meta != nil { // whoever signs its reasoning wants it back beside the calls that came of it
				said = append(said, mastra.Part{Type: mastra.PartReasoning, Text: p.Text, ProviderOptions: p.Meta})
			}
		}
	}
	if len(said) > 0 {
		prompt = append(prompt, mastra.PromptMessage{Role: "assistant", Parts: said})
	}
	if len(answered) > 0 {
		prompt = append(prompt, mastra.PromptMessage{Role: "tool", Parts: answered})
	}
	return prompt
}

// appendPrompt appends a prompt as a list of model messages; a system message's content is a text.
func appendPrompt(b []byte, prompt []mastra.PromptMessage) []byte {
	b = append(b, '[')
	for i := range prompt {
		b = appendPromptMessage(comma(b), &prompt[i], nil)
	}
	return append(b, ']')
}

// appendPromptMessage appends one message, its text parts with a stamp where at is given.
func appendPromptMessage(b []byte, m *mastra.PromptMessage, at *int64) []byte {
	b = appendMember(b, `{"role":`, m.Role)
	if m.Role == "system" {
		return append(appendMember(b, `,"content":`, m.Text()), '}')
	}
	b = append(b, `,"content":[`...)
	for i := range m.Parts {
		p := &m.Parts[i]
		b = comma(b)
		if p.Type != mastra.PartText {
			data, err := schema.Marshal(p)
			if err != nil {
				data = mastra.JSON(`{"type":"text","text":""}`)
			}
			b = append(b, data...)
			continue
		}
		b = appendMember(b, `{"type":"text","text":`, p.Text)
		if at != nil {
			b = stampedAt(b, `,"providerOptions":`, *at)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendModelMessages appends stored messages as model messages, comma separated.
func (t *texts) appendModelMessages(b []byte, messages []mastra.Message) []byte {
	for i := range messages {
		prompt := t.recalled(nil, messages[i:i+1])
		at := int64(messages[i].CreatedAt)
		for j := range prompt {
			b = appendPromptMessage(comma(b), &prompt[j], &at)
		}
	}
	return b
}

// appendBrief appends a prompt as the span of a step shows it: texts, and calls by name.
func appendBrief(b []byte, prompt []mastra.PromptMessage) []byte {
	b = append(b, '[')
	for i := range prompt {
		m := &prompt[i]
		b = appendMember(comma(b), `{"role":`, m.Role)
		b = append(schema.AppendString(append(b, `,"content":`...), brief(m)), '}')
	}
	return append(b, ']')
}

// lengthOf is about how many bytes a prompt has in a span.
func lengthOf(prompt []mastra.PromptMessage) int {
	n := 16
	for i := range prompt {
		n += 72
		for k := range prompt[i].Parts {
			n += 16 + len(prompt[i].Parts[k].Text)
		}
	}
	return n
}

func brief(m *mastra.PromptMessage) string {
	if len(m.Parts) == 1 && m.Parts[0].Type == mastra.PartText {
		return m.Parts[0].Text
	}
	var out []string
	for i := range m.Parts {
		switch p := &m.Parts[i]; p.Type {
		case mastra.PartText:
			out = append(out, p.Text)
		case mastra.PartToolCall:
			out = append(out, "[tool: "+p.ToolName+"]")
		case mastra.PartToolResult:
			out = append(out, "[tool-result: "+p.ToolName+"]")
		default:
			out = append(out, "["+p.Type+"]")
		}
	}
	return strings.Join(out, "\n")
}
