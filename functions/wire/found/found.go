// Package found adds what messages are found by: the embedding model and the vector stores.
package found

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/vectorstore/invoke"
)

// Backends is a wire.Runner. It connects at the first request that needs it.
func Backends(getenv func(string) string, b *mastra.Backends) (func(context.Context) error, error) {
	embedder, errEmbedder := model.EmbedderFromEnv(getenv)
	vectors, errVectors := invoke.FromEnv(context.Background(), getenv)
	b.Embed, b.Vectors = embedder, vectors
	return nil, errors.Join(errEmbedder, errVectors)
}
