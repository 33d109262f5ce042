package agentloop_test

import (
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func spoken(pieces ...string) (parts []mastra.ModelPart) {
	parts = []mastra.ModelPart{{Type: mastra.ModelTextStart, ID: "t"}}
	for _, p := range pieces {
		parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "t", Text: p})
	}
	return append(parts, mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "t"}, mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop})
}

func TestStructuredOutput(t *testing.T) {
	want := &mastra.Structured{Schema: mastra.JSON(`{"type":"object","properties":{"city":{"type":"string"},"temps":{"type":"array","items":{"type":"number"}}},"required":["city"]}`)}
	agent := &mastra.Agent{ID: "a"}
	model := &script{steps: [][]mastra.ModelPart{spoken("```json\n", `{"ci`, `ty": "Pa`, `ris\"s", "te`, `mps": [1, 2`, `0, 3]}`, "\n```")}}
	w := newWorld(t, model, agent)
	chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Structured: want})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, c := range chunks {
		if c.Type == mastra.ChunkObject || c.Type == mastra.ChunkObjectResult {
			seen = append(seen, c.Type+" "+string(c.Object))
		}
	}
	expected := []string{`object {}`, `object {"city":"Pa"}`, `object {"city":"Paris\"s"}`, `object {"city":"Paris\"s","temps":[1]}`, `object {"city":"Paris\"s","temps":[1,20,3]}`,
		`object-result {"city":"Paris\"s","temps":[1,20,3]}`}
	if strings.Join(seen, "\n") != strings.Join(expected, "\n") {
		t.Errorf("got\n%s", strings.Join(seen, "\n"))
	}
	if string(model.asked[0].Schema) != string(want.Schema) {
		t.Errorf("the model was given the schema %s", model.asked[0].Schema)
	}
	for _, c := range []struct {
		strategy string
		object   string
		code     mastra.Code
		fell     bool
	}{{"", "", mastra.CodeUpstream, false}, {"strict", "", mastra.CodeUpstream, false}, {"warn", "", "", false}, {"fallback", `{"city":"?"}`, "", true}} {
		for _, said := range []string{`{"city": 5}`, `no JSON`, `{"city":"x"} {}`} {
			t.Run(fmt.Sprint(c.strategy, said), func(t *testing.T) {
				one := *want
				one.OnError, one.Fallback = c.strategy, mastra.JSON(`{"city":"?"}`)
				w := newWorld(t, &script{steps: [][]mastra.ModelPart{spoken(said)}}, agent)
				r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Structured: &one})
				if mastra.CodeOf(err) != c.code || err == nil && (string(r.Object) != c.object || r.UsedFallbackValue != c.fell) {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
	}
	for _, bad := range []string{`5`, `{"type":"nothing"}`, `{"$ref":"file:///etc/passwd"}`, `{"$ref":"https://example.com/schema"}`, strings.Repeat(`{"items":`, 200) + `{}` + strings.Repeat(`}`, 200)} {
		if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Structured: &mastra.Structured{Schema: mastra.JSON(bad)}}); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%.40s: %v", bad, err)
		}
	}
}

func TestToolsThatTheCallerRuns(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{asks("locate", `{"accuracy":5}`, "calculatorTool", `{"op":"add","a":1,"b":2}`)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}})
	call := mastra.AgentCall{Messages: mastra.UserMessage("where am I?"), ClientTools: []mastra.ClientTool{{Name: "locate", Description: "Locates", Input: mastra.JSON(`{"type":"object","properties":{"accuracy":{"type":"number"}}}`)}}}
	r, err := w.generate(t.Context(), "a", call)
	if err != nil || r.FinishReason != mastra.FinishToolCalls || len(r.ToolCalls) != 2 || len(r.ToolResults) != 1 || len(r.Steps) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(model.asked[0].Tools) != 2 || !strings.Contains(string(model.asked[0].Tools[1].Input.JSON()), "accuracy") {
		t.Errorf("the model was offered %v", model.asked[0].Tools)
	}
	if got := string(r.Response.DBMessages); !strings.Contains(got, `{"state":"call","toolCallId":"c0"`) {
		t.Error(got)
	}
	call.ClientTools[0].Name = "calculatorTool"
	if _, err := w.generate(t.Context(), "a", call); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("two tools of one name: %v", err)
	}
}

