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
	asked := map[string]mastra.JSON{} // what the model was given in a step, by the step's span
	for i := range spans {
		if spans[i].Type == mastra.SpanModelStep {
			asked[spans[i].SpanID] = spans[i].Input
		}
	}
	out := make([]span, len(spans))
	for i := range spans {
		s := &spans[i]
		if s.Type == mastra.SpanModelInference && s.Input == nil && asked[s.ParentID] != nil {
			told := *s
			told.Input, s = asked[s.ParentID], &told
		}
		out[i] = convert(s)
	}
	return request{[]resourceSpans{{resource{e.resource}, []scopeSpans{{scope{"mastralambda"}, out}}}}}
}

func nanos(t mastra.Time) string { return strconv.FormatInt(int64(t), 10) + "000000" }

// told is what of a span's attributes has a name in the conventions.
type told struct {
	Model        string `json:"model"`
	Provider     string `json:"provider"`
	Response     string `json:"responseModel"`
	Finish       string `json:"finishReason"`
	Format       string `json:"responseFormat"`
	CallID       string `json:"toolCallId"`
	About        string `json:"toolDescription"`
	Store        string `json:"store"`
	Index        string `json:"indexName"`
	Operation    string `json:"operation"`
	First        string `json:"completionStartTime"`
	Instructions string `json:"instructions"`
	Usage        struct {
		Input  *int `json:"inputTokens"`
		Output *int `json:"outputTokens"`
		In     struct {
			Read  int `json:"cacheRead"`
			Write int `json:"cacheWrite"`
		} `json:"inputDetails"`
		Out struct {
			Reasoning int `json:"reasoning"`
		} `json:"outputDetails"`
	} `json:"usage"`
	Parameters struct {
		MaxTokens   *int     `json:"maxOutputTokens"`
		Temperature *float64 `json:"temperature"`
		TopP        *float64 `json:"topP"`
		TopK        *float64 `json:"topK"`
		Presence    *float64 `json:"presencePenalty"`
		Frequency   *float64 `json:"frequencyPenalty"`
		Seed        *int     `json:"seed"`
		Stop        []string `json:"stopSequences"`
	} `json:"parameters"`
	Cost *struct {
		Amount float64 `json:"estimatedCost"`
		Unit   string  `json:"costUnit"`
	} `json:"costContext"`
}

// attributes are those of a span.
type attributes []attribute

func (a *attributes) text(key, v string) {
	if v != "" {
		*a = append(*a, text(key, v))
	}
}

func (a *attributes) number(key string, n *int) {
	if n != nil {
		*a = append(*a, number(key, *n))
	}
}

func (a *attributes) double(key string, v *float64) {
	if v != nil {
		*a = append(*a, attribute{key, value{Double: v}})
	}
}

func (a *attributes) counted(key string, n int) {
	if n > 0 {
		*a = append(*a, number(key, n))
	}
}

func (a *attributes) messages(key string, all []chatMessage) {
	if one, ok := content(key, all); ok {
		*a = append(*a, one)
	}
}

func (a *attributes) contents(input, output string, s *mastra.Span) {
	a.text(input, string(s.Input))
	a.text(output, string(s.Output))
}

