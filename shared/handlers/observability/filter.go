package observability

import (
	"bytes"
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Range is a span of time; an open end is zero.
type Range struct {
	Start          mastra.Time `json:"start,omitzero"`
	End            mastra.Time `json:"end,omitzero"`
	StartExclusive bool        `json:"startExclusive,omitzero"`
	EndExclusive   bool        `json:"endExclusive,omitzero"`
}

// inclusive is the range with both ends within it: times are whole milliseconds.
func (r Range) inclusive() (from, to mastra.Time) {
	from, to = r.Start, r.End
	if r.StartExclusive && from != 0 {
		from++
	}
	if r.EndExclusive && to != 0 {
		to--
	}
	return from, to
}

func (r Range) has(t mastra.Time) bool {
	from, to := r.inclusive()
	return (from == 0 || t >= from) && (to == 0 || t <= to)
}

// Texts is one text or a list of them.
type Texts []string

func (t *Texts) UnmarshalJSON(data []byte) error {
	var one string
	if schema.Unmarshal(data, &one) == nil {
		*t = Texts{one}
		return nil
	}
	var all []string
	if err := schema.Unmarshal(data, &all); err != nil {
		return err
	}
	if len(all) == 1 && len(all[0]) > 1 && all[0][0] == '[' { // a query parameter that holds a list
		var inner []string
		if schema.Unmarshal([]byte(all[0]), &inner) == nil {
			all = inner
		}
	}
	*t = all
	return nil
}

func (Texts) JSONSchema() *schema.Doc {
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, {Type: "array", Items: &schema.Doc{Type: "string"}}}}
}

// Filters narrow down scores, feedback, metrics and logs. What a kind of them has no field for is ignored.
type Filters struct {
	Timestamp             Range                  `query:"timestamp" json:"timestamp,omitzero"`
	TraceID               string                 `query:"traceId" json:"traceId,omitempty"`
	SpanID                string                 `query:"spanId" json:"spanId,omitempty"`
	EntityType            string                 `query:"entityType" json:"entityType,omitempty" enum:"agent,scorer,rag_ingestion,trajectory,input_processor,input_step_processor,output_processor,output_step_processor,tool_result_processor,workflow_step,tool,mcp_server,workflow_run,memory"`
	EntityName            string                 `query:"entityName" json:"entityName,omitempty"`
	EntityVersionID       string                 `query:"entityVersionId" json:"entityVersionId,omitempty"`
	ParentEntityVersionID string                 `query:"parentEntityVersionId" json:"parentEntityVersionId,omitempty"`
	RootEntityVersionID   string                 `query:"rootEntityVersionId" json:"rootEntityVersionId,omitempty"`
	UserID                string                 `query:"userId" json:"userId,omitempty"`
	OrganizationID        string                 `query:"organizationId" json:"organizationId,omitempty"`
	ExperimentID          string                 `query:"experimentId" json:"experimentId,omitempty"`
	ServiceName           string                 `query:"serviceName" json:"serviceName,omitempty"`
	Environment           string                 `query:"environment" json:"environment,omitempty"`
	ParentEntityType      string                 `query:"parentEntityType" json:"parentEntityType,omitempty"`
	ParentEntityName      string                 `query:"parentEntityName" json:"parentEntityName,omitempty"`
	RootEntityType        string                 `query:"rootEntityType" json:"rootEntityType,omitempty"`
	RootEntityName        string                 `query:"rootEntityName" json:"rootEntityName,omitempty"`
	ResourceID            string                 `query:"resourceId" json:"resourceId,omitempty"`
	RunID                 string                 `query:"runId" json:"runId,omitempty"`
	SessionID             string                 `query:"sessionId" json:"sessionId,omitempty"`
	ThreadID              string                 `query:"threadId" json:"threadId,omitempty"`
	RequestID             string                 `query:"requestId" json:"requestId,omitempty"`
	ExecutionSource       string                 `query:"executionSource" json:"executionSource,omitempty"`
	Source                string                 `query:"source" json:"source,omitempty"`
	Tags                  Texts                  `query:"tags" json:"tags,omitempty"`
	ScorerID              Texts                  `query:"scorerId" json:"scorerId,omitempty"`
	ScoreSource           string                 `query:"scoreSource" json:"scoreSource,omitempty"`
	FeedbackType          Texts                  `query:"feedbackType" json:"feedbackType,omitempty"`
	FeedbackSource        string                 `query:"feedbackSource" json:"feedbackSource,omitempty"`
	FeedbackUserID        string                 `query:"feedbackUserId" json:"feedbackUserId,omitempty"`
	ReviewStatus          string                 `query:"reviewStatus" json:"reviewStatus,omitempty" enum:"needs-review,reviewed"`
	TraceIDs              Texts                  `query:"traceIds" json:"traceIds,omitempty"`
	Name                  Texts                  `query:"name" json:"name,omitempty"`
	Provider              string                 `query:"provider" json:"provider,omitempty"`
	Model                 string                 `query:"model" json:"model,omitempty"`
	CostUnit              string                 `query:"costUnit" json:"costUnit,omitempty"`
	Labels                map[string]string      `query:"labels" json:"labels,omitempty"`
	Metadata              map[string]mastra.JSON `query:"metadata" json:"metadata,omitempty"`
}

