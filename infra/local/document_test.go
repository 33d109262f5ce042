package local_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mastralambda/infra/apitest"
)

// serve starts the real program and returns its URL and a stop function that returns its exit code.
func serve(t *testing.T, env ...string) (url string, process *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(binary(t))
	cmd.Env = append(os.Environ(), append([]string{"PORT=0", "DATA_DIR=" + t.TempDir()}, env...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := regexp.MustCompile(`Listening on (http://\S+:\d+)`).FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, out)
			return m[1], cmd
		}
	}
	cmd.Wait()
	t.Fatalf("it does not listen: %s", stderr.String())
	return "", nil
}

var scratch string // the folder of the binary

var build = sync.OnceValues(func() (string, error) {
	file := filepath.Join(scratch, "mastra")
	out, err := exec.Command("go", "build", "-o", file, "mastralambda/infra/local/cmd").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return file, err
})

func binary(t *testing.T) string {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "mastra"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

func call(t testing.TB, method, url, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
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

// Every route and example of the document that the project is built from, against the real program.
func TestDocument(t *testing.T) {
	url, _ := serve(t)
	apitest.Document(t, func(t testing.TB, method, path, body string) (int, string) { return call(t, method, url+path, body) }, nil)
}

// newer is a database that a later version of this program has left.
func newer(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "newer.db")
	_, process := serve(t, "STORAGE_URL=sqlite://"+path)
	process.Process.Signal(syscall.SIGTERM)
	if err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{0, 0, 1, 0}, 60); err != nil { // user_version, see SQLite's file format
		t.Fatal(err)
	}
	return path
}

func TestRefusedStarts(t *testing.T) {
	url, _ := serve(t)
	taken := url[strings.LastIndex(url, ":")+1:]
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	corrupt := filepath.Join(dir, "corrupt.db")
	for path, content := range map[string]string{file: "x", corrupt: strings.Repeat("no database ", 1000)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, env, want string }{
		{"a taken port", "PORT=" + taken, "port " + taken + " .* is taken"},
		{"no port", "PORT=http", `PORT="http"`},
		{"a folder that cannot be written", "DATA_DIR=" + filepath.Join(file, "data"), "DATA_DIR="},
		{"a corrupt database", "STORAGE_URL=sqlite://" + corrupt, "corrupt.db"},
		{"a newer database", "STORAGE_URL=sqlite://" + newer(t), "newer"},
		{"another storage", "STORAGE_URL=mysql://x", "STORAGE_URL="},
		{"an unknown model", "MODEL=acme/x", "MODEL: .*acme/x"},
		{"a model without its key", "MODEL=openai/x", "OPENAI_API_KEY"},
		{"an unknown framing", "STREAM_FORMAT=x", "STREAM_FORMAT="},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(binary(t))
			cmd.Env = append(os.Environ(), "PORT=0", "DATA_DIR="+t.TempDir(), "OPENAI_API_KEY=", "OPENAI_BASE_URL=", c.env)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			line := strings.TrimSuffix(stderr.String(), "\n")
			if cmd.ProcessState.ExitCode() != 1 || strings.Contains(line, "\n") || !regexp.MustCompile(c.want).MatchString(line) {
				t.Errorf("%v: %q", err, line)
			}
		})
	}
}

