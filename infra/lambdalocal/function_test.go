package lambdalocal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/infra/lambdalocal"
)

// scratch holds what the tests build.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "lambdalocal"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

var builds sync.Map

// built builds a function as sam build does, once.
func built(_ context.Context, function string) (string, error) {
	once, _ := builds.LoadOrStore(function, sync.OnceValues(func() (string, error) {
		return lambdalocal.Make("../..", scratch)(context.Background(), function)
	}))
	return once.(func() (string, error))()
}

// bootstrap is that of a function of functions/.
func bootstrap(t testing.TB, folder string) string {
	t.Helper()
	file, err := built(t.Context(), strings.ToUpper(folder[:1])+folder[1:]+"Function")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// without is an environment that a function starts with: it names tables, which are not asked for before a route needs them.
var without = []string{"AUTH=off", "LOG_GROUP=g", "STORAGE_URL=dynamodb://?threads=t&runs=r&observability=o", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"}

func start(t testing.TB, function string, env ...string) (*lambdalocal.Instance, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	in, err := lambdalocal.Start(t.Context(), bootstrap(t, function), append(slices.Clone(without), env...), &log)
	if err != nil {
		t.Fatal(err, log.String())
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	})
	return in, &log
}

func proxyEvent(method, resource, path, body string) []byte {
	data, _ := json.Marshal(map[string]any{"httpMethod": method, "resource": resource, "path": path, "body": body,
		"multiValueHeaders": map[string][]string{"Content-Type": {"application/json"}}, "requestContext": map[string]any{"requestId": "r-1", "stage": "prod"}})
	return data
}

func answer(t testing.TB, in *lambdalocal.Instance, event []byte) (string, *lambdalocal.Answer) {
	t.Helper()
	a, err := in.Invoke(t.Context(), event, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), a
}

func TestRealBootstrapsAnswer(t *testing.T) {
	in, _ := start(t, "system")
	body, _ := answer(t, in, proxyEvent("GET", "/{proxy+}", "/health", ""))
	if !strings.Contains(body, `"statusCode":200`) || !strings.Contains(body, `{\"success\":true}`) {
		t.Error(body)
	}
	if body, _ = answer(t, in, proxyEvent("GET", "/{proxy+}", "/api/openapi.json", "")); !strings.Contains(body, "/agents/{agentId}/generate") {
		t.Errorf("%.300s", body)
	}

	in, _ = start(t, "tools")
	event := proxyEvent("POST", "/api/tools/{toolId}/execute", "/api/tools/calculator/execute", `{"data":{"expression":"2+2"}}`)
	body, a := answer(t, in, event)
	prelude, rest, ok := strings.Cut(body, strings.Repeat("\x00", 8))
	if a.Header.Get("Content-Type") != "application/vnd.awslambda.http-integration-response" || !ok || !strings.Contains(prelude, `"statusCode":200`) || !strings.Contains(rest, "4") {
		t.Errorf("%v %q", a.Header, body)
	}
	in, log := start(t, "tools", "AWS_SAM_LOCAL=true")
	if body, _ = answer(t, in, event); !strings.Contains(body, `"statusCode":200`) || strings.Contains(body, "\x00") {
		t.Errorf("%q", body)
	}
	if err := in.Close(); err != nil { // the log is whole
		t.Fatal(err)
	}
	var line struct{ Level, Timestamp, Msg string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Level != "INFO" || line.Msg != "request" {
		t.Errorf("%q, %v", log, err)
	} else if _, err := time.Parse(time.RFC3339Nano, line.Timestamp); err != nil {
		t.Error(err)
	}
}

// A wrong setting ends the process with one clear line.
func TestWrongSettingsAreOneLine(t *testing.T) {
	var log bytes.Buffer
	_, err := lambdalocal.Start(t.Context(), bootstrap(t, "system"), []string{"AUTH=maybe", "LOG_LEVEL=loud"}, &log)
	if err == nil || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "AUTH") || !strings.Contains(log.String(), "LOG_LEVEL") {
		t.Errorf("%v %s", err, &log)
	}
}

func TestNoStorageIsOneLine(t *testing.T) {
	var log bytes.Buffer
	_, err := lambdalocal.Start(t.Context(), bootstrap(t, "memory"), []string{"AUTH=off"}, &log)
	if err == nil || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "dynamodb://") {
		t.Errorf("%v %s", err, &log)
	}
}
