package local_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// events reads a stream of Server-Sent Events until stop says so, or to its end: types of chunks, and the last event's id.
func events(t *testing.T, r *http.Response, stop func(kind string) bool) (kinds []string, last string) {
	t.Helper()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			if last = id; stop != nil && stop(kinds[len(kinds)-1]) {
				break
			}
		}
		if _, rest, ok := strings.Cut(line, `"type":"`); ok && strings.HasPrefix(line, "data: ") {
			kind, _, _ := strings.Cut(rest, `"`)
			kinds = append(kinds, kind)
		}
	}
	return kinds, last
}

func post(t *testing.T, url, body, lastEvent string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if lastEvent != "" {
		r.Header.Set("Last-Event-ID", lastEvent)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Body.Close() })
	return w
}

// A process dies in the middle of a stream. Another one takes the run over, behind the step that was whole, and serves it to
// its end: to whoever goes on where the first one broke off, and to whoever reads all of it.
func TestAStreamOutlivesItsProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to end")
	}
	t.Parallel() // what waits for leases waits together
	hang := make(chan struct{})
	e := &endpoint{second: func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `data: {"choices":[{"delta":{"content":"It might be "}}]}`+"\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}}
	model := httptest.NewServer(e)
	defer model.Close()
	defer close(hang)
	dir := t.TempDir()
	env := []string{"DATA_DIR=" + dir, "MODEL=openai/m", "OPENAI_API_KEY=sk", "OPENAI_BASE_URL=" + model.URL}
	url, process := serve(t, env...)
	w := post(t, url+"/api/agents/myAgent/stream", `{"messages":"six times seven","runId":"run","memory":{"thread":"t","resource":"ann"}}`, "")
	kinds, last := events(t, w, func(kind string) bool { return kind == "text-delta" })
	if got := strings.Join(kinds, " "); !strings.HasPrefix(got, "start step-start tool-call") || !strings.HasSuffix(got, "tool-result step-finish step-start text-start text-delta") {
		t.Fatalf("before the end: %s", got)
	}
	time.Sleep(2500 * time.Millisecond) // the run lasts: it is durable now
	process.Process.Kill()
	process.Wait()
	e.now(nil)
	url, _ = serve(t, env...)
	all := make(chan []string, 1)
	go func() {
		kinds, _ := events(t, post(t, url+"/api/agents/myAgent/observe", `{"runId":"run"}`, ""), nil)
		all <- kinds
	}()
	w = post(t, url+"/api/agents/myAgent/observe", `{"runId":"run"}`, last)
	if w.StatusCode != 200 {
		t.Fatalf("observe: %d", w.StatusCode)
	}
	rest, _ := events(t, w, nil)
	if got := strings.Join(rest, " "); got != "epoch step-start text-start text-delta text-end step-finish finish" {
		t.Errorf("behind %s: %s", last, got)
	}
	if got, want := strings.Join(<-all, " "), strings.Join(append(kinds, rest...), " "); got != want {
		t.Errorf("all of it: %s\nwant %s", got, want)
	}
	if e.count() != 3 { // the tool call is not asked for again, nor is the tool run
		t.Errorf("the model was asked %d times", e.count())
	}
	_, body := call(t, "GET", url+"/api/memory/t", "")
	if !strings.Contains(body, `"total":2`) || !strings.Contains(body, "It is 42") || strings.Contains(body, "It might be") {
		t.Errorf("the thread: %s", body)
	}
}
