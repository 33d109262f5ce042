package mastra

import (
	"slices"

	"mastralambda/shared/schema"
)

// MetricPoint is one measured value of a span. Metrics are not stored: they are read out of the spans.
type MetricPoint struct {
	ID            string   `json:"metricId"`
	CreatedAt     Time     `json:"timestamp"`
	Name          string   `json:"name"`
	Value         float64  `json:"value"`
	TraceID       string   `json:"traceId"`
	SpanID        string   `json:"spanId"`
	Provider      string   `json:"provider,omitempty"`
	Model         string   `json:"model,omitempty"`
	EstimatedCost *float64 `json:"estimatedCost,omitempty"`
	CostUnit      string   `json:"costUnit,omitempty"`
	CostMetadata  JSON     `json:"costMetadata,omitzero"`
	Origin
	Tags     []string `json:"tags,omitempty"`
	Status   string   `json:"-"` // "ok" or "error" of durations: their one label
	Metadata JSON     `json:"metadata,omitzero"`
}

func (m *MetricPoint) Field(name string) (string, bool) {
	switch name {
	case "name":
		return m.Name, true
	case "traceId", "traceIds":
		return m.TraceID, true
	case "spanId":
		return m.SpanID, true
	case "provider":
		return m.Provider, true
	case "model":
		return m.Model, true
	case "costUnit":
		return m.CostUnit, true
	case "metricId":
		return m.ID, true
	case "source":
		return m.ExecutionSource, true
	case "status":
		return m.Status, true
	}
	return m.Origin.Field(name)
}

func (m *MetricPoint) Number() (float64, bool) { return m.Value, true }
func (m *MetricPoint) At() Time                { return m.CreatedAt }
func (m *MetricPoint) Labels() []string        { return m.Tags }
func (m *MetricPoint) About() JSON             { return m.Metadata }

// MetricNames are the metrics there are, sorted.
var MetricNames = []string{"mastra_agent_duration_ms", "mastra_model_duration_ms", "mastra_model_input_cache_read_tokens", "mastra_model_input_cache_write_tokens", "mastra_model_input_text_tokens",
	"mastra_model_output_reasoning_tokens", "mastra_model_output_text_tokens", "mastra_model_total_input_tokens", "mastra_model_total_output_tokens",
	"mastra_processor_duration_ms", "mastra_tool_duration_ms", "mastra_workflow_duration_ms"}

// durationOf names the metric of a span's duration, "" where it has none.
func durationOf(s *Span) string {
	switch s.EntityType {
	case "input_processor", "input_step_processor", "output_processor", "output_step_processor", "tool_result_processor":
		return "mastra_processor_duration_ms"
	}
	switch s.Type {
	case SpanAgentRun:
		return "mastra_agent_duration_ms"
	case SpanToolCall:
		return "mastra_tool_duration_ms"
	case SpanWorkflowRun:
		return "mastra_workflow_duration_ms"
	case SpanModelGeneration:
		return "mastra_model_duration_ms"
	}
	return ""
}

// MetricsOf reads the metrics out of spans that were committed together. name, where not "", keeps those of one name.
func MetricsOf(spans []Span, names []string, service, environment string) []MetricPoint {
	wanted := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	var out []MetricPoint
	for i := range spans {
		s := &spans[i]
		duration := durationOf(s)
		if s.EndedAt == 0 || duration == "" {
			continue
		}
		m := MetricPoint{CreatedAt: s.EndedAt, TraceID: s.TraceID, SpanID: s.SpanID}
		m.Origin, m.Tags = OriginOf(spans, s)
		m.ServiceName, m.Environment = service, environment
		if wanted(duration) {
			m.ID, m.Name, m.Value, m.Status = s.SpanID+"-"+duration, duration, float64(s.EndedAt-s.StartedAt), "ok"
			if len(s.Error) > 0 {
				m.Status = "error"
			}
			out = append(out, m)
		}
		use := s.Use()
		if s.Type != SpanModelGeneration || use == nil {
			continue
		}
		u := use.Usage
		m.Status, m.Provider, m.Model = "", use.Provider, use.Model
		for i, t := range [...]struct {
			name   string
			n      int
			always bool
		}{
			{"mastra_model_total_input_tokens", u.InputTokens, true},
			{"mastra_model_total_output_tokens", u.OutputTokens, true},
			{"mastra_model_input_text_tokens", u.InputTokens - u.CachedInputTokens - u.CacheCreationInputTokens, false},
			{"mastra_model_output_text_tokens", u.OutputTokens - u.ReasoningTokens, false},
			{"mastra_model_input_cache_read_tokens", u.CachedInputTokens, false},
			{"mastra_model_input_cache_write_tokens", u.CacheCreationInputTokens, false},
			{"mastra_model_output_reasoning_tokens", u.ReasoningTokens, false},
		} {
			if !wanted(t.name) || t.n == 0 && !t.always {
				continue
			}
			m.ID, m.Name, m.Value, m.EstimatedCost, m.CostUnit, m.CostMetadata = s.SpanID+"-"+t.name, t.name, float64(t.n), nil, "", nil
			switch {
			case use.Cost == nil:
				m.CostMetadata = JSON(`{"error":"no_matching_model"}`)
			case i == 0: // the whole cost stands with the input, so that a sum counts it once
				m.EstimatedCost, m.CostUnit, m.CostMetadata = &use.Cost.Amount, use.Cost.Unit, JSON(`{"allocation":"query_total"}`)
			}
			out = append(out, m)
		}
	}
	return out
}

