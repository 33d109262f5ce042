package dynamodb

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/storagetest"
)

var suiteTables = Tables{"suite-threads", "suite-runs", "suite-observability"}

func testConfig(t testing.TB) aws.Config {
	return aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(services.DynamoDB(t)), Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
}

// tables are made once; every test has a tenant of its own.
var tables = sync.OnceValue(func() error {
	return Open(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, suiteTables).CreateTables(context.Background())
})

func openTest(t testing.TB, change ...func(*aws.Config)) *Store {
	t.Helper()
	cfg := testConfig(t)
	if err := tables(); err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(&cfg)
	}
	s := Open(cfg, suiteTables)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newTenant(t testing.TB) context.Context {
	return mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "tester", Tenant: "test-" + rand.Text()})
}

func TestStorage(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) mastra.Storage { return openTest(t) })
}

func TestKeys(t *testing.T) {
	storagetest.RunKeys(t, func(t *testing.T) mastra.KeyStore { return openTest(t) })
}

// Another instance shares nothing with the first but the tables.
func TestStorageWithoutHints(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) mastra.Storage { return &forgetful{openTest(t)} })
}

type forgetful struct{ *Store }

func (f *forgetful) Commit(ctx context.Context, b *mastra.Batch) error {
	f.hints.mu.Lock()
	clear(f.hints.seen)
	f.hints.mu.Unlock()
	return f.Store.Commit(ctx, b)
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]string{
		"dynamodb://?threads=a&runs=b&observability=c":     "",
		"dynamodb://?threads=a&runs=b":                     "names no table for observability",
		"dynamodb://?threads=a&runs=b&observability=c&x=1": `unknown parameter "x"`,
		"dynamodb://host?threads=a&runs=b&observability=c": "not of the form",
		"sqlite:///x": "not of the form",
		"dynamodb://?threads=%zz&runs=b&observability=c": "cannot be read",
	} {
		got, err := ParseURL(url)
		switch {
		case want == "" && (err != nil || got != Tables{"a", "b", "c"}):
			t.Errorf("%s: %v, %v", url, got, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %q", url, err, want)
		}
	}
}
