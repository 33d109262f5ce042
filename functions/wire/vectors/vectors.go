// Package vectors adds the vector stores of a deployment.
package vectors

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/vectorstore"
	"mastralambda/shared/vectorstore/pgvector"
	"mastralambda/shared/vectorstore/rds"
)

// Backends is a wire.Runner. It connects at the first request that needs it.
func Backends(getenv func(string) string, b *mastra.Backends) (func(context.Context) error, error) {
	sources, err := vectorstore.Sources(getenv("VECTOR_URL"), "pgvector")
	if err != nil {
		return nil, fmt.Errorf("VECTOR_URL: %w", err)
	}
	if len(sources) == 0 {
		return nil, errors.New("VECTOR_URL is not set: the function needs postgres://user@host/database")
	}
	for _, source := range sources {
		if !strings.HasPrefix(source.URL, "postgres") {
			return nil, fmt.Errorf("VECTOR_URL: the store %q is not in a Postgres, which is what a function can use", source.Name)
		}
		var how []pgvector.Config
		if rds.Is(source.URL) {
			cfg, err := awsconfig.Load(context.Background())
			if err != nil {
				return nil, fmt.Errorf("VECTOR_URL: the AWS configuration cannot be read: %w", err)
			}
			how = append(how, rds.SignIn(cfg))
		}
		s, err := pgvector.Open(source.URL, how...)
		if err != nil {
			return nil, fmt.Errorf("VECTOR_URL: %w", err)
		}
		b.Vectors = append(b.Vectors, mastra.NamedVectorStore{Name: source.Name, Type: "pgvector", Store: s})
	}
	if b.Embed, err = model.EmbedderFromEnv(getenv); err != nil {
		return nil, err
	}
	return nil, nil
}
