package mastra_test

import (
	"context"
	"iter"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// says is a model that says one thing.
type says string

func (says) Info() mastra.ModelInfo { return mastra.ModelInfo{Provider: "p", ID: "m"} }

func (s says) Stream(context.Context, *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		_ = yield(mastra.ModelPart{Type: mastra.ModelTextDelta, Text: string(s)}, nil) && yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop}, nil)
	}
}

// Models talk around their verdict, and some of what they say is none.
func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   mastra.Verdict
		fails  string
	}{
		"alone":              {`{"score": 0.5, "reason": "so so"}`, mastra.Verdict{Score: 0.5, Reason: "so so"}, ""},
		"in a fence":         {"Here it is:\n```json\n{\"score\": 1}\n```\nas {you} asked.", mastra.Verdict{Score: 1}, ""},
		"behind another":     {`{"thought": {"good": true}} {"score": 0}`, mastra.Verdict{}, ""},
		"within another":     {`{"verdict": {"score": 0.25}}`, mastra.Verdict{Score: 0.25}, ""},
		"with a brace in it": {`{"score": 0.25, "reason": "of {x}"}`, mastra.Verdict{Score: 0.25, Reason: "of {x}"}, ""},
		"no number":          {`{"score": "high"}`, mastra.Verdict{}, "has no score"},
		"out of range":       {`{"score": 7}`, mastra.Verdict{}, "is not from 0 to 1"},
		"none":               {`I like it.`, mastra.Verdict{}, "has no score"},
		"braces alone":       {strings.Repeat("{", 60_000), mastra.Verdict{}, "has no score"},
		"many objects":       {strings.Repeat("{}", 30_000) + `{"score": 1}`, mastra.Verdict{}, "has no score"},
		"too long":           {strings.Repeat("a", 70_000) + `{"score": 1}`, mastra.Verdict{}, "too long"},
	} {
		m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Models: func(string) (mastra.LanguageModel, error) { return says(c.answer), nil }}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := mastra.NewJudge("j", "", "", "", "Is it good?").Score(mastra.NewContext(t.Context(), m), mastra.ScorerRun{Input: mastra.JSON(`"in"`), Output: mastra.JSON(`"out"`)})
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
