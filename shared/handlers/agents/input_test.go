package agents_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/server"
)

// echo is a model that says what it was given last.
type echo struct{}

func (echo) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "echo", Version: "v2"}
}

func (echo) Stream(_ context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		last := r.Messages[len(r.Messages)-1].Parts
		text := last[0].Text
		if last[0].Type == mastra.PartFile {
			text = "file " + string(last[0].Data)
		}
		for _, p := range []mastra.ModelPart{{Type: mastra.ModelTextStart, ID: "t"}, {Type: mastra.ModelTextDelta, ID: "t", Text: text}, {Type: mastra.ModelTextEnd, ID: "t"}, {Type: mastra.ModelFinish, Finish: mastra.FinishStop}} {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// What makes no sense is refused, by the name of its field, before anything is done.
func TestBadInput(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	m, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{{ID: "a", Name: "A"}}, Backends: mastra.Backends{Agents: agentloop.New(runlog.NewSupervisor(quiet)), Logger: quiet,
		Models: func(string) (mastra.LanguageModel, error) { return echo{}, nil }}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api"}, agents.Routes())
	if err != nil {
		t.Fatal(err)
	}
	part := func(p string) string { return `{"messages":[{"role":"user","content":[` + p + `]}]}` }
	for _, c := range []struct {
		body, want string // the field, or what is answered
		status     int
	}{
		{`{"messages":[{"role":"wizard","content":"x"}]}`, "messages.0.role", 400},
		{`{"messages":[{"role":"user"}]}`, "messages.0", 400},
		{`{"messages":[{"role":"user","content":"x","id":5}]}`, "messages.0.id", 400},
		{part(`{"type":"hologram"}`), "messages.0.content.0.type", 400},
		{part(`{"text":"x"}`), "messages.0.content.0.type", 400},
		{part(`{"type":"text","text":5}`), "messages.0.content.0.text", 400},
		{part(`{"type":"text","text":"x"},{"type":"file"}`), "messages.0.content.1.data", 400},
		{part(`{"type":"file","data":42,"mediaType":"image/png"}`), "messages.0.content.0.data", 400},
		{part(`{"type":"file","data":"no base64!","mediaType":"image/png"}`), "messages.0.content.0.data", 400},
		{part(`{"type":"file","data":"aGk="}`), "messages.0.content.0.mediaType", 400},
		{part(`{"type":"file","data":"data:text/plain,hi"}`), "messages.0.content.0.data", 400},
		{part(`{"type":"image","image":{"a":1}}`), "messages.0.content.0.image", 400},
		{`{"messages":[{"role":"assistant","content":[{"type":"tool-call","toolName":"x","input":"y"}]}]}`, `messages.0.content.0.toolCallId`, 400},
		{`{"messages":[{"role":"assistant","content":[{"type":"tool-call","toolCallId":"1","toolName":"x","input":"y"}]}]}`, `messages.0.content.0.input`, 400},
		{`{"messages":[{"role":"tool","content":[{"type":"tool-result","toolCallId":"1","output":{}}]}]}`, "messages.0.content.0.toolName", 400},
		{`{"messages":[{"role":"assistant","parts":[{"type":"tool-invocation"}]}]}`, "messages.0.parts.0.toolInvocation", 400},
		{`{"messages":"x","context":[{"role":"user","content":[{"type":"hologram"}]}]}`, "context.0.content.0.type", 400},
		{`{"messages":"x","memory":{"thread":"` + strings.Repeat("a", 300) + `"}}`, "memory.thread", 400},
		{`{"messages":"x","memory":{"thread":"t","options":{"observationalMemory":true}}}`, "memory.options.observationalMemory", 400},
		{`{"messages":"x","memory":{"thread":"t","options":{"semanticRecall":{"filter":5}}}}`, "memory.options.semanticRecall.filter", 400},
		{`{"messages":"x","runId":"` + strings.Repeat("a", 300) + `"}`, "runId", 400},
		{`{"messages":"x","maxSteps":0,"toolChoice":"maybe"}`, "toolChoice", 400},
		{`{"messages":"x","maxSteps":1e30}`, "maxSteps", 400},
		{`{"messages":"x","modelSettings":{"temperature":"hot"}}`, "modelSettings.temperature", 400},
		{`{"messages":"x","clientTools":{"bad name":{}}}`, "clientTools.bad name", 400},
		{`{"messages":"x","clientTools":{"t":{"inputSchema":{"type":"nothing"}}}}`, "clientTools.t.inputSchema", 400},
		{`{"messages":"x","toolChoice":{"type":"tool","toolName":"none"}}`, "toolChoice.toolName", 400},
		{`{"messages":"x","structuredOutput":{"schema":{"$ref":"file:///etc/passwd"}}}`, "structuredOutput.schema", 400},
		{`{"messages":"x","structuredOutput":{"schema":{},"model":"no-provider"}}`, "structuredOutput.model", 400},
		{`{"messages":"x","structuredOutput":{"schema":{},"errorStrategy":"fallback"}}`, "structuredOutput.fallbackValue", 400},
		{`{"messages":"x","tracingOptions":{"traceId":"zz"}}`, "tracingOptions.traceId", 400},
		{`{"messages":"x","requestContext":` + strings.Repeat(`{"a":`, 600) + `1` + strings.Repeat(`}`, 600) + `}`, "body", 400},
		{`{"messages":` + strings.Repeat(`[`, 600) + strings.Repeat(`]`, 600) + `}`, "body", 400},
		{part(`{"type":"file","url":"data:image/png;base64,aGk=","mediaType":"image/png"}`), `"text":"file \"data:image/png;base64,aGk=\""`, 200}, // of a user interface
		{part(`{"type":"file","data":"aGk=","mediaType":"image/png"}`), `"text":"file \"aGk=\""`, 200},
		{part(`{"type":"file","data":"https://example.com/x.png"}`), `"text":"file \"https://example.com/x.png\""`, 200},
		{part(`{"type":"text","text":"a </system> b"},{"type":"data-weather","data":{"a":1}},{"type":"step-start"}`), `"text":"a </system> b"`, 200},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/api/agents/a/generate", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		s.ServeHTTP(w, r)
		want := c.want
		if c.status == 400 {
			want = `"field":"` + c.want + `"`
		}
		if w.Code != c.status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%.200s:\n%d %.500s\nwant %s", c.body, w.Code, w.Body, want)
		}
	}
}
