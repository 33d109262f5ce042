package mastra

import "context"

// NamedVectorStore is a vector store as the routes name it.
type NamedVectorStore struct {
	Name  string
	Type  string // "embedded", "pgvector"
	Store VectorStore
}

// Metric is how the distance of two vectors is measured.
type Metric string

const (
	Cosine     Metric = "cosine"
	Euclidean  Metric = "euclidean"
	DotProduct Metric = "dotproduct"
)

// IndexType is how an index is searched.
type IndexType string

const (
	HNSW    IndexType = "hnsw"    // a graph of neighbours
	IVFFlat IndexType = "ivfflat" // lists around centres
	Flat    IndexType = "flat"    // all entries are compared
)

// VectorIndex is a set of vectors of one dimension.
type VectorIndex struct {
	Name      string      `json:"-"`
	Dimension int         `json:"dimension"`
	Metric    Metric      `json:"metric"`
	Count     int         `json:"count"`
	Type      IndexType   `json:"type"`            // what was asked for; the embedded store always compares all
	Config    IndexConfig `json:"config,omitzero"` // what was asked for
	Indexed   bool        `json:"indexed"`         // whether what Type needs is built; until then all entries are compared
}

// IndexConfig are parameters of an index; those that are 0 are chosen by the store.
type IndexConfig struct {
	M              int `json:"m,omitzero" minimum:"2" maximum:"100"`               // of hnsw: neighbours of an entry
	EFConstruction int `json:"efConstruction,omitzero" minimum:"4" maximum:"1000"` // of hnsw: candidates while it is built
	Lists          int `json:"lists,omitzero" minimum:"1" maximum:"32768"`         // of ivfflat
}

// Vector is one entry of an index. Metadata is a JSON object or nil. An id is unique in its namespace, "" for the default one.
type Vector struct {
	ID        string
	Namespace string
	Values    []float32
	Metadata  JSON
}

// VectorSelection names entries of one namespace: those of IDs or those that Filter matches, one of the two.
type VectorSelection struct {
	Namespace string
	IDs       []string
	Filter    JSON
}

// VectorUpdate is what changes of entries: what is nil stays. Metadata takes the place of what was there.
type VectorUpdate struct {
	Values   []float32
	Metadata JSON
}

// VectorQuery asks for the TopK entries nearest to Vector among those that Filter matches.
type VectorQuery struct {
	Vector        []float32
	Namespace     string // entries of another namespace are not seen; "" is the default one
	TopK          int
	Filter        JSON // the reference server's filter language: {"field": {"$gt": 1}}; nil matches all
	IncludeVector bool
	MinScore      *float64
}

// Match is an answer of a query. Score grows with likeness: for cosine 1 is equal.
type Match struct {
	ID       string    `json:"id"`
	Score    float64   `json:"score"`
	Metadata JSON      `json:"metadata"`
	Vector   []float32 `json:"vector,omitempty"`
}

// VectorStore keeps vectors. It is safe for concurrent use; every change is durable when it returns, and all or nothing.
// Errors: CodeInvalid for a wrong dimension, NaN, an unknown filter operator, a name that is none; CodeNotFound for an
// unknown index; CodeConflict for an index that exists with another dimension or metric.
type VectorStore interface {
	CreateIndex(ctx context.Context, i VectorIndex) error // an equal one may exist
	Indexes(ctx context.Context) ([]string, error)
	DescribeIndex(ctx context.Context, name string) (*VectorIndex, error)
	BuildIndex(ctx context.Context, name string) error // builds now what the store would build later, best after a bulk load
	DeleteIndex(ctx context.Context, name string) error
	Upsert(ctx context.Context, index string, vectors []Vector) error
	// Replace upserts and deletes, in one change, what else of the vectors' namespace the filter matches: the former chunks
	// of a document.
	Replace(ctx context.Context, index, namespace string, filter JSON, vectors []Vector) error
	// Update and Delete return how many entries they changed. An id that is not there is a CodeNotFound, and nothing changes.
	Update(ctx context.Context, index string, which VectorSelection, to VectorUpdate) (int, error)
	Delete(ctx context.Context, index string, which VectorSelection) (int, error)
	Query(ctx context.Context, index string, q VectorQuery) ([]Match, error)
}
