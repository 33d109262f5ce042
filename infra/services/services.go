// Package services finds the real stand-ins that services.sh starts, for tests.
package services

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// DynamoDB is the endpoint of a DynamoDB for tests. Without one the test is skipped; it fails where
// REQUIRE_SERVICES is set, as make test does: there nothing is left out silently.
func DynamoDB(t testing.TB) string { return endpoint(t, "AWS_ENDPOINT_URL_DYNAMODB") }

// Postgres is the URL of a database with pgvector, of a user who may make others.
func Postgres(t testing.TB) string { return endpoint(t, "TEST_POSTGRES_URL") }

// Database makes a database of its own for a test, which is gone after it, and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	admin := Postgres(t)
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	u.Path = "/" + name
	run := func(statement string) {
		conn, err := pgx.Connect(context.Background(), admin)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Error(err)
		}
	}
	run(`CREATE DATABASE ` + name)
	t.Cleanup(func() { run(`DROP DATABASE ` + name + ` WITH (FORCE)`) })
	return u.String()
}

// Queues is the endpoint of an SQS and an EventBridge Scheduler for tests, likewise.
func Queues(t testing.TB) string { return endpoint(t, "AWS_ENDPOINT_URL_SQS") }

func endpoint(t testing.TB, variable string) string {
	t.Helper()
	url := os.Getenv(variable)
	switch {
	case url != "":
	case os.Getenv("REQUIRE_SERVICES") != "":
		t.Fatalf("%s is not set: run `eval \"$(infra/services/services.sh start)\"` first, or `make test`", variable)
	default:
		t.Skipf("%s is not set: `eval \"$(infra/services/services.sh start)\"` makes this test run, and `make test` does it by itself", variable)
	}
	return url
}

// SAM is the Python that has the SAM CLI; where it is not installed, as endpoint.
func SAM(t testing.TB) string {
	t.Helper()
	const python = ".tools/sam/bin/python"
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	file := filepath.Join(dir, python)
	if _, err := os.Stat(filepath.Join(filepath.Dir(file), "sam")); err == nil {
		return file
	}
	const get = "the SAM CLI is not installed: `make sam-validate` installs it, and `make test`"
	if os.Getenv("REQUIRE_SERVICES") != "" {
		t.Fatal(get)
	}
	t.Skip(get)
	return ""
}
