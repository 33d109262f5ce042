package runlog

import (
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func TestBlocksHoldWhatWasSaid(t *testing.T) {
	long := mastra.JSON(`[{"content":"` + strings.Repeat("much said ", 200) + `"}]`)
	finish := mastra.Finish{MessageID: "m", Output: mastra.FinishOutput{Text: "a b", Steps: long}, Messages: mastra.FinishMessages{All: long, User: long, NonUser: long}}
	last := finish
	last.Response = &mastra.AgentResponse{Messages: long, UIMessages: long}
	delta := func(id, text string) mastra.Chunk {
		return mastra.Chunk{Type: mastra.ChunkTextDelta, RunID: "r", From: mastra.FromAgent, Text: text, Payload: mastra.TextDelta{ID: id, Text: text}}
	}
	chunks := []mastra.Chunk{{Type: "start", RunID: "r"}, delta("t", "a "), delta("t", "\"b\x1e\n\xff"), delta("u", "c"), delta("u", ""), delta("t", "d"),
		{Type: "step-finish", RunID: "r", From: mastra.FromAgent, Payload: finish}, {Type: "finish", RunID: "r", From: mastra.FromAgent, Payload: last}, {Type: "x"}}
	data, err := encodeBlock(chunks)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	got, err := decodeBlock(&mastra.ChunkBlock{RunID: "r", End: mastra.Position{Epoch: 3, Seq: 20}, Count: len(chunks), Data: data})
	if err != nil || len(got) != len(chunks) {
		t.Fatal(len(got), err)
	}
	for i := range chunks {
		want, _ := chunks[i].Encode()
		have, err := got[i].Encode()
		if err != nil || string(have) != string(want) || got[i].At != (mastra.Position{Epoch: 3, Seq: int64(12 + i)}) || got[i].Type != chunks[i].Type {
			t.Errorf("chunk %d at %v: %s\nwant %s", i, got[i].At, have, want)
		}
		size += len(want)
	}
	if len(data) > size*2/3 {
		t.Errorf("%d of %d bytes are stored", len(data), size)
	}
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add([]byte(`{"type":"start"}`+"\x1e"+`{"type":"text-delta","text":"a","payload":{"id":"t","text":"a"}}`+"\x1e"+`"b"`+"\x1e"+`=3,4,1:{"x"}`), 4)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		_, _ = decodeBlock(&mastra.ChunkBlock{Count: max(0, min(n, 100)), Data: data})
	})
}
