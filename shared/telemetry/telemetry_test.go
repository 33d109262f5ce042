package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// collector is an OTLP endpoint that keeps what it is sent, and refuses the first requests.
type collector struct {
	mu     sync.Mutex
	refuse int
	bodies []string
	header http.Header
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if c.refuse > 0 {
		c.refuse--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusNotFound)
	}
	c.bodies, c.header = append(c.bodies, string(body)), r.Header
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// Spans arrive, named as OpenTelemetry's conventions have it, before the invocation ends.
func TestExport(t *testing.T) {
	c := &collector{refuse: 1}
	server := httptest.NewServer(c)
	defer server.Close()
	s, err := Read(env("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL, "OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b, y=2", "OTEL_SERVICE_NAME", "svc", "ENVIRONMENT", "test"))
	if err != nil {
		t.Fatal(err)
	}
	e := s.Exporter(slog.New(slog.DiscardHandler))
	root := mastra.Span{TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331", Name: "agent run: 'a'", Type: mastra.SpanAgentRun, StartedAt: 1700000000000, EndedAt: 1700000000500,
		EntityID: "a", EntityName: "A", ThreadID: "thread", RunID: "run", Tags: []string{"x"}, Input: mastra.JSON(`"hi"`), Error: mastra.JSON(`{"message":"no","name":"Error"}`)}
	step := mastra.Span{TraceID: root.TraceID, SpanID: "b7ad6b7169203333", ParentID: root.SpanID, Name: "step: 0", Type: mastra.SpanModelStep, StartedAt: 1700000000000, EndedAt: 1700000000400,
		Input: mastra.JSON(`[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]`)}
	flow := mastra.Span{TraceID: root.TraceID, SpanID: "b7ad6b7169203334", ParentID: root.SpanID, Type: mastra.SpanWorkflowRun, EntityID: "w"}
	chat := mastra.Span{TraceID: root.TraceID, SpanID: "b7ad6b7169203332", ParentID: step.SpanID, Name: "inference: 0", Type: mastra.SpanModelInference, StartedAt: 1700000000000, EndedAt: 1700000000400,
		Output:     mastra.JSON(`{"text":"","toolCalls":[{"toolCallId":"c","toolName":"add","args":{"a":1}}]}`),
		Attributes: mastra.JSON(`{"model":"m","provider":"bedrock","parameters":{"temperature":0.5,"maxOutputTokens":9},"responseFormat":"json_schema","responseModel":"m-1","finishReason":"tool-calls","completionStartTime":"2023-11-14T22:13:20.250Z","usage":{"inputTokens":7,"outputTokens":5,"inputDetails":{"text":3,"cacheRead":4}}}`)}
	s.Export(t.Context(), []mastra.Span{root, step, chat, flow})
	if err := e.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.bodies) != 1 || c.header.Get("X-Key") != "a b" || c.header.Get("Y") != "2" {
		t.Fatalf("%d requests, headers %v", len(c.bodies), c.header)
	}
	for _, want := range []string{`"service.name","value":{"stringValue":"svc"}`, `"deployment.environment.name"`, `"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"invoke_agent A","kind":1,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000500000000"`,
		`"gen_ai.operation.name","value":{"stringValue":"invoke_agent"}`, `"gen_ai.conversation.id"`, `"status":{"message":"no","code":2}`, `"parentSpanId":"b7ad6b7169203333","name":"chat m","kind":3`,
		`"gen_ai.provider.name","value":{"stringValue":"aws.bedrock"}`, `"gen_ai.usage.input_tokens","value":{"intValue":"7"}`, `"gen_ai.response.time_to_first_chunk","value":{"doubleValue":0.25}`, `"gen_ai.response.finish_reasons","value":{"arrayValue":{"values":[{"stringValue":"tool_call"}]}}`,
		`"name":"invoke_workflow w"`, `"gen_ai.workflow.name","value":{"stringValue":"w"}`, `"gen_ai.usage.cache_read.input_tokens","value":{"intValue":"4"}`,
		`"gen_ai.request.temperature","value":{"doubleValue":0.5}`, `"gen_ai.request.max_tokens","value":{"intValue":"9"}`, `"gen_ai.output.type","value":{"stringValue":"json"}`,
		`"gen_ai.input.messages","value":{"stringValue":"[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]"}`,
		`"gen_ai.input.messages","value":{"stringValue":"[{\"role\":\"system\",\"parts\":[{\"type\":\"text\",\"content\":\"be kind\"}]},{\"role\":\"user\",`,
		`"gen_ai.output.messages","value":{"stringValue":"[{\"role\":\"assistant\",\"parts\":[{\"type\":\"tool_call\",\"id\":\"c\",\"name\":\"add\",\"arguments\":{\"a\":1}}],\"finish_reason\":\"tool_call\"}]"}`} {
		if !strings.Contains(c.bodies[0], want) {
			t.Errorf("no %s in %s", want, c.bodies[0])
		}
	}
	if !mastra.JSON(c.bodies[0]).IsValid() {
		t.Error("it is no JSON")
	}
}

// What is no message of a chat is left out, whatever a caller or a tool has made of it.
func TestMessages(t *testing.T) {
	for input, want := range map[string]string{
		`"hi"`: `[{"role":"user","parts":[{"type":"text","content":"hi"}]}]`,
		`{"approved":true,"toolCallId":"c","toolName":"rm"}`:                                                 `[{"role":"tool","parts":[{"type":"tool_call_response","id":"c","response":{"approved":true,"toolCallId":"c","toolName":"rm"}}]}]`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"file","data":"xx"}]}]}`:  `[{"role":"user","parts":[{"type":"text","content":"a"},{"type":"file"}]}]`,
		`[{"role":"assistant","content":[{"type":"tool-call","toolCallId":"c","toolName":"n","input":{}}]}]`: `[{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"n","arguments":{}}]}]`,
		`[{"role":1}]`: ``, `{"x":1}`: ``, `7`: ``, `[[]]`: ``, ``: ``, `{`: ``,
	} {
		got, ok := content("k", given(mastra.JSON(input)))
		if ok != (want != "") || ok && *got.Value.String != want {
			t.Errorf("%s: %v %v", input, got.Value.String, ok)
		}
	}
	if answered(mastra.JSON(`{"status":"suspended"}`), "stop") != nil || answered(nil, "") != nil {
		t.Error("a run that has said nothing has a message")
	}
}

// A collector that is away costs the runs nothing: what it does not take is dropped, and the process ends in time.
func TestCollectorIsAway(t *testing.T) {
	s, err := Read(env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	e := s.Exporter(slog.New(slog.DiscardHandler))
	for range 3 * maxQueued {
		e.Add(t.Context(), []mastra.Span{{TraceID: "t", SpanID: "s"}})
	}
	e.mu.Lock()
	queued := len(e.queue)
	e.mu.Unlock()
	if queued > maxQueued {
		t.Errorf("%d spans wait", queued)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("nothing was lost")
	}
}

func TestSettings(t *testing.T) {
	s, err := Read(env("TRACE_RATE", "0.5", "TRACES_TTL", "30d", "SCORES_TTL", "12h"))
	if err != nil || *s.Rate != 0.5 || s.Retention.Traces != 720*time.Hour || s.Retention.Scores != 12*time.Hour || s.Exporter(nil) != nil || s.Export != nil {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = Read(env("TRACE_RATE", "2", "TRACES_TTL", "soon", "OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "OTEL_EXPORTER_OTLP_HEADERS", "secret"))
	for _, name := range []string{"TRACE_RATE", "TRACES_TTL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"} {
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), `"secret"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := &Exporter{}
	spans := []mastra.Span{{TraceID: "t", SpanID: "s", Type: mastra.SpanAgentRun, Input: mastra.JSON(`"x"`)}}
	for b.Loop() {
		if _, err := schema.Marshal(e.encode(spans)); err != nil {
			b.Fatal(err)
		}
	}
}
