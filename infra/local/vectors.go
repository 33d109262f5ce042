package local

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/embedded"
	"mastralambda/shared/vectorstore/pgvector"
)

// openVectors opens the stores of VECTOR_URL: embedded, embedded:///directory or postgres://… A Postgres is brought up to
// date first.
func (p *Process) openVectors(c config, name string) ([]mastra.NamedVectorStore, error) {
	var stores []mastra.NamedVectorStore
	for _, source := range c.vectors {
		kind, rest, _ := strings.Cut(source.URL, ":")
		v := mastra.NamedVectorStore{Name: source.Name}
		switch kind {
		case "embedded":
			dir := strings.TrimPrefix(rest, "//")
			if dir == "" {
				dir = filepath.Join(c.dataDir, "vectors")
			}
			s, err := embedded.Open(dir)
			if err != nil {
				return nil, err
			}
			p.vectors = append(p.vectors, s)
			v.Type, v.Store = "embedded", s
		case "postgres", "postgresql":
			s, err := pgvector.Open(source.URL)
			if err != nil {
				return nil, fmt.Errorf("VECTOR_URL: %w", err)
			}
			p.vectors = append(p.vectors, s)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := s.Migrate(ctx); err != nil {
				return nil, fmt.Errorf("VECTOR_URL: %w", err)
			}
			v.Type, v.Store = "pgvector", s
		default:
			return nil, fmt.Errorf("VECTOR_URL: %q is no vector store: embedded or postgres://…", kind)
		}
		if v.Name == "" {
			if v.Name = name; name == "" {
				v.Name = v.Type
			}
		}
		stores = append(stores, v)
	}
	return stores, nil
}
