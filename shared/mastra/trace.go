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
	SpanVectorOperation = "rag_vector_operation"
	SpanScorerRun       = "scorer_run"
	SpanScorerStep      = "scorer_step"
	SpanProcessorRun    = "processor_run"
	SpanClientTool      = "client_tool_call" // a call that the caller carries out
)

// BranchTypes are those of the spans that a list of branches shows, wherever they stand: a storage may count them as they are written.
var BranchTypes = []string{SpanAgentRun, SpanWorkflowRun, SpanProcessorRun, SpanScorerRun, "rag_ingestion", SpanToolCall, "mcp_tool_call", "mcp_server_request", "provider_tool_call"}

// Span is one timed piece of a run. IDs are hexadecimal as in W3C trace context: 16 bytes for traces, 8 for spans.
type Span struct {
	TraceID    string    `json:"traceId"`
	SpanID     string    `json:"spanId"`
	ParentID   string    `json:"parentSpanId,omitempty"`
	Remote     bool      `json:"remoteParent,omitzero"` // its parent is a caller, outside of this program
	Name       string    `json:"name"`
	Type       string    `json:"spanType"`
	IsEvent    bool      `json:"isEvent,omitzero"`
	StartedAt  Time      `json:"startedAt"`
	EndedAt    Time      `json:"endedAt"` // 0: it has not ended
	EntityType string    `json:"entityType,omitempty"`
	EntityID   string    `json:"entityId,omitempty"`
	EntityName string    `json:"entityName,omitempty"`
	RunID      string    `json:"runId,omitempty"`
	ThreadID   string    `json:"threadId,omitempty"`
	ResourceID string    `json:"resourceId,omitempty"`
	Attributes JSON      `json:"attributes,omitzero"`
	Metadata   JSON      `json:"metadata,omitzero"`
	Tags       []string  `json:"tags,omitempty"`
	Input      JSON      `json:"input,omitzero"`
	Output     JSON      `json:"output,omitzero"`
	Error      JSON      `json:"error,omitzero"`          // {message, name}
	Context    JSON      `json:"requestContext,omitzero"` // of a root: what its caller handed to its tools and steps
	Model      *ModelUse `json:"-"`                       // of a model_generation; the attributes say the same

	Correlation *Correlation `json:"-"` // of an outline; the metadata says the same
}

// ModelUse is what a generation took of which model.
type ModelUse struct {
	Provider, Model string
	Usage           Usage
	Cost            *Cost // nil where no price is known
}

// Cost is an estimate, in units of a currency such as "USD".
type Cost struct {
	Amount float64
	Unit   string
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
		return cmp.Or(cmp.Compare(a.StartedAt, b.StartedAt), cmp.Compare(below(&a), below(&b)))
	})
	return kept
}

func below(s *Span) int {
	if s.Root() {
		return 0
	}
	return 1
}

// Root says whether a span is the root of its trace, as far as this program has a part in it.
func (s *Span) Root() bool { return s.ParentID == "" || s.Remote }

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
	// RequestContextKeys name entries of the request context that become metadata of the spans, "user.id" one within an entry.
	RequestContextKeys []string `json:"requestContextKeys,omitempty" maxItems:"64"`

	HideInput    bool `json:"hideInput,omitzero"`
	HideOutput   bool `json:"hideOutput,omitzero"`
	RemoteParent bool `json:"remoteParent,omitzero"` // the parent is a caller, outside of this program
}

// Place says where in a trace a run that ctx calls stands: within what calls it, below the caller's own span, or in a trace
// of its own, whose id is that of the run (TraceOfRun) where own says that nobody has chosen it. What the options say wins over
// what came with the request.
func (t *TracingOptions) Place(ctx context.Context, runID string, own bool) (traceID, parent string, remote bool) {
	above := SpanOf(ctx)
	switch {
	case above.TraceID != "" && !above.Remote:
		return above.TraceID, above.SpanID, false
	case t.TraceID != "":
		return t.TraceID, t.ParentSpanID, t.ParentSpanID != ""
	case above.TraceID != "":
		return above.TraceID, above.SpanID, true
	}
	if id := TraceOfRun(runID); own && id != "" {
		return id, "", false
	}
	return NewTraceID(), "", false
}

// Within takes over what was wished of the run that ctx stands in: what it hides and says of itself holds for all that it calls.
func (t *TracingOptions) Within(ctx context.Context) {
	above := SpanOf(ctx)
	if !above.Inside() || above.Options == nil {
		return
	}
	o := above.Options
	t.HideInput, t.HideOutput = t.HideInput || o.HideInput, t.HideOutput || o.HideOutput
	if len(t.Metadata) == 0 {
		t.Metadata = o.Metadata
	}
	if len(t.RequestContextKeys) == 0 {
		t.RequestContextKeys = o.RequestContextKeys
	}
}

// Anew is what is wished of a run that goes on: what its caller says now, but what was hidden stays hidden.
func (t TracingOptions) Anew(now TracingOptions) TracingOptions {
	t.HideInput, t.HideOutput = t.HideInput || now.HideInput, t.HideOutput || now.HideOutput
	if len(now.Metadata) > 0 {
		t.Metadata = now.Metadata
	}
	if now.Tags != nil {
		t.Tags = now.Tags
	}
	if now.RequestContextKeys != nil {
		t.RequestContextKeys = now.RequestContextKeys
	}
	return t
}

// At is the place of a span of the same run.
func (r SpanRef) At(spanID string) SpanRef { r.SpanID = spanID; return r }

// SpanRef is the place in a trace that ctx stands at.
type SpanRef struct {
	TraceID, SpanID string
	RunID           string          // "" where none is known
	Remote          bool            // it is a caller's, from outside of this program
	Options         *TracingOptions // of the run; nil: none
}

// Inside says that it is within a run of this program.
func (r SpanRef) Inside() bool { return r.TraceID != "" && !r.Remote }

// WithSpan and SpanOf carry it from a run to what the run calls.
func WithSpan(ctx context.Context, s SpanRef) context.Context {
	return context.WithValue(ctx, spanKey, s)
}

// SpanOf is the place in a trace that ctx stands at, zero outside of one.
func SpanOf(ctx context.Context) SpanRef { s, _ := ctx.Value(spanKey).(SpanRef); return s }
