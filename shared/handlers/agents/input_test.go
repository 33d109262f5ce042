package agents_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
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
		{`{"messages":"x","memory":{"thread":"t","options":{"observationalMemory":{"scope":"resource"}}}}`, "memory.options.observationalMemory", 400},
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
		{`{"messages":"x","scorers":{"s":{"scorer":"none"}}}`, "scorers.s.scorer", 400},
		{`{"messages":"x","toolCallConcurrency":0}`, "toolCallConcurrency", 400},
		{`{"messages":"x","model":"no-provider"}`, "model", 400},
		{`{"messages":"x","memory":{"thread":"t","options":{"workingMemory":{"enabled":true,"schema":{"type":"object"}}}}}`, "memory.options.workingMemory.schema", 400},
		{`{"messages":"x","memory":{"thread":"t","options":{"filterIncompleteToolCalls":false}}}`, "memory.options.filterIncompleteToolCalls", 400},
		{`{"messages":"x","delegation":{},"includeRawChunks":false,"hideSignals":null,"untilIdle":true,"disableBackgroundTasks":true,"versions":{},"eagerToolExecution":false,"closeOnSuspend":true,"tools":{"a":1}}`, `"text":"x"`, 200},
		{`{"messages":"x","returnScorerData":true}`, `"scoringData":{"input":{"inputMessages":[{`, 200},
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

// Options that change what a run does and are not served are refused by their names, all at once.
func TestOptionsThatAreNotServed(t *testing.T) {
	in := agents.GenerateInput{AgentID: "a", Messages: mastra.UserMessage("x")}
	const body = `{"stopWhen":{"a":1},"prepareStep":"x","inputProcessors":["x"],"outputProcessors":[],"errorProcessors":[],"isTaskComplete":{"strategy":"all"},"completion":{"scorers":[]},
		"delegation":{"includeSubAgentToolResultsInModelContext":true},"goal":"x","hooks":{"a":1},"transform":{"a":1},"hideSignals":true,"includeRawChunks":true,"autoResumeSuspendedTools":true,
		"onStepFinish":"x","onFinish":"x","onChunk":"x","onError":"x","onAbort":"x","onIterationComplete":"x"}`
	if err := schema.Unmarshal([]byte(body), &in.Unserved); err != nil {
		t.Fatal(err)
	}
	m, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{{ID: "a", Name: "A"}}})
	if err != nil {
		t.Fatal(err)
	}
	var given mastra.Object[mastra.JSON]
	if err := schema.Unmarshal([]byte(body), &given); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"generate": func() error { _, err := agents.Generate(t.Context(), m, in); return err },
		"network":  func() error { _, err := agents.Network(t.Context(), m, in); return err },
		"send-message": func() error {
			target := agents.Target{AgentID: "a", ResourceID: "u", ThreadID: "t"}
			target.IfIdle.StreamOptions = &agents.StreamOptions{Unserved: in.Unserved}
			_, err := agents.SendMessage(t.Context(), m, agents.MessageInput{Target: target, Message: agents.ThreadMessage{Contents: mastra.UserMessage("x")[0].Content}})
			return err
		},
	} {
		err := call()
		var known *mastra.Error
		if !errors.As(err, &known) || known.Code != mastra.CodeInvalid || len(known.Issues) != len(given) {
			t.Errorf("%s: %+v", name, err)
			continue
		}
		for _, o := range given {
			if !slices.ContainsFunc(known.Issues, func(i mastra.Issue) bool { return i.Field == o.Key }) {
				t.Errorf("%s: %s is not refused", name, o.Key)
			}
		}
	}
}
