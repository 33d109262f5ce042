package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"mastralambda/infra/apitest"
	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
)

// The document's examples word for word through sam build and sam local start-api. make test-sam starts the engine for it.
func TestSAMLocal(t *testing.T) {
	if os.Getenv("SAM_LOCAL") == "" {
		t.Skip("SAM_LOCAL is not set: make test-sam starts a container engine and runs this test")
	}
	endpoint := services.DynamoDB(t)
	s, err := start(t.Context(), options{root: "../../..", port: 3461, dynamoDB: endpoint, vectorURL: services.Database(t), tables: "sam-" + strings.ToLower(mastra.NewSpanID()), log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	call := func(t testing.TB, method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		data, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		return w.StatusCode, string(data)
	}
	apitest.Document(t, call, nil)
	if status, body := call(t, "POST", "/api/agents/docsAgent/generate", `{"messages":"How long do refunds take?"}`); status != 200 || !strings.Contains(body, "five working days") {
		t.Errorf("an agent that asks the vectors function: %d %.500s", status, body)
	}
	if status, body := call(t, "GET", "/api/logs?level=info", ""); status != 200 || !strings.Contains(body, `"msg":"request"`) {
		t.Errorf("what functions log is in the log: %d %.500s", status, body)
	}
}
