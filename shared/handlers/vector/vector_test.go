package vector_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/vectorstore/embedded"
)

func app(t testing.TB) *mastra.Mastra {
	t.Helper()
	var stores []mastra.NamedVectorStore
	for _, name := range []string{"libsqlVector", "second"} {
		s, err := embedded.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		stores = append(stores, mastra.NamedVectorStore{Name: name, Type: "embedded", Store: s})
	}
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Vectors: stores, Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func handler(t testing.TB, m *mastra.Mastra) *server.Server {
	t.Helper()
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api"}, vector.Routes())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCalledDirectly(t *testing.T) {
	m, ctx := app(t), t.Context()
	up, err := vector.Upsert(ctx, m, vector.UpsertInput{Entries: vector.Entries{IndexName: "docs", Vectors: [][]float32{{1, 0}, {0, 1}},
		Metadata: []mastra.Object[mastra.JSON]{{{Key: "z", Value: mastra.JSON(`1`)}, {Key: "a", Value: mastra.JSON(`"<b>"`)}}, nil}}})
	if err != nil || len(up.IDs) != 2 || up.IDs[0] == "" || up.IDs[0] == up.IDs[1] {
		t.Fatalf("made up ids %v, %v", up.IDs, err)
	}
	got, err := vector.Query(ctx, m, vector.QueryInput{Vector: []float32{1, 0}, Search: vector.Search{IndexName: "docs", TopK: 1, Filter: mastra.JSON(`{"z":1}`)}})
	if err != nil || len(got) != 1 || got[0].ID != up.IDs[0] || got[0].Score != 1 || string(got[0].Metadata) != `{"z":1,"a":"<b>"}` {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := vector.Query(ctx, m, vector.QueryInput{VectorName: "second", Vector: []float32{1, 0}, Search: vector.Search{IndexName: "docs"}}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("the other store: %v", err)
	}
}

// TestRoutes is one conversation: the recordings of the reference server in order, and what the document adds.
func TestRoutes(t *testing.T) {
	s := handler(t, app(t))
	const store = "/vector/libsqlVector"
	for _, c := range []struct {
		request, body string
		status        int
		want          string // the whole answer, or a part of it in *…*
	}{
		{"GET /vectors", ``, 200, `{"vectors":[{"id":"libsqlVector","name":"libsqlVector","type":"embedded"},{"id":"second","name":"second","type":"embedded"}]}`},
		{"GET /embedders", ``, 200, `{"embedders":[]}`},
		{"GET " + store + "/indexes", ``, 200, `[]`},
		{"POST " + store + "/create-index", `{"indexName":"docs","dimension":3,"metric":"cosine"}`, 200, `{"success":true}`},
		{"POST " + store + "/create-index", `{"indexName":"docs","dimension":3}`, 200, `{"success":true}`},
		{"POST " + store + "/create-index", `{"indexName":"docs","dimension":4}`, 409, `*already exists with 3 dimensions*`},
		{"POST " + store + "/create-index", `{"indexName":"x","dimension":-1,"metric":"foo"}`, 400, `*{"error":"Invalid request body","issues":[{"field":"metric","message":"Invalid option: expected one of \"cosine\"|\"euclidean\"|\"dotproduct\""}]}*`},
		{"POST " + store + "/create-index", `{"indexName":"negx","dimension":-1}`, 400, `{"error":"Invalid request index, indexName and positive dimension number are required."}`},
		{"POST " + store + "/create-index", `{"indexName":"bad name; drop table","dimension":3}`, 400, `{"error":"Invalid index name: bad name; drop table. Must start with a letter or underscore, contain only letters, numbers, or underscores, and be at most 63 characters long."}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[1,0,0],[0,1,0],[0.9,0.1,0]],"metadata":[{"t":"a","n":1},{"t":"b","n":2},{"t":"a","n":3}],"ids":["v1","v2","v3"]}`, 200, `{"ids":["v1","v2","v3"]}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[1,2]]}`, 400, `{"error":"Vector dimension mismatch: Index \"docs\" expects 3 dimensions but got 2 dimensions. Either use a matching embedding model or delete and recreate the index with the new dimension."}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[1,0,0]],"ids":["a","b"],"metadata":[{},{},{}]}`, 400, `{"error":"Invalid request body","issues":[{"field":"metadata","message":"There are 3 for 1 vectors"},{"field":"ids","message":"There are 2 for 1 vectors"}]}`},
		{"POST " + store + "/upsert", `{"indexName":"nope","vectors":[[1,0,0]]}`, 404, `{"error":"Index \"nope\" not found"}`},
		{"POST " + store + "/upsert", `{}`, 400, `{"error":"Invalid request body","issues":[{"field":"indexName","message":"Required"},{"field":"vectors","message":"Required"}]}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[["a"]]}`, 400, `{"error":"Invalid request body","issues":[{"field":"vectors.0.0","message":"Invalid input: expected number, received string"}]}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[1e300,0,0]]}`, 400, `*"issues"*`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[]}`, 400, `*"error"*`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[]],"ids":[],"metadata":[]}`, 400, `*"error"*`},
		{"POST /vector/nope/upsert", `{"indexName":"docs","vectors":[[1,0,0]]}`, 404, `{"error":"Vector with name nope not found"}`},
		{"GET /vector/constructor/indexes", ``, 404, `{"error":"Vector with name constructor not found"}`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[1,0,0],"topK":2}`, 200, `[{"id":"v1","score":1,"metadata":{"t":"a","n":1}},{"id":"v3","score":0.9938837490044534,"metadata":{"t":"a","n":3}}]`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[1,0,0],"topK":5,"filter":{"t":"a","n":{"$gt":1}},"includeVector":true}`, 200, `[{"id":"v3","score":0.9938837490044534,"metadata":{"t":"a","n":3},"vector":[0.9,0.1,0]}]`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[1,0,0],"filter":{"t":{"$bogus":1}}}`, 400, `{"error":"Unsupported operator: $bogus"}`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[1,0]}`, 400, `*expects 3 dimensions but got 2*`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[1,0,0],"topK":-1}`, 400, `*"field":"topK"*`},
		{"POST " + store + "/query", `{"indexName":"nope","queryVector":[1,0,0]}`, 404, `{"error":"Index \"nope\" not found"}`},
		{"POST " + store + "/query", `{}`, 400, `{"error":"Invalid request body","issues":[{"field":"indexName","message":"Required"},{"field":"queryVector","message":"Required"}]}`},
		{"GET " + store + "/indexes", ``, 200, `["docs"]`},
		{"GET " + store + "/indexes/docs", ``, 200, `{"dimension":3,"metric":"cosine","count":3,"type":"flat","indexed":true}`},
		{"GET " + store + "/indexes/nope", ``, 404, `{"error":"Index \"nope\" not found"}`},
		{"POST " + store + "/update", `{"indexName":"docs","id":"v1","update":{"metadata":{"t":"z"}}}`, 200, `{"success":true,"count":1}`},
		{"POST " + store + "/update", `{"indexName":"docs","filter":{"t":"z"},"update":{"vector":[0,0,1]}}`, 200, `{"success":true,"count":1}`},
		{"POST " + store + "/update", `{"indexName":"docs","id":"v1","update":{"vector":[0,1]}}`, 400, `*expects 3 dimensions but got 2*`},
		{"POST " + store + "/update", `{"indexName":"docs","id":"nope","update":{"metadata":{}}}`, 404, `{"error":"Vector with id nope not found"}`},
		{"POST " + store + "/update", `{"indexName":"docs","id":"v1","update":{}}`, 400, `{"error":"An update needs a vector or metadata"}`},
		{"POST " + store + "/update", `{"indexName":"docs","id":"v1"}`, 400, `*"field":"update"*`},
		{"POST " + store + "/query", `{"indexName":"docs","queryVector":[0,0,1],"topK":1,"minScore":0.9}`, 200, `[{"id":"v1","score":1,"metadata":{"t":"z"}}]`},
		{"POST " + store + "/upsert", `{"indexName":"docs","namespace":"n","vectors":[[0,0,1]],"ids":["v1"]}`, 200, `{"ids":["v1"]}`},
		{"POST " + store + "/query", `{"indexName":"docs","namespace":"n","queryVector":[0,0,1]}`, 200, `[{"id":"v1","score":1,"metadata":{}}]`},
		{"POST " + store + "/delete", `{"indexName":"docs","namespace":"n","ids":["v1"]}`, 200, `{"success":true,"count":1}`},
		{"POST " + store + "/delete", `{"indexName":"docs","filter":{"n":99}}`, 200, `{"success":true,"count":0}`},
		{"POST " + store + "/delete", `{"indexName":"docs","ids":["v1","nope"]}`, 404, `{"error":"Vector with id nope not found"}`},
		{"POST " + store + "/delete", `{"indexName":"docs","filter":{}}`, 400, `{"error":"Ids or a filter that is not empty must name vectors"}`},
		{"POST " + store + "/delete", `{"indexName":"docs"}`, 400, `{"error":"Ids or a filter that is not empty must name vectors"}`},
		{"POST " + store + "/upsert", `{"indexName":"docs","vectors":[[1,0,0]],"ids":["v9"],"metadata":[{"t":"z"}],"deleteFilter":{"t":"z"}}`, 200, `{"ids":["v9"]}`},
		{"POST " + store + "/delete", `{"indexName":"docs","id":"v1"}`, 404, `{"error":"Vector with id v1 not found"}`},
		{"POST " + store + "/indexes/docs/build", ``, 200, `{"success":true}`},
		{"POST " + store + "/indexes/nope/build", ``, 404, `{"error":"Index \"nope\" not found"}`},
		{"POST " + store + "/create-index", `{"indexName":"ivf","dimension":3,"indexConfig":{"type":"ivfflat","ivf":{"lists":10}}}`, 200, `{"success":true}`},
		{"POST " + store + "/create-index", `{"indexName":"bad","dimension":3,"indexConfig":{"type":"tree","hnsw":{"m":1}}}`, 400, `*"field":"indexConfig.type"*`},
		{"DELETE " + store + "/indexes/ivf", ``, 200, `{"success":true}`},
		{"DELETE " + store + "/indexes/docs", ``, 200, `{"success":true}`},
		{"DELETE " + store + "/indexes/docs", ``, 404, `{"error":"Index \"docs\" not found"}`},

		{"POST /vectors/upsert", `{"indexName":"mixed","vectors":[[1,0],[1,0,0]]}`, 400, `*"field":"vectors.1"*`},
		{"GET " + store + "/indexes", ``, 200, `[]`}, // and no index was left behind
		{"POST /vectors/upsert", `{"indexName":"docs","vectors":[[1,0],[0,1]],"ids":["a","b"],"metadata":[{"n":1},{"n":2}]}`, 200, `{"ids":["a","b"]}`},
		{"POST /vectors/query", `{"indexName":"docs","vector":[1,0],"topK":1}`, 200, `[{"id":"a","score":1,"metadata":{"n":1}}]`},
		{"POST /vectors/query", `{"vectorName":"libsqlVector","indexName":"docs","queryVector":[1,0],"filter":null}`, 200, `[{"id":"a","score":1,"metadata":{"n":1}},{"id":"b","score":0,"metadata":{"n":2}}]`},
		{"POST /vectors/query", `{"store":"second","indexName":"docs","queryVector":[1,0]}`, 404, `{"error":"Index \"docs\" not found"}`},
		{"POST /vectors/query", `{"store":"third","indexName":"docs","queryVector":[1,0]}`, 404, `{"error":"Vector with name third not found"}`},
		{"POST /vectors/query", `{}`, 400, `{"error":"Invalid request body","issues":[{"field":"indexName","message":"Required"},{"field":"queryVector","message":"Required"}]}`},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, "/api"+path, strings.NewReader(c.body)))
		got := strings.TrimSpace(w.Body.String())
		part, some := strings.CutPrefix(c.want, "*")
		if w.Code != c.status || !some && got != c.want || some && !strings.Contains(got, strings.TrimSuffix(part, "*")) {
			t.Errorf("%s %s:\n got %d %s\nwant %d %s", c.request, c.body, w.Code, got, c.status, c.want)
		}
	}
}

func TestEmbedders(t *testing.T) {
	m := app(t)
	m.Embed = embedder{}
	list, err := vector.Embedders(t.Context(), m, vector.Nothing{})
	if err != nil || len(list.Embedders) != 1 || list.Embedders[0].Dimensions != 8 {
		t.Errorf("%+v, %v", list, err)
	}
}

type embedder struct{ mastra.Embedder }

func (embedder) Dimension() int { return 8 }

// BenchmarkQuery is a whole request of 1536 dimensions: what it costs beside the search itself.
func BenchmarkQuery(b *testing.B) {
	s := handler(b, app(b))
	var values []string
	for i := range 1536 {
		values = append(values, fmt.Sprint(float32(i*7919%1000)/1000-0.5))
	}
	v := "[" + strings.Join(values, ",") + "]"
	for i, body := range slices.Repeat([]string{`{"indexName":"docs","vectors":[` + v + `],"ids":["%d"]}`}, 3) {
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, httptest.NewRequest("POST", "/api/vectors/upsert", strings.NewReader(fmt.Sprintf(body, i)))); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
	body := `{"indexName":"docs","queryVector":` + v + `}`
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, httptest.NewRequest("POST", "/api/vectors/query", strings.NewReader(body))); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
