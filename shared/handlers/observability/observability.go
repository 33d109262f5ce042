// Package observability is the observability group: traces, and the scores and feedback that are given to them.
package observability

import (
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	read, write := server.Permission("observability:read"), server.Permission("observability:write")
	return []server.Route{
		server.JSON("GET /observability/traces", Traces, read, server.Summary("List traces")),
		server.JSON("GET /observability/traces/:traceId", Trace, read, server.Summary("Get trace details")),
		server.JSON("POST /observability/scores", AddScore, write, server.Summary("Add score to trace")),
		server.JSON("GET /observability/scores", Scores, read, server.Summary("List scores")),
		server.JSON("POST /observability/feedback", AddFeedback, write, server.Summary("Add feedback to trace")),
		server.JSON("GET /observability/feedback", FeedbackList, read, server.Summary("List feedback")),
	}
}

// Span is a span as the reference server shows it: every field is there, null where it is not set.
type Span struct {
	TraceID             string      `json:"traceId"`
	SpanID              string      `json:"spanId"`
	Name                string      `json:"name"`
	SpanType            string      `json:"spanType"`
	ParentSpanID        *string     `json:"parentSpanId"`
	IsEvent             bool        `json:"isEvent"`
	StartedAt           mastra.Time `json:"startedAt"`
	EndedAt             mastra.Time `json:"endedAt"`
	ExperimentID        *string     `json:"experimentId"`
	EntityType          *string     `json:"entityType"`
	EntityID            *string     `json:"entityId"`
	EntityName          *string     `json:"entityName"`
	EntityVersion       *string     `json:"entityVersionId"`
	ParentEntityVersion *string     `json:"parentEntityVersionId"`
	RootEntityVersion   *string     `json:"rootEntityVersionId"`
	UserID              *string     `json:"userId"`
	OrganizationID      *string     `json:"organizationId"`
	ResourceID          *string     `json:"resourceId"`
	RunID               *string     `json:"runId"`
	SessionID           *string     `json:"sessionId"`
	ThreadID            *string     `json:"threadId"`
	RequestID           *string     `json:"requestId"`
	Environment         *string     `json:"environment"`
	Source              *string     `json:"source"`
	ServiceName         *string     `json:"serviceName"`
	Attributes          mastra.JSON `json:"attributes"`
	Metadata            mastra.JSON `json:"metadata"`
	Tags                *[]string   `json:"tags"`
	Scope               mastra.JSON `json:"scope"`
	Links               mastra.JSON `json:"links"`
	Input               mastra.JSON `json:"input"`
	Output              mastra.JSON `json:"output"`
	Error               mastra.JSON `json:"error"`
	RequestContext      mastra.JSON `json:"requestContext"`
	CreatedAt           mastra.Time `json:"createdAt"`
	UpdatedAt           mastra.Time `json:"updatedAt"`
	Status              string      `json:"status"`
}

