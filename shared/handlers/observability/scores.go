package observability

import (
	"cmp"
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// AddScoreInput is a score: {score: {scorerId, score, …}} as the reference server takes it, or flat
// {traceId, score: 0.9, name, reason, …} as the document has it.
type AddScoreInput struct {
	mastra.Score
	flat bool
}

// origin is what a wrapped score or piece of feedback may say of its origin. A null says nothing.
type origin struct {
	EntityType            *string `json:"entityType,omitempty"`
	EntityID              *string `json:"entityId,omitempty"`
	EntityName            *string `json:"entityName,omitempty"`
	ParentEntityType      *string `json:"parentEntityType,omitempty"`
	ParentEntityID        *string `json:"parentEntityId,omitempty"`
	ParentEntityName      *string `json:"parentEntityName,omitempty"`
	RootEntityType        *string `json:"rootEntityType,omitempty"`
	RootEntityID          *string `json:"rootEntityId,omitempty"`
	RootEntityName        *string `json:"rootEntityName,omitempty"`
	UserID                *string `json:"userId,omitempty"`
	OrganizationID        *string `json:"organizationId,omitempty"`
	ResourceID            *string `json:"resourceId,omitempty"`
	RunID                 *string `json:"runId,omitempty"`
	SessionID             *string `json:"sessionId,omitempty"`
	ThreadID              *string `json:"threadId,omitempty"`
	RequestID             *string `json:"requestId,omitempty"`
	Environment           *string `json:"environment,omitempty"`
	ServiceName           *string `json:"serviceName,omitempty"`
	EntityVersionID       *string `json:"entityVersionId,omitempty"`
	ParentEntityVersionID *string `json:"parentEntityVersionId,omitempty"`
	RootEntityVersionID   *string `json:"rootEntityVersionId,omitempty"`
	ExperimentID          *string `json:"experimentId,omitempty"`
	ExecutionSource       *string `json:"executionSource,omitempty"`
}

type wrappedScore struct {
	ScoreID       *string                 `json:"scoreId,omitempty" maxLength:"256"`
	ScorerID      string                  `json:"scorerId" minLength:"1" maxLength:"256"`
	ScorerName    *string                 `json:"scorerName,omitempty"`
	ScorerVersion *string                 `json:"scorerVersion,omitempty"`
	TraceID       *string                 `json:"traceId,omitempty"`
	SpanID        *string                 `json:"spanId,omitempty"`
	Score         float64                 `json:"score"`
	Reason        *string                 `json:"reason,omitempty"`
	ScoreSource   *string                 `json:"scoreSource,omitempty"`
	Source        *string                 `json:"source,omitempty"`
	ScoreTraceID  *string                 `json:"scoreTraceId,omitempty"`
	Tags          *[]string               `json:"tags,omitempty"`
	Metadata      *map[string]mastra.JSON `json:"metadata,omitempty"`
	origin
}

type flatScore struct {
	ScorerID string      `json:"scorerId,omitempty" maxLength:"256"`
	Name     string      `json:"name,omitempty" maxLength:"256"`
	TraceID  string      `json:"traceId" minLength:"1"`
	SpanID   string      `json:"spanId,omitempty"`
	RunID    string      `json:"runId,omitempty"`
	Score    float64     `json:"score"`
	Reason   string      `json:"reason,omitempty"`
	Comment  string      `json:"comment,omitempty"`
	Metadata mastra.JSON `json:"metadata,omitempty"`
}

func (AddScoreInput) JSONSchema() *schema.Doc { return either[wrappedScore, flatScore]("score") }

// either takes {name: W} where name holds an object, and F else.
func either[W, F any](name string) *schema.Doc {
	var wrapped, flat schema.Doc
	for s, doc := range map[*schema.Schema]*schema.Doc{schema.For[W](): &wrapped, schema.For[F](): &flat} {
		if err := schema.Unmarshal(s.JSON(), doc); err != nil {
			return nil
		}
	}
	isWrapped := &schema.Doc{Type: "object", Required: []string{name}, Properties: map[string]*schema.Doc{name: {Type: "object"}}}
	return &schema.Doc{Type: "object", If: isWrapped, Then: &schema.Doc{Properties: map[string]*schema.Doc{name: &wrapped}}, Else: &flat}
}

func (in *AddScoreInput) UnmarshalJSON(data []byte) error {
	var w struct {
		Score *mastra.JSON `json:"score"`
	}
	if schema.Unmarshal(data, &w) == nil && w.Score != nil && w.Score.Kind() == '{' {
		var also struct {
			Source string `json:"source"`
		}
		if err := schema.Unmarshal(*w.Score, &in.Score); err != nil { // its names are the wire's, nulls are zero
			return err
		}
		if in.Score.Source == "" && schema.Unmarshal(*w.Score, &also) == nil {
			in.Score.Source = also.Source
		}
		in.Score.Run = nil
		return nil
	}
	var f flatScore
	if err := schema.Unmarshal(data, &f); err != nil {
		return err
	}
	in.flat = true
	in.Score = mastra.Score{ScorerID: cmp.Or(f.ScorerID, f.Name, "manual"), ScorerName: f.Name, TraceID: f.TraceID, SpanID: f.SpanID,
		Origin: mastra.Origin{RunID: f.RunID}, Score: f.Score, Reason: cmp.Or(f.Reason, f.Comment), Metadata: f.Metadata}
	return nil
}

// Done is the answer of a write.
type Done struct {
	Success bool `json:"success"`
}

// judge says whether the caller may judge a trace, or read its judgements. One bound to a resource may where the trace is
// its resource's; another one anywhere, but where the trace must exist.
func judge(ctx context.Context, m *mastra.Mastra, traceID string, mustExist bool) error {
	if !mustExist && mastra.Resource(ctx, "") == "" {
		return nil
	}
	_, err := visible(ctx, m, traceID)
	return err
}

// AddScore stores a score. A flat one names a trace, which must exist.
func AddScore(ctx context.Context, m *mastra.Mastra, in AddScoreInput) (Done, error) {
	if err := judge(ctx, m, in.TraceID, in.flat); err != nil {
		return Done{}, err
	}
	s := in.Score
	s.ResourceID = mastra.Resource(ctx, s.ResourceID)
	if s.ID == "" {
		s.ID = mastra.NewID()
	} else if err := mayReplace(ctx, m.Storage.Scores, s.ID); err != nil {
		return Done{}, err
	}
	s.CreatedAt = mastra.TimeOf(m.Now())
	return Done{true}, m.Storage.Commit(ctx, &mastra.Batch{Scores: []mastra.Score{s}})
}

// mayReplace keeps a caller bound to a resource from replacing what another one said under the same id.
func mayReplace[T any](ctx context.Context, list func(context.Context, mastra.ScoreQuery) (*mastra.Page[T], error), id string) error {
	own := mastra.Resource(ctx, "")
	if own == "" {
		return nil
	}
	page, err := list(ctx, mastra.ScoreQuery{ID: id, Paging: mastra.Paging{PerPage: 1}, Match: func(s mastra.Signal) bool {
		owner, _ := s.Field("resourceId")
		return owner != own
	}})
	if err == nil && page.Total > 0 {
		err = mastra.Errorf(mastra.CodeConflict, "The id %q is taken", id)
	}
	return err
}

// JudgementsInput asks for a page of scores or feedback, newest first.
type JudgementsInput struct {
	Filters
	Listing
}

// query is the storage's part of what is asked for; the rest is looked at one by one.
func (in *JudgementsInput) query(ctx context.Context) mastra.ScoreQuery {
	match := in.matcher(ctx)
	q := mastra.ScoreQuery{TraceID: in.TraceID, SpanID: in.SpanID, RunID: in.RunID, Ascending: in.Direction == "ASC", Paging: in.paging()}
	if q.From, q.To = in.Timestamp.inclusive(); q.TraceID == "" {
		q.TraceIDs = match.traces()
	}
	if len(in.ScorerID) == 1 {
		q.ScorerID = in.ScorerID[0]
	}
	known := 0
	for _, text := range [...]string{q.TraceID, q.SpanID, q.RunID, q.ScorerID} {
		if text != "" {
			known++
		}
	}
	if match.resource != "" || len(match.fields) > known || len(match.tags)+len(match.metadata)+len(match.labels) > 0 {
		q.Match = match.match
	}
	return q
}

// list reads a page, or what is new.
func list[T any](ctx context.Context, m *mastra.Mastra, in *JudgementsInput, q mastra.ScoreQuery, read func(context.Context, mastra.ScoreQuery) (*mastra.Page[T], error),
	signal func(*T) mastra.Signal) ([]T, *Pagination, *Delta, string, error) {
	if err := in.check(); err != nil {
		return nil, nil, nil, "", err
	}
	if in.Mode == "delta" {
		after, until, first, err := in.since(m)
		if err != nil {
			return nil, nil, nil, "", err
		}
		page := &mastra.Page[T]{}
		if !first {
			q.From, q.To, q.Ascending, q.Paging = max(q.From, after+1), until, true, mastra.Paging{PerPage: 1000}
			if page, err = read(ctx, q); err != nil {
				return nil, nil, nil, "", err
			}
		}
		items, d, cursor := step(&in.Listing, page.Items, until, func(v *T) mastra.Time { return signal(v).At() })
		return items, nil, d, cursor, nil
	}
	paging := q.Paging
	byScore := in.Field == "score"
	if byScore {
		q.Paging = mastra.Paging{PerPage: 100_000}
	}
	page, err := read(ctx, q)
	if err != nil {
		return nil, nil, nil, "", err
	}
	if byScore {
		slices.SortStableFunc(page.Items, func(a, b T) int {
			x, _ := signal(&a).Number()
			y, _ := signal(&b).Number()
			if q.Ascending {
				return cmp.Compare(x, y)
			}
			return cmp.Compare(y, x)
		})
		offset := min(len(page.Items), paging.Page*paging.PerPage)
		end := min(len(page.Items), offset+paging.PerPage)
		page.HasMore, page.Items = end < page.Total, page.Items[offset:end]
	}
	return page.Items, &Pagination{page.Total, paging.Page, paging.PerPage, page.HasMore}, nil, cursorAt(m), nil
}

// ScorePage is a page of scores.
type ScorePage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Scores      []Record    `json:"scores"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// Scores lists scores.
func Scores(ctx context.Context, m *mastra.Mastra, in JudgementsInput) (out ScorePage, err error) {
	if err := readable(ctx, m, in.TraceID); err != nil {
		return out, err
	}
	var items []mastra.Score
	items, out.Pagination, out.Delta, out.DeltaCursor, err = list(ctx, m, &in, in.query(ctx), m.Storage.Scores, func(s *mastra.Score) mastra.Signal { return s })
	if err == nil {
		out.Scores, err = records(items, showScore)
	}
	return out, err
}

// readable says whether a caller that names a trace may read what was said of it.
func readable(ctx context.Context, m *mastra.Mastra, traceID string) error {
	if traceID == "" {
		return nil
	}
	return judge(ctx, m, traceID, false)
}

// ScoreInput names a score.
type ScoreInput struct {
	ScoreID string `path:"scoreId" json:"-"`
}

// ScoreOutput is a score, null where there is none.
type ScoreOutput struct {
	Score Record `json:"score"`
}

func (o ScoreOutput) MarshalJSON() ([]byte, error) {
	if o.Score == nil {
		return []byte(`{"score":null}`), nil
	}
	data, err := schema.Marshal(o.Score)
	return append(append([]byte(`{"score":`), data...), '}'), err
}

// Score is one score.
func Score(ctx context.Context, m *mastra.Mastra, in ScoreInput) (ScoreOutput, error) {
	q := mastra.ScoreQuery{ID: in.ScoreID, Match: (&Filters{}).matcher(ctx).match, Paging: mastra.Paging{PerPage: 1}}
	page, err := m.Storage.Scores(ctx, q)
	if err != nil || len(page.Items) == 0 {
		return ScoreOutput{}, err
	}
	r, err := showScore(&page.Items[0])
	return ScoreOutput{r}, err
}

// DeleteScoresInput names scores; OrganizationID and ResourceID keep the others' from being deleted.
type DeleteScoresInput struct {
	ScoreIDs       []string `json:"scoreIds" maxItems:"1000"`
	OrganizationID string   `json:"organizationId,omitempty"`
	ResourceID     string   `json:"resourceId,omitempty"`
}

// DeleteScores deletes scores. What is not there is passed over.
func DeleteScores(ctx context.Context, m *mastra.Mastra, in DeleteScoresInput) (Done, error) {
	ids, err := deletable(ctx, in.ScoreIDs, in.OrganizationID, in.ResourceID, m.Storage.Scores)
	if err != nil {
		return Done{}, err
	}
	return Done{true}, m.Storage.DeleteScores(ctx, ids)
}

// deletable are those of ids that a caller may delete.
func deletable[T any](ctx context.Context, ids []string, organization, resource string, list func(context.Context, mastra.ScoreQuery) (*mastra.Page[T], error)) ([]string, error) {
	match := (&Filters{OrganizationID: organization, ResourceID: resource}).matcher(ctx)
	if !match.narrows() {
		return ids, nil
	}
	var own []string
	for _, id := range ids {
		page, err := list(ctx, mastra.ScoreQuery{ID: id, Match: match.match, Paging: mastra.Paging{PerPage: 1}})
		if err != nil {
			return nil, err
		}
		if page.Total > 0 {
			own = append(own, id)
		}
	}
	return own, nil
}
