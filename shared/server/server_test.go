package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

type echoInput struct {
	ID    string   `path:"id" json:"-"`
	Limit int      `query:"limit" json:"-" minimum:"1" maximum:"9"`
	Tags  []string `query:"tag" json:"-"`
	Order *order   `query:"order" json:"-"`
	Name  string   `json:"name" minLength:"1"`
	Count int8     `json:"count,omitzero"`
}
type order struct {
	Field string `json:"field" enum:"a,b"`
}

func echo(_ context.Context, _ *mastra.Mastra, in echoInput) (echoInput2, error) {
	switch in.Name {
	case "panic":
		panic("secret detail")
	case "internal":
		return echoInput2{}, errors.New("secret detail")
	case "user":
		return echoInput2{}, &mastra.Error{Code: mastra.CodeUserCode, Message: "no such action", Err: errors.New("secret detail")}
	}
	out := echoInput2{ID: in.ID, Limit: in.Limit, Tags: in.Tags, Name: in.Name, Count: in.Count}
	if in.Order != nil {
		out.Order = in.Order.Field
	}
	return out, nil
}

type echoInput2 struct {
	ID    string   `json:"id"`
	Limit int      `json:"limit,omitzero"`
	Tags  []string `json:"tags,omitempty"`
	Order string   `json:"order,omitempty"`
	Name  string   `json:"name"`
	Count int8     `json:"count,omitzero"`
}
type idInput struct {
	ID string `path:"id" json:"-"`
}
type nothing struct{}

func named(name string) func(context.Context, *mastra.Mastra, idInput) (string, error) {
	return func(_ context.Context, _ *mastra.Mastra, in idInput) (string, error) { return name + " " + in.ID, nil }
}

func count(_ context.Context, _ *mastra.Mastra, in idInput) (iter.Seq2[mastra.Chunk, error], error) {
	if in.ID == "none" {
		return nil, mastra.Errorf(mastra.CodeNotFound, "nothing is named none")
	}
	return func(yield func(mastra.Chunk, error) bool) {
		for i := range 3 {
			if !yield(mastra.Chunk{Type: "text-delta", Text: fmt.Sprint(i)}, nil) {
				return
			}
		}
		switch in.ID {
		case "fails":
			yield(mastra.Chunk{}, errors.New("secret detail"))
		case "panics":
			panic("secret detail")
		}
	}, nil
}

type listenInput struct {
	Audio   []byte      `upload:"audio" json:"-"`
	Options mastra.JSON `json:"options,omitempty"`
}

func listen(_ context.Context, _ *mastra.Mastra, in listenInput) (string, error) {
	return string(in.Audio) + string(in.Options), nil
}

func routes() []server.Route {
	return []server.Route{
		server.JSON("POST /things/:id", echo, server.Permission("things:write"), server.Long),
		server.JSON("GET /things/:id", named("get")),
		server.JSON("GET /things/special", named("special")),
		server.JSON("GET /t/:a/:id/scores", named("scores")),
		server.JSON("GET /t/:a/branches/:id", named("branch")),
		server.Stream("POST /stream/:id", server.SSE, count),
		server.Stream("POST /records/:id", server.Chunked, count),
		server.JSON("POST /listen", listen),
		server.JSON("GET /me", func(ctx context.Context, _ *mastra.Mastra, _ nothing) (string, error) {
			if p := mastra.Caller(ctx); p != nil {
				return p.ID, nil
			}
			return "nobody", nil
		}, server.Public),
		server.JSON("GET /health", func(context.Context, *mastra.Mastra, nothing) (bool, error) { return true, nil }, server.Public, server.Root),
	}
}

func newServer(t testing.TB, set func(*server.Server)) (*server.Server, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.NewTextHandler(log, nil))}})
	if err != nil {
		t.Fatal(err)
	}
	s := server.Server{Mastra: m, Prefix: "/api"}
	if set != nil {
		set(&s)
	}
	made, err := server.New(s, routes())
	if err != nil {
		t.Fatal(err)
	}
	return made, log
}

