package agentloop_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

type nameIn struct {
	Name string `json:"name"`
}

func types(chunks []mastra.Chunk) string {
	var out []string
	for _, c := range chunks {
		out = append(out, c.Type)
	}
	return strings.Join(out, " ")
}

func TestCallsThatCannotBeRunAreAnsweredToTheModel(t *testing.T) {
	ran := false
	agent := &mastra.Agent{ID: "a", Tools: []mastra.Callable{
		calculatorTool(),
		mastra.NewTool("boom", "", func(context.Context, nameIn) (string, error) { panic("secret of the stack") }),
		mastra.NewTool("delete", "", func(context.Context, nameIn) (string, error) { ran = true; return "", nil }).WithApproval(),
		mastra.NewTool("denied", "", func(context.Context, nameIn) (string, error) {
			return "", &mastra.Error{Code: mastra.CodeForbidden, Message: "not yours", Err: errors.New("secret")}
		}),
	}}
	for _, c := range []struct{ name, tool, args, want, kind string }{
		{"error of the tool", "calculatorTool", `{"op":"div","a":1,"b":0}`, "division by zero", "tool-error"},
		{"application error", "denied", `{"name":"x"}`, "not yours", "tool-error"},
		{"panic", "boom", `{"name":"x"}`, "Tool execution failed", "tool-error"},
		{"unknown tool", "other", `{}`, `Tool "other" not found. Available tools: calculatorTool, boom, delete, denied. Call tools`, "tool-error"},
		{"broken JSON", "calculatorTool", `{"op":`, "the provided JSON could not be parsed", "tool-error"},
		{"arguments that do not fit", "calculatorTool", `{"op":"sub","a":1}`, "Tool input validation failed for calculatorTool", "tool-result"},
		{"no arguments at all", "calculatorTool", ``, "Tool input validation failed", "tool-result"},
	} {
		t.Run(c.name, func(t *testing.T) {
			model := &script{steps: [][]mastra.ModelPart{asks(c.tool, c.args)}}
			w := newWorld(t, model, agent)
			chunks, err := w.stream(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
			if err != nil {
				t.Fatal(err)
			}
			if want := "start step-start tool-call " + c.kind + " step-finish step-start text-start text-delta text-end step-finish finish"; types(chunks) != want {
				t.Errorf("chunks are %s", types(chunks))
			}
			data, err := chunks[3].Encode()
			if err != nil || !strings.Contains(string(data), c.want) && !strings.Contains(strings.ReplaceAll(string(data), `\"`, `"`), c.want) {
				t.Errorf("%s does not tell %q", data, c.want)
			}
			told := model.asked[1].Messages[len(model.asked[1].Messages)-1]
			if told.Role != "tool" || !strings.Contains(strings.ReplaceAll(string(told.Parts[0].Output), `\"`, `"`), c.want) {
				t.Errorf("the model was told %s", told.Parts[0].Output)
			}
			if strings.Contains(string(data), "secret") || ran {
				t.Error("what must not happen did")
			}
		})
	}
}

func TestCallsOfOneStepRunAtOnce(t *testing.T) {
	var all sync.WaitGroup
	all.Add(10)
	var most, now atomic.Int32
	tool := mastra.NewTool("t", "", func(ctx context.Context, in nameIn) (string, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if in.Name == "meet" {
			all.Done()
			all.Wait() // ten must be here together
		}
		return "did " + in.Name, nil
	})
	calls := []string{}
	for range 10 {
		calls = append(calls, "t", `{"name":"meet"}`)
	}
	calls = append(calls, "t", `{"name":"eleventh"}`)
	model := &script{steps: [][]mastra.ModelPart{asks(calls...)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Tools: []mastra.Callable{tool}})
	r, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.ToolResults) != 11 || most.Load() != 10 {
		t.Errorf("%d results, %d at once", len(r.ToolResults), most.Load())
	}
	for i, c := range r.ToolResults { // in the order of the calls
		if id := c.Payload.(mastra.ToolAnswered).ToolCallID; id != fmt.Sprint("c", i) {
			t.Errorf("result %d is of %s", i, id)
		}
	}
}

