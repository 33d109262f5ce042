// Package vector is the vectors group: stores, their indexes, and what is in them.
package vector

import (
	"context"
	"fmt"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// Routes is the group's table: the document's paths, where the body names the store, and the reference server's.
func Routes() []server.Route {
	read, write := server.Permission("vectors:read"), server.Permission("vectors:write")
	return []server.Route{
		server.JSON("POST /vectors/query", Query, read, server.Long, server.Summary("Query vector store")),
		server.JSON("POST /vectors/upsert", Upsert, write, server.Long, server.Summary("Upsert vectors; the first one makes the index")),
		server.JSON("GET /vectors", Stores, read, server.Summary("List vector stores")),
		server.JSON("GET /embedders", Embedders, read, server.Summary("List embedders")),
		server.JSON("POST /vector/:vectorName/query", QueryStore, read, server.Long, server.Summary("Query a vector store")),
		server.JSON("POST /vector/:vectorName/upsert", UpsertStore, write, server.Long, server.Summary("Upsert vectors into an index")),
		server.JSON("POST /vector/:vectorName/create-index", CreateIndex, write, server.Long, server.Summary("Create an index")),
		server.JSON("GET /vector/:vectorName/indexes", Indexes, read, server.Long, server.Summary("List indexes")),
		server.JSON("GET /vector/:vectorName/indexes/:indexName", DescribeIndex, read, server.Long, server.Summary("Describe an index")),
		server.JSON("POST /vector/:vectorName/indexes/:indexName/build", BuildIndex, write, server.Long, server.Summary("Build an index now, after a bulk load")),
		server.JSON("POST /vector/:vectorName/update", Update, write, server.Long, server.Summary("Update the vector or metadata of entries, by id or by filter")),
		server.JSON("POST /vector/:vectorName/delete", Delete, write, server.Long, server.Summary("Delete entries, by id or by filter")),
		server.JSON("DELETE /vector/:vectorName/indexes/:indexName", DeleteIndex, write, server.Long, server.Summary("Delete an index")),
	}
}

func storeOf(m *mastra.Mastra, name string) (mastra.VectorStore, error) {
	s, err := m.VectorStore(name)
	if err != nil {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Vector with name %s not found", name)
	}
	return s, nil
}

// Search is what a query asks for.
type Search struct {
	IndexName     string      `json:"indexName" minLength:"1" maxLength:"63"`
	Namespace     string      `json:"namespace,omitempty"`
	TopK          int         `json:"topK,omitzero" minimum:"1" maximum:"10000"` // 10 where absent
	Filter        mastra.JSON `json:"filter,omitempty"`
	IncludeVector bool        `json:"includeVector,omitzero"`
	MinScore      *float64    `json:"minScore,omitempty"`
}

func (s Search) run(ctx context.Context, store mastra.VectorStore, vector []float32) ([]mastra.Match, error) {
	if s.TopK == 0 {
		s.TopK = 10
	}
	return store.Query(ctx, s.IndexName, mastra.VectorQuery{Vector: vector, Namespace: s.Namespace, TopK: s.TopK, Filter: s.Filter, IncludeVector: s.IncludeVector, MinScore: s.MinScore})
}

// QueryInput is the document's query. The store may be named in either way, or not at all where there is one.
type QueryInput struct {
	VectorName  string    `json:"vectorName,omitempty"`
	Store       string    `json:"store,omitempty"`
	QueryVector []float32 `json:"queryVector,omitempty" minItems:"1"`
	Vector      []float32 `json:"vector,omitempty" minItems:"1"`
	Search
}

// Query finds the entries nearest to a vector.
func Query(ctx context.Context, m *mastra.Mastra, in QueryInput) ([]mastra.Match, error) {
	vector := in.QueryVector
	if vector == nil {
		vector = in.Vector
	}
	if vector == nil {
		return nil, mastra.Invalid("queryVector", "Required")
	}
	store, err := storeOf(m, named(in.VectorName, in.Store))
	if err != nil {
		return nil, err
	}
	return in.run(ctx, store, vector)
}

// JSONSchema wants one of the two names of the vector.
func (QueryInput) JSONSchema() *schema.Doc {
	type fields QueryInput
	var doc schema.Doc
	if err := schema.Unmarshal(schema.For[fields]().JSON(), &doc); err != nil {
		return nil
	}
	doc.If, doc.Then, doc.Else = &schema.Doc{Required: []string{"vector"}}, &schema.Doc{}, &schema.Doc{Required: []string{"queryVector"}}
	return &doc
}

func named(vectorName, store string) string {
	if vectorName != "" {
		return vectorName
	}
	return store
}

// QueryStoreInput is the reference server's query.
type QueryStoreInput struct {
	VectorName string `path:"vectorName" json:"-"`
	Search
	QueryVector []float32 `json:"queryVector" minItems:"1"`
}

// QueryStore finds the entries nearest to a vector.
func QueryStore(ctx context.Context, m *mastra.Mastra, in QueryStoreInput) ([]mastra.Match, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return nil, err
	}
	return in.run(ctx, store, in.QueryVector)
}

