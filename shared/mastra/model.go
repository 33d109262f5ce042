package mastra

import (
	"context"
	"iter"
	"strings"
)

// LanguageModel is one model of a provider. It is safe for concurrent use.
type LanguageModel interface {
	// Info names the model.
	Info() ModelInfo
	// Stream asks the model once. The parts come in the order of ModelPart's types; an error ends the stream.
	// A provider's failure is an Error of CodeUpstream. Breaking off the loop, or ctx, ends the call.
	Stream(ctx context.Context, r *ModelRequest) iter.Seq2[ModelPart, error]
}

// ModelInfo is how a model shows on the wire.
type ModelInfo struct {
	Provider string `json:"modelProvider"`
	ID       string `json:"modelId"`
	Version  string `json:"modelVersion"` // of the interface: "v2"
}

// ModelRequest is one call of a model. The model must not change it.
type ModelRequest struct {
	Messages   []PromptMessage
	Tools      []*Tool
	ToolChoice ToolChoice
	Settings   ModelSettings
	Schema     JSON // of the answer, where JSON is asked for
	// Options are what only one provider understands, by the provider's name, as the AI SDK names them:
	// {"anthropic": {"thinking": {"type": "enabled", "budgetTokens": 2000}}, "openai": {"reasoningEffort": "low"}}.
	Options map[string]JSON
}

// ToolChoice is "auto" (or empty), "none", "required", or a tool that must be called.
type ToolChoice struct {
	Mode string
	Tool string
}

// ModelSettings are a call's settings; nil leaves it to the provider.
type ModelSettings struct {
	Temperature      *float64 `json:"temperature,omitempty"`
	TopP             *float64 `json:"topP,omitempty"`
	TopK             *int     `json:"topK,omitempty" minimum:"1"` // for models that know it
	MaxOutputTokens  *int     `json:"maxOutputTokens,omitempty" minimum:"1"`
	StopSequences    []string `json:"stopSequences,omitempty"`
	Seed             *int     `json:"seed,omitempty"`
	PresencePenalty  *float64 `json:"presencePenalty,omitempty"`
	FrequencyPenalty *float64 `json:"frequencyPenalty,omitempty"`
	MaxRetries       *int     `json:"maxRetries,omitempty" minimum:"0" maximum:"10"`
}

// ModelPartType is the kind of a ModelPart.
type ModelPartType string

// A stream is: metadata, then any of text (start, delta, end), reasoning (start, delta, end), tool input (start, delta,
// end) and tool calls, then finish.
const (
	ModelMetadata       ModelPartType = "response-metadata"
	ModelTextStart      ModelPartType = "text-start"
	ModelTextDelta      ModelPartType = "text-delta"
	ModelTextEnd        ModelPartType = "text-end"
	ModelReasoningStart ModelPartType = "reasoning-start"
	ModelReasoningDelta ModelPartType = "reasoning-delta"
	ModelReasoningEnd   ModelPartType = "reasoning-end"
	ModelToolInputStart ModelPartType = "tool-input-start"
	ModelToolInputDelta ModelPartType = "tool-input-delta"
	ModelToolInputEnd   ModelPartType = "tool-input-end"
	ModelToolCall       ModelPartType = "tool-call"
	ModelFinish         ModelPartType = "finish"
)

// ModelPart is one event of a model's stream.
type ModelPart struct {
	Type      ModelPartType
	ID        string // of the text or reasoning block; of the response in metadata; of the call for tool parts
	Text      string // of a delta
	ToolName  string
	Input     JSON         // of a tool-call: the arguments as the model wrote them, not yet checked, maybe no JSON at all
	Timestamp Time         // of metadata
	ModelID   string       // of metadata: the model that answered, in the provider's words
	Model     ModelInfo    // of metadata: the model that answered, where it may be another than Info's
	Finish    FinishReason // of finish
	Usage     Usage        // of finish
	Cost      float64      // of finish, in US dollars; 0 where no price of the model is known
	// Metadata, of a reasoning-end, is what the provider wants to see again with that reasoning: it goes into the prompt's
	// part as ProviderOptions.
	Metadata JSON
}

// MaxWritten is how many bytes of texts and arguments a model may write in one answer.
const MaxWritten = 16 << 20

// Written is the text of an answer of which nothing else is wanted; each, where not nil, gets its parts as they come. One of more than
// limit bytes is a CodeUpstream. With an error comes what was read until then.
func Written(parts iter.Seq2[ModelPart, error], limit int, each func(*ModelPart)) (string, error) {
	var text strings.Builder
	for part, err := range parts {
		if err != nil {
			return text.String(), err
		}
		if part.Type == ModelTextDelta {
			if text.WriteString(part.Text); text.Len() > limit {
				return text.String(), Errorf(CodeUpstream, "The model's answer is too long")
			}
		}
		if each != nil {
			each(&part)
		}
	}
	return text.String(), nil
}

// FinishReason says why a model stopped.
type FinishReason string

const (
	FinishStop      FinishReason = "stop"
	FinishLength    FinishReason = "length"
	FinishToolCalls FinishReason = "tool-calls"
	FinishFilter    FinishReason = "content-filter"
	FinishError     FinishReason = "error"
	FinishOther     FinishReason = "other"
	FinishSuspended FinishReason = "suspended" // of a run alone: a call waits for an answer
	FinishRetry     FinishReason = "retry"     // of a step that a processor refused: the model tries again
	FinishTripwire  FinishReason = "tripwire"  // of a step that a processor refused for good
)

// Usage counts tokens. InputTokens hold those read from a cache and those written to one, OutputTokens those of reasoning.
type Usage struct {
	InputTokens              int `json:"inputTokens"`
	OutputTokens             int `json:"outputTokens"`
	TotalTokens              int `json:"totalTokens"`
	ReasoningTokens          int `json:"reasoningTokens,omitzero"`
	CachedInputTokens        int `json:"cachedInputTokens,omitzero"`
	CacheCreationInputTokens int `json:"cacheCreationInputTokens,omitzero"`
}

// Minus takes off what is a part of u.
func (u Usage) Minus(v Usage) Usage {
	return Usage{u.InputTokens - v.InputTokens, u.OutputTokens - v.OutputTokens, u.TotalTokens - v.TotalTokens,
		u.ReasoningTokens - v.ReasoningTokens, u.CachedInputTokens - v.CachedInputTokens, u.CacheCreationInputTokens - v.CacheCreationInputTokens}
}

// Plus adds two usages.
func (u Usage) Plus(v Usage) Usage {
	return Usage{u.InputTokens + v.InputTokens, u.OutputTokens + v.OutputTokens, u.TotalTokens + v.TotalTokens,
		u.ReasoningTokens + v.ReasoningTokens, u.CachedInputTokens + v.CachedInputTokens, u.CacheCreationInputTokens + v.CacheCreationInputTokens}
}

// Embedder turns texts into vectors of one length.
type Embedder interface {
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	Dimension() int
}
