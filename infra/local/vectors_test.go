package local_test

import (
	"crypto/rand"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/infra/local"
	"mastralambda/infra/services"
	"mastralambda/shared/app"
)

func openWith(t *testing.T, vectorURL string) (*local.Process, error) {
	t.Helper()
	env := map[string]string{"DATA_DIR": t.TempDir(), "VECTOR_URL": vectorURL}
	return local.Open(local.Options{App: app.New, Getenv: func(name string) string { return env[name] }})
}

// VECTOR_URL names several stores, in files and in Postgres; each has its own indexes.
func TestVectorStores(t *testing.T) {
	index := "i" + strings.ToLower(rand.Text())
	p, err := openWith(t, "embedded notes=embedded://"+t.TempDir()+" pg="+services.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/vectors", ``, `{"vectors":[{"id":"embedded","name":"embedded","type":"embedded"},{"id":"notes","name":"notes","type":"embedded"},{"id":"pg","name":"pg","type":"pgvector"}]}`},
		{"POST", "/vector/pg/create-index", `{"indexName":"%s","dimension":2,"indexConfig":{"type":"hnsw","hnsw":{"m":8,"efConstruction":64}}}`, `{"success":true}`},
		{"POST", "/vectors/upsert", `{"store":"pg","indexName":"%s","vectors":[[1,0],[0,1]],"ids":["a","b"],"metadata":[{"n":1},{"n":2}]}`, `{"ids":["a","b"]}`},
		{"POST", "/vectors/upsert", `{"store":"notes","indexName":"%s","vectors":[[1,0]],"ids":["c"]}`, `{"ids":["c"]}`},
		{"POST", "/vector/pg/query", `{"indexName":"%s","queryVector":[1,0],"filter":{"n":{"$gt":1}},"includeVector":true}`, `[{"id":"b","score":0,"metadata":{"n":2},"vector":[0,1]}]`},
		{"POST", "/vector/notes/query", `{"indexName":"%s","queryVector":[1,0]}`, `[{"id":"c","score":1,"metadata":{}}]`},
		{"POST", "/vectors/query", `{"indexName":"%s","queryVector":[1,0]}`, `{"error":"Index \"` + index + `\" not found"}`},
		{"GET", "/vector/pg/indexes/" + index, ``, `{"dimension":2,"metric":"cosine","count":2,"type":"hnsw","config":{"m":8,"efConstruction":64},"indexed":false}`},
		{"DELETE", "/vector/pg/indexes/" + index, ``, `{"success":true}`},
	} {
		body := c.body
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, index)
		}
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, httptest.NewRequest(c.method, "http://localhost/api"+c.path, strings.NewReader(body)))
		if got := strings.TrimSpace(w.Body.String()); got != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, w.Code, got, c.want)
		}
	}
}

// A wrong VECTOR_URL stops the start with one line, which does not show the password.
func TestVectorURLRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"mysql://a:secret@b/c":                        "is no vector store",
		"embedded embedded":                           "two vector stores",
		"postgres://a:secret@127.0.0.1:1/c":           "VECTOR_URL",
		"postgres://a:secret@127.0.0.1/c?sslmode=odd": "parameters",
	} {
		p, err := openWith(t, url)
		if err == nil {
			t.Errorf("%s is taken: %v", url, p.Close())
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