// matcher is Filters as they are compared.
type matcher struct {
	Range
	fields   []wanted
	tags     []string
	labels   map[string]string
	metadata map[string]mastra.JSON
	resource string // the caller's own, "" where it may see all
}

type wanted struct {
	name string
	any  []string
}

func (f *Filters) matcher(ctx context.Context) *matcher {
	m := &matcher{Range: f.Timestamp, tags: f.Tags, labels: f.Labels, metadata: f.Metadata, resource: mastra.Resource(ctx, "")}
	for _, w := range [...]struct{ name, text string }{{"traceId", f.TraceID}, {"spanId", f.SpanID}, {"entityType", f.EntityType}, {"entityName", f.EntityName},
		{"entityVersionId", f.EntityVersionID}, {"parentEntityVersionId", f.ParentEntityVersionID}, {"rootEntityVersionId", f.RootEntityVersionID}, {"userId", f.UserID},
		{"organizationId", f.OrganizationID}, {"experimentId", f.ExperimentID}, {"serviceName", f.ServiceName}, {"environment", f.Environment},
		{"parentEntityType", f.ParentEntityType}, {"parentEntityName", f.ParentEntityName}, {"rootEntityType", f.RootEntityType}, {"rootEntityName", f.RootEntityName},
		{"resourceId", f.ResourceID}, {"runId", f.RunID}, {"sessionId", f.SessionID}, {"threadId", f.ThreadID}, {"requestId", f.RequestID},
		{"executionSource", f.ExecutionSource}, {"source", f.Source}, {"scoreSource", f.ScoreSource}, {"feedbackSource", f.FeedbackSource},
		{"feedbackUserId", f.FeedbackUserID}, {"reviewStatus", f.ReviewStatus}, {"provider", f.Provider}, {"model", f.Model}, {"costUnit", f.CostUnit}} {
		if w.text != "" {
			m.fields = append(m.fields, wanted{w.name, []string{w.text}})
		}
	}
	for _, w := range [...]wanted{{"scorerId", f.ScorerID}, {"feedbackType", f.FeedbackType}, {"traceIds", f.TraceIDs}, {"name", f.Name}} {
		if len(w.any) > 0 {
			m.fields = append(m.fields, w)
		}
	}
	return m
}

// maxNamed is how many traces are read one by one rather than looked for in a range of time.
const maxNamed = 200

// traces are those that it names, nil where it names none, or very many.
func (m *matcher) traces() []string {
	for _, w := range m.fields {
		if (w.name == "traceId" || w.name == "traceIds") && len(w.any) <= maxNamed {
			return slices.Compact(slices.Sorted(slices.Values(w.any)))
		}
	}
	return nil
}

// narrows says whether it asks for anything but a range of time.
func (m *matcher) narrows() bool {
	return len(m.fields)+len(m.tags)+len(m.labels)+len(m.metadata) > 0 || m.resource != ""
}

func (m *matcher) match(s mastra.Signal) bool {
	if !m.has(s.At()) {
		return false
	}
	if m.resource != "" {
		if have, _ := s.Field("resourceId"); have != m.resource {
			return false
		}
	}
	for _, w := range m.fields {
		if have, ok := s.Field(w.name); ok && !slices.Contains(w.any, have) {
			return false
		}
	}
	for _, t := range m.tags {
		if !slices.Contains(s.Labels(), t) {
			return false
		}
	}
	for name, want := range m.labels {
		if have, ok := s.Field(name); !ok || name != "status" || have != want {
			return false
		}
	}
	return len(m.metadata) == 0 || holds(s.About(), m.metadata)
}

// holds says whether an object has all the members that are asked for.
func holds(object mastra.JSON, members map[string]mastra.JSON) bool {
	var have map[string]mastra.JSON
	if len(object) == 0 || schema.Unmarshal(object, &have) != nil {
		return false
	}
	for key, want := range members {
		if !equalJSON(have[key], want) {
			return false
		}
	}
	return true
}

func equalJSON(a, b mastra.JSON) bool {
	a, b = a.Clone(), b.Clone()
	return a != nil && b != nil && a.Canonicalize() == nil && b.Canonicalize() == nil && bytes.Equal(a, b)
}
