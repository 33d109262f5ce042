package observability

import (
	"cmp"
	"context"
	"regexp"
	"slices"

	"mastralambda/shared/mastra"
)

// Listing is how a list is asked for: by pages, or (mode "delta") as what has come since a cursor of an earlier answer.
type Listing struct {
	Field     string `query:"field" json:"-" enum:"startedAt,endedAt,timestamp,score"`
	Direction string `query:"direction" json:"-" enum:"ASC,DESC"`
	Page      int    `query:"page" json:"-" minimum:"0"`
	PerPage   int    `query:"perPage" json:"-" minimum:"1" maximum:"100"`
	Mode      string `query:"mode" json:"-" enum:"page,delta"`
	After     string `query:"after" json:"-" minLength:"1"`
	Limit     int    `query:"limit" json:"-" minimum:"1" maximum:"100"`
}

func (l Listing) paging() mastra.Paging { return pageOf(l.Page, l.PerPage) }

// TracesInput asks for a page of traces.
type TracesInput struct {
	TraceID          string                 `query:"traceId" json:"-"`
	EntityType       string                 `query:"entityType" json:"-" enum:"agent,scorer,rag_ingestion,trajectory,input_processor,input_step_processor,output_processor,output_step_processor,tool_result_processor,workflow_step,tool,mcp_server,workflow_run,memory"`
	EntityID         string                 `query:"entityId" json:"-"`
	EntityName       string                 `query:"entityName" json:"-"`
	EntityVersion    string                 `query:"entityVersionId" json:"-"`
	RootEntityType   string                 `query:"rootEntityType" json:"-"`
	RootEntityID     string                 `query:"rootEntityId" json:"-"`
	RootEntityName   string                 `query:"rootEntityName" json:"-"`
	ParentEntityType string                 `query:"parentEntityType" json:"-"`
	ParentEntityID   string                 `query:"parentEntityId" json:"-"`
	ParentEntityName string                 `query:"parentEntityName" json:"-"`
	SpanType         string                 `query:"spanType" json:"-"`
	Name             string                 `query:"name" json:"-"`
	Status           string                 `query:"status" json:"-" enum:"success,error,running"`
	HasChildError    *bool                  `query:"hasChildError" json:"-"`
	RunID            string                 `query:"runId" json:"-"`
	ThreadID         string                 `query:"threadId" json:"-"`
	ResourceID       string                 `query:"resourceId" json:"-"`
	UserID           string                 `query:"userId" json:"-"`
	OrganizationID   string                 `query:"organizationId" json:"-"`
	SessionID        string                 `query:"sessionId" json:"-"`
	RequestID        string                 `query:"requestId" json:"-"`
	ExperimentID     string                 `query:"experimentId" json:"-"`
	Environment      string                 `query:"environment" json:"-"`
	ServiceName      string                 `query:"serviceName" json:"-"`
	Source           string                 `query:"source" json:"-"`
	StartedAt        Range                  `query:"startedAt" json:"-"`
	EndedAt          Range                  `query:"endedAt" json:"-"`
	DateRange        Range                  `query:"dateRange" json:"-"` // the older name of startedAt
	Tags             Texts                  `query:"tags" json:"-"`
	Metadata         map[string]mastra.JSON `query:"metadata" json:"-"`
	Listing
}

// runName is what a span of a run is called; the older clients ask for an entity by it.
var runName = regexp.MustCompile(`^(agent|workflow) run: '([^']+)'$`)

// query is the storage's part of what is asked for, and what is left to look at root by root.
func (in *TracesInput) query(ctx context.Context, m *mastra.Mastra) (q mastra.TraceQuery, none bool, err error) {
	q = mastra.TraceQuery{EntityType: cmp.Or(in.EntityType, in.RootEntityType), EntityID: cmp.Or(in.EntityID, in.RootEntityID), EntityName: cmp.Or(in.EntityName, in.RootEntityName),
		SpanType: in.SpanType, Name: in.Name, Status: in.Status, RunID: in.RunID, ThreadID: in.ThreadID, ResourceID: mastra.Resource(ctx, in.ResourceID), Tags: in.Tags,
		ChildError: in.HasChildError, OrderByEnd: in.Field == "endedAt", Ascending: in.Direction == "ASC", Paging: in.paging()}
	if in.ResourceID != "" && q.ResourceID != in.ResourceID {
		none = true
	}
	if name := runName.FindStringSubmatch(in.Name); name != nil && in.EntityID == "" {
		q.Name, q.EntityID, q.EntityType = "", name[2], map[string]string{"agent": "agent", "workflow": "workflow_run"}[name[1]]
	}
	started := in.StartedAt
	if started == (Range{}) {
		started = in.DateRange
	}
	q.From, q.To = started.inclusive()
	// No span here has one of these, and all are of one deployment.
	none = none || in.ParentEntityType+in.ParentEntityID+in.ParentEntityName+in.EntityVersion+in.Source != "" ||
		in.Environment != "" && in.Environment != m.Tracing.Environment || in.ServiceName != "" && in.ServiceName != m.Tracing.ServiceName ||
		in.RootEntityType != "" && q.EntityType != in.RootEntityType || in.RootEntityID != "" && q.EntityID != in.RootEntityID || in.RootEntityName != "" && q.EntityName != in.RootEntityName
	var conditions []func(*mastra.Span) bool
	if in.EndedAt != (Range{}) {
		conditions = append(conditions, func(s *mastra.Span) bool { return s.EndedAt != 0 && in.EndedAt.has(s.EndedAt) })
	}
	if len(in.Metadata) > 0 {
		q.Whole = true
		conditions = append(conditions, func(s *mastra.Span) bool { return holds(s.Metadata, in.Metadata) })
	}
	for key, want := range map[string]string{"userId": in.UserID, "organizationId": in.OrganizationID, "sessionId": in.SessionID, "requestId": in.RequestID, "experimentId": in.ExperimentID} {
		if want != "" {
			q.Whole = true
			conditions = append(conditions, func(s *mastra.Span) bool { return aboutSpan(s, key) == want })
		}
	}
	if len(conditions) > 0 {
		q.Match = func(s *mastra.Span) bool {
			for _, c := range conditions {
				if !c(s) {
					return false
				}
			}
			return true
		}
	}
	return q, none, err
}

