package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// score is a score or a piece of feedback ready to be bound.
type score struct {
	kind, id                 string
	created                  mastra.Time
	trace, span, scorer, run string
	body                     []byte
}

// Kinds of scores.
const (
	kindScore    = "score"
	kindFeedback = "feedback"
)

func encodeScores(scores []mastra.Score, feedback []mastra.Feedback) ([]score, error) {
	if len(scores)+len(feedback) == 0 {
		return nil, nil
	}
	encoded := make([]score, 0, len(scores)+len(feedback))
	add := func(s score, v any) (err error) {
		if err = checkID(s.kind, s.id); err == nil {
			s.body, err = schema.Marshal(v)
			encoded = append(encoded, s)
		}
		return err
	}
	for i := range scores {
		s := &scores[i]
		if err := add(score{kind: kindScore, id: s.ID, created: s.CreatedAt, trace: s.TraceID, span: s.SpanID, scorer: s.ScorerID, run: s.RunID}, s); err != nil {
			return nil, err
		}
	}
	for i := range feedback {
		f := &feedback[i]
		if err := add(score{kind: kindFeedback, id: f.ID, created: f.CreatedAt, trace: f.TraceID, span: f.SpanID}, f); err != nil {
			return nil, err
		}
	}
	return encoded, nil
}

func (t *tx) writeScore(tenant string, s *score) error {
	_, err := t.exec(`INSERT INTO scores (tenant, kind, id, created, trace, span, scorer, run, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET created = excluded.created, trace = excluded.trace, span = excluded.span, scorer = excluded.scorer, run = excluded.run, body = excluded.body`,
		tenant, s.kind, s.id, int64(s.created), s.trace, s.span, s.scorer, s.run, s.body)
	return err
}

func (s *Store) Scores(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Score], error) {
	return readScores[mastra.Score](ctx, s, kindScore, q)
}

// Feedback has neither scorer nor run: a query for one finds none.
func (s *Store) Feedback(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Feedback], error) {
	return readScores[mastra.Feedback](ctx, s, kindFeedback, q)
}

func readScores[T any](ctx context.Context, s *Store, kind string, q mastra.ScoreQuery) (*mastra.Page[T], error) {
	l := list{columns: "body", table: "scores", order: "created", tie: "n", descending: true, Paging: q.Paging}
	l.equal("tenant", mastra.Tenant(ctx))
	l.equal("kind", kind)
	// The second condition lets SQLite see that the partial index holds all it looks for.
	for _, f := range [...]struct{ column, value string }{{"trace", q.TraceID}, {"scorer", q.ScorerID}, {"run", q.RunID}} {
		if l.match(f.column, f.value) {
			l.where = append(l.where, f.column+" != ''")
		}
	}
	l.match("span", q.SpanID)
	return readPage(ctx, s, l, func(_ *conn, r row) (v T, err error) { return v, schema.Unmarshal(r.json(0), &v) })
}
