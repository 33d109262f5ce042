package anthropic

import (
	"strconv"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// event is one event of a stream, of whatever type.
type event struct {
	Type    string `json:"type"`
	Message struct {
		ID    string `json:"id"`
		Model string `json:"model"`
		Usage usage  `json:"usage"`
	} `json:"message"`
	Index int `json:"index"`
	Block struct {
		Type  string      `json:"type"`
		ID    string      `json:"id"`
		Name  string      `json:"name"`
		Text  string      `json:"text"`
		Data  string      `json:"data"` // of redacted thinking
		Input mastra.JSON `json:"input"`
	} `json:"content_block"`
	Delta struct {
		Type        string `json:"type"`
		Text        string `json:"text"`
		Thinking    string `json:"thinking"`
		Signature   string `json:"signature"`
		PartialJSON string `json:"partial_json"`
		StopReason  string `json:"stop_reason"`
	} `json:"delta"`
	Usage usage    `json:"usage"`
	Error *refusal `json:"error"`
}

type usage struct {
	Input      *int `json:"input_tokens"`
	Output     *int `json:"output_tokens"`
	CacheRead  *int `json:"cache_read_input_tokens"`
	CacheWrite *int `json:"cache_creation_input_tokens"`
}

// assembler turns events into the parts of a model.
type assembler struct {
	parts      upstream.Parts
	signatures map[int]string // of the open reasoning blocks
	finish     mastra.FinishReason
	usage      usage
}

// metadata is what a reasoning is given back with.
type metadata struct {
	Anthropic signature `json:"anthropic"`
}

type signature struct {
	Signature string `json:"signature,omitempty"`
	Redacted  string `json:"redactedData,omitempty"`
}

// take passes one event on; false ends the stream. Events of unknown types are passed over.
func (a *assembler) take(data []byte) (more bool, err error) {
	var e event
	if err := schema.Unmarshal(data, &e); err != nil {
		return false, err
	}
	id := strconv.Itoa(e.Index)
	switch e.Type {
	case "message_start":
		a.usage.update(e.Message.Usage)
		return a.parts.Begin(mastra.ModelPart{ID: e.Message.ID, ModelID: e.Message.Model, Timestamp: mastra.TimeOf(time.Now())}), nil
	case "content_block_start":
		switch e.Block.Type {
		case "text":
			return a.parts.Text(id, e.Block.Text), nil
		case "tool_use":
			input := ""
			if len(e.Block.Input) > 2 { // a whole one: "{}" only says that it follows
				input = string(e.Block.Input)
			}
			return a.parts.Call(e.Index, e.Block.ID, e.Block.Name, input), nil
		case "redacted_thinking":
			meta, err := schema.Marshal(metadata{signature{Redacted: e.Block.Data}})
			return err == nil && a.parts.Sign(id, meta), err
		}
	case "content_block_delta":
		switch e.Delta.Type {
		case "text_delta":
			return a.parts.Text(id, e.Delta.Text), nil
		case "thinking_delta":
			return a.parts.Reasoning(id, e.Delta.Thinking), nil
		case "signature_delta":
			if a.signatures == nil {
				a.signatures = map[int]string{}
			}
			if a.signatures[e.Index] += e.Delta.Signature; len(a.signatures[e.Index]) > upstream.MaxAnswer {
				a.parts.Err = upstream.ErrTooLong
			}
		case "input_json_delta":
			return a.parts.Call(e.Index, "", "", e.Delta.PartialJSON), nil
		}
	case "content_block_stop":
		if s := a.signatures[e.Index]; s != "" {
			delete(a.signatures, e.Index)
			meta, err := schema.Marshal(metadata{signature{Signature: s}})
			return err == nil && a.parts.Sign(id, meta), err
		}
		return a.parts.EndCall(e.Index) && a.parts.Close(), nil
	case "message_delta":
		a.usage.update(e.Usage)
		if e.Delta.StopReason != "" {
			a.finish = reason(e.Delta.StopReason)
		}
	case "message_stop":
		if a.finish == "" {
			a.finish = mastra.FinishOther
		}
		a.parts.Finish(a.finish, a.usage.all())
		return false, nil
	case "error":
		if e.Error == nil {
			e.Error = &refusal{}
		}
		return false, e.Error
	}
	return true, nil
}

// update takes what an event tells: later counts replace earlier ones.
func (u *usage) update(v usage) {
	for _, f := range []struct{ at, v **int }{{&u.Input, &v.Input}, {&u.Output, &v.Output}, {&u.CacheRead, &v.CacheRead}, {&u.CacheWrite, &v.CacheWrite}} {
		if *f.v != nil {
			*f.at = *f.v
		}
	}
}

// all is the usage: the API counts what came from a cache, and what went into one, apart from the rest.
func (u usage) all() mastra.Usage {
	n := func(p *int) int {
		if p == nil {
			return 0
		}
		return max(0, *p)
	}
	read, write := n(u.CacheRead), n(u.CacheWrite)
	in := n(u.Input) + read + write
	return mastra.Usage{InputTokens: in, OutputTokens: n(u.Output), TotalTokens: in + n(u.Output), CachedInputTokens: read, CacheCreationInputTokens: write}
}

func reason(r string) mastra.FinishReason {
	switch r {
	case "end_turn", "stop_sequence", "pause_turn":
		return mastra.FinishStop
	case "tool_use":
		return mastra.FinishToolCalls
	case "max_tokens", "model_context_window_exceeded":
		return mastra.FinishLength
	case "refusal":
		return mastra.FinishFilter
	}
	return mastra.FinishOther
}