func (in *TracesInput) read(ctx context.Context, m *mastra.Mastra) (*mastra.Page[mastra.Span], mastra.Paging, error) {
	q, none, err := in.query(ctx, m)
	if err != nil || none {
		return &mastra.Page[mastra.Span]{}, q.Paging, err
	}
	page, err := in.find(ctx, m, &q)
	return page, q.Paging, err
}

// find asks the storage, of one trace by its id.
func (in *TracesInput) find(ctx context.Context, m *mastra.Mastra, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	if in.TraceID != "" {
		return one(ctx, m, in.TraceID, q)
	}
	return m.Storage.Traces(ctx, *q)
}

// one is the page of a single trace: its root, or its spans of some types, where they are what is asked for.
func one(ctx context.Context, m *mastra.Mastra, traceID string, q *mastra.TraceQuery) (*mastra.Page[mastra.Span], error) {
	p := &mastra.Page[mastra.Span]{}
	spans, err := m.Storage.Trace(ctx, traceID)
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	failed := slices.ContainsFunc(spans, func(s mastra.Span) bool { return !s.Root() && len(s.Error) > 0 })
	if q.ChildError != nil && failed != *q.ChildError {
		return p, nil
	}
	root := -1
	for i := range spans {
		if spans[i].Root() {
			root = i
		}
	}
	var found []mastra.Span
	for i := range spans {
		if (q.Types == nil && i == root || slices.Contains(q.Types, spans[i].Type)) && q.Finds(&spans[i]) {
			found = append(found, spans[i])
		}
	}
	slices.SortStableFunc(found, func(a, b mastra.Span) int {
		c := cmp.Compare(a.StartedAt, b.StartedAt)
		if q.OrderByEnd {
			c = cmp.Compare(a.EndedAt, b.EndedAt)
		}
		if !q.Ascending {
			c = -c
		}
		return c
	})
	offset := min(len(found), q.Page*q.PerPage)
	end := min(len(found), offset+q.PerPage)
	p.Items, p.Total, p.HasMore = found[offset:end], len(found), end < len(found)
	return p, nil
}

