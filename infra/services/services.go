// Package services finds the real stand-ins that services.sh starts, for tests.
package services

import (
	"os"
	"testing"
)

// DynamoDB is the endpoint of a DynamoDB for tests. Without one the test is skipped; it fails where
// REQUIRE_SERVICES is set, as make test does: there nothing is left out silently.
func DynamoDB(t testing.TB) string { return endpoint(t, "AWS_ENDPOINT_URL_DYNAMODB") }

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
