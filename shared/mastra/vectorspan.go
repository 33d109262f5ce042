package mastra

import (
	"context"
	"time"

	"mastralambda/shared/schema"
)

// tracedVectors adds a span to each call that a run makes of a store.
type tracedVectors struct {
	VectorStore
	name string
	now  func() time.Time
}

// span records a call that has just ended. The vectors themselves are not recorded.
func (t *tracedVectors) span(ctx context.Context, operation, index string, began time.Time, asked, found any, err error) {
	s := Span{Type: SpanVectorOperation, Name: "rag " + operation + ": '" + index + "'", StartedAt: TimeOf(began), EndedAt: TimeOf(t.now())}
	s.Attributes, _ = schema.Marshal(struct { // texts and numbers always encode
		Operation string `json:"operation"`
		Store     string `json:"store"`
		Index     string `json:"indexName"`
	}{operation, t.name, index})
	s.Input, _ = schema.Marshal(asked)
	if err != nil {
		text := "The vector store failed"
		if code := CodeOf(err); code != CodeInternal {
			text = string(code)
		}
		s.Error, _ = schema.Marshal(RunError{Message: text, Name: "Error"})
	} else {
		s.Output, _ = schema.Marshal(found)
	}
	AddSpan(ctx, s)
}

func (t *tracedVectors) Query(ctx context.Context, index string, q VectorQuery) ([]Match, error) {
	if !SpanOf(ctx).Inside() {
		return t.VectorStore.Query(ctx, index, q)
	}
	began := t.now()
	matches, err := t.VectorStore.Query(ctx, index, q)
	t.queried(ctx, index, began, q, matches, err)
	return matches, err
}

// QueryTraced adds the span of a query of the default store that has just been answered, within a run.
func (m *Mastra) QueryTraced(ctx context.Context, index string, began time.Time, q VectorQuery, matches []Match) {
	if SpanOf(ctx).Inside() && len(m.Vectors) > 0 {
		(&tracedVectors{m.Vectors[0].Store, m.Vectors[0].Name, m.Now}).queried(ctx, index, began, q, matches, nil)
	}
}

func (t *tracedVectors) queried(ctx context.Context, index string, began time.Time, q VectorQuery, matches []Match, err error) {
	type match struct {
		ID    string  `json:"id"`
		Score float64 `json:"score"`
	}
	found := make([]match, len(matches))
	for i, m := range matches {
		found[i] = match{m.ID, m.Score}
	}
	t.span(ctx, "query", index, began, struct {
		TopK      int    `json:"topK"`
		Namespace string `json:"namespace,omitempty"`
		Filter    JSON   `json:"filter,omitzero"`
	}{q.TopK, q.Namespace, q.Filter}, found, err)
}

func (t *tracedVectors) Upsert(ctx context.Context, index string, vectors []Vector) error {
	if !SpanOf(ctx).Inside() {
		return t.VectorStore.Upsert(ctx, index, vectors)
	}
	began := t.now()
	err := t.VectorStore.Upsert(ctx, index, vectors)
	t.span(ctx, "upsert", index, began, struct {
		Count int `json:"count"`
	}{len(vectors)}, struct{}{}, err)
	return err
}
