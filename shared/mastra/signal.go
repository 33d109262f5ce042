package mastra

import "strconv"

// Origin says what a score, a piece of feedback or a metric is about: whose run, of which entity, within which other ones.
type Origin struct {
	EntityType            string `json:"entityType,omitempty"`
	EntityID              string `json:"entityId,omitempty"`
	EntityName            string `json:"entityName,omitempty"`
	ParentEntityType      string `json:"parentEntityType,omitempty"`
	ParentEntityID        string `json:"parentEntityId,omitempty"`
	ParentEntityName      string `json:"parentEntityName,omitempty"`
	RootEntityType        string `json:"rootEntityType,omitempty"`
	RootEntityID          string `json:"rootEntityId,omitempty"`
	RootEntityName        string `json:"rootEntityName,omitempty"`
	UserID                string `json:"userId,omitempty"`
	OrganizationID        string `json:"organizationId,omitempty"`
	ResourceID            string `json:"resourceId,omitempty"`
	RunID                 string `json:"runId,omitempty"`
	SessionID             string `json:"sessionId,omitempty"`
	ThreadID              string `json:"threadId,omitempty"`
	RequestID             string `json:"requestId,omitempty"`
	Environment           string `json:"environment,omitempty"`
	ServiceName           string `json:"serviceName,omitempty"`
	EntityVersionID       string `json:"entityVersionId,omitempty"`
	ParentEntityVersionID string `json:"parentEntityVersionId,omitempty"`
	RootEntityVersionID   string `json:"rootEntityVersionId,omitempty"`
	ExperimentID          string `json:"experimentId,omitempty"`
	ExecutionSource       string `json:"executionSource,omitempty"`
}

// Field is the text that stands under a name of the wire, "" where there is none; ok says whether the name is known.
func (o *Origin) Field(name string) (text string, ok bool) {
	switch name {
	case "entityType":
		return o.EntityType, true
	case "entityId":
		return o.EntityID, true
	case "entityName":
		return o.EntityName, true
	case "parentEntityType":
		return o.ParentEntityType, true
	case "parentEntityId":
		return o.ParentEntityID, true
	case "parentEntityName":
		return o.ParentEntityName, true
	case "rootEntityType":
		return o.RootEntityType, true
	case "rootEntityId":
		return o.RootEntityID, true
	case "rootEntityName":
		return o.RootEntityName, true
	case "userId":
		return o.UserID, true
	case "organizationId":
		return o.OrganizationID, true
	case "resourceId":
		return o.ResourceID, true
	case "runId":
		return o.RunID, true
	case "sessionId":
		return o.SessionID, true
	case "threadId":
		return o.ThreadID, true
	case "requestId":
		return o.RequestID, true
	case "environment":
		return o.Environment, true
	case "serviceName":
		return o.ServiceName, true
	case "entityVersionId":
		return o.EntityVersionID, true
	case "parentEntityVersionId":
		return o.ParentEntityVersionID, true
	case "rootEntityVersionId":
		return o.RootEntityVersionID, true
	case "experimentId":
		return o.ExperimentID, true
	case "executionSource":
		return o.ExecutionSource, true
	}
	return "", false
}

// Signal is a score, a piece of feedback or a metric, as filters and aggregates look at it.
type Signal interface {
	// Field is the text under a name of the wire; ok says whether the kind of signal has that field.
	Field(name string) (text string, ok bool)
	// Number is what aggregates work on; ok is false for feedback that is a text.
	Number() (n float64, ok bool)
	At() Time
	Labels() []string // tags
	About() JSON      // metadata
}

// Score is a judgement of a run or span by a scorer or a person.
type Score struct {
	ID            string  `json:"scoreId"`
	CreatedAt     Time    `json:"timestamp"`
	TraceID       string  `json:"traceId,omitempty"`
	SpanID        string  `json:"spanId,omitempty"`
	ScorerID      string  `json:"scorerId"`
	ScorerName    string  `json:"scorerName,omitempty"`
	ScorerVersion string  `json:"scorerVersion,omitempty"`
	Source        string  `json:"scoreSource,omitempty"` // "live", "manual"…
	Score         float64 `json:"score"`
	Reason        string  `json:"reason,omitempty"`
	ScoreTraceID  string  `json:"scoreTraceId,omitempty"` // the trace of the scorer's own run
	Origin
	Tags     []string `json:"tags,omitempty"`
	Metadata JSON     `json:"metadata,omitzero"`
	Scope    JSON     `json:"scope,omitzero"`
	Run      JSON     `json:"run,omitzero"` // of a scorer's run: what it was shown and what it found, as the scores group tells it
}

func (s *Score) Field(name string) (string, bool) {
	switch name {
	case "scoreId":
		return s.ID, true
	case "traceId":
		return s.TraceID, true
	case "spanId":
		return s.SpanID, true
	case "scorerId":
		return s.ScorerID, true
	case "scorerVersion":
		return s.ScorerVersion, true
	case "scoreSource", "source":
		return s.Source, true
	case "scoreTraceId":
		return s.ScoreTraceID, true
	}
	return s.Origin.Field(name)
}

func (s *Score) Number() (float64, bool) { return s.Score, true }
func (s *Score) At() Time                { return s.CreatedAt }
func (s *Score) Labels() []string        { return s.Tags }
func (s *Score) About() JSON             { return s.Metadata }

// Feedback is what a person says of a run or span. Value is a number or a text.
type Feedback struct {
	ID           string `json:"feedbackId"`
	CreatedAt    Time   `json:"timestamp"`
	TraceID      string `json:"traceId,omitempty"`
	SpanID       string `json:"spanId,omitempty"`
	Source       string `json:"feedbackSource,omitempty"`
	Type         string `json:"feedbackType"`
	Value        JSON   `json:"value,omitzero"`
	Comment      string `json:"comment,omitempty"`
	FromUserID   string `json:"feedbackUserId,omitempty"`
	SourceID     string `json:"sourceId,omitempty"`
	ReviewStatus string `json:"reviewStatus,omitempty"` // "needs-review" or "reviewed"
	Origin
	Tags     []string `json:"tags,omitempty"`
	Metadata JSON     `json:"metadata,omitzero"`
	Scope    JSON     `json:"scope,omitzero"`
}

func (f *Feedback) Field(name string) (string, bool) {
	switch name {
	case "feedbackId":
		return f.ID, true
	case "traceId":
		return f.TraceID, true
	case "spanId":
		return f.SpanID, true
	case "feedbackType":
		return f.Type, true
	case "feedbackSource", "source":
		return f.Source, true
	case "feedbackUserId":
		return f.FromUserID, true
	case "sourceId":
		return f.SourceID, true
	case "comment":
		return f.Comment, true
	case "reviewStatus":
		return f.ReviewStatus, true
	}
	return f.Origin.Field(name)
}

func (f *Feedback) Number() (float64, bool) {
	n, err := strconv.ParseFloat(string(f.Value), 64)
	return n, err == nil && f.Value.Kind() == '0'
}
func (f *Feedback) At() Time         { return f.CreatedAt }
func (f *Feedback) Labels() []string { return f.Tags }
func (f *Feedback) About() JSON      { return f.Metadata }
