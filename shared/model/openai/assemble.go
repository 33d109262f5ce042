package openai

import (
	"time"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
)

// assembler turns the events of an endpoint into the parts of a model: blocks are opened and closed, the pieces of a
// tool call are put together. Services differ: arguments in one piece or many, an empty first delta, usage in a last
// event without choices, calls without an index.
type assembler struct {
	yield  func(mastra.ModelPart) bool
	begun  bool
	open   mastra.ModelPartType // the delta type of the open block, "" if none is
	calls  []*api.ToolCall
	finish mastra.FinishReason
	usage  mastra.Usage
	size   int
	full   bool // the answer was longer than maxAnswer
}

const textID, reasoningID = "txt-0", "reasoning-0"

// take passes one event on; false ends the stream.
func (a *assembler) take(e api.ChatCompletionStreamResponse) bool {
	if !a.begun {
		a.begun = true
		if !a.yield(mastra.ModelPart{Type: mastra.ModelMetadata, ID: e.ID, ModelID: e.Model, Timestamp: mastra.TimeOf(time.Unix(e.Created, 0))}) {
			return false
		}
	}
	if u := e.Usage; u != nil {
		a.usage = mastra.Usage{InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, TotalTokens: u.TotalTokens}
		if d := u.CompletionTokensDetails; d != nil {
			a.usage.ReasoningTokens = d.ReasoningTokens
		}
		if d := u.PromptTokensDetails; d != nil {
			a.usage.CachedInputTokens = d.CachedTokens
		}
	}
	if len(e.Choices) == 0 {
		return true
	}
	c := e.Choices[0]
	if !a.delta(mastra.ModelReasoningStart, mastra.ModelReasoningDelta, reasoningID, c.Delta.ReasoningContent) ||
		!a.delta(mastra.ModelTextStart, mastra.ModelTextDelta, textID, c.Delta.Content+c.Delta.Refusal) {
		return false
	}
	for _, call := range c.Delta.ToolCalls {
		if !a.call(call) {
			return false
		}
	}
	if c.Delta.Refusal != "" {
		a.finish = mastra.FinishFilter
	} else if c.FinishReason != "" && a.finish != mastra.FinishFilter {
		a.finish = reason(c.FinishReason)
	}
	return true
}

func (a *assembler) delta(start, delta mastra.ModelPartType, id, text string) bool {
	if text == "" {
		return true
	}
	if !a.room(len(text)) {
		return false
	}
	if a.open != delta {
		if !a.close() || !a.yield(mastra.ModelPart{Type: start, ID: id}) {
			return false
		}
		a.open = delta
	}
	return a.yield(mastra.ModelPart{Type: delta, ID: id, Text: text})
}

func (a *assembler) room(n int) bool {
	a.size += n
	a.full = a.size > maxAnswer
	return !a.full
}

func (a *assembler) close() bool {
	was := a.open
	a.open = ""
	switch was {
	case mastra.ModelTextDelta:
		return a.yield(mastra.ModelPart{Type: mastra.ModelTextEnd, ID: textID})
	case mastra.ModelReasoningDelta:
		return a.yield(mastra.ModelPart{Type: mastra.ModelReasoningEnd, ID: reasoningID})
	}
	return true
}

// call takes a piece of a tool call. Its index says which; without one an id begins a new call.
func (a *assembler) call(piece api.ToolCall) bool {
	if !a.close() {
		return false
	}
	index := len(a.calls) - 1
	if piece.Index != nil {
		index = *piece.Index
	} else if piece.ID != "" || index < 0 {
		index = len(a.calls)
	}
	if index < 0 || index > 128 {
		return true
	}
	for len(a.calls) <= index {
		a.calls = append(a.calls, nil)
	}
	c := a.calls[index]
	if c == nil {
		c = &api.ToolCall{ID: piece.ID, Function: api.FunctionCall{Name: piece.Function.Name}}
		if c.ID == "" {
			c.ID = mastra.NewID()
		}
		a.calls[index] = c
		if !a.yield(mastra.ModelPart{Type: mastra.ModelToolInputStart, ID: c.ID, ToolName: c.Function.Name}) {
			return false
		}
	}
	if piece.Function.Arguments == "" {
		return true
	}
	if !a.room(len(piece.Function.Arguments)) {
		return false
	}
	c.Function.Arguments += piece.Function.Arguments
	return a.yield(mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: c.ID, Text: piece.Function.Arguments})
}

// end closes what is open and hands the calls out.
func (a *assembler) end() {
	if !a.close() {
		return
	}
	for _, c := range a.calls {
		if c == nil {
			continue
		}
		if c.Function.Arguments == "" {
			c.Function.Arguments = "{}"
		}
		if !a.yield(mastra.ModelPart{Type: mastra.ModelToolInputEnd, ID: c.ID}) ||
			!a.yield(mastra.ModelPart{Type: mastra.ModelToolCall, ID: c.ID, ToolName: c.Function.Name, Input: mastra.JSON(c.Function.Arguments)}) {
			return
		}
	}
	a.yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: a.finish, Usage: a.usage})
}

func reason(r api.FinishReason) mastra.FinishReason {
	switch r {
	case api.FinishReasonStop:
		return mastra.FinishStop
	case api.FinishReasonLength:
		return mastra.FinishLength
	case api.FinishReasonToolCalls, api.FinishReasonFunctionCall:
		return mastra.FinishToolCalls
	case api.FinishReasonContentFilter:
		return mastra.FinishFilter
	}
	return mastra.FinishOther
}
