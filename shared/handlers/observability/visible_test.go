package observability_test

import (
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
)

// A caller may name the trace that its run stands in, another's, too: that shows it nothing of what is there, nor deletes it.
func TestATraceOfTwo(t *testing.T) {
	m := empty(t)
	shared, single := strings.Repeat("a", 32), strings.Repeat("b", 32)
	span := func(trace, id, parent, resource string) mastra.Span {
		return mastra.Span{TraceID: trace, SpanID: id, ParentID: parent, Name: id, Type: mastra.SpanAgentRun, StartedAt: 1_790_000_000_000, EndedAt: 1_790_000_000_001, ResourceID: resource}
	}
	remote := span(shared, "ann", "bob-tool", "ann") // it names a span of bob's as its caller
	remote.Remote = true
	if err := m.Storage.Commit(t.Context(), &mastra.Batch{Spans: []mastra.Span{span(shared, "bob", "", "bob"), span(shared, "bob-tool", "bob", "bob"), span(shared, "bob-inner", "bob-tool", "")}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Storage.Commit(t.Context(), &mastra.Batch{Spans: []mastra.Span{remote, span(shared, "ann-inner", "ann", ""), span(single, "ann-alone", "", "ann")}}); err != nil {
		t.Fatal(err)
	}
	as := func(resource string) (names string) {
		ctx := mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "k", Resource: resource})
		out, err := observability.Trace(ctx, m, observability.TraceInput{TraceID: shared})
		if err != nil {
			return string(mastra.CodeOf(err))
		}
		for _, s := range out.Spans {
			names += s.Name + " "
		}
		return names
	}
	for who, want := range map[string]string{"ann": "ann ann-inner ", "bob": "bob bob-tool bob-inner ", "eve": string(mastra.CodeNotFound), "": "bob bob-tool bob-inner ann ann-inner "} {
		got := as(who)
		for _, name := range strings.Fields(want) {
			if !strings.Contains(" "+got, " "+name+" ") && got != name {
				t.Errorf("%q does not see %s but %s", who, name, got)
			}
		}
		if len(strings.Fields(got)) != len(strings.Fields(want)) {
			t.Errorf("%q sees %s", who, got)
		}
	}
	ann := mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "k", Resource: "ann"})
	if _, err := observability.GetSpan(ann, m, observability.SpanInput{TraceID: shared, SpanID: "bob-tool"}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("ann reads a span of bob's: %v", err)
	}
	if _, err := observability.DeleteTraces(ann, m, observability.DeleteTracesInput{TraceIDs: []string{shared, single}}); err != nil {
		t.Fatal(err)
	}
	if got := as("bob"); len(strings.Fields(got)) != 3 {
		t.Errorf("ann has deleted of bob's: %s", got)
	}
	if _, err := m.Storage.Trace(t.Context(), single); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("her own is still there: %v", err)
	}
}

// What a model wrote in a call is shown below it, as the real server does, though it is stored once.
func TestChunksOfAModel(t *testing.T) {
	m := empty(t)
	id := strings.Repeat("c", 32)
	root := mastra.Span{TraceID: id, SpanID: "root", Name: "run", Type: mastra.SpanAgentRun, StartedAt: 1_790_000_000_000, EndedAt: 1_790_000_000_009}
	call := mastra.Span{TraceID: id, SpanID: "call", ParentID: "root", Name: "inference: 0", Type: mastra.SpanModelInference, StartedAt: 1_790_000_000_000, EndedAt: 1_790_000_000_008, RunID: "run",
		Attributes: mastra.JSON(`{"completionStartTime":"2026-09-21T14:13:20.005Z"}`), Output: mastra.JSON(`{"text":"so","toolCalls":[{"toolCallId":"c1","toolName":"add","args":{"a":1}}]}`)}
	hidden := call
	hidden.SpanID, hidden.Name, hidden.Output = "hidden", "inference: 1", nil
	if err := m.Storage.Commit(t.Context(), &mastra.Batch{Spans: []mastra.Span{root, call, hidden}}); err != nil {
		t.Fatal(err)
	}
	out, err := observability.Trace(t.Context(), m, observability.TraceInput{TraceID: id})
	if err != nil || len(out.Spans) != 5 {
		t.Fatalf("%d spans, %v", len(out.Spans), err)
	}
	var found []observability.Span
	for _, s := range out.Spans {
		if s.SpanType == "model_chunk" {
			found = append(found, s)
		}
	}
	if len(found) != 2 || found[0].Name != "chunk: 'text'" || string(found[0].Output) != `{"text":"so"}` || *found[0].ParentSpanID != "call" || *found[0].RunID != "run" ||
		found[0].StartedAt != call.StartedAt+5 || found[0].EndedAt != call.EndedAt ||
		string(found[1].Output) != `{"toolCallId":"c1","toolName":"add","toolInput":{"a":1}}` || string(found[1].Attributes) != `{"chunkType":"tool-call","sequenceNumber":1}` {
		t.Fatalf("%+v", found)
	}
	one, err := observability.GetSpan(t.Context(), m, observability.SpanInput{TraceID: id, SpanID: found[1].SpanID})
	if err != nil || one.Span.Name != "chunk: 'tool-call'" {
		t.Errorf("%+v, %v", one, err)
	}
	light, err := observability.TraceLight(t.Context(), m, observability.TraceInput{TraceID: id})
	if err != nil || len(light.Spans) != 5 {
		t.Errorf("%d spans, %v", len(light.Spans), err)
	}
	branch, err := observability.Branch(t.Context(), m, observability.BranchInput{SpanInput: observability.SpanInput{TraceID: id, SpanID: "call"}})
	if err != nil || len(branch.Spans) != 3 {
		t.Errorf("%d spans, %v", len(branch.Spans), err)
	}
}

