package lambdalocal_test

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

// Real bootstraps of three functions over one DynamoDB: what agents stores is what memory and observability answer, and an
// API key lets its caller in.
func TestFunctionsShareDynamoDB(t *testing.T) {
	endpoint := services.DynamoDB(t)
	suffix := strings.ToLower(mastra.NewSpanID())
	tables := dynamodb.Tables{Threads: "threads-" + suffix, Runs: "runs-" + suffix, Observability: "observability-" + suffix}
	store := dynamodb.Open(aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, tables)
	if err := store.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, key := server.NewKey("ann", mastra.Principal{Resource: "ann"}, 1)
	if err := store.AddAPIKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	env := []string{"AUTH=on", "AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "MODEL_DELAY=5",
		"STORAGE_URL=dynamodb://?threads=" + tables.Threads + "&runs=" + tables.Runs + "&observability=" + tables.Observability}
	call := func(method, resource, path, body string) []byte {
		var event map[string]any
		if err := json.Unmarshal(proxyEvent(method, resource, path, body), &event); err != nil {
			t.Fatal(err)
		}
		event["multiValueHeaders"] = map[string][]string{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + secret}}
		data, _ := json.Marshal(event)
		return data
	}
	agents, _ := start(t, "agents", env...)
	generate := "/api/agents/{agentId}/generate"
	if body, _ := answer(t, agents, proxyEvent("POST", generate, "/api/agents/myAgent/generate", `{"messages":"hi"}`)); !strings.Contains(body, `"statusCode":401`) {
		t.Errorf("without a key: %.300s", body)
	}
	body, _ := answer(t, agents, call("POST", generate, "/api/agents/myAgent/generate", `{"messages":"What is 2+2?","memory":{"thread":"t","resource":"bob"}}`))
	_, result, _ := strings.Cut(body, strings.Repeat("\x00", 8))
	var generated struct{ Text, TraceID string }
	if err := json.Unmarshal([]byte(result), &generated); err != nil || !strings.Contains(generated.Text, "4") {
		t.Fatalf("%v %.500s", err, body)
	}

	memory, _ := start(t, "memory", env...)
	if body, _ := answer(t, memory, call("GET", "/api/memory/{proxy+}", "/api/memory/t", "")); !strings.Contains(body, `\"total\":2`) || !strings.Contains(body, `\"resourceId\":\"ann\"`) {
		t.Errorf("the thread: %.800s", body)
	}
	observability, _ := start(t, "observability", env...)
	if body, _ := answer(t, observability, call("GET", "/api/observability/{proxy+}", "/api/observability/traces/"+generated.TraceID, "")); !strings.Contains(body, `tool_call`) {
		t.Errorf("the trace: %.800s", body)
	}

	// A stream: its first chunk is here long before its last one is made.
	a, err := agents.Invoke(t.Context(), call("POST", "/api/agents/{agentId}/stream", "/api/agents/myAgent/stream", `{"messages":"Tell me a story"}`), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var first, last time.Time
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"text-delta"`) && first.IsZero() {
			first = time.Now()
		}
		if strings.Contains(lines.Text(), "[DONE]") {
			last = time.Now()
		}
	}
	if first.IsZero() || last.Sub(first) < 100*time.Millisecond { // some 90 parts of 5 ms each are between them
		t.Errorf("first chunk at %s, the end at %s: %v", first, last, lines.Err())
	}
}
