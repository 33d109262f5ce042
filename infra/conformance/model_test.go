package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func user(text string) mastra.PromptMessage {
	return mastra.PromptMessage{Role: "user", Parts: []mastra.Part{{Type: mastra.PartText, Text: text}}}
}

func answered(outputs ...string) mastra.PromptMessage {
	m := mastra.PromptMessage{Role: "tool"}
	for _, o := range outputs {
		m.Parts = append(m.Parts, mastra.Part{Type: mastra.PartToolResult, Output: mastra.JSON(o)})
	}
	return m
}

func TestTheRules(t *testing.T) {
	all := []*mastra.Tool{weatherTool, calculatorTool, contextTool, dangerousTool}
	for _, c := range []struct {
		messages []mastra.PromptMessage
		tools    []*mastra.Tool
		schema   string
		want     string // text, or tool and input
	}{
		{[]mastra.PromptMessage{user("hello")}, nil, "", "Echo: hello"},
		{nil, nil, "", "Echo: "},
		{[]mastra.PromptMessage{user("Weather in New York ")}, all, "", `weatherTool {"city":"New York"}`},
		{[]mastra.PromptMessage{user("Weather in Paris")}, nil, "", "Echo: Weather in Paris"},
		{[]mastra.PromptMessage{user("Weather in Paris")}, []*mastra.Tool{weatherAgent.Tool()}, "", `agent-weatherAgent {"city":"Paris"}`},
		{[]mastra.PromptMessage{user("please ADD -2 and 007")}, all, "", `calculatorTool {"op":"add","a":-2,"b":7}`},
		{[]mastra.PromptMessage{user("delete file_1 now")}, all, "", `dangerousTool {"target":"file_1"}`},
		{[]mastra.PromptMessage{user("add 1 and 2"), answered(`{"type":"json","value":{"result": 3}}`)}, all, "", `Result: {"result":3}`},
		{[]mastra.PromptMessage{user("a"), answered(`{"type":"text","value":"x"}`, `{"result":3}`)}, all, "", `Result: ["x",{"result":3}]`},
		{[]mastra.PromptMessage{user("boom"), answered(`"x"`)}, nil, "", `Result: "x"`},
		{[]mastra.PromptMessage{user("a")}, nil, "null", `{"answer":"mock"}`},
		{[]mastra.PromptMessage{user("a")}, nil, `{"type":"object","properties":{"n":{"type":["null","integer"]},"e":{"enum":["x"]},
			"u":{"anyOf":[{"type":"null"},{"type":"boolean"}]},"l":{"type":"array"},"c":{"const":{"a":1}},"s":{}}}`,
			`{"n":4,"e":"x","u":true,"l":[],"c":{"a":1},"s":"mock"}`},
	} {
		d, err := decide(&mastra.ModelRequest{Messages: c.messages, Tools: c.tools, Schema: mastra.JSON(c.schema)})
		got := d.text
		if d.tool != "" {
			got = d.tool + " " + string(d.input)
		}
		if err != nil || got != c.want {
			t.Errorf("%v: got %s, %v; want %s", c.messages, got, err, c.want)
		}
	}
	if _, err := decide(&mastra.ModelRequest{Messages: []mastra.PromptMessage{user("kaBOOM")}}); mastra.CodeOf(err) != mastra.CodeUpstream {
		t.Errorf("boom: %v", err)
	}
}

func TestTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{delay: 5 * time.Millisecond}
		m, err := p.model("mock/mock-echo")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var types, deltas []string
		for part, err := range m.Stream(t.Context(), &mastra.ModelRequest{Messages: []mastra.PromptMessage{user("add 1 and 2")}, Tools: []*mastra.Tool{calculatorTool}}) {
			if err != nil {
				t.Fatal(err)
			}
			types = append(types, string(part.Type)+" "+part.ID)
			if part.Type == mastra.ModelToolInputDelta {
				deltas = append(deltas, part.Text)
			}
		}
		want := []string{"response-metadata resp_1", "tool-input-start call_1", "tool-input-delta call_1", "tool-input-delta call_1",
			"tool-input-end call_1", "tool-call call_1", "finish "}
		if !slices.Equal(types, want) {
			t.Errorf("parts %q", types)
		}
		if got := strings.Join(deltas, "|"); got != `{"op":"add",|"a":1,"b":2}` {
			t.Errorf("input %s", got)
		}
		if took := time.Since(start); took != 35*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestWordsKeepTheBlanksBehindThem(t *testing.T) {
	for text, want := range map[string][]string{
		"Echo: a  b\n":        {"Echo: ", "a  ", "b\n"},
		"Echo: \u00a0x\ufeff": {"Echo: \u00a0", "x\ufeff"},
		"":                    {""},
	} {
		if got := slices.Collect(words(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// The values are those of the reference application's embedder.
func TestTheEmbedder(t *testing.T) {
	got, err := embedder{}.Embed(t.Context(), []string{"ab", "😀", ""})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]float32{{0, 0.70710677, 0.70710677, 0, 0, 0, 0, 0}, {0.70710677, 0, 0, 0, 0, 0.70710677, 0, 0}, make([]float32, 8)} {
		if !slices.Equal(got[i], want) {
			t.Errorf("%d: %v", i, got[i])
		}
	}
}

func TestTheApplicationFitsTogether(t *testing.T) {
	m, err := newApp(mastra.Backends{})
	if err != nil {
		t.Fatal(err)
	}
	tool, err := m.Tool("calculatorTool")
	if err != nil {
		t.Fatal(err)
	}
	out, err := tool.Call(t.Context(), mastra.JSON(`{"op":"div","a":1,"b":8}`))
	if err != nil || string(out) != `{"result":0.125}` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err = tool.Call(t.Context(), mastra.JSON(`{"op":"div","a":1,"b":0}`)); err == nil || err.Error() != "division by zero" {
		t.Errorf("%v", err)
	}
	var invalid *schema.InvalidError
	if _, err = tool.Call(t.Context(), mastra.JSON(`{"op":"pow","a":"1"}`)); !errors.As(err, &invalid) || len(invalid.Issues) != 3 {
		t.Errorf("%v", err)
	}
}