// OriginOf says what a span is about, by its place among those it was committed with, and how its root is tagged.
func OriginOf(spans []Span, s *Span) (Origin, []string) {
	o := Origin{EntityType: s.EntityType, EntityID: s.EntityID, EntityName: s.EntityName, RunID: s.RunID, ThreadID: s.ThreadID, ResourceID: s.ResourceID}
	root := s
	for depth, parent := 0, s.ParentID; parent != "" && depth < 64; depth++ {
		i := slices.IndexFunc(spans, func(p Span) bool { return p.SpanID == parent && p.TraceID == s.TraceID })
		if i < 0 {
			break
		}
		if root = &spans[i]; depth == 0 {
			o.ParentEntityType, o.ParentEntityID, o.ParentEntityName = root.EntityType, root.EntityID, root.EntityName
		}
		parent = root.ParentID
	}
	o.RootEntityType, o.RootEntityID, o.RootEntityName = root.EntityType, root.EntityID, root.EntityName
	if c := root.Correlated(); c != nil {
		o.UserID, o.OrganizationID, o.SessionID, o.RequestID, o.ExperimentID = c.UserID, c.OrganizationID, c.SessionID, c.RequestID, c.ExperimentID
		if c.RootEntityID != "" && !root.Root() {
			o.RootEntityType, o.RootEntityID, o.RootEntityName = c.RootEntityType, c.RootEntityID, c.RootEntityName
		}
	}
	return o, root.Tags
}

// Use is what a generation took: what was set, or what its attributes say. nil of other spans.
func (s *Span) Use() *ModelUse {
	if s.Model != nil || s.Type != SpanModelGeneration || len(s.Attributes) == 0 {
		return s.Model
	}
	var a struct {
		Model         string `json:"model"`
		ResponseModel string `json:"responseModel"`
		Provider      string `json:"provider"`
		Usage         *struct {
			InputTokens  int `json:"inputTokens"`
			OutputTokens int `json:"outputTokens"`
			Input        struct {
				CacheRead  int `json:"cacheRead"`
				CacheWrite int `json:"cacheWrite"`
			} `json:"inputDetails"`
			Output struct {
				Reasoning int `json:"reasoning"`
			} `json:"outputDetails"`
		} `json:"usage"`
		Cost *struct {
			Amount float64 `json:"estimatedCost"`
			Unit   string  `json:"costUnit"`
		} `json:"costContext"`
	}
	if schema.Unmarshal(s.Attributes, &a) != nil || a.Usage == nil {
		return nil
	}
	use := &ModelUse{Provider: a.Provider, Model: a.ResponseModel}
	if use.Model == "" {
		use.Model = a.Model
	}
	use.Usage = Usage{InputTokens: a.Usage.InputTokens, OutputTokens: a.Usage.OutputTokens, TotalTokens: a.Usage.InputTokens + a.Usage.OutputTokens,
		CachedInputTokens: a.Usage.Input.CacheRead, CacheCreationInputTokens: a.Usage.Input.CacheWrite, ReasoningTokens: a.Usage.Output.Reasoning}
	if a.Cost != nil {
		use.Cost = &Cost{a.Cost.Amount, a.Cost.Unit}
	}
	return use
}
