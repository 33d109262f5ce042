package local_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"mastralambda/infra/local"
	"mastralambda/shared/app"
	"mastralambda/shared/server"
)

// Whatever a caller sends to whichever route, it is never our fault.
func FuzzRoutes(f *testing.F) {
	dir := f.TempDir()
	p, err := local.Open(local.Options{App: app.New, Getenv: func(name string) string {
		return map[string]string{"DATA_DIR": dir, "LOG_LEVEL": "error"}[name]
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	var routes []server.Route
	for _, table := range local.Tables() {
		routes = append(routes, table...)
	}
	for i, r := range routes {
		f.Add(uint8(i), "myAgent", "page=0&perPage=1", `{}`)
		if strings.HasSuffix(r.Path, "/generate") {
			f.Add(uint8(i), "myAgent", "", `{"messages":[{"role":"user","content":[{"type":"text","text":"2+2"}]}],"memory":{"thread":{"id":"t"},"resource":"r"},"toolChoice":{"type":"tool","toolName":"calculator"},"maxSteps":2}`)
			f.Add(uint8(i), "myAgent", "", `{"messages":{"role":"assistant","parts":[{"type":"tool-invocation"}]},"modelSettings":{"temperature":1e9}}`)
		}
		if strings.HasSuffix(r.Path, "/query") {
			f.Add(uint8(i), "embedded", "", `{"indexName":"docs","queryVector":[1],"filter":{"$or":[{"a.b":{"$in":[1,null]}},{"$not":{"c":{"$regex":"("}}}]}}`)
		}
	}
	f.Fuzz(func(t *testing.T, route uint8, id, query, body string) {
		r := routes[int(route)%len(routes)]
		path := "/api" + r.Path
		if r.Root {
			path = r.Path
		}
		for _, name := range r.Params() {
			path = strings.Replace(path, ":"+name, url.PathEscape(id), 1)
		}
		q := httptest.NewRequest(r.Method, "http://localhost/", strings.NewReader(body))
		q.URL.RawQuery = query
		q.RequestURI = path + "?" + query
		if u, err := url.Parse("http://localhost" + path); err == nil {
			q.URL.Path, q.URL.RawPath = u.Path, u.RawPath
		}
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, q)
		if w.Code >= 500 {
			t.Errorf("%s %s?%s %s: %d %s", r.Method, path, query, body, w.Code, w.Body)
		}
	})
}
