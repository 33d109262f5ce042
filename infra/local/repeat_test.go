package local_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// endpoint is a model behind Chat Completions: it calls the calculator, and hangs, fails or answers once it has the result.
type endpoint struct {
	mu       sync.Mutex
	requests []string
	second   func(w http.ResponseWriter, r *http.Request) // the first call with a result; nil: answer
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	e.requests = append(e.requests, string(body))
	second := e.second
	e.mu.Unlock()
	switch {
	case !strings.Contains(string(body), `"tool_call_id"`):
		fmt.Fprint(w, `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"calculator","arguments":"{\"expression\":\"6*7\"}"}}]},"finish_reason":"tool_calls"}]}`+"\n\ndata: [DONE]\n\n")
	case second != nil:
		second(w, r)
	default:
		fmt.Fprint(w, `data: {"choices":[{"delta":{"content":"It is 42"},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}
}

func (e *endpoint) now(second func(http.ResponseWriter, *http.Request)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.second = second
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests)
}

const repeated = `{"messages": [{"role": "user", "content": "six times seven"}], "memory": {"thread": "t", "resource": "ann"}, "modelSettings": {"maxRetries": 0}}`

// A JavaScript client sends a POST again after a 5xx. The repeat goes on where the first one failed: the model is not
// asked for the tool call again, the tool does not run again, and the thread holds every message once.
func TestRepeatAfterFailure(t *testing.T) {
	e := &endpoint{second: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }}
	model := httptest.NewServer(e)
	defer model.Close()
	url, _ := serve(t, "MODEL=openai/m", "OPENAI_API_KEY=sk", "OPENAI_BASE_URL="+model.URL)
	if status, body := call(t, "POST", url+"/api/agents/myAgent/generate", repeated); status != 502 || strings.Contains(body, "sk") {
		t.Fatalf("%d %s", status, body)
	}
	e.now(nil)
	status, body := call(t, "POST", url+"/api/agents/myAgent/generate", repeated)
	if status != 200 || !strings.Contains(body, `"text":"It is 42"`) || e.count() != 3 {
		t.Errorf("%d %.300s after %d calls of the model", status, body, e.count())
	}
	once(t, url)
	// Answered: the same words again are a new message. (The model sees the result of the first time and answers at once.)
	if status, _ := call(t, "POST", url+"/api/agents/myAgent/generate", repeated); status != 200 || e.count() != 4 {
		t.Errorf("said again: %d after %d calls of the model", status, e.count())
	}
	if _, body := call(t, "GET", url+"/api/memory/t", ""); !strings.Contains(body, `"total":4`) {
		t.Errorf("said again: %s", body)
	}
}

// The same where the process dies in the middle: another one takes the request over once the lease of the first is over.
func TestRepeatAfterKill(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to end")
	}
	t.Parallel() // what waits for leases waits together
	hang := make(chan struct{})
	e := &endpoint{second: func(_ http.ResponseWriter, r *http.Request) {
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
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		r, _ := http.NewRequest("POST", url+"/api/agents/myAgent/generate", strings.NewReader(repeated))
		r.Header.Set("Content-Type", "application/json")
		if w, err := http.DefaultClient.Do(r); err == nil {
			w.Body.Close()
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); e.count() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the model is not asked twice")
		}
	}
	process.Process.Kill()
	process.Wait()
	<-lost
	e.now(nil)
	url, _ = serve(t, env...)
	status, body := call(t, "POST", url+"/api/agents/myAgent/generate", repeated)
	if status != 200 || !strings.Contains(body, `"text":"It is 42"`) || e.count() != 3 {
		t.Errorf("%d %.300s after %d calls of the model", status, body, e.count())
	}
	once(t, url)
}

// once looks at the thread: the user's message and the answer, which holds the tool's result.
func once(t *testing.T, url string) {
	t.Helper()
	_, body := call(t, "GET", url+"/api/memory/t", "")
	if !strings.Contains(body, `"total":2`) || strings.Count(body, `"six times seven"`) != 2 || !strings.Contains(body, `"result":{"result":42}`) {
		t.Errorf("the thread: %s", body)
	}
}