// Whoever looks at a trace sees in the order of the chunks what a model thought, wrote and called, what a person was asked about it and
// which calls came to a result, also where the run went on in another part.
func TestChunksOfAConversation(t *testing.T) {
	m := empty(t)
	id, at := strings.Repeat("d", 32), mastra.Time(1_790_000_000_000)
	span := func(kind, id_, parent, attributes, output string) mastra.Span {
		at++
		return mastra.Span{TraceID: id, SpanID: id_, ParentID: parent, Name: id_, Type: kind, StartedAt: at, EndedAt: at + 1, EntityName: id_, RunID: "run", Metadata: mastra.JSON(`{"runId":"run"}`),
			Attributes: mastra.JSON(attributes), Output: mastra.JSON(output)}
	}
	failed := span(mastra.SpanToolCall, "broken", "step0", `{"toolCallId":"c3","success":false}`, ``)
	failed.Error = mastra.JSON(`{"message":"no"}`)
	spans := []mastra.Span{
		span(mastra.SpanAgentRun, "run", "", `{}`, `{"status":"suspended","reason":"tool-call-approval","toolCallId":"c2","toolName":"delete"}`),
		span(mastra.SpanModelGeneration, "llm", "run", `{}`, `{}`),
		span(mastra.SpanModelStep, "step0", "llm", `{}`, `{}`),
		span(mastra.SpanModelInference, "call0", "step0", `{}`, `{"text":"","reasoning":"hm","toolCalls":[{"toolCallId":"c1","toolName":"add","args":{"a":1}},{"toolCallId":"c2","toolName":"delete","args":{"x":2}},`+
			`{"toolCallId":"c3","toolName":"broken","args":{}},{"toolCallId":"c4","toolName":"drop","args":{}},{"toolCallId":"c5","toolName":"page","args":{}}]}`),
		span(mastra.SpanToolCall, "add", "step0", `{"toolCallId":"c1","success":true}`, `3`),
		failed,
		span(mastra.SpanClientTool, "page", "run", `{}`, ``),
		span(mastra.SpanAgentRun, "run-again", "llm", `{}`, `{"text":"{}","files":[]}`),
		span(mastra.SpanModelGeneration, "llm-again", "run-again", `{}`, `{}`),
		span(mastra.SpanToolCall, "delete", "llm-again", `{"toolCallId":"c2","success":true}`, `{"deleted":2}`),
		span(mastra.SpanModelStep, "step0-again", "llm-again", `{}`, `{}`),
		span(mastra.SpanModelStep, "step1", "llm-again", `{}`, `{}`),
		span(mastra.SpanModelInference, "call1", "step1", `{}`, `{"text":"4","toolCalls":[],"object":{"n":4}}`),
		span(mastra.SpanModelInference, "json", "step1", `{}`, `{"text":"{}","toolCalls":[]}`),
	}
	if err := m.Storage.Commit(t.Context(), &mastra.Batch{Spans: spans}); err != nil {
		t.Fatal(err)
	}
	out, err := observability.Trace(t.Context(), m, observability.TraceInput{TraceID: id})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range out.Spans {
		if s.SpanType == "model_chunk" {
			_, n, _ := strings.Cut(string(s.Attributes), `"sequenceNumber":`)
			fmt.Fprintln(&got, *s.ParentSpanID, strings.TrimSuffix(n, "}"), s.Name, string(s.Output), string(s.Metadata[len(`{"runId":"run"`):]), s.IsEvent, s.Status)
		}
	}
	if want := `call0 0 chunk: 'reasoning' {"text":"hm"} } false success
call0 1 chunk: 'tool-call' {"toolCallId":"c1","toolName":"add","toolInput":{"a":1}} } false success
call0 2 chunk: 'tool-call' {"toolCallId":"c2","toolName":"delete","toolInput":{"x":2}} } false success
call0 3 chunk: 'tool-call' {"toolCallId":"c3","toolName":"broken","toolInput":{}} } false success
call0 4 chunk: 'tool-call' {"toolCallId":"c4","toolName":"drop","toolInput":{}} } false success
call0 5 chunk: 'tool-call' {"toolCallId":"c5","toolName":"page","toolInput":{}} } false success
call0 6 chunk: 'tool-call-approval' {"toolCallId":"c2","toolName":"delete","args":{"x":2}} } true success
call0 7 chunk: 'tool-call-approval' {"toolCallId":"c4","toolName":"drop","args":{}} } true success
call0 8 chunk: 'tool-result'  ,"toolCallId":"c1","toolName":"add"} true success
step0-again 0 chunk: 'tool-result'  ,"toolCallId":"c2","toolName":"delete"} true success
call1 0 chunk: 'text' {"text":"4"} } false success
call1 1 chunk: 'object' {"n":4} } false success
json 0 chunk: 'text' {"text":"{}"} } false success
`; got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