// Entries are what an upsert writes: ids are made up where they are absent, and metadata is one object an entry. What else
// of the namespace DeleteFilter matches is deleted in the same change.
type Entries struct {
	IndexName    string                       `json:"indexName" minLength:"1" maxLength:"63"`
	Namespace    string                       `json:"namespace,omitempty"`
	Vectors      [][]float32                  `json:"vectors"`
	Metadata     []mastra.Object[mastra.JSON] `json:"metadata,omitempty"`
	IDs          []string                     `json:"ids,omitempty"`
	DeleteFilter mastra.JSON                  `json:"deleteFilter,omitempty"`
}

func (e Entries) put(ctx context.Context, store mastra.VectorStore, vectors []mastra.Vector) error {
	if given(e.DeleteFilter) {
		return store.Replace(ctx, e.IndexName, e.Namespace, e.DeleteFilter, vectors)
	}
	return store.Upsert(ctx, e.IndexName, vectors)
}

// given says whether an optional value is there.
func given(v mastra.JSON) bool { return len(v) > 0 && string(v) != "null" }

func (e Entries) vectors() ([]mastra.Vector, []string, error) {
	var issues []mastra.Issue
	for _, list := range []struct {
		field string
		n     int
	}{{"metadata", len(e.Metadata)}, {"ids", len(e.IDs)}} {
		if list.n != 0 && list.n != len(e.Vectors) {
			issues = append(issues, mastra.Issue{Field: list.field, Message: fmt.Sprintf("There are %d for %d vectors", list.n, len(e.Vectors))})
		}
	}
	if issues != nil {
		return nil, nil, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body", Issues: issues}
	}
	out, ids := make([]mastra.Vector, len(e.Vectors)), make([]string, len(e.Vectors))
	for i, values := range e.Vectors {
		if ids[i] = mastra.NewID(); len(e.IDs) > 0 {
			ids[i] = e.IDs[i]
		}
		out[i] = mastra.Vector{ID: ids[i], Namespace: e.Namespace, Values: values}
		if len(e.Metadata) > 0 && e.Metadata[i] != nil {
			data, err := schema.Marshal(e.Metadata[i])
			if err != nil {
				return nil, nil, err
			}
			out[i].Metadata = data
		}
	}
	return out, ids, nil
}

// Upserted are the ids of what was written, in the order of the input.
type Upserted struct {
	IDs []string `json:"ids"`
}

// UpsertInput is the document's upsert.
type UpsertInput struct {
	VectorName string `json:"vectorName,omitempty"`
	Store      string `json:"store,omitempty"`
	Entries
}

// Upsert writes entries, all or none. An index that is not there is made with the dimension of the first vector.
func Upsert(ctx context.Context, m *mastra.Mastra, in UpsertInput) (Upserted, error) {
	store, err := storeOf(m, named(in.VectorName, in.Store))
	if err != nil {
		return Upserted{}, err
	}
	vectors, ids, err := in.vectors()
	if err != nil {
		return Upserted{}, err
	}
	err = in.put(ctx, store, vectors)
	if mastra.CodeOf(err) == mastra.CodeNotFound && len(vectors) > 0 {
		for i, v := range vectors { // before an index of a dimension that nobody meant is made
			if want := len(vectors[0].Values); len(v.Values) != want {
				return Upserted{}, mastra.Invalid(fmt.Sprintf("vectors.%d", i), "Expected %d dimensions as the first vector has, received %d", want, len(v.Values))
			}
		}
		if err = store.CreateIndex(ctx, mastra.VectorIndex{Name: in.IndexName, Dimension: len(vectors[0].Values), Metric: mastra.Cosine}); err == nil {
			err = in.put(ctx, store, vectors)
		}
	}
	return Upserted{ids}, err
}

// UpsertStoreInput is the reference server's upsert.
type UpsertStoreInput struct {
	VectorName string `path:"vectorName" json:"-"`
	Entries
}

// UpsertStore writes entries into an index that exists, all or none.
func UpsertStore(ctx context.Context, m *mastra.Mastra, in UpsertStoreInput) (Upserted, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Upserted{}, err
	}
	vectors, ids, err := in.vectors()
	if err != nil {
		return Upserted{}, err
	}
	return Upserted{ids}, in.put(ctx, store, vectors)
}