// TracePage is a page of traces, each by its root span.
type TracePage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Spans       []Span      `json:"spans"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// Traces lists traces by their root spans, last started first.
func Traces(ctx context.Context, m *mastra.Mastra, in TracesInput) (TracePage, error) {
	roots, pagination, delta, cursor, err := in.list(ctx, m)
	if err != nil {
		return TracePage{}, err
	}
	out := TracePage{pagination, delta, make([]Span, len(roots)), cursor}
	for i := range roots {
		out.Spans[i] = showTrace(m, &roots[i])
	}
	return out, nil
}

// LightTracePage is a page of traces without their contents.
type LightTracePage struct {
	Pagination  *Pagination  `json:"pagination,omitempty"`
	Delta       *Delta       `json:"delta,omitempty"`
	Spans       []LightTrace `json:"spans"`
	DeltaCursor string       `json:"deltaCursor,omitempty"`
}

// TracesLight lists traces as lists show them.
func TracesLight(ctx context.Context, m *mastra.Mastra, in TracesInput) (LightTracePage, error) {
	roots, pagination, delta, cursor, err := in.list(ctx, m)
	if err != nil {
		return LightTracePage{}, err
	}
	out := LightTracePage{pagination, delta, make([]LightTrace, len(roots)), cursor}
	for i := range roots {
		out.Spans[i] = lightTrace(&roots[i])
	}
	return out, nil
}

func (in *TracesInput) list(ctx context.Context, m *mastra.Mastra) ([]mastra.Span, *Pagination, *Delta, string, error) {
	if err := in.check(); err != nil {
		return nil, nil, nil, "", err
	}
	if in.Mode == "delta" {
		roots, delta, cursor, err := in.delta(ctx, m)
		return roots, nil, delta, cursor, err
	}
	page, paging, err := in.read(ctx, m)
	if err != nil {
		return nil, nil, nil, "", err
	}
	return page.Items, &Pagination{page.Total, paging.Page, paging.PerPage, page.HasMore}, nil, cursorAt(m), nil
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
	spans = withChunks(spans)
	out := TraceOutput{TraceID: in.TraceID, Spans: make([]Span, len(spans))}
	for i := range spans {
		out.Spans[i] = showTrace(m, &spans[i])
	}
	return out, nil
}

// LightTraceOutput is a trace without its contents.
type LightTraceOutput struct {
	TraceID string      `json:"traceId"`
	Spans   []LightSpan `json:"spans"`
}

// TraceLight is a trace as a time line shows it.
func TraceLight(ctx context.Context, m *mastra.Mastra, in TraceInput) (LightTraceOutput, error) {
	spans, err := visible(ctx, m, in.TraceID)
	if err != nil {
		return LightTraceOutput{}, err
	}
	spans = withChunks(spans)
	out := LightTraceOutput{in.TraceID, make([]LightSpan, len(spans))}
	for i := range spans {
		out.Spans[i] = light(&spans[i])
	}
	return out, nil
}

// SpanInput names a span.
type SpanInput struct {
	TraceID string `path:"traceId" json:"-"`
	SpanID  string `path:"spanId" json:"-"`
}

// SpanOutput is a span.
type SpanOutput struct {
	Span Span `json:"span"`
}

// GetSpan is one span of a trace.
func GetSpan(ctx context.Context, m *mastra.Mastra, in SpanInput) (SpanOutput, error) {
	spans, err := visible(ctx, m, in.TraceID)
	if err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
		return SpanOutput{}, err
	}
	spans = withChunks(spans)
	for i := range spans {
		if spans[i].SpanID == in.SpanID {
			return SpanOutput{show(m, &spans[i])}, nil
		}
	}
	return SpanOutput{}, mastra.Errorf(mastra.CodeNotFound, "Span not found")
}

// BranchInput names a span and how far below it to look.
type BranchInput struct {
	SpanInput
	Depth *int `query:"depth" json:"-" minimum:"0"` // levels below the span; nil is all
}

// Branch is a span with all below it.
func Branch(ctx context.Context, m *mastra.Mastra, in BranchInput) (TraceOutput, error) {
	none := mastra.Errorf(mastra.CodeNotFound, "Branch not found for span '%s' in trace '%s'", in.SpanID, in.TraceID)
	spans, err := visible(ctx, m, in.TraceID)
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		return TraceOutput{}, none
	}
	if err != nil {
		return TraceOutput{}, err
	}
	spans = withChunks(spans)
	level := map[string]int{}
	for again := true; again; { // a child may stand before its parent
		again = false
		for i := range spans {
			s := &spans[i]
			if _, ok := level[s.SpanID]; ok {
				continue
			}
			above, below := level[s.ParentID]
			switch {
			case s.SpanID == in.SpanID:
				level[s.SpanID], again = 0, true
			case below && s.ParentID != "" && (in.Depth == nil || above < *in.Depth):
				level[s.SpanID], again = above+1, true
			}
		}
	}
	out := TraceOutput{TraceID: in.TraceID, Spans: []Span{}}
	for _, first := range []bool{true, false} {
		for i := range spans {
			if _, ok := level[spans[i].SpanID]; ok && (spans[i].SpanID == in.SpanID) == first {
				out.Spans = append(out.Spans, show(m, &spans[i]))
			}
		}
	}
	if len(out.Spans) == 0 {
		return TraceOutput{}, none
	}
	return out, nil
}

// DeleteTracesInput names traces.
type DeleteTracesInput struct {
	TraceIDs []string `json:"traceIds" maxItems:"1000"`
}

// DeleteTraces deletes traces with the scores and feedback given to them. One that is not there, or another's, is passed over.
func DeleteTraces(ctx context.Context, m *mastra.Mastra, in DeleteTracesInput) (Done, error) {
	ids := in.TraceIDs
	if own := mastra.Resource(ctx, ""); own != "" {
		ids = nil
		for _, id := range in.TraceIDs {
			spans, err := m.Storage.Trace(ctx, id)
			switch {
			case err == nil && len(of(own, spans)) == len(spans):
				ids = append(ids, id)
			case err == nil: // it is another's, too
			case mastra.CodeOf(err) != mastra.CodeNotFound:
				return Done{}, err
			}
		}
	}
	return Done{true}, m.Storage.DeleteTraces(ctx, ids)
}