func TestStepsAreLimited(t *testing.T) {
	for _, c := range []struct{ agent, call, want int }{{0, 0, 5}, {2, 0, 2}, {2, 3, 3}, {0, 1, 1}} {
		model := &script{}
		for range 9 {
			model.steps = append(model.steps, asks("calculatorTool", `{"op":"add","a":1,"b":1}`))
		}
		w := newWorld(t, model, &mastra.Agent{ID: "a", MaxSteps: c.agent, Tools: []mastra.Callable{calculatorTool()}})
		r, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), MaxSteps: c.call})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Steps) != c.want || len(r.ToolResults) != c.want || r.FinishReason != mastra.FinishToolCalls {
			t.Errorf("agent %d, call %d: %d steps, %d results", c.agent, c.call, len(r.Steps), len(r.ToolResults))
		}
	}
}

func TestToolsAndSettingsReachTheModel(t *testing.T) {
	model, temperature := &script{}, 0.5
	w := newWorld(t, model, &mastra.Agent{ID: "a", Instructions: "own", Tools: []mastra.Callable{calculatorTool(), weatherTool()}})
	call := mastra.AgentCall{Messages: append(mastra.Messages{{Role: "system", Content: mastra.InputContent{{Type: "text", Text: "sys"}}}}, mastra.UserMessage("hi")...),
		Context: mastra.UserMessage("ctx"), Instructions: "other", System: "more", ActiveTools: []string{"weatherTool"},
		ToolChoice: mastra.ToolChoice{Mode: "required"}, Settings: mastra.ModelSettings{Temperature: &temperature}}
	if _, err := w.generate(context.Background(), "a", call); err != nil {
		t.Fatal(err)
	}
	q := model.asked[0]
	got := ""
	for _, m := range q.Messages {
		got += m.Role + ":" + m.Text() + " "
	}
	if got != "system:other system:more system:sys user:ctx user:hi " {
		t.Errorf("prompt is %s", got)
	}
	if len(q.Tools) != 1 || q.Tools[0].Name() != "weatherTool" || q.ToolChoice.Mode != "required" || *q.Settings.Temperature != 0.5 {
		t.Errorf("%+v", q)
	}
	_, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("hi"), ToolChoice: mastra.ToolChoice{Tool: "none"}})
	if mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("an unknown tool choice: %v", err)
	}
}