// A SIGTERM lets what was begun come to its end.
func TestDrain(t *testing.T) {
	url, process := serve(t, "MODEL_DELAY=20")
	type answer struct {
		status int
		body   string
	}
	answers := make(chan answer, 1)
	go func() {
		r, _ := http.NewRequestWithContext(context.WithoutCancel(t.Context()), "POST", url+"/api/agents/myAgent/stream", strings.NewReader(`{"messages":"Tell me a story"}`))
		r.Header.Set("Content-Type", "application/json")
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			answers <- answer{0, err.Error()}
			return
		}
		defer w.Body.Close()
		process.Process.Signal(syscall.SIGTERM)
		body, _ := io.ReadAll(w.Body)
		answers <- answer{w.StatusCode, string(body)}
	}()
	select {
	case a := <-answers:
		if a.status != 200 || !strings.Contains(a.body, `"type":"finish"`) || !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
			t.Errorf("%d %s", a.status, a.body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
	if err := process.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What was acknowledged survives kill -9, and a repeat of what was not acknowledged is not stored twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	url, process := serve(t, "DATA_DIR="+dir)
	if status, body := call(t, "POST", url+"/api/memory/t/save", `{"messages": [{"role": "user", "content": "kept", "id": "m1"}]}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	status, body := call(t, "POST", url+"/api/agents/myAgent/generate", `{"messages": "What is 2+2?", "memory": {"thread": "t9", "resource": "ann"}}`)
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	_, executed := call(t, "POST", url+"/api/workflows/refundWorkflow/execute", `{"inputData": {"orderId": "A-17", "amount": 250}}`)
	runID := regexp.MustCompile(`"runId":"([^"]+)"`).FindStringSubmatch(executed)[1]
	call(t, "POST", url+"/api/vectors/upsert", `{"indexName": "kept", "vectors": [[1,0]], "ids": ["a"]}`)
	process.Process.Kill()
	process.Wait()

	url, _ = serve(t, "DATA_DIR="+dir)
	traceID := regexp.MustCompile(`"traceId":"([0-9a-f]{32})"`).FindStringSubmatch(body)[1]
	for path, want := range map[string]string{
		"/memory/t":                               `"total":1`,
		"/memory/t9":                              `"total":2`,
		"/observability/traces/" + traceID:        `"tool_call"`,
		"/workflows/refundWorkflow/runs/" + runID: `"suspended"`,
	} {
		if status, body := call(t, "GET", url+"/api"+path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := call(t, "POST", url+"/api/vectors/query", `{"indexName": "kept", "queryVector": [1,0]}`); status != 200 || !strings.Contains(body, `"a"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := call(t, "POST", url+"/api/workflows/refundWorkflow/resume-async?runId="+runID, `{"step": "approve", "resumeData": {"approved": true}}`); status != 200 || !strings.Contains(body, `"250.00 euros paid back"`) {
		t.Errorf("%d %s", status, body)
	}
}

// No span of a run that was answered is lost, even if the process dies with the answer or with the last of a stream.
func TestKillKeepsSpans(t *testing.T) {
	dir := t.TempDir()
	agent := map[string]int{"agent_run": 1, "model_generation": 1, "model_step": 2, "model_inference": 2, "tool_call": 1, "memory_operation": 2}
	asked := `{"messages": "What is 2+2?", "memory": {"thread": "t", "resource": "ann"}, "tracingOptions": {"traceId": "%s"}}`
	refund := func(amount int) string {
		return fmt.Sprintf(`{"inputData": {"orderId": "A-17", "amount": %d}, "tracingOptions": {"traceId": "%%s"}}`, amount)
	}
	for i, c := range []struct {
		path, body, last string // last is what the client has seen when the process dies; "": a whole answer
		want             map[string]int
	}{
		{"/agents/myAgent/generate", asked, "", agent},
		{"/agents/myAgent/generate", asked, "", agent},
		{"/agents/myAgent/stream", asked, `"type":"finish"`, agent},
		{"/workflows/refundWorkflow/start-async", refund(10), "", map[string]int{"workflow_run": 1, "workflow_step": 2}},
		{"/workflows/refundWorkflow/start-async", refund(250), "", map[string]int{"workflow_run": 1, "workflow_step": 1}}, // it waits for a person
		{"/workflows/refundWorkflow/stream?runId=streamed", refund(10), `"type":"workflow-finish"`, map[string]int{"workflow_run": 1, "workflow_step": 2}},
	} {
		url, process := serve(t, "DATA_DIR="+dir)
		traceID := fmt.Sprintf("%032x", i+1)
		body := fmt.Sprintf(c.body, traceID)
		if c.last == "" {
			if status, answer := call(t, "POST", url+"/api"+c.path, body); status != 200 {
				t.Errorf("%s: %d %s", c.path, status, answer)
			}
			process.Process.Kill()
		} else {
			w := post(t, url+"/api"+c.path, body, "")
			seen, buffer := "", make([]byte, 4096)
			for !strings.Contains(seen, c.last) {
				n, err := w.Body.Read(buffer)
				if seen += string(buffer[:n]); err != nil {
					break
				}
			}
			process.Process.Kill()
			if !strings.Contains(seen, c.last) {
				t.Errorf("%s: %s", c.path, seen)
			}
		}
		process.Wait()
		url, process = serve(t, "DATA_DIR="+dir)
		_, trace := call(t, "GET", url+"/api/observability/traces/"+traceID, "")
		for kind, n := range c.want {
			if got := strings.Count(trace, `"spanType":"`+kind+`"`); got != n {
				t.Errorf("%s: %d spans of type %s, want %d", c.path, got, kind, n)
			}
		}
		process.Process.Kill()
		process.Wait()
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	key := func(args ...string) string {
		cmd := exec.Command(binary(t), append([]string{"key"}, args...)...)
		cmd.Env = append(os.Environ(), "DATA_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("key %v: %v %s", args, err, out)
		}
		return string(out)
	}
	url, _ := serve(t, "DATA_DIR="+dir, "AUTH=on")
	made := key("add", "-name", "ann", "-resource", "ann")
	secret, id := strings.Fields(made)[0], regexp.MustCompile(`id (\w+)`).FindStringSubmatch(made)[1]
	free := strings.Fields(key("add", "-name", "back end"))[0]
	if list := key("list"); strings.Contains(list, secret) || !strings.Contains(list, id) {
		t.Errorf("list: %s", list)
	}
	save := `{"messages": [{"role": "user", "content": "hi"}], "resourceId": "bob"}`
	_, ran := call(t, "POST", url+"/api/agents/myAgent/generate", `{"messages":"hi","memory":{"thread":"bobs-own","resource":"bob"}}`, "Authorization", "Bearer "+free)
	trace := regexp.MustCompile(`"traceId":"(\w+)"`).FindStringSubmatch(ran)[1]
	_, ran = call(t, "POST", url+"/api/workflows/refundWorkflow/execute", `{"inputData": {"orderId": "A", "amount": 250}}`, "Authorization", "Bearer "+free)
	run := regexp.MustCompile(`"runId":"([^"]+)"`).FindStringSubmatch(ran)[1]
	for _, c := range []struct {
		name, method, path, body, secret string
		status                           int
	}{
		{"nobody", "GET", "/agents", "", "", 401},
		{"how to sign in", "GET", "/auth/capabilities", "", "", 200},
		{"ann", "GET", "/agents", "", secret, 200},
		{"the back end for bob", "POST", "/memory/bobs/save", save, free, 200},
		{"ann reads bob's", "GET", "/memory/bobs", "", secret, 403},
		{"ann says she is bob", "GET", "/memory/threads/bobs?resourceId=bob", "", secret, 403},
		{"ann writes bob's", "POST", "/memory/bobs/save", save, secret, 403},
		{"ann runs in bob's", "POST", "/agents/myAgent/generate", `{"messages":"hi","memory":{"thread":"bobs","resource":"bob"}}`, secret, 403},
		{"ann deletes bob's", "DELETE", "/memory/bobs", "", secret, 403},
		{"the back end reads bob's trace", "GET", "/observability/traces/" + trace, "", free, 200},
		{"ann reads bob's trace", "GET", "/observability/traces/" + trace, "", secret, 404},
		{"ann judges bob's trace", "POST", "/observability/scores", `{"score":{"scorerId":"s","score":1,"traceId":"` + trace + `"}}`, secret, 404},
		{"ann reads bob's scores", "GET", "/observability/scores?traceId=" + trace, "", secret, 404},
		{"ann reads her feedback", "GET", "/observability/feedback", "", secret, 200},
		{"ann reads the log", "GET", "/logs", "", secret, 403},
		{"ann reads another's run", "GET", "/workflows/refundWorkflow/runs/" + run, "", secret, 404},
		{"ann answers for another", "POST", "/workflows/refundWorkflow/resume-async?runId=" + run, `{"step":"approve","resumeData":{"approved":true}}`, secret, 404},
		{"ann cancels another's run", "POST", "/workflows/refundWorkflow/runs/" + run + "/cancel", "", secret, 404},
	} {
		if status, body := call(t, c.method, url+"/api"+c.path, c.body, "Authorization", "Bearer "+c.secret); status != c.status {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	key("revoke", id)
	if status, _ := call(t, "GET", url+"/api/agents", "", "Authorization", "Bearer "+secret); status != 401 {
		t.Errorf("a revoked key: %d", status)
	}
}

// A caller's span is above the run, in the trace that the caller named (W3C trace context).
func TestTraceparent(t *testing.T) {
	url, _ := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/api/agents/myAgent/generate", strings.NewReader(`{"messages": "hi"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != 200 || !strings.Contains(string(body), `"traceId":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	_, list := call(t, "GET", url+"/api/observability/traces", "")
	if !strings.Contains(list, `"total":1`) || !strings.Contains(list, `"parentSpanId":"b7ad6b7169203331"`) {
		t.Errorf("the list says %s", list)
	}
}
