package offline

import (
	"context"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

type expression struct {
	Expression string `json:"expression"`
}
type query struct {
	Query string `json:"query"`
}

func tool[In any](id string) *mastra.Tool {
	return mastra.NewTool(id, "", func(context.Context, In) (string, error) { return "", nil })
}

func message(role, text string) mastra.PromptMessage {
	return mastra.PromptMessage{Role: role, Parts: []mastra.Part{{Type: mastra.PartText, Text: text}}}
}

func result(name, output string) mastra.PromptMessage {
	return mastra.PromptMessage{Role: "tool", Parts: []mastra.Part{{Type: mastra.PartToolResult, ToolName: name, Output: mastra.JSON(output)}}}
}

func TestAnswers(t *testing.T) {
	calculator, search := tool[expression]("calculator"), tool[query]("searchDocs")
	for _, c := range []struct {
		name     string
		messages []mastra.PromptMessage
		tools    []*mastra.Tool
		want     string // a text, or tool(input)
	}{
		{"arithmetic", []mastra.PromptMessage{message("user", "What is 2+2?")}, []*mastra.Tool{calculator}, `calculator({"expression":"2+2"})`},
		{"spoken", []mastra.PromptMessage{message("user", "what's 12 times (3 plus 4)?")}, []*mastra.Tool{calculator}, `calculator({"expression":"12*(3+4)"})`},
		{"no calculator", []mastra.PromptMessage{message("user", "What is 2+2?")}, nil, `You said: "What is 2+2?"`},
		{"a result", []mastra.PromptMessage{message("user", "What is 2+2?"), result("calculator", `{"type":"json","value":{"result":4}}`)}, []*mastra.Tool{calculator}, "The result is 4."},
		{"a failure", []mastra.PromptMessage{message("user", "What is 1/0?"), result("calculator", `{"type":"error-text","value":"no number"}`)}, []*mastra.Tool{calculator}, "The tool calculator failed: no number"},
		{"a question", []mastra.PromptMessage{message("user", "How long do refunds take?")}, []*mastra.Tool{search}, `searchDocs({"query":"How long do refunds take?"})`},
		{"passages", []mastra.PromptMessage{message("user", "How long?"), result("searchDocs", `{"type":"json","value":{"passages":[{"text":"Five days."}]}}`)}, []*mastra.Tool{search}, "The documents say: Five days."},
		{"memory", []mastra.PromptMessage{message("user", "My name is Ann"), message("assistant", "Hello"), message("user", "What did I say?")}, nil, `You said "My name is Ann".`},
		{"a story", []mastra.PromptMessage{message("user", "Tell me a story")}, []*mastra.Tool{calculator}, "Once upon a time"},
		{"a date is no arithmetic", []mastra.PromptMessage{message("user", "What was on 2026-11-23?")}, []*mastra.Tool{calculator}, "You said"},
	} {
		var got strings.Builder
		deltas, last := 0, mastra.ModelPart{}
		for p, err := range New(0).Stream(t.Context(), &mastra.ModelRequest{Messages: c.messages, Tools: c.tools}) {
			if err != nil {
				t.Fatal(err)
			}
			switch p.Type {
			case mastra.ModelTextDelta:
				deltas++
				got.WriteString(p.Text)
			case mastra.ModelToolCall:
				got.WriteString(p.ToolName + "(" + string(p.Input) + ")")
			}
			last = p
		}
		if !strings.HasPrefix(got.String(), c.want) {
			t.Errorf("%s: %s, want %s", c.name, got.String(), c.want)
		}
		if last.Type != mastra.ModelFinish || last.Usage.TotalTokens == 0 || c.name == "a story" && deltas < 40 {
			t.Errorf("%s: %d deltas, ends with %+v", c.name, deltas, last)
		}
	}
}

func TestEmbedderFindsSharedWords(t *testing.T) {
	v, err := Embedder{}.Embed(t.Context(), []string{"How long do refunds take?", "A refund takes five days", "Shipping is free", ""})
	if err != nil {
		t.Fatal(err)
	}
	dot := func(a, b []float32) (sum float32) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	if near, far := dot(v[0], v[1]), dot(v[0], v[2]); near <= far || dot(v[3], v[3]) != 1 {
		t.Errorf("near %v, far %v", near, far)
	}
}

func FuzzFindExpression(f *testing.F) {
	f.Add("What is (2+2)*3?")
	f.Fuzz(func(t *testing.T, text string) {
		if e := findExpression(text); strings.Trim(e, "0123456789.+-*/^() ") != "" {
			t.Errorf("%q has %q", text, e)
		}
	})
}

func FuzzSmallest(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"type":["null","string"]}}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if v := smallest(doc); !v.IsValid() {
			t.Errorf("%q: %q", doc, v)
		}
	})
}
