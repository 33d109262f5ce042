package lambdalocal_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/infra/apitest"
	"mastralambda/infra/lambdalocal"
	"mastralambda/infra/local"
	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

// deployment is template.yaml over the stand-ins, with a key.
type deployment struct {
	*lambdalocal.Local
	url, domain string // with the stage, and without it
	secret      string
	mu          sync.Mutex
	failed      []string        // what the gateway could not pass on
	served      map[string]bool // "METHOD /path" of what was answered as it should be: well, or with the refusal that a suite wants
	refusals    bool            // count, since they are checked
}

// Write takes the gateway's own log.
func (d *deployment) Write(line []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, string(line))
	return len(line), nil
}

func deploy(t *testing.T, parameters map[string]string) *deployment {
	t.Helper()
	return deployOver(t, services.DynamoDB(t), parameters)
}

func deployOver(t *testing.T, endpoint string, parameters map[string]string, env ...string) *deployment {
	t.Helper()
	if testing.Short() {
		t.Skip("it builds and runs all functions")
	}
	d, suffix := &deployment{served: map[string]bool{}}, strings.ToLower(mastra.NewSpanID())
	every := map[string]string{"MODEL_DELAY": "2"}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		every[name] = value
	}
	var err error
	d.Local, err = lambdalocal.Open(t.Context(), lambdalocal.LocalOptions{Template: "../../template.yaml", Build: built, DynamoDB: endpoint, VectorURL: services.Database(t), Queues: os.Getenv("AWS_ENDPOINT_URL_SQS"), Name: suffix + "-", Parameters: parameters,
		Tables: dynamodb.Tables{Threads: "threads-" + suffix, Runs: "runs-" + suffix, Observability: "observability-" + suffix},
		Env:    every, Logger: slog.New(slog.NewTextHandler(d, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	front, domain := httptest.NewServer(d.Gateway), httptest.NewServer(d.Gateway.Domain("/base"))
	for _, s := range []*httptest.Server{front, domain} {
		t.Cleanup(func() {
			s.CloseClientConnections() // a stream that its client left goes on
			s.Close()
		})
	}
	d.url, d.domain = front.URL+"/"+d.Gateway.Stage, domain.URL+"/base"
	d.secret = d.key(t, mastra.Principal{})
	return d
}

func (d *deployment) key(t *testing.T, p mastra.Principal) string {
	t.Helper()
	secret, key := server.NewKey("test", p, mastra.TimeOf(time.Now()))
	if err := d.Store.AddAPIKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return secret
}

func (d *deployment) call(t testing.TB, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.secret)
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
	if w.StatusCode < 300 || d.refusals {
		path, _, _ = strings.Cut(path, "?")
		d.mu.Lock()
		d.served[method+" "+path] = true
		d.mu.Unlock()
	}
	return w.StatusCode, string(data)
}

// well says whether a request to the route was answered well. A request belongs to the route with the most literal segments.
func (d *deployment) well(routes []server.Route, r server.Route) bool {
	literals := func(r server.Route, path string) int {
		whole := "/api" + r.Path
		if r.Root {
			whole = r.Path
		}
		want, have := strings.Split(whole, "/"), strings.Split(path, "/")
		n := 0
		for i := range want {
			switch {
			case len(want) != len(have) || !strings.HasPrefix(want[i], ":") && want[i] != have[i]:
				return -1
			case want[i] == have[i]:
				n++
			}
		}
		return n
	}
	for request := range d.served {
		method, path, _ := strings.Cut(request, " ")
		n := literals(r, path)
		if method == r.Method && n >= 0 && !slices.ContainsFunc(routes, func(o server.Route) bool { return o.Method == method && literals(o, path) > n }) {
			return true
		}
	}
	return false
}

// Every route of every group, through API Gateway's front to the functions' real bootstraps, over DynamoDB, Postgres and CloudWatch.
func TestEveryRoute(t *testing.T) {
	t.Parallel() // with what waits for a lease
	d := deploy(t, nil)
	t.Run("groups", func(t *testing.T) { apitest.Groups(t, d.call, nil) })
	t.Run("journeys", func(t *testing.T) { apitest.Journeys(t, d.call, nil) })
	t.Run("document", func(t *testing.T) { apitest.Document(t, d.call, nil) })
	d.refusals = true
	t.Run("rest", func(t *testing.T) { apitest.Rest(t, d.call, nil) })
	for path, body := range map[string]string{"/api/agents/myAgent/model": `{"provider":"openai","modelId":"gpt-4o"}`, "/api/agents/myAgent/model/reset": `{}`} {
		if status, answer := d.call(t, "POST", path, body); status != 409 || !strings.Contains(answer, "are chosen in its code") {
			t.Errorf("a model chosen for one instance: %d %s", status, answer)
		}
	}
	d.refusals = false
	t.Run("subscribe", func(t *testing.T) { subscribe(t, d) })
	t.Run("all of them", func(t *testing.T) {
		routes := slices.Concat(local.Tables()...)
		for _, r := range routes {
			if !d.well(routes, r) {
				t.Errorf("no request shows that %s %s answers", r.Method, r.Path)
			}
		}
	})
	t.Run("unknown ids", func(t *testing.T) { unknownIDs(t, d) })
	t.Run("log", func(t *testing.T) {
		if status, body := d.call(t, "GET", "/api/logs?level=info&perPage=5", ""); status != 200 || strings.Count(body, `"msg":"request"`) != 5 || strings.Contains(body, "platform.report") {
			t.Errorf("%d %s", status, body)
		}
	})
	if len(d.failed) > 0 {
		t.Errorf("the gateway could not pass on: %v", d.failed)
	}
}

// stream asks myAgent for something that is streamed; headers are names and values. The answer is closed with the test.
func (d *deployment) stream(ctx context.Context, t testing.TB, path, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", d.url+"/api/agents/myAgent/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+d.secret)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Body.Close() })
	return w
}