// convert names things as OpenTelemetry's conventions for generative AI do; what they have no name for is under "mastra.".
func convert(s *mastra.Span) span {
	out := span{TraceID: s.TraceID, SpanID: s.SpanID, ParentID: s.ParentID, Name: s.Name, Kind: internal, Start: nanos(s.StartedAt), End: nanos(max(s.EndedAt, s.StartedAt))}
	var all attributes
	all.text("mastra.span.type", s.Type)
	all.text("mastra.run.id", s.RunID)
	all.text("mastra.resource.id", s.ResourceID)
	all.text("gen_ai.conversation.id", s.ThreadID)
	var a told
	if len(s.Attributes) > 0 {
		_ = schema.Unmarshal(s.Attributes, &a) // what fits is shown
	}
	switch s.Type {
	case mastra.SpanAgentRun:
		out.Name = "invoke_agent " + s.EntityName
		all.text("gen_ai.operation.name", "invoke_agent")
		all.text("gen_ai.agent.id", s.EntityID)
		all.text("gen_ai.agent.name", s.EntityName)
		if a.Instructions != "" {
			if one, ok := content("gen_ai.system_instructions", []chatPart{said(a.Instructions)}); ok {
				all = append(all, one)
			}
		}
		all.messages("gen_ai.input.messages", given(s.Input))
		all.messages("gen_ai.output.messages", answered(s.Output, "stop"))
	case mastra.SpanModelInference: // one call of the model: it alone has tokens and cost, so that sums are right
		out.Name, out.Kind = "chat "+a.Model, client
		all.text("gen_ai.operation.name", "chat")
		all.text("gen_ai.provider.name", providerName(a.Provider))
		all.text("gen_ai.request.model", a.Model)
		all.request(&a)
		all.text("gen_ai.response.model", a.Response)
		finish := finishReason(a.Finish)
		if finish != "" {
			all = append(all, texts("gen_ai.response.finish_reasons", []string{finish}))
		}
		all.number("gen_ai.usage.input_tokens", a.Usage.Input)
		all.number("gen_ai.usage.output_tokens", a.Usage.Output)
		all.counted("gen_ai.usage.cache_read.input_tokens", a.Usage.In.Read)
		all.counted("gen_ai.usage.cache_creation.input_tokens", a.Usage.In.Write)
		all.counted("gen_ai.usage.reasoning.output_tokens", a.Usage.Out.Reasoning)
		if t, err := mastra.ParseTime(a.First); err == nil && t >= s.StartedAt {
			seconds := float64(t-s.StartedAt) / 1000
			all.double("gen_ai.response.time_to_first_chunk", &seconds)
		}
		if a.Cost != nil {
			all.double("mastra.cost", &a.Cost.Amount)
			all.text("mastra.cost.unit", a.Cost.Unit)
		}
		all.messages("gen_ai.input.messages", given(s.Input))
		all.messages("gen_ai.output.messages", answered(s.Output, finish))
	case mastra.SpanToolCall, mastra.SpanClientTool:
		out.Name = "execute_tool " + s.EntityID
		all.text("gen_ai.operation.name", "execute_tool")
		all.text("gen_ai.tool.name", s.EntityID)
		all.text("gen_ai.tool.call.id", a.CallID)
		all.text("gen_ai.tool.description", a.About)
		all.text("gen_ai.tool.type", "function")
		all.contents("gen_ai.tool.call.arguments", "gen_ai.tool.call.result", s)
	case mastra.SpanWorkflowRun:
		out.Name = "invoke_workflow " + s.EntityID
		all.text("gen_ai.operation.name", "invoke_workflow")
		all.text("gen_ai.workflow.name", s.EntityID)
		all.contents("mastra.input", "mastra.output", s)
	case mastra.SpanVectorOperation:
		out.Kind = client
		all.text("db.system.name", a.Store)
		all.text("db.collection.name", a.Index)
		all.text("db.operation.name", a.Operation)
		all.contents("mastra.input", "mastra.output", s)
	default:
		all.text("mastra.entity.type", s.EntityType)
		all.text("mastra.entity.id", s.EntityID)
		all.contents("mastra.input", "mastra.output", s)
	}
	if len(s.Tags) > 0 {
		all = append(all, texts("mastra.tags", s.Tags))
	}
	if len(s.Error) > 0 {
		var e struct {
			Message string `json:"message"`
			Name    string `json:"name"`
		}
		_ = schema.Unmarshal(s.Error, &e)
		out.Status = &status{e.Message, failed}
		all.text("error.type", e.Name)
	}
	out.Attributes = all
	return out
}

// request appends what the model was asked with.
func (a *attributes) request(t *told) {
	yes := true
	*a = append(*a, attribute{"gen_ai.request.stream", value{Bool: &yes}})
	p := &t.Parameters
	a.number("gen_ai.request.max_tokens", p.MaxTokens)
	a.number("gen_ai.request.seed", p.Seed)
	for _, d := range []struct {
		key string
		v   *float64
	}{{"temperature", p.Temperature}, {"top_p", p.TopP}, {"top_k", p.TopK}, {"presence_penalty", p.Presence}, {"frequency_penalty", p.Frequency}} {
		a.double("gen_ai.request."+d.key, d.v)
	}
	if len(p.Stop) > 0 {
		*a = append(*a, texts("gen_ai.request.stop_sequences", p.Stop))
	}
	if t.Format != "" {
		a.text("gen_ai.output.type", "json")
	}
}
