package bedrock

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// assembler turns events into the parts of a model.
type assembler struct {
	parts      upstream.Parts
	signatures map[int]*signature // of the open reasoning blocks
	finish     mastra.FinishReason
	usage      mastra.Usage
}

// metadata is what a reasoning is given back with.
type metadata struct {
	Bedrock signature `json:"bedrock"`
}

type signature struct {
	Signature string `json:"signature,omitempty"`
	Redacted  []byte `json:"redactedData,omitempty"`
}

// take passes one event on; false ends the stream. Events of unknown types are passed over.
func (a *assembler) take(event types.ConverseStreamOutput) bool {
	switch e := event.(type) {
	case *types.ConverseStreamOutputMemberContentBlockStart:
		if call, ok := e.Value.Start.(*types.ContentBlockStartMemberToolUse); ok {
			return a.parts.Call(index(e.Value.ContentBlockIndex), aws.ToString(call.Value.ToolUseId), aws.ToString(call.Value.Name), "")
		}
	case *types.ConverseStreamOutputMemberContentBlockDelta:
		return a.delta(index(e.Value.ContentBlockIndex), e.Value.Delta)
	case *types.ConverseStreamOutputMemberContentBlockStop:
		i := index(e.Value.ContentBlockIndex)
		if s := a.signatures[i]; s != nil {
			delete(a.signatures, i)
			meta, err := schema.Marshal(metadata{*s})
			return err == nil && a.parts.Sign(strconv.Itoa(i), meta)
		}
		return a.parts.EndCall(i) && a.parts.Close()
	case *types.ConverseStreamOutputMemberMessageStop:
		a.finish = reason(e.Value.StopReason)
	case *types.ConverseStreamOutputMemberMetadata:
		if u := e.Value.Usage; u != nil {
			n := func(p *int32) int { return max(0, int(aws.ToInt32(p))) }
			read, write := n(u.CacheReadInputTokens), n(u.CacheWriteInputTokens)
			in := n(u.InputTokens) + read + write
			a.usage = mastra.Usage{InputTokens: in, OutputTokens: n(u.OutputTokens), TotalTokens: in + n(u.OutputTokens),
				CachedInputTokens: read, CacheCreationInputTokens: write}
		}
	}
	return true
}

func (a *assembler) delta(i int, delta types.ContentBlockDelta) bool {
	id := strconv.Itoa(i)
	switch d := delta.(type) {
	case *types.ContentBlockDeltaMemberText:
		return a.parts.Text(id, d.Value)
	case *types.ContentBlockDeltaMemberToolUse:
		return a.parts.Call(i, "", "", aws.ToString(d.Value.Input))
	case *types.ContentBlockDeltaMemberReasoningContent:
		switch r := d.Value.(type) {
		case *types.ReasoningContentBlockDeltaMemberText:
			return a.parts.Reasoning(id, r.Value)
		case *types.ReasoningContentBlockDeltaMemberSignature:
			a.signed(i).Signature += r.Value
		case *types.ReasoningContentBlockDeltaMemberRedactedContent:
			s := a.signed(i)
			s.Redacted = append(s.Redacted, r.Value...)
		}
		if s := a.signatures[i]; s != nil && len(s.Signature)+len(s.Redacted) > upstream.MaxAnswer {
			a.parts.Err = upstream.ErrTooLong
			return false
		}
	}
	return true
}

func (a *assembler) signed(i int) *signature {
	if a.signatures == nil {
		a.signatures = map[int]*signature{}
	}
	if a.signatures[i] == nil {
		a.signatures[i] = &signature{}
	}
	return a.signatures[i]
}

func index(p *int32) int { return int(aws.ToInt32(p)) }

func reason(r types.StopReason) mastra.FinishReason {
	switch r {
	case types.StopReasonEndTurn, types.StopReasonStopSequence:
		return mastra.FinishStop
	case types.StopReasonToolUse:
		return mastra.FinishToolCalls
	case types.StopReasonMaxTokens, types.StopReasonModelContextWindowExceeded:
		return mastra.FinishLength
	case types.StopReasonGuardrailIntervened, types.StopReasonContentFiltered, "refusal":
		return mastra.FinishFilter
	case types.StopReasonMalformedModelOutput, types.StopReasonMalformedToolUse:
		return mastra.FinishError
	}
	return mastra.FinishOther
}
