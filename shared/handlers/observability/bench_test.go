package observability_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/sqlite"
)

// stored makes traces of seven spans over one day, as a generate with memory and a tool makes them.
func stored(b *testing.B, traces int) *mastra.Mastra {
	b.Helper()
	s, err := sqlite.Open(filepath.Join(b.TempDir(), "db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: s}})
	if err != nil {
		b.Fatal(err)
	}
	start := mastra.TimeOf(time.Now().Add(-24 * time.Hour))
	usage := mastra.JSON(`{"model":"m","provider":"p","usage":{"inputTokens":700,"outputTokens":50}}`)
	var batch mastra.Batch
	for i := range traces {
		at := start + mastra.Time(i)*86_400_000/mastra.Time(traces)
		agent := fmt.Sprint("agent", i%5)
		span := func(id, parent, kind string, took mastra.Time) mastra.Span {
			return mastra.Span{TraceID: fmt.Sprintf("%032x", i+1), SpanID: fmt.Sprintf("%08x%s", i+1, id), ParentID: parent, Name: kind, Type: kind, StartedAt: at, EndedAt: at + took,
				EntityType: "agent", EntityID: agent, EntityName: agent, RunID: fmt.Sprint("run", i), ThreadID: fmt.Sprint("thread", i%100), ResourceID: fmt.Sprint("user", i%1000),
				Metadata: mastra.JSON(`{"runId":"r"}`), Input: mastra.JSON(`{"text":"What is the weather like in Paris, and should I take an umbrella?"}`)}
		}
		root := span("00000000", "", mastra.SpanAgentRun, 500)
		if i%100 == 0 {
			root.Error = mastra.JSON(`{"message":"no"}`)
		}
		generation := span("00000001", root.SpanID, mastra.SpanModelGeneration, 400)
		generation.Attributes = usage
		batch.Spans = append(batch.Spans, root, generation, span("00000002", generation.SpanID, mastra.SpanModelStep, 200), span("00000003", generation.SpanID, mastra.SpanModelStep, 200),
			span("00000004", generation.SpanID, mastra.SpanToolCall, 9), span("00000005", root.SpanID, mastra.SpanMemory, 3), span("00000006", root.SpanID, mastra.SpanMemory, 4))
		if len(batch.Spans) >= 700 || i+1 == traces {
			if err := s.Commit(b.Context(), &batch); err != nil {
				b.Fatal(err)
			}
			batch = mastra.Batch{}
		}
	}
	return m
}

// Lists, filters and aggregates over 100 000 stored spans.
func BenchmarkStored(b *testing.B) {
	m := stored(b, 100_000/7)
	ctx := context.Background()
	day := fmt.Sprintf(`"timeRange":{"from":%q,"to":%q}`, time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	list := func(in observability.TracesInput) func() error {
		return func() error { _, err := observability.TracesLight(ctx, m, in); return err }
	}
	branches := func(in observability.TracesInput) func() error {
		return func() error { _, err := observability.Branches(ctx, m, in); return err }
	}
	query := func(where string) func() error {
		return func() error {
			_, err := observability.QueryTraces(ctx, m, observability.QueryBody{Body: mastra.JSON(`{` + day + `,"page":{"limit":25}` + where + `}`)})
			return err
		}
	}
	var agg observability.AggregateMetricsInput
	agg.Name, agg.Aggregation = observability.Texts{"mastra_model_total_input_tokens"}, "sum"
	var broken observability.BreakDownMetricsInput
	broken.Name, broken.Aggregation, broken.GroupBy = observability.Texts{"mastra_agent_duration_ms"}, "avg", []string{"entityName"}
	var line observability.MetricSeriesInput
	line.Name, line.Aggregation, line.Interval = observability.Texts{"mastra_agent_duration_ms"}, "count", "1h"
	var ranks observability.MetricPercentilesInput
	if err := schema.Unmarshal([]byte(`{"name":"mastra_agent_duration_ms","percentiles":[0.5,0.95],"interval":"1h"}`), &ranks); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    func() error
	}{
		{"list", list(observability.TracesInput{})},
		{"list/entity", list(observability.TracesInput{EntityType: "agent", EntityID: "agent3"})},
		{"list/error", list(observability.TracesInput{Status: "error"})},
		{"list/thread", list(observability.TracesInput{ThreadID: "thread7"})},
		{"list/name", list(observability.TracesInput{EntityName: "agent3"})},
		{"list/range", list(observability.TracesInput{StartedAt: observability.Range{Start: mastra.TimeOf(time.Now().Add(-6 * time.Hour))}})},
		{"query", query("")},
		{"query/status", query(`,"where":{"op":"eq","left":{"path":"status"},"right":{"literal":"error"}}`)},
		{"query/spans", query(`,"where":{"spans":{"some":{"op":"gt","left":{"path":"durationMs"},"right":{"literal":450}}}}`)},
		{"aggregate", func() error { _, err := observability.AggregateMetrics(ctx, m, agg); return err }},
		{"breakdown", func() error { _, err := observability.BreakDownMetrics(ctx, m, broken); return err }},
		{"timeseries", func() error { _, err := observability.MetricSeries(ctx, m, line); return err }},
		{"percentiles", func() error { _, err := observability.MetricPercentiles(ctx, m, ranks); return err }},
		{"branches", branches(observability.TracesInput{})},
		{"branches/entity", branches(observability.TracesInput{EntityID: "agent3"})},
		{"branches/error", branches(observability.TracesInput{Status: "error"})},
		{"branches/tool calls", branches(observability.TracesInput{SpanType: mastra.SpanToolCall})},
		{"list/resource", list(observability.TracesInput{ResourceID: "user77"})},
		{"list/run", list(observability.TracesInput{RunID: "run777"})},
		{"list/tag", list(observability.TracesInput{Tags: observability.Texts{"none"}})},
		{"list/by end", list(observability.TracesInput{Listing: observability.Listing{Field: "endedAt"}})},
		{"list/failed child", list(observability.TracesInput{HasChildError: new(true)})},
		{"query/most spans", query(`,"where":{"spans":{"some":{"op":"eq","left":{"path":"spanType"},"right":{"literal":"tool_call"}}}}`)},
		{"query/no span", query(`,"where":{"spans":{"some":{"op":"eq","left":{"path":"name"},"right":{"literal":"none"}}}}`)},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
