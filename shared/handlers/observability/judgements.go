package observability

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// AddScoreInput is a score: {score: {scorerId, score, …}} as the reference server takes it, or flat
// {traceId, score: 0.9, name, reason, …} as the document has it.
type AddScoreInput struct {
	mastra.Score
	flat bool
}

type wrappedScore struct {
	ScoreID     string      `json:"scoreId,omitempty" maxLength:"256"`
	ScorerID    string      `json:"scorerId" minLength:"1" maxLength:"256"`
	ScorerName  string      `json:"scorerName,omitempty"`
	TraceID     string      `json:"traceId,omitempty"`
	SpanID      string      `json:"spanId,omitempty"`
	RunID       string      `json:"runId,omitempty"`
	Score       float64     `json:"score"`
	Reason      string      `json:"reason,omitempty"`
	ScoreSource string      `json:"scoreSource,omitempty"`
	Source      string      `json:"source,omitempty"`
	Metadata    mastra.JSON `json:"metadata,omitempty"`
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
		Score wrappedScore `json:"score"`
	}
	if schema.Unmarshal(data, &w) == nil {
		s := w.Score
		in.Score = mastra.Score{ID: s.ScoreID, ScorerID: s.ScorerID, ScorerName: s.ScorerName, TraceID: s.TraceID, SpanID: s.SpanID,
			RunID: s.RunID, Score: s.Score, Reason: s.Reason, Source: s.ScoreSource + s.Source, Metadata: s.Metadata}
		return nil
	}
	var f flatScore
	if err := schema.Unmarshal(data, &f); err != nil {
		return err
	}
	in.flat = true
	in.Score = mastra.Score{ScorerID: first(f.ScorerID, f.Name, "manual"), ScorerName: f.Name, TraceID: f.TraceID, SpanID: f.SpanID,
		RunID: f.RunID, Score: f.Score, Reason: first(f.Reason, f.Comment), Metadata: f.Metadata}
	return nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
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
	if s.ID == "" {
		s.ID = mastra.NewID()
	}
	s.CreatedAt = mastra.TimeOf(m.Now())
	return Done{true}, m.Storage.Commit(ctx, &mastra.Batch{Scores: []mastra.Score{s}})
}

// AddFeedbackInput is feedback: {feedback: {feedbackType, value, …}} as the reference server takes it, or flat
// {traceId, rating: 5, comment} or {traceId, feedbackType, value} as the document has it.
type AddFeedbackInput struct {
	mastra.Feedback
	flat bool
}

type wrappedFeedback struct {
	FeedbackID     string      `json:"feedbackId,omitempty" maxLength:"256"`
	FeedbackType   string      `json:"feedbackType" minLength:"1" maxLength:"256"`
	FeedbackSource string      `json:"feedbackSource,omitempty"`
	Source         string      `json:"source,omitempty"`
	TraceID        string      `json:"traceId,omitempty"`
	SpanID         string      `json:"spanId,omitempty"`
	UserID         string      `json:"feedbackUserId,omitempty"`
	Value          value       `json:"value"`
	Comment        string      `json:"comment,omitempty"`
	Metadata       mastra.JSON `json:"metadata,omitempty"`
}

type flatFeedback struct {
	FeedbackType string      `json:"feedbackType,omitempty" maxLength:"256"`
	TraceID      string      `json:"traceId" minLength:"1"`
	SpanID       string      `json:"spanId,omitempty"`
	Value        value       `json:"value,omitempty"`
	Rating       value       `json:"rating,omitempty"`
	Comment      string      `json:"comment,omitempty"`
	Metadata     mastra.JSON `json:"metadata,omitempty"`
}

// value is a number or a text.
type value mastra.JSON

func (v *value) UnmarshalJSON(data []byte) error { *v = value(mastra.JSON(data).Clone()); return nil }

func (value) JSONSchema() *schema.Doc { return &schema.Doc{Types: []string{"number", "string"}} }

func (AddFeedbackInput) JSONSchema() *schema.Doc {
	return either[wrappedFeedback, flatFeedback]("feedback")
}

