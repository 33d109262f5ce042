package pgvector

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/vectortest"
)

// openTest returns a store with a database of its own; parameters are added to its URL.
func openTest(t testing.TB, parameters ...string) *Store {
	t.Helper()
	admin := services.Postgres(t)
	name := "test_" + strings.ToLower(rand.Text())
	run(t, admin, `CREATE DATABASE `+name)
	t.Cleanup(func() { run(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path, u.RawQuery = "/"+name, strings.Join(append(parameters, u.RawQuery), "&")
	s, err := Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
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

func TestStore(t *testing.T) {
	vectortest.Run(t, func(t *testing.T) mastra.VectorStore { return openTest(t) })
}

// The other ways to speak to Postgres that a transaction pooler bears.
func TestStoreInOtherModes(t *testing.T) {
	if testing.Short() {
		t.Skip("it is TestStore twice more")
	}
	for _, mode := range []string{"exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			vectortest.Run(t, func(t *testing.T) mastra.VectorStore { return openTest(t, "default_query_exec_mode="+mode) })
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"": "not a URL", "mysql://a@b/c": "not a URL", "postgres:///db": "not a URL", "postgres://user:secret%zz@host/db": "not a URL",
		"postgres://user:secret@host/db?sslmode=sometimes":                       "parameters",
		"postgres://user:secret@host/db?default_query_exec_mode=cache_statement": "pooler",
	} {
		_, err := Open(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	s, err := Open("postgres://user@db.example.com/db") // no connection is made
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if c := s.pool.Config().ConnConfig; c.TLSConfig == nil || c.TLSConfig.InsecureSkipVerify || len(c.Fallbacks) > 0 {
		t.Errorf("a server elsewhere need not show its certificate: %+v", c.TLSConfig)
	}
}

// Migrations are applied once, by several at once too; on RDS they make the role that the functions sign in as.
func TestMigrate(t *testing.T) {
	s := openTest(t)
	errs := make(chan error)
	for range 4 {
		go func() { errs <- s.Migrate(t.Context()) }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	var versions int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM public.mastralambda_migrations`).Scan(&versions); err != nil || versions < 1 {
		t.Errorf("%d migrations are recorded, %v", versions, err)
	}
}
