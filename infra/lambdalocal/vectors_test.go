package lambdalocal_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/lambdalocal"
	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/invoke"
	"mastralambda/shared/vectorstore/pgvector"
	"mastralambda/shared/vectorstore/vectortest"
)

// postgres is a database of its own, migrated.
func postgres(t *testing.T) string {
	t.Helper()
	url := services.Database(t)
	store, err := pgvector.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return url
}

// invoked is the vector store of a function that was given env.
func invoked(t *testing.T, env ...string) *invoke.Store {
	t.Helper()
	if testing.Short() {
		t.Skip("it runs a function before Postgres")
	}
	f := lambdalocal.Function{Name: "VectorsFunction", Timeout: time.Minute, Memory: 512, Env: map[string]string{}}
	for _, v := range append(without, env...) {
		name, value, _ := strings.Cut(v, "=")
		f.Env[name] = value
	}
	stack, err := lambdalocal.Up(&lambdalocal.Template{Functions: []lambdalocal.Function{f}}, lambdalocal.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Bootstraps: func(string) string { return bootstrap(t, "vectors") }, Log: func(_, _ string, line []byte) {
			if strings.Contains(string(line), `"level":"ERROR"`) {
				t.Logf("%s", line)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(stack.InvokeAPI())
	t.Cleanup(func() { stack.Close(); api.Close() })
	cfg := aws.Config{Region: lambdalocal.Region, BaseEndpoint: &api.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	return invoke.Open(cfg, "VectorsFunction", "pgvector")
}

// The vector store that agents and workflows have: each call an invocation of the vectors function before a real Postgres.
func TestVectorStoreByInvocation(t *testing.T) {
	vectortest.Run(t, func(t *testing.T) mastra.VectorStore { return invoked(t, "VECTOR_URL="+postgres(t)) })
}

// What does not fit an invocation is refused and nothing of it done; what the function cannot do is no detail of the caller's.
func TestLimitsOfAnInvocation(t *testing.T) {
	s := invoked(t, "VECTOR_URL="+postgres(t))
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 1536}); err != nil {
		t.Fatal(err)
	}
	many := make([]mastra.Vector, 800)
	for i := range many {
		many[i] = mastra.Vector{ID: mastra.NewID(), Values: make([]float32, 1536)}
		many[i].Values[0] = float32(i + 1)
	}
	if err := s.Upsert(t.Context(), "docs", many); mastra.CodeOf(err) != mastra.CodeTooLarge {
		t.Error(err)
	}
	for _, half := range [][]mastra.Vector{many[:400], many[400:]} {
		if err := s.Upsert(t.Context(), "docs", half); err != nil {
			t.Fatal(err)
		}
	}
	if i, err := s.DescribeIndex(t.Context(), "docs"); err != nil || i.Count != 800 {
		t.Errorf("%+v %v", i, err)
	}
	if _, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: many[0].Values, TopK: 800, IncludeVector: true}); mastra.CodeOf(err) != mastra.CodeTooLarge {
		t.Error(err)
	}
	if got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: many[0].Values, TopK: 800}); err != nil || len(got) != 800 {
		t.Error(len(got), err)
	}
	away := invoked(t, "VECTOR_URL=postgres://nobody@127.0.0.1:1/none")
	if _, err := away.Indexes(t.Context()); err == nil || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a database that is away: %v", err)
	}
}
