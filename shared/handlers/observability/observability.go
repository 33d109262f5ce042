// Package observability is the observability group: traces, what was said of them (scores and feedback), metrics and logs,
// and the scorers.
package observability

import (
	"context"
	"errors"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	read, write, remove := server.Permission("observability:read"), server.Permission("observability:write"), server.Permission("observability:delete")
	small := server.BodyLimit(256 << 10)
	return slices.Concat([]server.Route{
		server.JSON("GET /observability/traces", Traces, read, server.Summary("List traces")),
		server.JSON("GET /observability/traces/light", TracesLight, read, server.Summary("List traces without their contents")),
		server.JSON("POST /observability/traces/query", QueryTraces, read, small, server.Summary("Find traces by a predicate over them, their spans, scores and feedback")),
		server.JSON("POST /observability/traces/query/fields", QueryFields, read, small, server.Summary("Fields that a trace query may name")),
		server.JSON("POST /observability/traces/query/values", QueryValues, read, small, server.Summary("Values of a field of a trace query")),
		server.JSON("POST /observability/traces/delete", DeleteTraces, remove, small, server.Summary("Delete traces with what was said of them")),
		server.JSON("POST /observability/traces/score", ScoreTraces, write, server.Summary("Score traces")),
		server.JSON("POST /observability/threads/query", QueryThreads, read, small, server.Summary("Find threads by a predicate over their traces")),
		server.JSON("GET /observability/traces/:traceId", Trace, read, server.Summary("Get trace details")),
		server.JSON("GET /observability/traces/:traceId/light", TraceLight, read, server.Summary("Get a trace without its contents")),
		server.JSON("GET /observability/traces/:traceId/trajectory", TraceTrajectory, read, server.Summary("What an agent or workflow did, step by step")),
		server.JSON("GET /observability/traces/:traceId/spans/:spanId", GetSpan, read, server.Summary("Get a span")),
		server.JSON("GET /observability/traces/:traceId/branches/:spanId", Branch, read, server.Summary("Get a span with all below it")),
		server.JSON("GET /observability/traces/:traceId/:spanId/scores", ScoresOfSpan, read, server.Summary("List the scores of a span")),
		server.JSON("GET /observability/branches", Branches, read, server.Summary("List runs of agents, workflows and tools in all traces")),

		server.JSON("POST /observability/scores", AddScore, write, server.Summary("Add score to trace")),
		server.JSON("GET /observability/scores", Scores, read, server.Summary("List scores")),
		server.JSON("DELETE /observability/scores", DeleteScores, remove, server.Summary("Delete scores")),
		server.JSON("GET /observability/scores/:scoreId", Score, read, server.Summary("Get a score")),
		server.JSON("POST /observability/feedback", AddFeedback, write, server.Summary("Add feedback to trace")),
		server.JSON("GET /observability/feedback", FeedbackList, read, server.Summary("List feedback")),
		server.JSON("DELETE /observability/feedback", DeleteFeedback, remove, server.Summary("Delete feedback")),
		server.JSON("PATCH /observability/feedback/:feedbackId/review-status", ReviewFeedback, write, server.Summary("Say whether feedback was reviewed")),
		server.JSON("GET /observability/metrics", Metrics, read, server.Summary("List metrics")),

		server.JSON("GET /observability/discovery/metric-names", MetricNames, read, server.Summary("Names of metrics")),
		server.JSON("GET /observability/discovery/metric-label-keys", MetricLabelKeys, read, server.Summary("Labels of a metric")),
		server.JSON("GET /observability/discovery/metric-label-values", MetricLabelValues, read, server.Summary("Values of a metric's label")),
		server.JSON("GET /observability/discovery/entity-types", EntityTypes, read, server.Summary("Types of entities that have spans")),
		server.JSON("GET /observability/discovery/entity-names", EntityNames, read, server.Summary("Names of entities that have spans")),
		server.JSON("GET /observability/discovery/service-names", ServiceNames, read, server.Summary("Names of services")),
		server.JSON("GET /observability/discovery/environments", Environments, read, server.Summary("Environments")),
		server.JSON("GET /observability/discovery/tags", Tags, read, server.Summary("Tags of spans")),
	}, aggregateRoutes(read), scorerRoutes())
}

// Pagination says where a page stands.
type Pagination struct {
	Total   int  `json:"total"`
	Page    int  `json:"page"`
	PerPage int  `json:"perPage"`
	HasMore bool `json:"hasMore"`
}

func pageOf(page, perPage int) mastra.Paging {
	if perPage == 0 {
		perPage = 10
	}
	return mastra.Paging{Page: page, PerPage: perPage}
}

// visible is what the caller may see of a trace. One bound to a resource sees what stands below roots of its own: any caller may
// name the trace that its run is to stand in.
func visible(ctx context.Context, m *mastra.Mastra, traceID string) ([]mastra.Span, error) {
	spans, err := m.Storage.Trace(ctx, traceID)
	if err != nil {
		return nil, err
	}
	if own := mastra.Resource(ctx, ""); own != "" {
		if spans = of(own, spans); len(spans) == 0 {
			return nil, errNoTrace(traceID)
		}
	}
	return spans, nil
}

// of are the spans whose topmost one belongs to a resource.
func of(resource string, spans []mastra.Span) []mastra.Span {
	at := make(map[string]int, len(spans))
	for i := range spans {
		at[spans[i].SpanID] = i
	}
	return slices.Collect(func(yield func(mastra.Span) bool) {
		for _, s := range spans {
			top := &s
			for range spans { // no further than there are spans: a storage holds what it was given
				above, ok := at[top.ParentID]
				if top.Root() || !ok {
					break
				}
				top = &spans[above]
			}
			if top.ResourceID == resource && !yield(s) {
				return
			}
		}
	})
}

func errNoTrace(traceID string) error {
	return mastra.Errorf(mastra.CodeNotFound, "Trace with ID '%s' not found", traceID)
}

// tooMany says that a storage gave up looking through what there is.
func tooMany(err error) bool {
	var e *mastra.Error
	return errors.As(err, &e) && e.Code == mastra.CodeInvalid && len(e.Issues) == 0
}
