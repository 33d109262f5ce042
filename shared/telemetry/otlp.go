package telemetry

import (
	"strconv"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// The shapes of OTLP/JSON (opentelemetry-proto, trace/v1): 64-bit numbers are texts, ids hexadecimal.

type attribute struct {
	Key   string `json:"key"`
	Value value  `json:"value"`
}

type value struct {
	String *string  `json:"stringValue,omitempty"`
	Int    *string  `json:"intValue,omitempty"`
	Double *float64 `json:"doubleValue,omitempty"`
	Bool   *bool    `json:"boolValue,omitempty"`
	Array  *array   `json:"arrayValue,omitempty"`
}

type array struct {
	Values []value `json:"values"`
}

func text(key, s string) attribute { return attribute{key, value{String: &s}} }

func number(key string, n int) attribute {
	s := strconv.Itoa(n)
	return attribute{key, value{Int: &s}}
}

func texts(key string, all []string) attribute {
	a := &array{Values: []value{}}
	for i := range all {
		a.Values = append(a.Values, value{String: &all[i]})
	}
	return attribute{key, value{Array: a}}
}

type request struct {
	ResourceSpans []resourceSpans `json:"resourceSpans"`
}

type resourceSpans struct {
	Resource   resource     `json:"resource"`
	ScopeSpans []scopeSpans `json:"scopeSpans"`
}

type resource struct {
	Attributes []attribute `json:"attributes"`
}

type scopeSpans struct {
	Scope scope  `json:"scope"`
	Spans []span `json:"spans"`
}

type scope struct {
	Name string `json:"name"`
}

type span struct {
	TraceID    string      `json:"traceId"`
	SpanID     string      `json:"spanId"`
	ParentID   string      `json:"parentSpanId,omitempty"`
	Name       string      `json:"name"`
	Kind       int         `json:"kind"`
	Start      string      `json:"startTimeUnixNano"`
	End        string      `json:"endTimeUnixNano"`
	Attributes []attribute `json:"attributes"`
	Status     *status     `json:"status,omitempty"`
}

type status struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code"`
}

// Kinds of spans, and the status of one that failed.
const (
	internal = 1
	client   = 3
	failed   = 2
)

func (e *Exporter) encode(spans []mastra.Span) request {
	out := make([]span, len(spans))
	for i := range spans {
		out[i] = convert(&spans[i])
	}
	return request{[]resourceSpans{{resource{e.resource}, []scopeSpans{{scope{"mastralambda"}, out}}}}}
}

func nanos(t mastra.Time) string { return strconv.FormatInt(int64(t), 10) + "000000" }

// convert names things as OpenTelemetry's conventions for generative AI do; what they have no name for is under "mastra.".
func convert(s *mastra.Span) span {
	out := span{TraceID: s.TraceID, SpanID: s.SpanID, ParentID: s.ParentID, Name: s.Name, Kind: internal, Start: nanos(s.StartedAt), End: nanos(max(s.EndedAt, s.StartedAt))}
	add := func(a attribute) { out.Attributes = append(out.Attributes, a) }
	given := func(key, v string) {
		if v != "" {
			add(text(key, v))
		}
	}
	add(text("mastra.span.type", s.Type))
	given("mastra.run.id", s.RunID)
	given("mastra.resource.id", s.ResourceID)
	given("gen_ai.conversation.id", s.ThreadID)
	var a struct {
		Model      string   `json:"model"`
		Provider   string   `json:"provider"`
		Response   string   `json:"responseModel"`
		ResponseID string   `json:"responseId"`
		Finish     string   `json:"finishReason"`
		CallID     string   `json:"toolCallId"`
		About      string   `json:"toolDescription"`
		Store      string   `json:"store"`
		Index      string   `json:"indexName"`
		Operation  string   `json:"operation"`
		First      string   `json:"completionStartTime"`
		Tools      []string `json:"availableTools"`
		Usage      *struct {
			Input  int `json:"inputTokens"`
			Output int `json:"outputTokens"`
		} `json:"usage"`
		Cost *struct {
			Amount float64 `json:"estimatedCost"`
			Unit   string  `json:"costUnit"`
		} `json:"costContext"`
	}
	if len(s.Attributes) > 0 {
		_ = schema.Unmarshal(s.Attributes, &a) // what fits is shown
	}
	content := func(input, output string) {
		if len(s.Input) > 0 {
			add(text(input, string(s.Input)))
		}
		if len(s.Output) > 0 {
			add(text(output, string(s.Output)))
		}
	}
	switch s.Type {
	case mastra.SpanAgentRun:
		out.Name = "invoke_agent " + s.EntityName
		add(text("gen_ai.operation.name", "invoke_agent"))
		given("gen_ai.agent.id", s.EntityID)
		given("gen_ai.agent.name", s.EntityName)
		content("gen_ai.input.messages", "gen_ai.output.messages")
	case mastra.SpanModelInference, mastra.SpanModelGeneration:
		if s.Type == mastra.SpanModelInference { // one call of the model
			out.Name, out.Kind = "chat "+a.Model, client
			add(text("gen_ai.operation.name", "chat"))
		}
		given("gen_ai.provider.name", a.Provider)
		given("gen_ai.request.model", a.Model)
		given("gen_ai.response.model", a.Response)
		given("gen_ai.response.id", a.ResponseID)
		if a.Finish != "" {
			add(texts("gen_ai.response.finish_reasons", []string{a.Finish}))
		}
		if a.Usage != nil {
			add(number("gen_ai.usage.input_tokens", a.Usage.Input))
			add(number("gen_ai.usage.output_tokens", a.Usage.Output))
		}
		if t, err := mastra.ParseTime(a.First); err == nil && t >= s.StartedAt {
			seconds := float64(t-s.StartedAt) / 1000
			add(attribute{"gen_ai.server.time_to_first_token", value{Double: &seconds}})
		}
		if a.Cost != nil {
			add(attribute{"mastra.cost", value{Double: &a.Cost.Amount}})
			given("mastra.cost.unit", a.Cost.Unit)
		}
		content("gen_ai.input.messages", "gen_ai.output.messages")
	case mastra.SpanToolCall:
		out.Name = "execute_tool " + s.EntityID
		add(text("gen_ai.operation.name", "execute_tool"))
		given("gen_ai.tool.name", s.EntityID)
		given("gen_ai.tool.call.id", a.CallID)
		given("gen_ai.tool.description", a.About)
		add(text("gen_ai.tool.type", "function"))
		content("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")
	case mastra.SpanVectorOperation:
		out.Kind = client
		given("db.system.name", a.Store)
		given("db.collection.name", a.Index)
		given("db.operation.name", a.Operation)
		content("mastra.input", "mastra.output")
	default:
		given("mastra.entity.type", s.EntityType)
		given("mastra.entity.id", s.EntityID)
		content("mastra.input", "mastra.output")
	}
	if len(s.Tags) > 0 {
		add(texts("mastra.tags", s.Tags))
	}
	if len(s.Error) > 0 {
		var e struct {
			Message string `json:"message"`
			Name    string `json:"name"`
		}
		_ = schema.Unmarshal(s.Error, &e)
		out.Status = &status{e.Message, failed}
		given("error.type", e.Name)
	}
	return out
}