// Who subscribes to a thread sees what another request makes run in it, through another instance of the function.
func subscribe(t *testing.T, d *deployment) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	w := d.stream(ctx, t, "threads/subscribe", `{"resourceId": "ann", "threadId": "subscribed"}`)
	if w.StatusCode != 200 {
		t.Fatal(w.Status)
	}
	if status, body := d.call(t, "POST", "/api/agents/myAgent/send-message", `{"message": "hi", "resourceId": "ann", "threadId": "subscribed"}`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	lines := bufio.NewScanner(w.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"finish"`) {
			d.served["POST /api/agents/myAgent/threads/subscribe"] = true
			return
		}
	}
	t.Errorf("the run was not seen: %v", lines.Err())
}

// A request to each route that names nothing known is refused by the route's own function, as JSON, and never as our fault.
func unknownIDs(t *testing.T, d *deployment) {
	for _, table := range local.Tables() {
		for _, r := range table {
			path := "/api" + r.Path
			if r.Root {
				path = r.Path
			}
			for _, name := range r.Params() {
				path = strings.Replace(path, ":"+name, "no%2Fone", 1)
			}
			body := ""
			if r.Method != "GET" && r.Method != "DELETE" {
				body = `{"unknown":1}`
			}
			status, answer := d.call(t, r.Method, path, body)
			if status >= 500 || status == 405 || answer == `{"error":"Not Found"}` || status >= 400 && !json.Valid([]byte(answer)) {
				t.Errorf("%s %s: %d %.300s", r.Method, path, status, answer)
			}
		}
	}
}

// What API Gateway makes of a request on its way.
func TestRequestsOnTheirWay(t *testing.T) {
	d := deploy(t, map[string]string{"CorsOrigins": "https://app.example", "Stage": "dev"})
	key := []string{"Authorization", "Bearer " + d.secret}
	if r := ask(t, "HEAD", d.url+"/api/agents", nil, key...); r.status != 200 || r.body != "" || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %+v", r)
	}
	for _, path := range []string{"/api/agents", "/api/agents/myAgent/stream"} {
		r := ask(t, "OPTIONS", d.url+path, nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
		if r.status/100 != 2 || r.header.Get("Access-Control-Allow-Origin") != "https://app.example" || r.header.Get("Access-Control-Allow-Methods") == "" {
			t.Errorf("preflight of %s: %+v", path, r)
		}
		if r = ask(t, "OPTIONS", d.url+path, nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"); r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s from elsewhere: %+v", path, r)
		}
	}
	if r := ask(t, "GET", d.url+"/api/agents", nil, "Origin", "https://app.example"); r.status != 401 || r.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("a refusal that a browser can read: %+v", r)
	}
	if r := ask(t, "GET", d.url+"/api/agents?apiKey="+d.secret, nil); r.status != 200 {
		t.Errorf("a key in the query: %+v", r)
	}
	if r := ask(t, "GET", d.domain+"/api/agents/myAgent", nil, key...); r.status != 200 || !strings.Contains(r.body, `"id":"myAgent"`) {
		t.Errorf("a custom domain with a base path: %+v", r)
	}
	if r := ask(t, "GET", strings.TrimSuffix(d.domain, "/base")+"/api/agents/myAgent", nil, key...); r.status != 403 {
		t.Errorf("a custom domain without its base path: %+v", r)
	}
	// An id with a slash, a percent sign and a space stays one segment, on its way there and in the answer.
	save := `{"messages":[{"role":"user","content":"ä"}]}`
	if r := ask(t, "POST", d.url+"/api/memory/a%2Fb%20%25c/save", strings.NewReader(save), append(key, "Content-Type", "application/json")...); r.status != 200 || !strings.Contains(r.body, `"threadId":"a/b %c"`) {
		t.Errorf("%+v", r)
	}
	if r := ask(t, "GET", d.domain+"/api/memory/a%2Fb%20%25c", nil, key...); r.status != 200 || !strings.Contains(r.body, `"ä"`) {
		t.Errorf("%+v", r)
	}
	// Parameters that come more than once, and brackets.
	if r := ask(t, "GET", d.url+"/api/memory/threads?orderBy%5Bfield%5D=evil&page=0&page=1", nil, key...); r.status != 400 || !strings.Contains(r.body, `"orderBy.field"`) {
		t.Errorf("%+v", r)
	}
	// A binary body and a form's file reach the function as they are: what is refused is the agent's missing voice, not the body.
	form := "--b\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a\"\r\n\r\n\x00\xFF\r\n--b--\r\n"
	if r := ask(t, "POST", d.url+"/api/agents/myAgent/voice/listen", strings.NewReader(form), append(key, "Content-Type", "multipart/form-data; boundary=b")...); r.status != 400 || !strings.Contains(r.body, "does not have voice") {
		t.Errorf("%+v", r)
	}
	if r := ask(t, "POST", d.url+"/api/agents/myAgent/generate", strings.NewReader(`{"messages":"`+strings.Repeat("x", 4<<20)+`"}`), append(key, "Content-Type", "application/json")...); r.status != 413 {
		t.Errorf("a body over 4 MiB: %d %.300s", r.status, r.body)
	}
}

// A stream's first chunk is here long before its last one is made, and the run is stored when it ends.
func TestAStreamThroughTheGateway(t *testing.T) {
	d := deploy(t, nil)
	stream := func(ctx context.Context, thread string) *http.Response {
		return d.stream(ctx, t, "stream", `{"messages":"Tell me a story","memory":{"thread":"`+thread+`","resource":"ann"}}`)
	}
	w := stream(t.Context(), "t")
	defer w.Body.Close()
	var times []time.Time
	lines := bufio.NewScanner(w.Body)
	lines.Buffer(nil, 1<<20)
	done := false
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"text-delta"`) {
			times = append(times, time.Now())
		}
		done = done || strings.HasPrefix(lines.Text(), "data: [DONE]")
	}
	// Some 90 parts of 2 ms each.
	if len(times) < 20 || times[len(times)-1].Sub(times[0]) < 50*time.Millisecond || !done || lines.Err() != nil {
		t.Errorf("%d chunks, done %v: %v", len(times), done, lines.Err())
	}
	if status, body := d.call(t, "GET", "/api/memory/t", ""); status != 200 || !strings.Contains(body, `"total":2`) {
		t.Errorf("%d %s", status, body)
	}
	// A client that leaves does not stop the run.
	ctx, leave := context.WithCancel(t.Context())
	w = stream(ctx, "left")
	if _, err := w.Body.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	leave()
	w.Body.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, body := d.call(t, "GET", "/api/memory/left", ""); strings.Contains(body, `"total":2`) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the run of a client that left was not stored: %s", body)
		}
	}
}

