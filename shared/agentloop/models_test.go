package agentloop_test

import (
	"context"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func overloaded() error { return mastra.Errorf(mastra.CodeUpstream, "The model is overloaded") }

// named is a script under another name.
type named struct {
	*script
	id string
}

func (n named) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: n.id, Version: "v2"}
}

func TestTheNextModelIsAskedWhereOneFails(t *testing.T) {
	metadata := mastra.ModelPart{Type: mastra.ModelMetadata, ID: "r", ModelID: "first-2026"}
	for _, c := range []struct {
		name   string
		first  script
		want   string // the text, or the error's message
		second int    // how often the second one is asked
	}{
		{"it answers", script{steps: [][]mastra.ModelPart{said("first")}}, "first", 0},
		{"it fails at once", script{steps: [][]mastra.ModelPart{nil}, errs: []error{overloaded()}}, "done", 1},
		{"it fails after its metadata", script{steps: [][]mastra.ModelPart{{metadata}}, errs: []error{overloaded()}}, "done", 1},
		{"it fails in the middle", script{steps: [][]mastra.ModelPart{said("half")[:2]}, errs: []error{overloaded()}}, "The model is overloaded", 0},
		{"the request is at fault", script{steps: [][]mastra.ModelPart{nil}, errs: []error{mastra.Errorf(mastra.CodeInvalid, "no picture")}}, "no picture", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			zero := 0
			second := named{&script{steps: [][]mastra.ModelPart{append([]mastra.ModelPart{{Type: mastra.ModelMetadata, ID: "r2", ModelID: "second-2026"}}, said("done")...)}}, "second"}
			w := newWorld(t, nil, &mastra.Agent{ID: "a", Models: []mastra.ModelChoice{{Model: "test/first", Retries: &zero, Options: map[string]mastra.JSON{"test": mastra.JSON(`1`)}},
				{Model: "test/off", Disabled: true}, {Model: "test/second"}}})
			w.Models = func(id string) (mastra.LanguageModel, error) {
				if id == "test/first" {
					return named{&c.first, "first"}, nil
				}
				return second, nil
			}
			r, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
			if err == nil && r.Text != c.want || err != nil && !strings.Contains(err.Error(), c.want) || len(second.asked) != c.second {
				t.Fatalf("%+v, %v, second asked %d times", r, err, len(second.asked))
			}
			if got := c.first.asked[0]; *got.Settings.MaxRetries != 0 || string(got.Options["test"]) != "1" {
				t.Errorf("asked with %+v", got)
			}
			if c.second == 1 && (r.Response.ModelID != "second-2026" || r.Response.Model.ID != "second" || !strings.Contains(string(r.Messages[1].Content), `"modelId":"second"`)) {
				t.Errorf("answered by %+v", r.Response.ModelAnswer)
			}
		})
	}
}

func TestSignedReasoningAndCosts(t *testing.T) {
	signed := mastra.JSON(`{"anthropic":{"signature":"s"}}`)
	answer := asks("gone", "{}")
	answer[len(answer)-1].Cost = 0.25
	model := &script{steps: [][]mastra.ModelPart{append([]mastra.ModelPart{{Type: mastra.ModelReasoningStart, ID: "r"},
		{Type: mastra.ModelReasoningEnd, ID: "r", Metadata: signed}}, answer...)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a"})
	r, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if err != nil {
		t.Fatal(err)
	}
	said := model.asked[1].Messages[1].Parts
	if len(said) != 2 || said[0].Type != mastra.PartReasoning || string(said[0].ProviderOptions) != string(signed) || said[1].Type != mastra.PartToolCall {
		t.Errorf("the second step sees %+v", said)
	}
	spans, err := w.Storage.Trace(context.Background(), r.TraceID)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		if s.Type == mastra.SpanModelInference && s.Name == "inference: 0" && !strings.Contains(string(s.Attributes), `"estimatedCost":0.25,"costUnit":"USD"`) {
			t.Errorf("%s", s.Attributes)
		}
	}
}
