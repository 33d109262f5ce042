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

// VectorIndex is a set of vectors of one dimension.
type VectorIndex struct {
	Name      string `json:"-"`
	Dimension int    `json:"dimension"`
	Metric    Metric `json:"metric"`
	Count     int    `json:"count"`
}

// Vector is one entry of an index. Metadata is a JSON object or nil.
type Vector struct {
	ID       string
	Values   []float32
	Metadata JSON
}

// VectorQuery asks for the TopK entries nearest to Vector among those that Filter matches.
type VectorQuery struct {
	Vector        []float32
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
	DeleteIndex(ctx context.Context, name string) error
	Upsert(ctx context.Context, index string, vectors []Vector) error
	Query(ctx context.Context, index string, q VectorQuery) ([]Match, error)
}
