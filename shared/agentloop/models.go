package agentloop

import (
	"context"
	"iter"
	"log/slog"

	"mastralambda/shared/mastra"
)

// languageModel is what answers for the agent: the model that the call names, the agent's, or its list of models.
func languageModel(m *mastra.Mastra, a *mastra.Agent, called string) (mastra.LanguageModel, error) {
	if called != "" {
		model, err := m.Models(called)
		if err != nil {
			return nil, mastra.Invalid("model", "%s", runError(err).Message)
		}
		return model, nil
	}
	a = m.Chosen(a)
	if len(a.Models) == 0 {
		return m.Models(a.Model)
	}
	f := fallback{logger: m.Logger}
	for _, c := range a.Models {
		if c.Disabled {
			continue
		}
		model, err := m.Models(c.Model)
		if err != nil {
			return nil, err
		}
		f.choices = append(f.choices, c)
		f.models = append(f.models, model)
	}
	return f, nil
}

// fallback asks models in turn: the next one where one fails before it has answered anything. What a client has seen is
// not taken back, so a model that fails in the middle fails the call.
type fallback struct {
	choices []mastra.ModelChoice
	models  []mastra.LanguageModel
	logger  *slog.Logger
}

func (f fallback) Info() mastra.ModelInfo { return f.models[0].Info() }

func (f fallback) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		for i, model := range f.models {
			request := *r
			request.Options = merged(f.choices[i].Options, r.Options)
			if request.Settings.MaxRetries == nil {
				request.Settings.MaxRetries = f.choices[i].Retries
			}
			next := false
			var metadata *mastra.ModelPart // held back until the model says something
			for part, err := range model.Stream(ctx, &request) {
				if err != nil && !next && i+1 < len(f.models) && ctx.Err() == nil && mastra.CodeOf(err) == mastra.CodeUpstream {
					f.logger.WarnContext(ctx, "a model failed, the next one is asked", "model", f.choices[i].Model, "next", f.choices[i+1].Model, "error", err)
					break
				}
				next = true
				if err == nil && part.Type == mastra.ModelMetadata {
					part.Model = model.Info()
					metadata, next = &part, false
					continue
				}
				if metadata != nil && !yield(*metadata, nil) {
					return
				}
				metadata = nil
				if !yield(part, err) {
					return
				}
			}
			if next {
				return
			}
		}
	}
}

// merged are the options of an agent with those of a call over them.
func merged(under, over map[string]mastra.JSON) map[string]mastra.JSON {
	if len(under) == 0 {
		return over
	}
	all := make(map[string]mastra.JSON, len(under)+len(over))
	for k, v := range under {
		all[k] = v
	}
	for k, v := range over {
		all[k] = v
	}
	return all
}
