package pgvector_test

import (
	"testing"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/pgvector"
	"mastralambda/shared/vectorstore/vectortest"
)

// database is a migrated database of its own for a test.
func database(t testing.TB) string {
	t.Helper()
	url := services.Database(t)
	if err := open(t, url).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return url
}

func open(t testing.TB, url string, configs ...pgvector.Config) *pgvector.Store {
	t.Helper()
	s, err := pgvector.Open(url, configs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	vectortest.Run(t, func(t *testing.T) mastra.VectorStore { return open(t, database(t)) })
}
