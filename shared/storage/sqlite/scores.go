package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// score is a score or a piece of feedback ready to be bound.
type score struct {
	kind, id                                     string
	created                                      mastra.Time
	trace, span, scorer, run, entityType, entity string
	body                                         []byte
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
		if err := add(score{kind: kindScore, id: s.ID, created: s.CreatedAt, trace: s.TraceID, span: s.SpanID, scorer: s.ScorerID, run: s.RunID,
			entityType: s.EntityType, entity: s.EntityID}, s); err != nil {
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
	_, err := t.exec(`INSERT INTO scores (tenant, kind, id, created, trace, span, scorer, run, entity_type, entity, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET created = excluded.created, trace = excluded.trace, span = excluded.span, scorer = excluded.scorer, run = excluded.run,
		entity_type = excluded.entity_type, entity = excluded.entity, body = excluded.body`,
		tenant, s.kind, s.id, int64(s.created), s.trace, s.span, s.scorer, s.run, s.entityType, s.entity, s.body)
	return err
}

// maxMatched is how many rows a list looks through for a condition that SQLite does not know.
const maxMatched = 200_000

func (s *Store) Scores(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Score], error) {
	return readScores(ctx, s, kindScore, q, func(v *mastra.Score) mastra.Signal { return v })
}

// Feedback has neither scorer, run nor entity: a query for one finds none.
func (s *Store) Feedback(ctx context.Context, q mastra.ScoreQuery) (*mastra.Page[mastra.Feedback], error) {
	return readScores(ctx, s, kindFeedback, q, func(v *mastra.Feedback) mastra.Signal { return v })
}

func readScores[T any](ctx context.Context, s *Store, kind string, q mastra.ScoreQuery, signal func(*T) mastra.Signal) (*mastra.Page[T], error) {
	l := list{columns: "body", table: "scores", order: "created", tie: "n", descending: !q.Ascending, Paging: q.Paging}
	l.equal("tenant", mastra.Tenant(ctx))
	l.equal("kind", kind)
	l.match("id", q.ID)
	if q.TraceIDs != nil {
		ids, err := schema.Marshal(q.TraceIDs)
		if err != nil {
			return nil, err
		}
		l.where, l.args = append(l.where, "trace IN (SELECT value FROM json_each(?))", "trace != ''"), append(l.args, string(ids))
	}
	// The second condition lets SQLite see that the partial index holds all it looks for.
	for _, f := range [...]struct{ column, value string }{{"trace", q.TraceID}, {"scorer", q.ScorerID}, {"run", q.RunID}, {"entity", q.EntityID}} {
		if l.match(f.column, f.value) {
			l.where = append(l.where, f.column+" != ''")
		}
	}
	l.match("span", q.SpanID)
	l.match("entity_type", q.EntityType)
	kept := s.retention.Scores
	if kind == kindFeedback {
		kept = s.retention.Feedback
	}
	l.between("created", s.since(kept, q.From), q.To)
	scan := func(_ *conn, r row) (v T, err error) { return v, schema.Unmarshal(r.json(0), &v) }
	if q.Match == nil {
		return readPage(ctx, s, l, scan)
	}
	return matchPage(ctx, s, l, scan, func(v *T) bool { return q.Match(signal(v)) })
}

func (s *Store) DeleteScores(ctx context.Context, ids []string) error {
	return s.deleteScores(ctx, kindScore, ids)
}

func (s *Store) DeleteFeedback(ctx context.Context, ids []string) error {
	return s.deleteScores(ctx, kindFeedback, ids)
}

func (s *Store) deleteScores(ctx context.Context, kind string, ids []string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error {
		for _, id := range ids {
			if _, err := t.exec("DELETE FROM scores WHERE tenant = ? AND kind = ? AND id = ?", tenant, kind, id); err != nil {
				return err
			}
		}
		return nil
	})
}