func (in *AddFeedbackInput) UnmarshalJSON(data []byte) error {
	var w struct {
		Feedback *wrappedFeedback `json:"feedback"`
	}
	if err := schema.Unmarshal(data, &w); err == nil && w.Feedback != nil {
		f := w.Feedback
		in.Feedback = mastra.Feedback{ID: f.FeedbackID, Type: f.FeedbackType, Source: first(f.FeedbackSource, f.Source), TraceID: f.TraceID,
			SpanID: f.SpanID, UserID: f.UserID, Value: mastra.JSON(f.Value), Comment: f.Comment, Metadata: f.Metadata}
		return nil
	}
	var f flatFeedback
	if err := schema.Unmarshal(data, &f); err != nil {
		return err
	}
	in.flat = true
	in.Feedback = mastra.Feedback{Type: f.FeedbackType, TraceID: f.TraceID, SpanID: f.SpanID, Value: mastra.JSON(f.Value), Comment: f.Comment, Metadata: f.Metadata}
	if f.Rating != nil {
		in.Value, in.Type = mastra.JSON(f.Rating), first(f.FeedbackType, "rating")
	}
	in.Type = first(in.Type, "comment")
	return nil
}

// AddFeedback stores feedback. A flat one names a trace, which must exist, and says something.
func AddFeedback(ctx context.Context, m *mastra.Mastra, in AddFeedbackInput) (Done, error) {
	if in.flat {
		if in.Value == nil && in.Comment == "" {
			return Done{}, mastra.Invalid("rating", "Required: rating, value or comment")
		}
	}
	if err := judge(ctx, m, in.TraceID, in.flat); err != nil {
		return Done{}, err
	}
	f := in.Feedback
	if f.ID == "" {
		f.ID = mastra.NewID()
	}
	f.CreatedAt = mastra.TimeOf(m.Now())
	return Done{true}, m.Storage.Commit(ctx, &mastra.Batch{Feedback: []mastra.Feedback{f}})
}

// JudgementsInput asks for a page of scores or feedback, newest first.
type JudgementsInput struct {
	TraceID  string `query:"traceId" json:"-"`
	SpanID   string `query:"spanId" json:"-"`
	ScorerID string `query:"scorerId" json:"-"`
	RunID    string `query:"runId" json:"-"`
	Page     int    `query:"page" json:"-" minimum:"0"`
	PerPage  int    `query:"perPage" json:"-" minimum:"1" maximum:"100"`
}

func (in JudgementsInput) query() mastra.ScoreQuery {
	return mastra.ScoreQuery{TraceID: in.TraceID, SpanID: in.SpanID, ScorerID: in.ScorerID, RunID: in.RunID, Paging: pageOf(in.Page, in.PerPage)}
}

// ScorePage is a page of scores.
type ScorePage struct {
	Pagination Pagination     `json:"pagination"`
	Scores     []mastra.Score `json:"scores"`
}

// Scores lists scores.
func Scores(ctx context.Context, m *mastra.Mastra, in JudgementsInput) (ScorePage, error) {
	if err := judge(ctx, m, in.TraceID, false); err != nil {
		return ScorePage{}, err
	}
	q := in.query()
	page, err := m.Storage.Scores(ctx, q)
	if err != nil {
		return ScorePage{}, err
	}
	return ScorePage{Pagination{page.Total, q.Page, q.PerPage, page.HasMore}, page.Items}, nil
}

// FeedbackPage is a page of feedback.
type FeedbackPage struct {
	Pagination Pagination        `json:"pagination"`
	Feedback   []mastra.Feedback `json:"feedback"`
}

// FeedbackList lists feedback.
func FeedbackList(ctx context.Context, m *mastra.Mastra, in JudgementsInput) (FeedbackPage, error) {
	if err := judge(ctx, m, in.TraceID, false); err != nil {
		return FeedbackPage{}, err
	}
	q := in.query()
	page, err := m.Storage.Feedback(ctx, q)
	if err != nil {
		return FeedbackPage{}, err
	}
	return FeedbackPage{Pagination{page.Total, q.Page, q.PerPage, page.HasMore}, page.Items}, nil
}
