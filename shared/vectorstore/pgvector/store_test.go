package pgvector_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/pgvector"
	"mastralambda/shared/vectorstore/vectortest"
)

// database makes a database of its own for a test and returns its URL.
func database(t testing.TB) string {
	t.Helper()
	admin := services.Postgres(t)
	name := "test_" + strings.ToLower(rand.Text())
	run(t, admin, `CREATE DATABASE `+name)
	t.Cleanup(func() { run(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if err := open(t, u.String()).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return u.String()
}

func run(t testing.TB, database, statement string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), statement); err != nil {
		t.Error(err)
	}
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
