package mastra_test

import (
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// Whoever filters metrics by a tag, or by whom the caller said that a run was for, finds those of all its spans: the root says it.
func TestMetricsAreOfWhomTheRunWasFor(t *testing.T) {
	root := mastra.Span{SpanID: "root", Type: mastra.SpanAgentRun, StartedAt: 1, EndedAt: 2, EntityID: "a", Tags: []string{"beta"}, Metadata: mastra.JSON(`{"userId":"ann","sessionId":"s","experimentId":null}`)}
	call := mastra.Span{SpanID: "call", ParentID: "root", Type: mastra.SpanModelGeneration, StartedAt: 1, EndedAt: 2, Model: &mastra.ModelUse{Usage: mastra.Usage{InputTokens: 7}}}
	for _, m := range mastra.MetricsOf([]mastra.Span{root, call}, nil, "", "") {
		if m.UserID != "ann" || m.SessionID != "s" || m.ExperimentID != "" || m.RootEntityID != "a" || len(m.Tags) != 1 || m.Tags[0] != "beta" {
			t.Errorf("%+v", m)
		}
	}
}

// What is committed behind its run says itself whose it is; a root cannot say that it is another's.
func TestMetricsOfWhatComesLater(t *testing.T) {
	for parent, want := range map[string]string{"run": "a", "": "observer"} {
		spans := []mastra.Span{{SpanID: "observe", ParentID: parent, Type: mastra.SpanMemory, EntityID: "observer", Metadata: mastra.JSON(`{"rootEntityType":"agent","rootEntityId":"a","rootEntityName":"A"}`)},
			{SpanID: "call", ParentID: "observe", Type: mastra.SpanModelGeneration, StartedAt: 1, EndedAt: 2}}
		for _, m := range mastra.MetricsOf(spans, nil, "", "") {
			if m.RootEntityID != want {
				t.Errorf("%+v", m)
			}
		}
	}
}

// The metrics of a call are those of the real server: totals always, parts where there are any; what they are parts of adds up.
func TestMetricsOfACall(t *testing.T) {
	for usage, want := range map[mastra.Usage]string{
		{}: "model_duration_ms 9, model_total_input_tokens 0, model_total_output_tokens 0",
		{InputTokens: 100, OutputTokens: 20, CachedInputTokens: 60, CacheCreationInputTokens: 30, ReasoningTokens: 5}: "model_duration_ms 9, model_total_input_tokens 100, model_total_output_tokens 20, " +
			"model_input_text_tokens 10, model_output_text_tokens 15, model_input_cache_read_tokens 60, model_input_cache_write_tokens 30, model_output_reasoning_tokens 5",
	} {
		var got []string
		for _, m := range mastra.MetricsOf([]mastra.Span{{SpanID: "s", Type: mastra.SpanModelGeneration, StartedAt: 1, EndedAt: 10, Model: &mastra.ModelUse{Usage: usage}}}, nil, "", "") {
			got = append(got, fmt.Sprint(strings.TrimPrefix(m.Name, "mastra_"), " ", m.Value))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%v, not %s", got, want)
		}
	}
}
