package observability

import (
	"cmp"
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// AddFeedbackInput is feedback: {feedback: {feedbackType, value, …}} as the reference server takes it, or flat
// {traceId, rating: 5, comment} or {traceId, feedbackType, value} as the document has it.
type AddFeedbackInput struct {
	mastra.Feedback
	flat bool
}

type wrappedFeedback struct {
	FeedbackID     *string                 `json:"feedbackId,omitempty" maxLength:"256"`
	FeedbackType   string                  `json:"feedbackType" minLength:"1" maxLength:"256"`
	FeedbackSource *string                 `json:"feedbackSource,omitempty"`
	Source         *string                 `json:"source,omitempty"`
	TraceID        *string                 `json:"traceId,omitempty"`
	SpanID         *string                 `json:"spanId,omitempty"`
	FeedbackUserID *string                 `json:"feedbackUserId,omitempty"`
	SourceID       *string                 `json:"sourceId,omitempty"`
	ReviewStatus   string                  `json:"reviewStatus,omitempty" enum:"needs-review,reviewed"`
	Value          value                   `json:"value"`
	Comment        *string                 `json:"comment,omitempty"`
	Tags           *[]string               `json:"tags,omitempty"`
	Metadata       *map[string]mastra.JSON `json:"metadata,omitempty"`
	origin
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
		Feedback *mastra.JSON `json:"feedback"`
	}
	if err := schema.Unmarshal(data, &w); err == nil && w.Feedback != nil && w.Feedback.Kind() == '{' {
		var also struct {
			Source string `json:"source"`
			UserID string `json:"userId"`
		}
		if err := schema.Unmarshal(*w.Feedback, &in.Feedback); err != nil { // its names are the wire's, nulls are zero
			return err
		}
		if schema.Unmarshal(*w.Feedback, &also) == nil {
			in.Source = cmp.Or(in.Source, also.Source)
			if in.FromUserID == "" && also.UserID != "" { // the older name of who says it
				in.FromUserID, in.UserID = also.UserID, ""
			}
		}
		return nil
	}
	var f flatFeedback
	if err := schema.Unmarshal(data, &f); err != nil {
		return err
	}
	in.flat = true
	in.Feedback = mastra.Feedback{Type: f.FeedbackType, TraceID: f.TraceID, SpanID: f.SpanID, Value: mastra.JSON(f.Value), Comment: f.Comment, Metadata: f.Metadata}
	if f.Rating != nil {
		in.Value, in.Type = mastra.JSON(f.Rating), cmp.Or(f.FeedbackType, "rating")
	}
	in.Type = cmp.Or(in.Type, "comment")
	return nil
}

// AddFeedback stores feedback. A flat one names a trace, which must exist, and says something.
func AddFeedback(ctx context.Context, m *mastra.Mastra, in AddFeedbackInput) (Done, error) {
	if in.flat && in.Value == nil && in.Comment == "" {
		return Done{}, mastra.Invalid("rating", "Required: rating, value or comment")
	}
	if err := judge(ctx, m, in.TraceID, in.flat); err != nil {
		return Done{}, err
	}
	f := in.Feedback
	f.ResourceID = mastra.Resource(ctx, f.ResourceID)
	f.ReviewStatus = cmp.Or(f.ReviewStatus, "needs-review")
	if f.ID == "" {
		f.ID = mastra.NewID()
	} else if err := mayReplace(ctx, m.Storage.Feedback, f.ID); err != nil {
		return Done{}, err
	}
	f.CreatedAt = mastra.TimeOf(m.Now())
	return Done{true}, m.Storage.Commit(ctx, &mastra.Batch{Feedback: []mastra.Feedback{f}})
}

// FeedbackPage is a page of feedback.
type FeedbackPage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Feedback    []Record    `json:"feedback"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// FeedbackList lists feedback.
func FeedbackList(ctx context.Context, m *mastra.Mastra, in JudgementsInput) (out FeedbackPage, err error) {
	if err := readable(ctx, m, in.TraceID); err != nil {
		return out, err
	}
	q := in.query(ctx)
	if q.RunID != "" || q.ScorerID != "" { // the storages know feedback by its trace alone
		q.RunID, q.ScorerID, q.Match = "", "", in.matcher(ctx).match
	}
	if in.Field == "score" {
		in.Field = ""
	}
	var items []mastra.Feedback
	items, out.Pagination, out.Delta, out.DeltaCursor, err = list(ctx, m, &in, q, m.Storage.Feedback, func(f *mastra.Feedback) mastra.Signal { return f })
	if err == nil {
		out.Feedback, err = records(items, showFeedback)
	}
	return out, err
}

// DeleteFeedbackInput names feedback; OrganizationID and ResourceID keep the others' from being deleted.
type DeleteFeedbackInput struct {
	FeedbackIDs    []string `json:"feedbackIds" maxItems:"1000"`
	OrganizationID string   `json:"organizationId,omitempty"`
	ResourceID     string   `json:"resourceId,omitempty"`
}

// DeleteFeedback deletes feedback. What is not there is passed over.
func DeleteFeedback(ctx context.Context, m *mastra.Mastra, in DeleteFeedbackInput) (Done, error) {
	ids, err := deletable(ctx, in.FeedbackIDs, in.OrganizationID, in.ResourceID, m.Storage.Feedback)
	if err != nil {
		return Done{}, err
	}
	return Done{true}, m.Storage.DeleteFeedback(ctx, ids)
}

// ReviewInput says whether feedback was reviewed.
type ReviewInput struct {
	FeedbackID   string `path:"feedbackId" json:"-"`
	ReviewStatus string `json:"reviewStatus" enum:"needs-review,reviewed"`
}

// ReviewFeedback changes the review status and answers the feedback.
func ReviewFeedback(ctx context.Context, m *mastra.Mastra, in ReviewInput) (Record, error) {
	page, err := m.Storage.Feedback(ctx, mastra.ScoreQuery{ID: in.FeedbackID, Match: (&Filters{}).matcher(ctx).match, Paging: mastra.Paging{PerPage: 1}})
	if err != nil {
		return nil, err
	}
	if len(page.Items) == 0 {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Feedback record not found")
	}
	f := page.Items[0]
	f.ReviewStatus = in.ReviewStatus
	if err := m.Storage.Commit(ctx, &mastra.Batch{Feedback: []mastra.Feedback{f}}); err != nil {
		return nil, err
	}
	return showFeedback(&f)
}
