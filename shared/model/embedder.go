package model

import (
	"cmp"
	"fmt"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/bedrock"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/model/openai"
)

// dimensions are the lengths of the vectors of well-known models.
var dimensions = map[string]int{
	"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536,
	"amazon.titan-embed-text-v1": 1536, "amazon.titan-embed-text-v2:0": 1024,
	"cohere.embed-english-v3": 1024, "cohere.embed-multilingual-v3": 1024, "cohere.embed-v4:0": 1536,
	"nomic-embed-text": 768, "mxbai-embed-large": 1024, "all-minilm": 384,
}

// EmbedderFromEnv reads EMBEDDER, EMBEDDER_DIMENSION and what says where providers are.
func EmbedderFromEnv(getenv func(string) string) (mastra.Embedder, error) {
	id := cmp.Or(getenv("EMBEDDER"), "offline/demo")
	provider, name, err := split(id)
	if err != nil {
		return nil, fmt.Errorf("EMBEDDER: %w", err)
	}
	if id == "offline/demo" {
		return offline.Embedder{}, nil
	}
	dimension, err := number(getenv, "EMBEDDER_DIMENSION", dimensions[name], "dimensions")
	if err != nil {
		return nil, err
	}
	if dimension < 1 || dimension > 16_000 {
		return nil, fmt.Errorf("EMBEDDER=%q: EMBEDDER_DIMENSION must say how long its vectors are", id)
	}
	p := providers{getenv: getenv, aws: bedrock.NewClient(nil)}
	switch provider {
	case "offline", "anthropic":
		return nil, fmt.Errorf("EMBEDDER=%q: known are offline/demo, openai/…, bedrock/amazon.titan-embed-…, bedrock/cohere.embed-…, and name/… with NAME_BASE_URL", id)
	case "bedrock":
		e, err := bedrock.NewEmbedder(name, dimension, p.aws)
		if err != nil {
			return nil, fmt.Errorf("EMBEDDER: %w", err)
		}
		return e, nil
	}
	e, err := p.endpoint(id, provider)
	if err != nil {
		return nil, fmt.Errorf("EMBEDDER: %w", err)
	}
	c := openai.Config{Provider: provider, BaseURL: e.url, APIKey: e.key, Header: e.header}
	// Only OpenAI's newer models can be asked for shorter vectors than they make by themselves.
	shorten := dimension != dimensions[name] && strings.HasPrefix(name, "text-embedding-3")
	return openai.NewEmbedder(name, dimension, shorten, c), nil
}
