package mastra_test

import (
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// What is encoded by hand is what reflection would write.
func TestChunkEncoding(t *testing.T) {
	answer := mastra.ModelAnswer{ID: "r\"1", Timestamp: 1795436487182, ModelID: "m", Model: mastra.ModelInfo{Provider: "p", ID: "m", Version: "v2"}}
	usage := mastra.Usage{InputTokens: 1, OutputTokens: 2, TotalTokens: 3, ReasoningTokens: 1, CachedInputTokens: 1}
	finish := mastra.Finish{MessageID: "id", StepResult: mastra.StepReason{Reason: "tool-calls", IsContinued: true}, Metadata: answer,
		Output: mastra.FinishOutput{Text: "a\u2028<b>\n", Usage: mastra.RunUsage{Usage: usage, Raw: &usage}, Steps: mastra.JSON(`[1]`),
			ToolCalls: []mastra.ToolCalled{{ToolCallID: "c", ToolName: "t", Args: mastra.JSON(`{}`)}, {ToolCallID: "d", ToolName: "t"}}},
		Messages: mastra.FinishMessages{All: mastra.JSON(`[2]`), User: mastra.JSON(`[]`)}}
	whole := finish
	whole.Metadata.Timestamp, whole.Output.Usage.Raw = 0, nil
	whole.Response = &mastra.AgentResponse{ModelAnswer: answer, Messages: mastra.JSON(`[3]`), UIMessages: mastra.JSON(`[4]`), DBMessages: mastra.JSON(`[5]`)}
	brief := finish
	brief.Output.ToolCalls, brief.Response = nil, &mastra.AgentResponse{ModelAnswer: answer}
	for _, c := range []mastra.Chunk{
		{Type: "start", RunID: "run", From: mastra.FromAgent, Payload: mastra.RunStart{ID: "a", MessageID: "m"}},
		{Type: "text-delta", RunID: "run", From: mastra.FromAgent, Text: "é\"\\\x00", Payload: mastra.TextDelta{ID: "t", Text: "é\"\\\x00"}},
		{Type: "text-delta", Payload: mastra.TextDelta{Text: "cut \xc3"}},
		{Type: "bare"},
		{Type: "step-finish", RunID: "run", Payload: finish}, {Type: "finish", Payload: whole}, {Type: "finish", Payload: brief},
	} {
		got, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := schema.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestChunkEncodesOnce(t *testing.T) {
	c := mastra.Chunk{Type: "x"}.WithEncoding(mastra.JSON(`{"kept":1}`))
	if got, err := c.Encode(); err != nil || string(got) != `{"kept":1}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := (mastra.Chunk{Type: "x", Payload: func() {}}).Encode(); err == nil {
		t.Error("a payload that does not encode is no error")
	}
}
