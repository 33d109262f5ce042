package observability

import (
	"cmp"
	"context"
	"slices"

	"mastralambda/shared/mastra"
)

// anchors are the types of spans that a list of branches shows.
var anchors = []string{mastra.SpanAgentRun, mastra.SpanWorkflowRun, "processor_run", mastra.SpanScorerRun, "rag_ingestion", mastra.SpanToolCall, "mcp_tool_call",
	"mcp_server_request", "provider_tool_call"}

// BranchPage is a page of branches.
type BranchPage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Branches    []Span      `json:"branches"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

// Branches lists the runs of agents, workflows and tools wherever they stand in their traces, last started first. Where
// there are too many to look through, and nothing narrows them down, the total counts those that were looked at.
func Branches(ctx context.Context, m *mastra.Mastra, in TracesInput) (BranchPage, error) {
	if err := in.check(); err != nil {
		return BranchPage{}, err
	}
	match, narrow, err := in.branchMatcher(ctx, m)
	if err != nil {
		return BranchPage{}, err
	}
	paging := in.paging()
	after, until, first, err := in.since(m)
	if err != nil {
		return BranchPage{}, err
	}
	from, to := in.StartedAt.inclusive()
	if from != 0 {
		from -= longest // a branch starts after its trace
	}
	delta := in.Mode == "delta"
	if delta {
		from = max(from, after-longest)
	}
	type place struct {
		mastra.SpanRef
		started, ended mastra.Time
	}
	var found []place
	seen := map[mastra.SpanRef]bool{}
	if !delta || !first {
		err = m.Storage.Outlines(ctx, mastra.SpanQuery{From: from, To: to}, func(spans []mastra.Span) bool {
			for i := range spans {
				s := &spans[i]
				ref := mastra.SpanRef{TraceID: s.TraceID, SpanID: s.SpanID}
				if !slices.Contains(anchors, s.Type) || !match(s) || delta && (s.EndedAt <= after || s.EndedAt > until) || seen[ref] {
					continue
				}
				seen[ref] = true
				found = append(found, place{ref, s.StartedAt, s.EndedAt})
			}
			return true
		})
	}
	partly := err != nil && tooMany(err) && !narrow && !delta
	if err != nil && !partly {
		return BranchPage{}, err
	}
	out := BranchPage{DeltaCursor: cursorAt(m)}
	if delta {
		found, out.Delta, out.DeltaCursor = step(&in.Listing, found, until, func(p *place) mastra.Time { return p.ended })
	} else {
		slices.SortStableFunc(found, func(a, b place) int {
			c := cmp.Compare(b.started, a.started)
			if in.Field == "endedAt" {
				c = cmp.Compare(b.ended, a.ended)
			}
			if in.Direction == "ASC" {
				c = -c
			}
			return c
		})
		offset := min(len(found), paging.Page*paging.PerPage)
		end := min(len(found), offset+paging.PerPage)
		out.Pagination = &Pagination{len(found), paging.Page, paging.PerPage, partly || end < len(found)}
		found = found[offset:end]
	}
	traces := map[string][]mastra.Span{}
	out.Branches = make([]Span, 0, len(found))
	for _, p := range found {
		if traces[p.TraceID] == nil {
			if traces[p.TraceID], err = m.Storage.Trace(ctx, p.TraceID); err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
				return BranchPage{}, err
			}
		}
		for i := range traces[p.TraceID] {
			if s := &traces[p.TraceID][i]; s.SpanID == p.SpanID {
				out.Branches = append(out.Branches, showTrace(m, s))
			}
		}
	}
	return out, nil
}

// branchMatcher is what is asked of one span without its contents.
func (in *TracesInput) branchMatcher(ctx context.Context, m *mastra.Mastra) (match func(*mastra.Span) bool, narrow bool, err error) {
	for name, asked := range map[string]bool{"userId": in.UserID != "", "organizationId": in.OrganizationID != "", "sessionId": in.SessionID != "", "requestId": in.RequestID != "",
		"experimentId": in.ExperimentID != "", "metadata": len(in.Metadata) > 0} {
		if asked {
			return nil, false, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{{Field: name, Message: "Branches cannot be found by what stands in their metadata: list traces by it"}}}
		}
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	asked := [...]string{in.TraceID, in.EntityType, in.EntityID, in.EntityName, in.SpanType, in.Name, in.Status, in.RunID, in.ThreadID, resource}
	none := in.ResourceID != "" && resource != in.ResourceID || in.EntityVersion+in.Source != "" ||
		in.Environment != "" && in.Environment != m.Tracing.Environment || in.ServiceName != "" && in.ServiceName != m.Tracing.ServiceName
	for _, a := range asked {
		narrow = narrow || a != ""
	}
	narrow = narrow || len(in.Tags) > 0 || in.EndedAt != (Range{})
	return func(s *mastra.Span) bool {
		if none || !in.StartedAt.has(s.StartedAt) || in.EndedAt != (Range{}) && (s.EndedAt == 0 || !in.EndedAt.has(s.EndedAt)) {
			return false
		}
		for i, have := range [...]string{s.TraceID, s.EntityType, s.EntityID, s.EntityName, s.Type, s.Name, s.Status(), s.RunID, s.ThreadID, s.ResourceID} {
			if asked[i] != "" && asked[i] != have {
				return false
			}
		}
		for _, t := range in.Tags {
			if !slices.Contains(s.Tags, t) {
				return false
			}
		}
		return true
	}, narrow || none, nil
}
