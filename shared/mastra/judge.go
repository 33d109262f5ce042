package mastra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

const judgeFormat = "Answer with JSON alone: {\"score\": a number from 0 to 1, \"reason\": one sentence}."

// judge asks a model for a verdict.
func judge(ctx context.Context, id, instructions string, r ScorerRun) (Verdict, error) {
	m := From(ctx)
	if m == nil || m.Models == nil {
		return Verdict{}, errors.New("there is no model to judge with")
	}
	model, err := m.Models(id)
	if err != nil {
		return Verdict{}, err
	}
	shown, err := schema.Marshal(struct {
		Input  JSON `json:"input"`
		Output JSON `json:"output"`
	}{r.Input, r.Output})
	if err != nil {
		return Verdict{}, err
	}
	a := asked{info: model.Info(), began: m.Now(), instructions: instructions + "\n" + judgeFormat, prompt: string(shown)}
	request := &ModelRequest{Messages: []PromptMessage{PromptText("system", a.instructions), PromptText("user", a.prompt)}}
	a.text, err = Written(model.Stream(ctx, request), maxVerdict, func(part *ModelPart) { a.add(part, m.Now()) })
	a.trace(ctx, m.Now(), err)
	if err != nil {
		return Verdict{}, err
	}
	return readVerdict(a.text)
}

// asked is a judge's call of its model, as its trace shows it.
type asked struct {
	info                 ModelInfo
	instructions, prompt string
	began, first         time.Time
	text                 string
	finish               ModelPart
}

func (a *asked) add(part *ModelPart, now time.Time) {
	switch part.Type {
	case ModelMetadata:
		if part.Model.ID != "" {
			a.info = part.Model
		}
	case ModelTextDelta:
		if a.first.IsZero() {
			a.first = now
		}
	case ModelFinish:
		a.finish = *part
	}
}

// trace adds the spans of the call, as those of an agent called judge.
func (a *asked) trace(ctx context.Context, ended time.Time, err error) {
	encode := func(v any) JSON { data, _ := schema.Marshal(v); return data } // texts and numbers always encode
	type tokens struct {
		Text       int `json:"text"`
		CacheRead  int `json:"cacheRead,omitzero"`
		CacheWrite int `json:"cacheWrite,omitzero"`
		Reasoning  int `json:"reasoning,omitzero"`
	}
	type use struct {
		Input   int    `json:"inputTokens"`
		Output  int    `json:"outputTokens"`
		Inputs  tokens `json:"inputDetails"`
		Outputs tokens `json:"outputDetails"`
	}
	type cost struct {
		Provider string  `json:"provider"`
		Model    string  `json:"model"`
		Amount   float64 `json:"estimatedCost"`
		Unit     string  `json:"costUnit"`
	}
	type about struct {
		Index     *int   `json:"stepIndex,omitempty"`
		Model     string `json:"model"`
		Provider  string `json:"provider"`
		Streaming bool   `json:"streaming"`
		Finish    string `json:"finishReason"`
		First     Time   `json:"completionStartTime,omitzero"`
		Usage     use    `json:"usage"`
		Cost      *cost  `json:"costContext,omitempty"`
	}
	u := a.finish.Usage
	generation := about{Model: a.info.ID, Provider: a.info.Provider, Streaming: true, Finish: string(cmp.Or(a.finish.Finish, FinishError)),
		Usage: use{u.InputTokens, u.OutputTokens, tokens{Text: u.InputTokens - u.CachedInputTokens - u.CacheCreationInputTokens, CacheRead: u.CachedInputTokens, CacheWrite: u.CacheCreationInputTokens},
			tokens{Text: u.OutputTokens - u.ReasoningTokens, Reasoning: u.ReasoningTokens}}}
	if !a.first.IsZero() {
		generation.First = TimeOf(a.first)
	}
	if a.finish.Cost > 0 {
		generation.Cost = &cost{a.info.Provider, a.info.ID, a.finish.Cost, "USD"}
	}
	step := generation
	step.Index = new(int)
	type told struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	said := encode(struct {
		Text  string `json:"text"`
		Files []int  `json:"files"`
	}{Text: a.text})
	above := SpanOf(ctx).SpanID
	for _, s := range []Span{
		{Type: SpanAgentRun, Name: "agent run: 'judge'", Attributes: encode(map[string]string{"instructions": a.instructions}), Output: said},
		{Type: SpanModelGeneration, Name: "llm: '" + a.info.ID + "'", Attributes: encode(generation), Input: encode(map[string][]told{"messages": {{"system", a.instructions}, {"user", a.prompt}}}), Output: said},
		{Type: SpanModelStep, Name: "step: 0", Attributes: encode(step)},
		{Type: SpanModelInference, Name: "inference: 0", Attributes: encode(step), Output: said},
	} {
		s.SpanID, s.ParentID, s.StartedAt, s.EndedAt = SpanIDFrom(above, s.Type), above, TimeOf(a.began), TimeOf(ended)
		s.EntityType, s.EntityID, s.EntityName = "agent", "judge", "judge"
		if err != nil {
			s.Error, s.Output = encode(RunError{Message: "The model failed", Name: "Error"}), nil
		}
		AddSpan(ctx, s)
		above = s.SpanID
	}
}

const (
	maxVerdict = 64 << 10 // bytes of a judge's answer
	mostTries  = 100      // objects in it that are looked at
)

// readVerdict reads the first JSON object of an answer that has a score: models like to talk.
func readVerdict(answer string) (v Verdict, err error) {
	for range mostTries {
		i := strings.IndexByte(answer, '{')
		if i < 0 {
			break
		}
		answer = answer[i:]
		object, err := jsontext.NewDecoder(strings.NewReader(answer)).ReadValue()
		if err != nil {
			answer = answer[1:]
			continue
		}
		var found struct {
			Score  *float64 `json:"score"`
			Reason string   `json:"reason"`
		}
		if schema.Unmarshal(object, &found) == nil && found.Score != nil {
			if *found.Score < 0 || *found.Score > 1 {
				return v, fmt.Errorf("the judge's score %v is not from 0 to 1", *found.Score)
			}
			return Verdict{*found.Score, found.Reason}, nil
		}
		answer = answer[1:] // it may be within another one
	}
	return v, errors.New("the judge's answer has no score")
}
