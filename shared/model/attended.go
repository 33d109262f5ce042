package model

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/go-json-experiment/json"

	"mastralambda/shared/mastra"
)

// attended is a model whose silence is limited and whose answers have a price.
type attended struct {
	mastra.LanguageModel
	quiet time.Duration // how long it may say nothing; 0: for ever
	price *price
}

// Stream asks the model. One that says nothing for too long fails with CodeUpstream; the time that the reader takes is not
// counted.
func (a attended) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		silent := func() { cancel(mastra.Errorf(mastra.CodeUpstream, "The model took too long")) }
		var watch *time.Timer
		if a.quiet > 0 {
			watch = time.AfterFunc(a.quiet, silent)
			defer watch.Stop()
		}
		for part, err := range a.LanguageModel.Stream(ctx, r) {
			if watch != nil {
				watch.Stop()
			}
			if part.Type == mastra.ModelFinish && a.price != nil {
				part.Cost = a.price.of(part.Usage)
			}
			if !yield(part, err) {
				return
			}
			if watch != nil {
				watch.Reset(a.quiet)
			}
		}
	}
}

// price is what a million tokens cost, in US dollars. The cached ones cost as the others where nothing else is said.
type price struct {
	Input       float64  `json:"input"`
	Output      float64  `json:"output"`
	CachedInput *float64 `json:"cachedInput"`
	CacheWrite  *float64 `json:"cacheWrite"`
}

func (p *price) of(u mastra.Usage) float64 {
	or := func(special *float64) float64 {
		if special != nil {
			return *special
		}
		return p.Input
	}
	plain := max(0, u.InputTokens-u.CachedInputTokens-u.CacheCreationInputTokens)
	return (float64(plain)*p.Input + float64(u.CachedInputTokens)*or(p.CachedInput) + float64(u.CacheCreationInputTokens)*or(p.CacheWrite) +
		float64(u.OutputTokens)*p.Output) / 1e6
}

// readPrices reads MODEL_PRICES: {"provider/model-id": {"input": 3, "output": 15}}.
func readPrices(v string) (map[string]*price, error) {
	var prices map[string]*price
	if v == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(v), &prices, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf(`MODEL_PRICES: not {"provider/model-id": {"input": dollars per million tokens, "output": …, "cachedInput": …, "cacheWrite": …}}: %w`, err)
	}
	for id, p := range prices {
		if p == nil || p.Input < 0 || p.Output < 0 || p.CachedInput != nil && *p.CachedInput < 0 || p.CacheWrite != nil && *p.CacheWrite < 0 {
			return nil, fmt.Errorf("MODEL_PRICES: %q has no price, or one below 0", id)
		}
	}
	return prices, nil
}