// A bound key sees its own, whichever function answers.
func TestKeysOfADeployment(t *testing.T) {
	d := deploy(t, nil)
	ann := d.key(t, mastra.Principal{Resource: "ann"})
	generate := func(secret, resource string) reply {
		return ask(t, "POST", d.url+"/api/agents/myAgent/generate", strings.NewReader(`{"messages":"What is 2+2?","memory":{"thread":"of-`+resource+`","resource":"`+resource+`"}}`),
			"Authorization", "Bearer "+secret, "Content-Type", "application/json")
	}
	if r := generate("mk_wrong", "ann"); r.status != 401 {
		t.Errorf("a wrong key: %+v", r)
	}
	if r := generate(d.secret, "bob"); r.status != 200 {
		t.Errorf("a back end for bob: %+v", r)
	}
	var run struct{ TraceID string }
	r := generate(ann, "ann")
	if err := json.Unmarshal([]byte(r.body), &run); err != nil || r.status != 200 {
		t.Fatalf("ann: %v %+v", err, r)
	}
	for path, want := range map[string]int{"/api/memory/of-ann": 200, "/api/memory/of-bob": 403, "/api/observability/traces/" + run.TraceID: 200, "/api/logs": 403} {
		if r := ask(t, "GET", d.url+path, nil, "Authorization", "Bearer "+ann); r.status != want {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// Functions are given what their template says, and nothing of this process.
func TestFunctionsSeeTheirTemplateOnly(t *testing.T) {
	t.Setenv("STORAGE_URL", "sqlite:///nowhere")
	d := deploy(t, map[string]string{"Auth": "off"})
	if r := ask(t, "GET", d.url+"/api/agents", nil); r.status != 200 {
		t.Errorf("%+v", r)
	}
	names := []string{}
	for name, p := range d.Pools {
		if p.Instances() > 0 {
			names = append(names, name)
		}
	}
	if !slices.Equal(slices.Sorted(slices.Values(names)), []string{"AgentsFunction", "MigrateFunction"}) {
		t.Errorf("a request to the agents started %v", names)
	}
}