func TestMemory(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{asks("calculatorTool", `{"op":"add","a":1,"b":1}`, "calculatorTool", `{"op":"div","a":1,"b":0}`)}}
	agent := &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 4}, Tools: []mastra.Callable{calculatorTool()}}
	w := newWorld(t, model, agent)
	ctx := context.Background()
	call := mastra.AgentCall{Messages: mastra.UserMessage("first"), ThreadID: "t", ResourceID: "r", ThreadTitle: "T", ThreadMetadata: mastra.JSON(`{"k":1}`)}
	first, err := w.generate(ctx, "a", call)
	if err != nil {
		t.Fatal(err)
	}
	thread, stored, err := w.Storage.Recall(ctx, "t", 10)
	if err != nil || thread == nil || thread.ResourceID != "r" || thread.Title != "T" || len(stored) != 2 || stored[1].ID != first.Response.ID && stored[1].Role != "assistant" {
		t.Fatalf("%+v, %+v, %v", thread, stored, err)
	}
	var content mastra.Content
	if err := schema.Unmarshal(stored[1].Content, &content); err != nil || content.Content != "done" || len(content.ToolInvocations) != 2 ||
		content.ToolInvocations[0].State != "result" || content.ToolInvocations[1].ErrorText != "division by zero" {
		t.Errorf("%+v, %v", content, err)
	}

	call.Messages = mastra.UserMessage("second")
	second, err := w.generate(ctx, "a", call)
	if err != nil || len(second.Remembered) != 2 {
		t.Fatalf("%+v, %v", second, err)
	}
	prompt := ""
	for _, m := range model.asked[2].Messages {
		prompt += m.Role + " "
	}
	if prompt != "user assistant tool assistant user " { // calls, results and what was said of them are apart
		t.Errorf("the prompt is %s", prompt)
	}

	t.Run("another's thread", func(t *testing.T) {
		other := call
		other.ResourceID = "somebody"
		if _, err := w.generate(ctx, "a", other); mastra.CodeOf(err) != mastra.CodeForbidden || !strings.Contains(err.Error(), "Access denied: thread belongs to a different resource") {
			t.Errorf("%v", err)
		}
		bound := mastra.WithPrincipal(ctx, &mastra.Principal{ID: "p", Resource: "somebody"})
		if _, err := w.stream(bound, "a", call); mastra.CodeOf(err) != mastra.CodeForbidden {
			t.Errorf("the caller's own resource must win: %v", err)
		}
		other.ResourceID = ""
		if _, err := w.generate(ctx, "a", other); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%v", err)
		}
	})
	t.Run("read only", func(t *testing.T) {
		only := call
		only.ReadOnly = true
		if r, err := w.generate(ctx, "a", only); err != nil || len(r.Remembered) != 4 {
			t.Errorf("%v", err)
		}
		if _, stored, _ := w.Storage.Recall(ctx, "t", 10); len(stored) != 4 {
			t.Errorf("%d messages", len(stored))
		}
		one := 1
		only.LastMessages = &one
		if r, err := w.generate(ctx, "a", only); err != nil || len(r.Remembered) != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("a client that sends the conversation again", func(t *testing.T) {
		again := call
		again.Messages = append(mastra.Messages{}, mastra.UserMessage("second")...)
		again.Messages[0].ID = second.Messages[2].ID
		again.Messages = append(again.Messages, mastra.UserMessage("third")...)
		if _, err := w.generate(ctx, "a", again); err != nil {
			t.Fatal(err)
		}
		_, stored, _ := w.Storage.Recall(ctx, "t", 10)
		texts := ""
		for _, m := range stored {
			var c mastra.Content
			_ = schema.Unmarshal(m.Content, &c)
			texts += c.Content + " "
		}
		if texts != "first done second done third done " {
			t.Errorf("stored: %s", texts)
		}
	})
}

func TestAModelThatFails(t *testing.T) {
	half := []mastra.ModelPart{{Type: mastra.ModelTextStart, ID: "t"}, {Type: mastra.ModelTextDelta, ID: "t", Text: "half an ans"}}
	agent := &mastra.Agent{ID: "a", Memory: &mastra.Memory{}, Tools: []mastra.Callable{calculatorTool()}}
	for _, c := range []struct {
		name  string
		steps [][]mastra.ModelPart
		errs  []error
		code  mastra.Code
		kept  int
		types string
	}{
		{"before its first word", [][]mastra.ModelPart{nil}, []error{mastra.Errorf(mastra.CodeUpstream, "overloaded")}, mastra.CodeUpstream, 1, "start step-start error step-finish finish"},
		{"in the middle", [][]mastra.ModelPart{half}, []error{errors.New("secret of the wire")}, mastra.CodeUpstream, 2, "start step-start text-start text-delta error step-finish finish"},
		{"after a tool", [][]mastra.ModelPart{asks("calculatorTool", `{"op":"add","a":1,"b":1}`), nil}, []error{nil, errors.New("secret of the wire")}, mastra.CodeUpstream, 2,
			"start step-start tool-call tool-result step-finish step-start error step-finish finish"},
		{"without an end", [][]mastra.ModelPart{half}, nil, mastra.CodeUpstream, 2, "start step-start text-start text-delta error step-finish finish"},
	} {
		t.Run(c.name, func(t *testing.T) {
			call := mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "r"}
			w := newWorld(t, &script{steps: c.steps, errs: c.errs}, agent)
			_, err := w.generate(context.Background(), "a", call)
			var e *mastra.Error
			if !errors.As(err, &e) || e.Code != c.code || strings.Contains(e.Message, "secret") {
				t.Errorf("%v", err)
			}
			if _, stored, _ := w.Storage.Recall(context.Background(), "t", 10); len(stored) != c.kept {
				t.Errorf("%d messages are stored", len(stored))
			}
			traces, err := w.Storage.Traces(context.Background(), mastra.TraceQuery{Status: "error", Paging: mastra.Paging{PerPage: 10}})
			if err != nil || len(traces.Items) != 1 {
				t.Errorf("%+v, %v", traces, err)
			}
			w = newWorld(t, &script{steps: c.steps, errs: c.errs}, agent)
			chunks, err := w.stream(context.Background(), "a", call)
			if err != nil || types(chunks) != c.types {
				t.Errorf("chunks are %s, %v", types(chunks), err)
			}
			last := chunks[len(chunks)-1].Payload.(mastra.Finish)
			if last.StepResult.Reason != mastra.FinishError {
				t.Errorf("the run ended with %s", last.StepResult.Reason)
			}
		})
	}
}