func show(s mastra.Span) Span {
	out := Span{TraceID: s.TraceID, SpanID: s.SpanID, Name: s.Name, SpanType: s.Type, ParentSpanID: orNull(s.ParentID), IsEvent: s.IsEvent,
		StartedAt: s.StartedAt, EndedAt: s.EndedAt, EntityType: orNull(s.EntityType), EntityID: orNull(s.EntityID), EntityName: orNull(s.EntityName),
		ResourceID: orNull(s.ResourceID), RunID: orNull(s.RunID), ThreadID: orNull(s.ThreadID), Attributes: s.Attributes, Metadata: s.Metadata,
		Input: s.Input, Output: s.Output, Error: s.Error, CreatedAt: s.StartedAt, Status: s.Status()}
	if s.Tags != nil {
		out.Tags = &s.Tags
	}
	return out
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Range is a span of time; an open end is zero.
type Range struct {
	Start mastra.Time `json:"start,omitzero"`
	End   mastra.Time `json:"end,omitzero"`
}

// TracesInput asks for a page of traces.
type TracesInput struct {
	EntityType string   `query:"entityType" json:"-" enum:"agent,scorer,rag_ingestion,trajectory,input_processor,input_step_processor,output_processor,output_step_processor,tool_result_processor,workflow_step,tool,mcp_server,workflow_run,memory"`
	EntityID   string   `query:"entityId" json:"-"`
	EntityName string   `query:"entityName" json:"-"`
	SpanType   string   `query:"spanType" json:"-"`
	Name       string   `query:"name" json:"-"`
	Status     string   `query:"status" json:"-" enum:"success,error,running"`
	RunID      string   `query:"runId" json:"-"`
	ThreadID   string   `query:"threadId" json:"-"`
	ResourceID string   `query:"resourceId" json:"-"`
	StartedAt  Range    `query:"startedAt" json:"-"`
	Tags       []string `query:"tags" json:"-"`
	Field      string   `query:"field" json:"-" enum:"startedAt,endedAt"`
	Direction  string   `query:"direction" json:"-" enum:"ASC,DESC"`
	Page       int      `query:"page" json:"-" minimum:"0"`
	PerPage    int      `query:"perPage" json:"-" minimum:"1" maximum:"100"`
}

// Pagination says where a page stands.
type Pagination struct {
	Total   int  `json:"total"`
	Page    int  `json:"page"`
	PerPage int  `json:"perPage"`
	HasMore bool `json:"hasMore"`
}

// TracePage is a page of traces, each by its root span.
type TracePage struct {
	Pagination Pagination `json:"pagination"`
	Spans      []Span     `json:"spans"`
}

// Traces lists traces by their root spans, last started first.
func Traces(ctx context.Context, m *mastra.Mastra, in TracesInput) (TracePage, error) {
	paging := pageOf(in.Page, in.PerPage)
	page, err := m.Storage.Traces(ctx, mastra.TraceQuery{EntityType: in.EntityType, EntityID: in.EntityID, EntityName: in.EntityName,
		SpanType: in.SpanType, Name: in.Name, Status: in.Status, RunID: in.RunID, ThreadID: in.ThreadID,
		ResourceID: mastra.Resource(ctx, in.ResourceID), From: in.StartedAt.Start, To: in.StartedAt.End, Tags: in.Tags,
		OrderByEnd: in.Field == "endedAt", Ascending: in.Direction == "ASC", Paging: paging})
	if err != nil {
		return TracePage{}, err
	}
	out := TracePage{Pagination: Pagination{page.Total, paging.Page, paging.PerPage, page.HasMore}, Spans: make([]Span, len(page.Items))}
	for i, s := range page.Items {
		out.Spans[i] = show(s)
	}
	return out, nil
}

func pageOf(page, perPage int) mastra.Paging {
	if perPage == 0 {
		perPage = 10
	}
	return mastra.Paging{Page: page, PerPage: perPage}
}

// TraceInput names a trace.
type TraceInput struct {
	TraceID string `path:"traceId" json:"-"`
}

// TraceOutput is a whole trace.
type TraceOutput struct {
	TraceID string `json:"traceId"`
	Spans   []Span `json:"spans"`
}

// Trace is a whole trace. One of another resource is not found.
func Trace(ctx context.Context, m *mastra.Mastra, in TraceInput) (TraceOutput, error) {
	spans, err := visible(ctx, m, in.TraceID)
	if err != nil {
		return TraceOutput{}, err
	}
	out := TraceOutput{TraceID: in.TraceID, Spans: make([]Span, len(spans))}
	for i, s := range spans {
		out.Spans[i] = show(s)
	}
	return out, nil
}

func visible(ctx context.Context, m *mastra.Mastra, traceID string) ([]mastra.Span, error) {
	spans, err := m.Storage.Trace(ctx, traceID)
	if err != nil {
		return nil, err
	}
	if own := mastra.Resource(ctx, ""); own != "" && !slices.ContainsFunc(spans, func(s mastra.Span) bool { return s.ParentID == "" && s.ResourceID == own }) {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
	}
	return spans, nil
}
