package upstream

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
)

// AnswerTool is the name of the tool whose input is the answer, where a provider has no other way to be asked for JSON.
const AnswerTool = "json"

// Parts puts the pieces that a provider sends into the order of a model's parts: blocks are opened and closed, the pieces
// of a tool call put together. Its methods return false where the stream is to end: the reader has left, or the answer is
// too long, which Err tells.
type Parts struct {
	Yield func(mastra.ModelPart) bool
	// JSON says that a call of AnswerTool is the answer's text. Other text is held back: it is the answer only where no
	// tool was called.
	JSON bool

	Begun bool
	Err   error

	open   mastra.ModelPart // Type is the delta's type, "" where no block is open
	calls  []*toolCall
	size   int
	held   []byte
	answer bool // AnswerTool was called
}

type toolCall struct {
	index  int
	id     string
	name   string
	input  []byte
	answer bool
	closed bool
}

const (
	maxCalls = 128 // of one answer
	textID   = "txt-0"
)

// Begin passes the response's metadata on, once.
func (p *Parts) Begin(m mastra.ModelPart) bool {
	if p.Begun {
		return true
	}
	p.Begun, m.Type = true, mastra.ModelMetadata
	return p.Yield(m)
}

// Text passes on a piece of the block id, which is opened if need be.
func (p *Parts) Text(id, text string) bool {
	if text == "" {
		return true
	}
	if p.JSON {
		p.held = append(p.held, text...)
		return p.room(len(text))
	}
	return p.delta(mastra.ModelTextStart, mastra.ModelTextDelta, id, text)
}

// Reasoning passes on a piece of the model's reasoning.
func (p *Parts) Reasoning(id, text string) bool {
	return text == "" || p.delta(mastra.ModelReasoningStart, mastra.ModelReasoningDelta, id, text)
}

// Sign closes the reasoning of that id with what the provider wants to see again.
func (p *Parts) Sign(id string, metadata mastra.JSON) bool {
	if p.open.Type != mastra.ModelReasoningDelta || p.open.ID != id { // reasoning without a text
		if !p.Close() || !p.Yield(mastra.ModelPart{Type: mastra.ModelReasoningStart, ID: id}) {
			return false
		}
	}
	p.open = mastra.ModelPart{}
	return p.Yield(mastra.ModelPart{Type: mastra.ModelReasoningEnd, ID: id, Metadata: metadata})
}

func (p *Parts) delta(start, delta mastra.ModelPartType, id, text string) bool {
	if !p.room(len(text)) {
		return false
	}
	if p.open.Type != delta || p.open.ID != id {
		if !p.Close() || !p.Yield(mastra.ModelPart{Type: start, ID: id}) {
			return false
		}
		p.open = mastra.ModelPart{Type: delta, ID: id}
	}
	return p.Yield(mastra.ModelPart{Type: delta, ID: id, Text: text})
}

func (p *Parts) room(n int) bool {
	if p.size += n; p.size > MaxAnswer {
		p.Err = ErrTooLong
	}
	return p.Err == nil
}

// Close closes the open block of text or reasoning.
func (p *Parts) Close() bool {
	was := p.open
	p.open = mastra.ModelPart{}
	switch was.Type {
	case mastra.ModelTextDelta:
		return p.Yield(mastra.ModelPart{Type: mastra.ModelTextEnd, ID: was.ID})
	case mastra.ModelReasoningDelta:
		return p.Yield(mastra.ModelPart{Type: mastra.ModelReasoningEnd, ID: was.ID})
	}
	return true
}

// Call takes a piece of the tool call of that index: the first one begins it, with an id and a name.
func (p *Parts) Call(index int, id, name, input string) bool {
	if !p.Close() {
		return false
	}
	var c *toolCall
	for _, o := range p.calls {
		if o.index == index && !o.closed {
			c = o
		}
	}
	if c == nil {
		if id == "" && name == "" || len(p.calls) == maxCalls {
			return true // a piece of what never began: of a kind of block that is not known here
		}
		if id == "" {
			id = mastra.NewID()
		}
		c = &toolCall{index: index, id: id, name: name, answer: p.JSON && name == AnswerTool}
		p.answer = p.answer || c.answer
		p.calls = append(p.calls, c)
		if !c.answer && !p.Yield(mastra.ModelPart{Type: mastra.ModelToolInputStart, ID: c.id, ToolName: name}) {
			return false
		}
	}
	if input == "" {
		return true
	}
	if !p.room(len(input)) {
		return false
	}
	c.input = append(c.input, input...)
	if c.answer {
		return p.delta(mastra.ModelTextStart, mastra.ModelTextDelta, textID, input)
	}
	return p.Yield(mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: c.id, Text: input})
}

// EndCall closes the call of that index; where there is none it does nothing.
func (p *Parts) EndCall(index int) bool {
	for _, c := range p.calls {
		if c.index == index && !c.closed && !p.endCall(c) {
			return false
		}
	}
	return true
}

func (p *Parts) endCall(c *toolCall) bool {
	c.closed = true
	if c.answer {
		return p.Close()
	}
	input := c.input
	if len(bytes.TrimSpace(input)) == 0 {
		input = []byte("{}")
	}
	return p.Yield(mastra.ModelPart{Type: mastra.ModelToolInputEnd, ID: c.id}) &&
		p.Yield(mastra.ModelPart{Type: mastra.ModelToolCall, ID: c.id, ToolName: c.name, Input: mastra.JSON(input)})
}

// Finish closes what is open and ends the answer.
func (p *Parts) Finish(finish mastra.FinishReason, usage mastra.Usage) {
	if !p.Close() {
		return
	}
	called := false
	for _, c := range p.calls {
		called = called || !c.answer
		if !c.closed && !p.endCall(c) {
			return
		}
	}
	if p.JSON && !p.answer && !called && len(p.held) > 0 {
		if !p.delta(mastra.ModelTextStart, mastra.ModelTextDelta, textID, string(unfenced(p.held))) || !p.Close() {
			return
		}
	}
	if finish == mastra.FinishToolCalls && !called {
		finish = mastra.FinishStop
	}
	if usage.TotalTokens == 0 {
		usage.TotalTokens = usage.InputTokens + usage.OutputTokens
	}
	p.Yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: finish, Usage: usage})
}

// unfenced is a JSON value that stands alone in a fence of Markdown, or text as it is.
func unfenced(text []byte) []byte {
	inner := bytes.TrimSpace(text)
	if rest, ok := bytes.CutPrefix(inner, []byte("```")); ok {
		rest = bytes.TrimPrefix(rest, []byte("json"))
		if rest, ok = bytes.CutSuffix(rest, []byte("```")); ok && jsontext.Value(rest).IsValid() {
			return bytes.TrimSpace(rest)
		}
	}
	return text
}
