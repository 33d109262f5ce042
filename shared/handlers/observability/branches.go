package observability

import (
	"context"

	"mastralambda/shared/mastra"
)

// BranchPage is a page of branches.
type BranchPage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Branches    []Span      `json:"branches"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// Branches lists the runs of agents, workflows and tools wherever they stand in their traces, last started first.
func Branches(ctx context.Context, m *mastra.Mastra, in TracesInput) (BranchPage, error) {
	if err := in.check(); err != nil {
		return BranchPage{}, err
	}
	q, none, err := in.branchQuery(ctx, m)
	if err != nil {
		return BranchPage{}, err
	}
	var spans []mastra.Span
	out := BranchPage{DeltaCursor: cursorAt(m)}
	if in.Mode == "delta" {
		spans, out.Delta, out.DeltaCursor, err = in.deltaOf(ctx, m, q, none)
	} else {
		page := &mastra.Page[mastra.Span]{}
		if !none {
			page, err = in.find(ctx, m, &q)
		}
		if err == nil {
			spans, out.Pagination = page.Items, &Pagination{page.Total, q.Page, q.PerPage, page.HasMore}
		}
	}
	if err != nil {
		return BranchPage{}, err
	}
	out.Branches = make([]Span, len(spans))
	for i := range spans {
		out.Branches[i] = showTrace(m, &spans[i])
	}
	return out, nil
}

// branchQuery is what is asked of one span without its contents; none says that nothing can be it.
func (in *TracesInput) branchQuery(ctx context.Context, m *mastra.Mastra) (q mastra.TraceQuery, none bool, err error) {
	for name, asked := range map[string]bool{"userId": in.UserID != "", "organizationId": in.OrganizationID != "", "sessionId": in.SessionID != "", "requestId": in.RequestID != "",
		"experimentId": in.ExperimentID != "", "metadata": len(in.Metadata) > 0} {
		if asked {
			return q, false, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{{Field: name, Message: "Branches cannot be found by what stands in their metadata: list traces by it"}}}
		}
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	none = in.ResourceID != "" && resource != in.ResourceID || in.EntityVersion+in.Source != "" ||
		in.Environment != "" && in.Environment != m.Tracing.Environment || in.ServiceName != "" && in.ServiceName != m.Tracing.ServiceName
	from, to := in.StartedAt.inclusive()
	q = mastra.TraceQuery{Types: mastra.BranchTypes, EntityType: in.EntityType, EntityID: in.EntityID, EntityName: in.EntityName, SpanType: in.SpanType, Name: in.Name, Status: in.Status,
		RunID: in.RunID, ThreadID: in.ThreadID, ResourceID: resource, From: from, To: to, Tags: in.Tags,
		OrderByEnd: in.Field == "endedAt", Ascending: in.Direction == "ASC", Paging: in.paging()}
	if in.EndedAt != (Range{}) {
		q.Match = func(s *mastra.Span) bool { return s.EndedAt != 0 && in.EndedAt.has(s.EndedAt) }
	}
	return q, none, nil
}
