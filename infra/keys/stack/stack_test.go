package stack_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/keys/stack"
	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

// stacks answers DescribeStacks as CloudFormation's API reference shows it.
func stacks(t *testing.T, outputs map[string]string) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		if r.FormValue("Action") != "DescribeStacks" || r.FormValue("StackName") != "mastra" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id %s does not exist</Message></Error></ErrorResponse>`, r.FormValue("StackName"))
			return
		}
		fmt.Fprint(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member>
			<StackName>mastra</StackName><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-01T00:00:00Z</CreationTime><Outputs>`)
		for name, value := range outputs {
			fmt.Fprintf(w, `<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>`, name, strings.ReplaceAll(value, "&", "&amp;"))
		}
		fmt.Fprint(w, `</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`)
	}))
	t.Cleanup(web.Close)
	return web.URL
}

// The keys of a deployed stack: made by its name, good for its functions at once, and gone when revoked.
func TestKeysOfAStack(t *testing.T) {
	endpoint := services.DynamoDB(t)
	suffix := strings.ToLower(mastra.NewSpanID())
	tables := dynamodb.Tables{Threads: "threads-" + suffix, Runs: "runs-" + suffix, Observability: "observability-" + suffix}
	store := dynamodb.Open(aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, tables)
	if err := store.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("dynamodb://?threads=%s&runs=%s&observability=%s", tables.Threads, tables.Runs, tables.Observability)
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", stacks(t, map[string]string{"Url": "https://x", "Storage": url}))
	run := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := stack.Keys(t.Context(), "mastra", &out, args); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	secret, _, _ := strings.Cut(run("add", "-name", "ann", "-resource", "user-1", "-permissions", "agents:read"), "\n")
	who, err := server.APIKeys{Store: store}.Authenticate(t.Context(), mastra.Credentials{Token: secret})
	if err != nil || who.Resource != "user-1" || len(who.Permissions) != 1 {
		t.Fatalf("%+v, %v", who, err)
	}
	if listed := run("list"); !strings.Contains(listed, who.ID) || !strings.Contains(listed, "ann") || strings.Contains(listed, secret) {
		t.Error(listed)
	}
	run("revoke", who.ID)
	if _, err := (server.APIKeys{Store: store}).Authenticate(t.Context(), mastra.Credentials{Token: secret}); mastra.CodeOf(err) != mastra.CodeUnauthorized {
		t.Errorf("a revoked key: %v", err)
	}
	if err := stack.Keys(t.Context(), "another", &bytes.Buffer{}, []string{"list"}); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a stack that is not there: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", stacks(t, nil))
	if err := stack.Keys(t.Context(), "mastra", &bytes.Buffer{}, []string{"list"}); err == nil || !strings.Contains(err.Error(), "no output Storage") {
		t.Errorf("somebody else's stack: %v", err)
	}
}