func do(s http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:3000"+target, strings.NewReader(body))
	r.RequestURI = target
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestRequests(t *testing.T) {
	s, log := newServer(t, nil)
	big := `{"name":"` + strings.Repeat("x", server.MaxBody) + `"}`
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		want                       string
		header                     []string
	}{
		{name: "body, path and query", method: "POST", target: "/api/things/a%2Fb?limit=3&tag=x&tag=y&order[field]=b", body: `{"name":"n","count":4,"ID":"z"}`,
			status: 200, want: `{"id":"a/b","limit":3,"tags":["x","y"],"order":"b","name":"n","count":4}`},
		{name: "no body names every field", method: "POST", target: "/api/things/a", status: 400, want: `{"error":"Invalid request body","issues":[{"field":"name","message":"Required"}]}`},
		{name: "every issue", method: "POST", target: "/api/things/a", body: `{"name":"","count":1000}`, status: 400,
			want: `{"error":"Invalid request body","issues":[{"field":"name","message":"Too small: expected string to have >=1 characters"},{"field":"count","message":"Too big: expected number to be <=127"}]}`},
		{name: "every issue of the query", method: "POST", target: "/api/things/a?limit=x&order[field]=c", body: `{"name":"n"}`, status: 400,
			want: `{"error":"Invalid query parameters","issues":[{"field":"limit","message":"Invalid input: expected number, received NaN"},{"field":"order.field","message":"Invalid option: expected one of \"a\"|\"b\""}]}`},
		{name: "one parameter twice", method: "POST", target: "/api/things/a?limit=1&limit=2", body: `{"name":"n"}`, status: 400,
			want: `{"error":"Invalid query parameters","issues":[{"field":"limit","message":"Invalid input: expected number, received array"}]}`},
		{name: "no JSON", method: "POST", target: "/api/things/a", body: `{"name": `, status: 400, want: `{"error":"Invalid request body","issues":[{"field":"body","message":"Unexpected end of JSON input"}]}`},
		{name: "one type twice", method: "POST", target: "/api/things/a", body: `{}`, header: []string{"Content-Type", "application/json, application/json"}, status: 400, want: `{"error":"Invalid request body","issues":[{"field":"name","message":"Required"}]}`},
		{name: "another type", method: "POST", target: "/api/things/a", body: "name=n", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, want: `{"error":"Content-Type must be application/json"}`},
		{name: "compressed", method: "POST", target: "/api/things/a", body: "x", header: []string{"Content-Encoding", "gzip"}, status: 415, want: `{"error":"Content-Encoding \"gzip\" is not supported"}`},
		{name: "too large", method: "POST", target: "/api/things/a", body: big, status: 413, want: `{"error":"Request body too large"}`},
		{name: "a user's error", method: "POST", target: "/api/things/a", body: `{"name":"user"}`, status: 422, want: `{"error":"no such action"}`},
		{name: "our error", method: "POST", target: "/api/things/a", body: `{"name":"internal"}`, header: []string{"X-Request-Id", "req-1"}, status: 500, want: `{"error":"Internal Server Error","requestId":"req-1"}`},
		{name: "a panic", method: "POST", target: "/api/things/a", body: `{"name":"panic"}`, header: []string{"X-Request-Id", "req-2"}, status: 500, want: `{"error":"Internal Server Error","requestId":"req-2"}`},
		{name: "a literal wins", method: "GET", target: "/api/things/special", status: 200, want: `"special "`},
		{name: "siblings", method: "GET", target: "/api/t/1/2/scores", status: 200, want: `"scores 2"`},
		{name: "siblings", method: "GET", target: "/api/t/1/branches/2", status: 200, want: `"branch 2"`},
		{name: "no such route", method: "GET", target: "/api/nothing", status: 404, want: `{"error":"Not Found"}`},
		{name: "an empty segment is no id", method: "GET", target: "/api/things/", status: 404, want: `{"error":"Not Found"}`},
		{name: "an odd id", method: "GET", target: "/api/things/__proto__", status: 200, want: `"get __proto__"`},
		{name: "wrong method", method: "DELETE", target: "/api/things/a", status: 405, want: `{"error":"Method Not Allowed"}`},
		{name: "HEAD", method: "HEAD", target: "/api/things/a", status: 200, want: ``},
		{name: "outside of the prefix", method: "GET", target: "/health", status: 200, want: `true`},
		{name: "a file in base64", method: "POST", target: "/api/listen", body: `{"audio":"aGk=","options":{"a":1}}`, status: 200, want: `"hi{\"a\":1}"`},
		{name: "no file", method: "POST", target: "/api/listen", body: `{}`, status: 400, want: `{"error":"Invalid request body","issues":[{"field":"audio","message":"Required"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(s, c.method, c.target, c.body, c.header...)
			if w.Code != c.status || w.Body.String() != c.want {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, c.status, c.want)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Error("a detail left the process")
			}
			if c.status == 405 && w.Header().Get("Allow") != "GET, HEAD, OPTIONS, POST" {
				t.Errorf("Allow: %s", w.Header().Get("Allow"))
			}
		})
	}
	for _, id := range []string{"req-1", "req-2"} {
		if !strings.Contains(log.String(), "requestId="+id) {
			t.Errorf("the log does not know %s", id)
		}
	}
	if !strings.Contains(log.String(), "secret detail") || !strings.Contains(log.String(), "server_test.go") {
		t.Error("the log lacks the detail or the stack")
	}
}

func TestUploadForm(t *testing.T) {
	s, _ := newServer(t, nil)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, _ := form.CreateFormFile("audio", "a.wav")
	file.Write([]byte("RIFF"))
	form.WriteField("options", `{"b":2}`)
	form.Close()
	w := do(s, "POST", "/api/listen", body.String(), "Content-Type", form.FormDataContentType())
	if w.Code != 200 || w.Body.String() != `"RIFF{\"b\":2}"` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestFraming(t *testing.T) {
	s, _ := newServer(t, nil)
	records := "{\"type\":\"text-delta\",\"text\":\"0\"}\x1e{\"type\":\"text-delta\",\"text\":\"1\"}\x1e{\"type\":\"text-delta\",\"text\":\"2\"}\x1e"
	events := "data: " + strings.TrimSuffix(strings.ReplaceAll(records, "\x1e", "\n\ndata: "), "data: ") + "data: [DONE]\n\n"
	for _, c := range []struct{ target, accept, want, contentType string }{
		{"/api/stream/x", "", events, "text/event-stream"},
		{"/api/records/x", "", records, "text/plain"},
		{"/api/stream/x", "text/plain", records, "text/plain"},
		{"/api/stream/x", "application/json, text/plain, */*", events, "text/event-stream"},
		{"/api/records/x", "text/event-stream", events, "text/event-stream"},
		{"/api/stream/x?format=chunked", "", records, "text/plain"},
		{"/api/records/x?format=sse", "text/plain", events, "text/event-stream"},
	} {
		w := do(s, "POST", c.target, "", "Accept", c.accept)
		if w.Body.String() != c.want || w.Header().Get("Content-Type") != c.contentType {
			t.Errorf("%s, Accept: %s: %s %q\nwant %q", c.target, c.accept, w.Header().Get("Content-Type"), w.Body, c.want)
		}
	}
	if w := do(s, "POST", "/api/stream/none", ""); w.Code != 404 || w.Body.String() != `{"error":"nothing is named none"}` {
		t.Errorf("an error before the stream: %d %s", w.Code, w.Body)
	}
	for _, id := range []string{"fails", "panics"} {
		w := do(s, "POST", "/api/stream/"+id, "", "X-Request-Id", "r")
		if !strings.HasSuffix(w.Body.String(), `data: {"type":"error","payload":{"error":"Internal Server Error","requestId":"r"}}`+"\n\ndata: [DONE]\n\n") {
			t.Errorf("%s: %q", id, w.Body)
		}
	}
}

func TestSilentStreamBeatsAndEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan struct{})
		silent := func(ctx context.Context, _ *mastra.Mastra, _ nothing) (iter.Seq2[mastra.Chunk, error], error) {
			return func(func(mastra.Chunk, error) bool) { <-ctx.Done(); close(left) }, nil
		}
		m, _ := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.DiscardHandler)}})
		s, err := server.New(server.Server{Mastra: m}, []server.Route{server.Stream("POST /s", server.SSE, silent)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), server.Heartbeat*5/2)
		defer cancel()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/s", nil))
		<-left
		if got := w.Body.String(); got != ": \n\n: \n\n" {
			t.Errorf("%q", got)
		}
	})
}

type keys map[string]mastra.APIKey

func (k keys) APIKey(_ context.Context, hash string) (*mastra.APIKey, error) {
	if key, ok := k[hash]; ok {
		return &key, nil
	}
	return nil, mastra.Errorf(mastra.CodeNotFound, "no such key")
}
func (k keys) APIKeys(context.Context) ([]mastra.APIKey, error)     { return nil, nil }
func (k keys) AddAPIKey(_ context.Context, key mastra.APIKey) error { k[key.Hash] = key; return nil }
func (k keys) RevokeAPIKey(context.Context, string) error           { return nil }

func TestAuthentication(t *testing.T) {
	store := keys{}
	all, key := server.NewKey("all", mastra.Principal{}, 1)
	store[key.Hash] = key
	reader, key := server.NewKey("reader", mastra.Principal{Permissions: []string{"things:read"}}, 1)
	store[key.Hash] = key
	s, _ := newServer(t, func(s *server.Server) { s.Mastra.Auth = server.APIKeys{Store: store} })
	for _, c := range []struct {
		name, method, target, token string
		status                      int
	}{
		{"nobody", "POST", "/api/things/a", "", 401},
		{"a stranger", "POST", "/api/things/a", "Bearer mk_wrong", 401},
		{"another scheme", "POST", "/api/things/a", "Basic " + all, 401},
		{"a key", "POST", "/api/things/a", "Bearer " + all, 200},
		{"a key in the query", "POST", "/api/things/a?apiKey=" + all, "", 200},
		{"a key without the permission", "POST", "/api/things/a", "Bearer " + reader, 403},
		{"a route without permission", "GET", "/api/things/a", "Bearer " + reader, 200},
		{"a public route", "GET", "/health", "", 200},
		{"the root, by which Studio sees a server", "GET", "/", "", 200},
		{"a public route, by a stranger", "GET", "/api/me", "Bearer mk_wrong", 200},
		{"the document", "GET", "/api/openapi.json", "", 401},
		{"the routes", "GET", "/api/system/api-schema", "", 401},
		{"the routes, without the permission", "GET", "/api/system/api-schema", "Bearer " + reader, 403},
	} {
		if w := do(s, c.method, c.target, `{"name":"n"}`, "Authorization", c.token); w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

func TestOrigins(t *testing.T) {
	s, _ := newServer(t, func(s *server.Server) { s.LoopbackOnly, s.Origins = true, []string{"https://app.example"} })
	for _, c := range []struct {
		host, origin string
		status       int
		allowed      string
	}{
		{"localhost:3000", "", 200, ""},
		{"127.0.0.1:3000", "http://localhost:5173", 200, "http://localhost:5173"},
		{"[::1]:3000", "https://app.example", 200, "https://app.example"},
		{"localhost:3000", "https://evil.example", 403, ""},
		{"rebound.example:3000", "", 403, ""},
		{"localhost:3000", "null", 403, ""},
	} {
		r := httptest.NewRequest("GET", "http://x/api/things/a", nil)
		r.Host, r.RequestURI = c.host, "/api/things/a"
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.status || w.Header().Get("Access-Control-Allow-Origin") != c.allowed {
			t.Errorf("Host %s, Origin %s: %d %q", c.host, c.origin, w.Code, w.Header().Get("Access-Control-Allow-Origin"))
		}
	}
	w := do(s, "OPTIONS", "/api/things/a", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	if w.Code != 204 || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Idempotency-Key") || w.Header().Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	w = do(s, "OPTIONS", "/api/things/a", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-of-the-user")
	if w.Header().Get("Access-Control-Allow-Headers") != "x-of-the-user" {
		t.Errorf("preflight with headers: %v", w.Header())
	}
}

func TestRequestEnd(t *testing.T) {
	for _, c := range []struct {
		body string
		want bool
	}{{`{"name":"n"}`, true}, {`{"name":"internal"}`, false}, {`{"name":"panic"}`, false}} {
		var seen []bool
		var fingerprints []string
		m, _ := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.DiscardHandler)}})
		s, _ := server.New(server.Server{Mastra: m}, []server.Route{server.JSON("POST /e", func(ctx context.Context, m *mastra.Mastra, in echoInput) (echoInput2, error) {
			r := mastra.RequestOf(ctx)
			fingerprints = append(fingerprints, r.Fingerprint)
			r.OnEnd(func(answered bool) { seen = append(seen, answered) })
			return echo(ctx, m, in)
		}, server.Long)})
		do(s, "POST", "/e", c.body)
		do(s, "POST", "/e", c.body)
		if len(seen) != 2 || seen[0] != c.want || fingerprints[0] != fingerprints[1] || fingerprints[0] == "" {
			t.Errorf("%s: answered %v, fingerprints %v", c.body, seen, fingerprints)
		}
	}
}

func TestAPublicRouteKnowsItsCaller(t *testing.T) {
	secret, key := server.NewKey("all", mastra.Principal{}, 1)
	s, _ := newServer(t, func(s *server.Server) { s.Mastra.Auth = server.APIKeys{Store: keys{key.Hash: key}} })
	for token, want := range map[string]string{"": `"nobody"`, "Bearer " + secret: `"` + key.ID + `"`} {
		if w := do(s, "GET", "/api/me", "", "Authorization", token); w.Body.String() != want {
			t.Errorf("%q: %s, want %s", token, w.Body, want)
		}
	}
}

func TestTheRoutesDescribeThemselves(t *testing.T) {
	s, _ := newServer(t, nil)
	type route struct {
		Method          string      `json:"method"`
		Path            string      `json:"path"`
		ResponseType    string      `json:"responseType"`
		PathParamSchema schema.Doc  `json:"pathParamSchema"`
		BodySchema      mastra.JSON `json:"bodySchema"`
	}
	var list struct {
		Routes []route `json:"routes"`
	}
	if err := schema.Unmarshal(do(s, "GET", "/api/system/api-schema", "").Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list.Routes, func(r route) bool { return r.Path == "/things/:id" && r.Method == "POST" })
	if at < 0 || len(list.Routes) != len(s.Routes())-1 {
		t.Fatalf("%+v", list)
	}
	if r := list.Routes[at]; r.ResponseType != "json" || !slices.Equal(r.PathParamSchema.Required, []string{"id"}) || r.BodySchema == nil {
		t.Errorf("%+v", r)
	}
	if w := do(s, "GET", "/api/auth/permission-patterns", ""); w.Body.String() != `{"patterns":["*","things:*","things:write"]}` {
		t.Errorf("%s", w.Body)
	}
}

func TestOpenAPI(t *testing.T) {
	s, _ := newServer(t, nil)
	w := do(s, "GET", "/api/openapi.json", "")
	var doc struct {
		OpenAPI string                               `json:"openapi"`
		Paths   map[string]map[string]map[string]any `json:"paths"`
	}
	if err := schema.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%v %s", err, w.Body)
	}
	for _, r := range s.Routes() {
		path := "/api" + r.Path
		if r.Root {
			path = r.Path
		}
		for _, p := range r.Params() {
			path = strings.Replace(path, ":"+p, "{"+p+"}", 1)
		}
		if doc.Paths[path][strings.ToLower(r.Method)]["responses"] == nil {
			t.Errorf("%s %s is missing", r.Method, path)
		}
	}
	if w := do(s, "GET", "/swagger-ui", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "/api/openapi.json") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func FuzzRequest(f *testing.F) {
	s, _ := newServer(f, nil)
	f.Add("POST", "/api/things/a?limit=3", `{"name":"n"}`, "application/json")
	f.Add("GET", "/api/t/1/%zz/scores", "", "")
	f.Add("POST", "/api/listen", "--x\r\nContent-Disposition: form-data; name=\"audio\"\r\n\r\nhi\r\n--x--", "multipart/form-data; boundary=x")
	f.Fuzz(func(t *testing.T, method, target, body, contentType string) {
		r, err := http.NewRequest(method, "http://localhost/", strings.NewReader(body))
		if err != nil || strings.ContainsAny(contentType, "\r\n") {
			return
		}
		if u, err := r.URL.Parse(target); err == nil {
			r.URL = u
		}
		r.RequestURI = target
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 && !strings.Contains(body, "panic") && !strings.Contains(body, "internal") {
			t.Errorf("%s %q %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s, _ := newServer(b, func(s *server.Server) { s.Mastra.Logger = slog.New(slog.DiscardHandler) })
	b.ReportAllocs()
	for b.Loop() {
		do(s, "GET", "/api/things/a", "")
	}
}
