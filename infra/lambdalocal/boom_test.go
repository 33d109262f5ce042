package lambdalocal_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/infra/lambdalocal"
)

// Whatever a handler does, the client gets an answer that says nothing of it, and the instance lives on: one process serves all.
func TestAPanicLeavesTheInstanceAlive(t *testing.T) {
	file := filepath.Join(scratch, "boom")
	if out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", file, "./testdata/boom").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	f := lambdalocal.Function{Name: "BoomFunction", Timeout: 5 * time.Second, Memory: 256, Env: map[string]string{}}
	for _, v := range without {
		name, value, _ := strings.Cut(v, "=")
		f.Env[name] = value
	}
	for _, path := range []string{"/api/plain/{id}", "/api/long/{id}", "/api/stream/{id}"} {
		streamed := path != "/api/plain/{id}"
		f.Routes = append(f.Routes, lambdalocal.Route{Path: path, Method: "ANY", Streamed: streamed, Timeout: 5 * time.Second})
	}
	var log strings.Builder
	var mu sync.Mutex
	stack, err := lambdalocal.Up(&lambdalocal.Template{Functions: []lambdalocal.Function{f}, API: lambdalocal.API{Stage: "prod", BinaryTypes: []string{"*/*"}}},
		lambdalocal.Options{Limit: 1, Bootstraps: func(string) string { return file }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Log: func(_, _ string, line []byte) { mu.Lock(); defer mu.Unlock(); log.Write(line) }})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(stack.Gateway)
	defer front.Close()
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/plain/well", 200, `"well"`},
		{"/plain/panic", 500, `"error":"Internal Server Error"`},
		{"/plain/error", 500, `"requestId"`},
		{"/plain/large", 500, `too large`},
		{"/long/panic", 500, `"error":"Internal Server Error"`},
		{"/long/error", 500, `"requestId"`},
		{"/long/large", 200, strings.Repeat("x", 1<<20)}, // a stream has no 6 MB
		{"/stream/early", 500, `"error":"Internal Server Error"`},
		{"/stream/panic", 200, `"type":"error"`},
		{"/stream/error", 200, `"type":"error"`},
		{"/stream/well", 200, "data: [DONE]"},
		{"/plain/well", 200, `"well"`},
	} {
		var r reply
		for r.status == 0 || strings.Contains(r.body, `"message"`) { // the only instance is taken until it asks for more
			r = ask(t, "GET", front.URL+"/prod/api"+c.path, nil)
		}
		if r.status != c.status || !strings.Contains(r.body, c.body) || strings.Contains(r.body, "boom") || strings.Contains(r.body, "secret") || r.err != nil {
			t.Errorf("%s: %d %v %.500s", c.path, r.status, r.err, r.body)
		}
	}
	stack.Close()
	if starts := strings.Count(log.String(), "initDurationMs"); starts != 1 {
		t.Errorf("%d instances were started", starts)
	}
	if !strings.Contains(log.String(), "panic: boom") {
		t.Error("the log does not say what happened")
	}
}