// A model that writes without end is stopped.
func TestEndlessAnswers(t *testing.T) {
	word := strings.Repeat("x", 1<<20)
	pieces := make([]string, 20)
	for i := range pieces {
		pieces[i] = word
	}
	w := newWorld(t, &script{steps: [][]mastra.ModelPart{spoken(pieces...)}}, &mastra.Agent{ID: "a"})
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeUpstream {
		t.Error(err)
	}
	var calls []string
	for range 1200 {
		calls = append(calls, "calculatorTool", `{"op":"add","a":1,"b":2}`)
	}
	w = newWorld(t, &script{steps: [][]mastra.ModelPart{asks(calls...)}}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}})
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeUpstream {
		t.Error(err)
	}
}

// Another model makes the JSON out of what the agent answers in its own words.
func TestStructuredByAnotherModel(t *testing.T) {
	agent := &mastra.Agent{ID: "a", Instructions: "be kind"}
	want := &mastra.Structured{Schema: mastra.JSON(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`), Instructions: "mind the case", Model: "test/other"}
	usage := mastra.Usage{InputTokens: 2, OutputTokens: 1, TotalTokens: 3}
	own := &script{steps: [][]mastra.ModelPart{spoken("It is ", "Paris.")}}
	other := &script{steps: [][]mastra.ModelPart{append(spoken(`{"city": "Pa`, `ris"}`)[:4], mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop, Usage: usage})}}
	w := newWorld(t, own, agent)
	w.Models = func(id string) (mastra.LanguageModel, error) {
		switch id {
		case "test/other":
			return other, nil
		case "":
			return own, nil
		}
		return nil, mastra.Errorf(mastra.CodeInvalid, "There is no model %s", id)
	}
	chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("where?"), Structured: want})
	if err != nil || types(chunks) != "start step-start text-start text-delta text-delta text-end object object object-result step-finish finish" || string(chunks[8].Object) != `{"city":"Paris"}` {
		t.Fatalf("%s, %v", types(chunks), err)
	}
	if own.asked[0].Schema != nil || len(own.asked[0].Messages) != 2 {
		t.Errorf("the agent's model was told of the schema: %+v", own.asked[0])
	}
	if asked := other.asked[0]; string(asked.Schema) != string(want.Schema) || !strings.Contains(asked.Messages[0].Text(), "mind the case") || asked.Messages[1].Text() != "It is Paris." {
		t.Errorf("the other model was asked %+v", asked)
	}
	own.asked, other.asked = nil, nil
	r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("where?"), Structured: want})
	if err != nil || r.Text != "It is Paris." || string(r.Object) != `{"city":"Paris"}` || r.Usage.TotalTokens != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	calls := tree(t, w, r.TraceID, func(s mastra.Span) string {
		switch s.Type {
		case mastra.SpanModelInference:
			return string(s.Output)
		case mastra.SpanModelGeneration: // each model has what it took
			return fmt.Sprint(s.Use().Usage.InputTokens+s.Use().Usage.OutputTokens, " tokens")
		}
		return ""
	})
	expect(t, calls, fmt.Sprintf(`
agent run: 'a'
	llm: 'script' %d tokens
		step: 0
			inference: 0 {"text":"It is Paris.","toolCalls":[]}
			llm: 'script' %d tokens
				inference: structured output {"text":"{\"city\": \"Paris\"}","toolCalls":[],"object":{"city":"Paris"}}
`, 0, usage.TotalTokens))
	want.Model = "test/none"
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("where?"), Structured: want}); mastra.CodeOf(err) != mastra.CodeInvalid || !strings.Contains(err.Error(), "Invalid request body") {
		t.Error(err)
	}
}
