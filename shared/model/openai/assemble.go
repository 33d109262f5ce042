package openai

import (
	"time"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
	"mastralambda/shared/upstream"
)

// assembler turns the events of an endpoint into the parts of a model. Services differ: arguments in one piece or many, an
// empty first delta, usage in a last event without choices, calls without an index.
type assembler struct {
	parts  upstream.Parts
	last   int // index of the last call
	finish mastra.FinishReason
	usage  mastra.Usage
}

const textID, reasoningID = "txt-0", "reasoning-0"

// take passes one event on; false ends the stream.
func (a *assembler) take(e api.ChatCompletionStreamResponse) bool {
	if !a.parts.Begin(mastra.ModelPart{ID: e.ID, ModelID: e.Model, Timestamp: mastra.TimeOf(time.Unix(e.Created, 0))}) {
		return false
	}
	if u := e.Usage; u != nil {
		a.usage = mastra.Usage{InputTokens: u.PromptTokens, OutputTokens: u.CompletionTokens, TotalTokens: u.TotalTokens}
		if d := u.CompletionTokensDetails; d != nil {
			a.usage.ReasoningTokens = d.ReasoningTokens
			if a.usage.TotalTokens == u.PromptTokens+u.CompletionTokens+d.ReasoningTokens { // xAI counts reasoning beside the rest
				a.usage.OutputTokens += d.ReasoningTokens
			}
		}
		if d := u.PromptTokensDetails; d != nil {
			a.usage.CachedInputTokens = d.CachedTokens
		}
	}
	if len(e.Choices) == 0 {
		return true
	}
	c := e.Choices[0]
	if !a.parts.Reasoning(reasoningID, c.Delta.ReasoningContent) || !a.parts.Text(textID, c.Delta.Content+c.Delta.Refusal) {
		return false
	}
	for _, call := range c.Delta.ToolCalls {
		// Its index says which call a piece belongs to; without one an id begins a new call.
		switch {
		case call.Index != nil:
			a.last = *call.Index
		case call.ID != "":
			a.last++
		}
		if !a.parts.Call(a.last, call.ID, call.Function.Name, call.Function.Arguments) {
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
