package openai

import (
	"context"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
	"mastralambda/shared/upstream"
)

// Embedder is an embedding model of an endpoint. It is safe for concurrent use.
type Embedder struct {
	id, provider string
	dimension    int
	shorten      bool
	client       *api.Client
}

var _ mastra.Embedder = (*Embedder)(nil)

// NewEmbedder makes the embedding model id, whose vectors have that dimension; shorten asks the endpoint for it.
func NewEmbedder(id string, dimension int, shorten bool, c Config) *Embedder {
	return &Embedder{id, c.provider(), dimension, shorten, c.client()}
}

// Dimension is the length of each vector.
func (e *Embedder) Dimension() int { return e.dimension }

const atOnce = 128 // texts of one request

// Embed makes a vector of each text.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	model := e.provider + "/" + e.id
	out := make([][]float32, 0, len(texts))
	for from := 0; from < len(texts); from += atOnce {
		some := texts[from:min(from+atOnce, len(texts))]
		request := api.EmbeddingRequest{Input: some, Model: api.EmbeddingModel(e.id)}
		if e.shorten {
			request.Dimensions = e.dimension
		}
		answer, err := e.client.CreateEmbeddings(ctx, request)
		if err != nil {
			return nil, failure(ctx, model, err)
		}
		vectors := make([][]float32, len(some))
		for _, d := range answer.Data {
			if d.Index >= 0 && d.Index < len(vectors) {
				vectors[d.Index] = d.Embedding
			}
		}
		if err := upstream.CheckVectors(vectors, e.dimension); err != nil {
			return nil, upstream.Failure(ctx, model, 0, err)
		}
		out = append(out, vectors...)
	}
	return out, nil
}