func TestTheRunGoesOnWithoutItsClient(t *testing.T) {
	gate := make(chan struct{})
	tool := mastra.NewTool("wait", "", func(ctx context.Context, in nameIn) (string, error) {
		select {
		case <-gate:
			return "waited", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	model := &script{steps: [][]mastra.ModelPart{asks("wait", `{"name":"x"}`)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Memory: &mastra.Memory{}, Tools: []mastra.Callable{tool}})
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	a, _ := w.Agent("a")
	seq, err := w.runner.Stream(ctx, w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "r"})
	if err != nil {
		t.Fatal(err)
	}
	for c := range seq {
		if c.Type == mastra.ChunkToolCall {
			leave()
			break
		}
	}
	close(gate)
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.runs.Drain(drain); err != nil {
		t.Fatal(err)
	}
	if _, stored, _ := w.Storage.Recall(context.Background(), "t", 10); len(stored) != 2 {
		t.Errorf("%d messages are stored", len(stored))
	}
	if _, err := w.stream(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("a run was begun while draining: %v", err)
	}
}

func TestCancelAndDeadline(t *testing.T) {
	started := make(chan struct{}, 2)
	tool := mastra.NewTool("wait", "", func(ctx context.Context, in nameIn) (string, error) {
		started <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	})
	agent := &mastra.Agent{ID: "a", Memory: &mastra.Memory{}, Tools: []mastra.Callable{tool}}
	model := func() *script { return &script{steps: [][]mastra.ModelPart{asks("wait", `{"name":"x"}`)}} }

	w := newWorld(t, model(), agent)
	go func() { <-started; w.runner.Cancel(context.Background(), "run-1") }()
	chunks, err := w.stream(context.Background(), "a", mastra.AgentCall{RunID: "run-1", Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "r"})
	if err != nil || chunks[len(chunks)-1].Type != mastra.ChunkAbort {
		t.Errorf("%s, %v", types(chunks), err)
	}
	if _, stored, _ := w.Storage.Recall(context.Background(), "t", 10); len(stored) != 2 {
		t.Errorf("%d messages are stored", len(stored))
	}
	if err := w.runs.Idle(context.Background()); err != nil { // the last chunk is out before the run is gone
		t.Error(err)
	}
	if w.runner.Cancel(context.Background(), "run-1") {
		t.Error("an ended run was cancelled")
	}

	w = newWorld(t, model(), agent)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.generate(ctx, "a", mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("%v", err)
	}
}

func TestTrace(t *testing.T) {
	inner := &mastra.Agent{ID: "inner", Name: "Inner", Instructions: "in"}
	outer := &mastra.Agent{ID: "outer", Name: "Outer", Instructions: "out", Memory: &mastra.Memory{}, Tools: []mastra.Callable{inner}}
	model := &script{steps: [][]mastra.ModelPart{asks("agent-inner", `{"prompt":"deep"}`), said("inside")}}
	w := newWorld(t, model, inner, outer)
	ctx := mastra.WithRequest(context.Background(), &mastra.Request{Fingerprint: "f"}) // the inner run must not claim it
	r, err := w.generate(ctx, "outer", mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "r", Tracing: mastra.TracingOptions{
		TraceID: "0123456789abcdef0123456789abcdef", ParentSpanID: "0123456789abcdef", RootSpanName: "root", Tags: []string{"x"}, Metadata: mastra.JSON(`{ "k": 1 }`)}})
	if err != nil {
		t.Fatal(err)
	}
	spans, err := w.Storage.Trace(context.Background(), r.TraceID)
	if err != nil || r.TraceID != "0123456789abcdef0123456789abcdef" {
		t.Fatal(r.TraceID, err)
	}
	byID := map[string]mastra.Span{}
	for _, s := range spans {
		byID[s.SpanID] = s
		for name, data := range map[string]mastra.JSON{"attributes": s.Attributes, "metadata": s.Metadata, "input": s.Input, "output": s.Output} {
			if data != nil && !data.IsValid() {
				t.Errorf("%s of %s: %s", name, s.Name, data)
			}
		}
	}
	var path func(s mastra.Span) string
	path = func(s mastra.Span) string {
		if p, ok := byID[s.ParentID]; ok {
			return path(p) + " > " + s.Name
		}
		return s.Name
	}
	got := map[string]bool{}
	for _, s := range spans {
		got[path(s)] = true
	}
	for _, want := range []string{"root", "root > memory: recall", "root > memory: save", "root > llm: 'script'", "root > llm: 'script' > step: 0",
		"root > llm: 'script' > step: 0 > tool: 'agent-inner'", "root > llm: 'script' > step: 0 > tool: 'agent-inner' > agent run: 'inner'",
		"root > llm: 'script' > step: 0 > tool: 'agent-inner' > agent run: 'inner' > llm: 'script' > step: 0", "root > llm: 'script' > step: 1",
		"root > llm: 'script' > step: 0 > inference: 0", "root > llm: 'script' > step: 1 > inference: 1",
		"root > llm: 'script' > step: 0 > tool: 'agent-inner' > agent run: 'inner' > llm: 'script'",
		"root > llm: 'script' > step: 0 > tool: 'agent-inner' > agent run: 'inner' > llm: 'script' > step: 0 > inference: 0"} {
		if !got[want] {
			t.Errorf("no span %s", want)
		}
		delete(got, want)
	}
	for name := range got {
		t.Errorf("span %s", name)
	}
	root := byID[r.SpanID]
	if root.ParentID != "0123456789abcdef" || string(root.Input) != `"go"` || string(root.Output) != `{"text":"done","files":[]}` ||
		string(root.Attributes) != `{"conversationId":"t","instructions":"out","availableTools":["agent-inner"]}` ||
		string(root.Metadata) != `{"k":1,"runId":"`+r.RunID+`","resourceId":"r","threadId":"t"}` || len(root.Tags) != 1 {
		t.Errorf("%+v", root)
	}

	hidden, err := w.generate(context.Background(), "inner", mastra.AgentCall{Messages: mastra.UserMessage("secret"), Tracing: mastra.TracingOptions{HideInput: true, HideOutput: true}})
	if err != nil {
		t.Fatal(err)
	}
	spans, _ = w.Storage.Trace(context.Background(), hidden.TraceID)
	for _, s := range spans {
		if strings.Contains(string(s.Input)+string(s.Output), "secret") || strings.Contains(string(s.Output), "done") {
			t.Errorf("%s shows %s and %s", s.Name, s.Input, s.Output)
		}
	}
}

func TestReasoning(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{append([]mastra.ModelPart{{Type: mastra.ModelReasoningStart, ID: "r"}, {Type: mastra.ModelReasoningDelta, ID: "r", Text: "hmm"}, {Type: mastra.ModelReasoningEnd, ID: "r"}}, said("so")...)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a"})
	r, err := w.generate(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if err != nil || r.Text != "so" || r.ReasoningText != "hmm" || len(r.Reasoning) != 1 || !strings.Contains(string(r.Messages[1].Content), `"details":[{"type":"text","text":"hmm"}]`) {
		t.Errorf("%+v, %v", r, err)
	}
	model.asked = nil
	chunks, err := w.stream(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if err != nil || types(chunks) != "start step-start reasoning-start reasoning-delta reasoning-end text-start text-delta text-end step-finish finish" {
		t.Errorf("%s, %v", types(chunks), err)
	}
}
