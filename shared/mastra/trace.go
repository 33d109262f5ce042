package mastra

import (
	"cmp"
	"context"
	"slices"
)

// Span types.
const (
	SpanAgentRun        = "agent_run"
	SpanModelGeneration = "model_generation"
	SpanModelStep       = "model_step"
	SpanModelInference  = "model_inference" // the model alone, without the tools of its step
	SpanToolCall        = "tool_call"
	SpanMemory          = "memory_operation"
	SpanWorkflowRun     = "workflow_run"
	SpanWorkflowStep    = "workflow_step"
)

// Span is one timed piece of a run. IDs are hexadecimal as in W3C trace context: 16 bytes for traces, 8 for spans.
type Span struct {
	TraceID    string   `json:"traceId"`
	SpanID     string   `json:"spanId"`
	ParentID   string   `json:"parentSpanId,omitempty"` // "": the root of its trace
	Name       string   `json:"name"`
	Type       string   `json:"spanType"`
	IsEvent    bool     `json:"isEvent,omitzero"`
	StartedAt  Time     `json:"startedAt"`
	EndedAt    Time     `json:"endedAt"` // 0: it has not ended
	EntityType string   `json:"entityType,omitempty"`
	EntityID   string   `json:"entityId,omitempty"`
	EntityName string   `json:"entityName,omitempty"`
	RunID      string   `json:"runId,omitempty"`
	ThreadID   string   `json:"threadId,omitempty"`
	ResourceID string   `json:"resourceId,omitempty"`
	Attributes JSON     `json:"attributes,omitzero"`
	Metadata   JSON     `json:"metadata,omitzero"`
	Tags       []string `json:"tags,omitempty"`
	Input      JSON     `json:"input,omitzero"`
	Output     JSON     `json:"output,omitzero"`
	Error      JSON     `json:"error,omitzero"` // {message, name}
}

// OrderSpans is how a storage answers a trace: of the spans of one id the last one stays, in place of the first; in order of
// StartedAt, a root first among equals. It works in place.
func OrderSpans(spans []Span) []Span {
	at := make(map[string]int, len(spans))
	kept := spans[:0]
	for _, s := range spans {
		if i, ok := at[s.SpanID]; ok {
			kept[i] = s
			continue
		}
		at[s.SpanID] = len(kept)
		kept = append(kept, s)
	}
	slices.SortStableFunc(kept, func(a, b Span) int {
		return cmp.Or(cmp.Compare(a.StartedAt, b.StartedAt), cmp.Compare(min(1, len(a.ParentID)), min(1, len(b.ParentID))))
	})
	return kept
}

// Status is "error", "success" or "running".
func (s *Span) Status() string {
	switch {
	case len(s.Error) > 0:
		return "error"
	case s.EndedAt == 0:
		return "running"
	}
	return "success"
}

// TracingOptions are a caller's wishes about the trace of a run.
type TracingOptions struct {
	TraceID      string   `json:"traceId,omitempty" pattern:"^[0-9a-f]{32}$"`
	ParentSpanID string   `json:"parentSpanId,omitempty" pattern:"^[0-9a-f]{16}$"`
	RootSpanName string   `json:"rootSpanName,omitempty" maxLength:"256"`
	Tags         []string `json:"tags,omitempty" maxItems:"64"`
	Metadata     JSON     `json:"metadata,omitzero"`
	HideInput    bool     `json:"hideInput,omitzero"`
	HideOutput   bool     `json:"hideOutput,omitzero"`
}

// SpanRef is the place in a trace that ctx stands at.
type SpanRef struct{ TraceID, SpanID string }

// WithSpan and SpanOf carry it from a run to what the run calls.
func WithSpan(ctx context.Context, s SpanRef) context.Context {
	return context.WithValue(ctx, spanKey, s)
}

// SpanOf is the place in a trace that ctx stands at, zero outside of one.
func SpanOf(ctx context.Context) SpanRef { s, _ := ctx.Value(spanKey).(SpanRef); return s }

// Score is a judgement of a run or span by a scorer.
type Score struct {
	ID         string  `json:"scoreId"`
	ScorerID   string  `json:"scorerId"`
	ScorerName string  `json:"scorerName,omitempty"`
	TraceID    string  `json:"traceId,omitempty"`
	SpanID     string  `json:"spanId,omitempty"`
	RunID      string  `json:"runId,omitempty"`
	Score      float64 `json:"score"`
	Reason     string  `json:"reason,omitempty"`
	Source     string  `json:"scoreSource,omitempty"`
	Metadata   JSON    `json:"metadata,omitzero"`
	CreatedAt  Time    `json:"timestamp"`
}

// Feedback is what a person says of a run or span. Value is a number or a text.
type Feedback struct {
	ID        string `json:"feedbackId"`
	Type      string `json:"feedbackType"`
	Source    string `json:"feedbackSource,omitempty"`
	TraceID   string `json:"traceId,omitempty"`
	SpanID    string `json:"spanId,omitempty"`
	UserID    string `json:"userId,omitempty"`
	Value     JSON   `json:"value,omitzero"`
	Comment   string `json:"comment,omitempty"`
	Metadata  JSON   `json:"metadata,omitzero"`
	CreatedAt Time   `json:"timestamp"`
}
