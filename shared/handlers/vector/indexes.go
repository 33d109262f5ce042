package vector

import (
	"context"

	"mastralambda/shared/mastra"
)

// Nothing is the input of routes that take none.
type Nothing struct{}

// StoreList lists vector stores.
type StoreList struct {
	Vectors []Store `json:"vectors"`
}

// Store is a vector store.
type Store struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// Stores lists vector stores.
func Stores(_ context.Context, m *mastra.Mastra, _ Nothing) (StoreList, error) {
	out := StoreList{Vectors: make([]Store, len(m.Vectors))}
	for i, v := range m.Vectors {
		out.Vectors[i] = Store{v.Name, v.Name, v.Type}
	}
	return out, nil
}

// EmbedderList lists embedders.
type EmbedderList struct {
	Embedders []EmbedderInfo `json:"embedders"`
}

// EmbedderInfo is an embedder. MaxInputTokens is 0 where it is not known.
type EmbedderInfo struct {
	ID             string `json:"id"`
	Provider       string `json:"provider"`
	Name           string `json:"name"`
	Description    string `json:"description"`
	Dimensions     int    `json:"dimensions"`
	MaxInputTokens int    `json:"maxInputTokens"`
}

// Embedders lists the embedder that the server runs with.
func Embedders(_ context.Context, m *mastra.Mastra, _ Nothing) (EmbedderList, error) {
	if m.Embed == nil {
		return EmbedderList{}, nil
	}
	return EmbedderList{[]EmbedderInfo{{"default", "server", "default", "The embedder that this server runs with", m.Embed.Dimension(), 0}}}, nil
}

// CreateIndexInput makes an index.
type CreateIndexInput struct {
	VectorName string        `path:"vectorName" json:"-"`
	IndexName  string        `json:"indexName" minLength:"1"`
	Dimension  int           `json:"dimension"`
	Metric     mastra.Metric `json:"metric,omitempty" enum:"cosine,euclidean,dotproduct"`
	Config     IndexConfig   `json:"indexConfig,omitzero"`
}

// IndexConfig is how an index is built, as PgVector of the reference server takes it.
type IndexConfig struct {
	Type mastra.IndexType `json:"type,omitempty" enum:"hnsw,ivfflat,flat"`
	HNSW struct {
		M              int `json:"m,omitzero" minimum:"2" maximum:"100"`
		EFConstruction int `json:"efConstruction,omitzero" minimum:"4" maximum:"1000"`
	} `json:"hnsw,omitzero"`
	IVF struct {
		Lists int `json:"lists,omitzero" minimum:"1" maximum:"32768"`
	} `json:"ivf,omitzero"`
}

// Done is the answer of a change.
type Done struct {
	Success bool `json:"success"`
}

// CreateIndex makes an index. An equal one may exist, one of another dimension or metric is a CodeConflict.
func CreateIndex(ctx context.Context, m *mastra.Mastra, in CreateIndexInput) (Done, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Done{}, err
	}
	if in.Dimension < 1 {
		return Done{}, mastra.Errorf(mastra.CodeInvalid, "Invalid request index, indexName and positive dimension number are required.")
	}
	if in.Metric == "" {
		in.Metric = mastra.Cosine
	}
	return Done{true}, store.CreateIndex(ctx, mastra.VectorIndex{Name: in.IndexName, Dimension: in.Dimension, Metric: in.Metric, Type: in.Config.Type,
		Config: mastra.IndexConfig{M: in.Config.HNSW.M, EFConstruction: in.Config.HNSW.EFConstruction, Lists: in.Config.IVF.Lists}})
}

// StoreInput names a store.
type StoreInput struct {
	VectorName string `path:"vectorName" json:"-"`
}

// Indexes lists the names of a store's indexes.
func Indexes(ctx context.Context, m *mastra.Mastra, in StoreInput) ([]string, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return nil, err
	}
	return store.Indexes(ctx)
}

// IndexInput names an index.
type IndexInput struct {
	VectorName string `path:"vectorName" json:"-"`
	IndexName  string `path:"indexName" json:"-"`
}

// DescribeIndex says what an index is and how many entries it has.
func DescribeIndex(ctx context.Context, m *mastra.Mastra, in IndexInput) (*mastra.VectorIndex, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return nil, err
	}
	return store.DescribeIndex(ctx, in.IndexName)
}

// BuildIndex builds what the store would build later, and answers when it is done. It is for after a bulk load.
func BuildIndex(ctx context.Context, m *mastra.Mastra, in IndexInput) (Done, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Done{}, err
	}
	return Done{true}, store.BuildIndex(ctx, in.IndexName)
}

// DeleteIndex deletes an index with its entries.
func DeleteIndex(ctx context.Context, m *mastra.Mastra, in IndexInput) (Done, error) {
	store, err := storeOf(m, in.VectorName)
	if err != nil {
		return Done{}, err
	}
	return Done{true}, store.DeleteIndex(ctx, in.IndexName)
}
