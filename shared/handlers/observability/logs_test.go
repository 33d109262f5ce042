package observability_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/logstore/local"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/sqlite"
)

// A line says of whom and of what it is: what the trace says that it was written in, of an open span the run; as little as there is where
// there is no trace. What the line says itself stands.
func TestWhatALineIsOf(t *testing.T) {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	store, err := local.Open(t.TempDir(), slog.LevelInfo, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: s, Logs: store, Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("e", 32)
	root := mastra.Span{TraceID: id, SpanID: "root", Type: mastra.SpanAgentRun, StartedAt: 1, EndedAt: 9, EntityType: "agent", EntityID: "a", EntityName: "A", RunID: "run", ThreadID: "t", ResourceID: "ann", Tags: []string{"beta"}}
	tool := root
	tool.SpanID, tool.ParentID, tool.Type, tool.EntityType, tool.EntityID, tool.EntityName = "tool", "root", mastra.SpanToolCall, "tool", "add", "add"
	if err := s.Commit(t.Context(), &mastra.Batch{Spans: []mastra.Span{root, tool}}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(mastra.Correlated(store))
	in := func(trace, span string) context.Context {
		return mastra.WithSpan(t.Context(), mastra.SpanRef{TraceID: trace, SpanID: span, RunID: "run"})
	}
	log.InfoContext(in(id, "tool"), "in the tool", "n", 1)
	log.InfoContext(in(id, "still open"), "in the run", "entityId", "mine")
	log.InfoContext(in(strings.Repeat("f", 32), "gone"), "of nothing that is kept")
	log.Info("outside")
	page, err := observability.Logs(t.Context(), m, observability.LogsInput{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"in the tool":             {"entityType": "tool", "entityId": "add", "parentEntityId": "a", "rootEntityName": "A", "threadId": "t", "resourceId": "ann", "runId": "run", "data": `{"n":1}`, "tags": `["beta"]`},
		"in the run":              {"entityType": "agent", "entityId": "mine", "rootEntityId": "a", "threadId": "t", "resourceId": "ann", "runId": "run"},
		"of nothing that is kept": {"runId": "run"}, "outside": {}}
	for _, line := range page.Logs {
		got := map[string]string{}
		for _, f := range line {
			var text string
			if schema.Unmarshal(f.Value, &text) != nil {
				text = string(f.Value)
			}
			got[f.Key] = text
		}
		for _, key := range []string{"entityType", "entityId", "parentEntityId", "rootEntityName", "rootEntityId", "threadId", "resourceId", "runId", "data", "tags"} {
			if w, ok := want[got["message"]][key]; ok && got[key] != w || len(want[got["message"]]) < 2 && key != "runId" && got[key] != "" {
				t.Errorf("%s: %s is %q, not %q", got["message"], key, got[key], w)
			}
		}
	}
	if len(page.Logs) != len(want) {
		t.Errorf("%d lines", len(page.Logs))
	}
	for want, in := range map[string]observability.LogsInput{
		"in the tool":             {Filters: observability.Filters{EntityType: "tool"}},
		"in the run, in the tool": {Filters: observability.Filters{ThreadID: "t", Tags: observability.Texts{"beta"}}},
		"":                        {Filters: observability.Filters{RootEntityName: "B"}},
		"in the run":              {Filters: observability.Filters{ResourceID: "ann"}, Listing: observability.Listing{PerPage: 1}},
		"in the tool, second":     {Filters: observability.Filters{ResourceID: "ann"}, Listing: observability.Listing{Page: 1, PerPage: 1}},
		"outside, of nothing that is kept, in the run, in the tool": {},
	} {
		page, err := observability.Logs(t.Context(), m, in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range page.Logs {
			message, _ := line.Get("message")
			got = append(got, strings.Trim(string(message), `"`))
		}
		if strings.Join(got, ", ") != strings.TrimSuffix(want, ", second") {
			t.Errorf("%q, not %q", got, want)
		}
		if p := page.Pagination; in.PerPage == 1 && (p.Total != 2 || p.HasMore != (in.Page == 0)) {
			t.Errorf("%+v", p)
		}
	}
}
