package agentloop

import (
	"testing"

	"mastralambda/shared/mastra"
)

func FuzzDecodeState(f *testing.F) {
	whole := state{Version: stateVersion, RunID: "r", MessageID: "m", TraceID: "t", SpanID: "s", StartedAt: 1, Inputs: []stamp{{"i", 1}},
		Steps: []step{{StartedAt: 1, Finish: mastra.FinishToolCalls, Pieces: []piece{{Kind: text, ID: "t", Text: "x"}, {Kind: reasoning, Text: "y"},
			{Kind: called, Call: &call{ID: "c", Name: "n", Args: mastra.JSON(`{}`), Result: mastra.JSON(`null`)}},
			{Kind: called, Call: &call{ID: "d", Name: "n", Error: &mastra.RunError{Message: "no"}}}}}}}
	seed, err := whole.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(seed))
	f.Add([]byte(`{"v":1,"r":"r","m":"m","t":"t","s":"s","n":[{"p":[{"k":"c"}]}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatalf("%q decodes, but does not encode: %v", data, err)
		}
		if _, err := decodeState(again); err != nil {
			t.Fatalf("%q does not decode a second time, as %s: %v", data, again, err)
		}
		// Whatever it holds can be gone on with and shown.
		x := &run{state: *s}
		for i := range x.Steps {
			if list := append(x.Steps[i].appendMessages([]byte{'['}, false), ']'); !mastra.JSON(list).IsValid() {
				t.Errorf("messages %s", list)
			}
			if c := x.Steps[i].appendContent(nil, false); !mastra.JSON(c).IsValid() {
				t.Errorf("content %s", c)
			}
		}
		if c := x.appendStored(nil); !mastra.JSON(c).IsValid() {
			t.Errorf("stored %s", c)
		}
		new(texts).recalled(nil, []mastra.Message{{Role: "assistant", Content: x.appendStored(nil)}})
	})
}
