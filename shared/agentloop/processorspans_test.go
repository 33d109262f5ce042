package agentloop_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// What a processor changed shows in its span, what it left as it was does not; and its place among those of its side.
func TestWhatProcessorsChangedShowsInTheTrace(t *testing.T) {
	text := func(role, s string) mastra.InputMessage {
		return mastra.InputMessage{Role: role, ID: s, Content: mastra.InputContent{{Type: mastra.PartText, Text: s}}}
	}
	looks := &mastra.Processor{ID: "looks", Input: func(_ context.Context, ms mastra.Messages) (mastra.Messages, error) { return ms, nil },
		OutputResult: func(context.Context, *mastra.Answer) error { return nil }}
	edits := &mastra.Processor{ID: "edits",
		Input: func(_ context.Context, ms mastra.Messages) (mastra.Messages, error) {
			return mastra.Messages{text("system", "be kind"), ms[1], text("user", "and more")}, nil
		},
		InputStep: func(_ context.Context, r *mastra.ModelRequest) error {
			r.Messages, r.Tools, r.ToolChoice.Mode = r.Messages[:1], nil, "none"
			return nil
		}}
	adds := &mastra.Processor{ID: "adds", ToolResult: func(_ context.Context, r *mastra.ToolReturned) error { r.Result = mastra.JSON(`4`); return nil },
		OutputResult: func(_ context.Context, a *mastra.Answer) error { a.Texts[0] += " bye"; return nil }}
	slow := &mastra.Processor{ID: "slow", OutputStream: func(_ context.Context, parts iter.Seq2[mastra.ModelPart, error]) iter.Seq2[mastra.ModelPart, error] {
		return parts
	}}
	agent := &mastra.Agent{ID: "a", Instructions: "go", Tools: []mastra.Callable{calculatorTool()}, Processors: []*mastra.Processor{looks, slow, edits, adds}}
	model := func() *script {
		return &script{steps: [][]mastra.ModelPart{asks("calculatorTool", `{"op":"add","a":1,"b":2}`), said("done")}}
	}
	call := mastra.AgentCall{Messages: mastra.Messages{text("user", "one"), text("user", "two")}}
	w := newWorld(t, model(), agent)
	r, err := w.generate(t.Context(), "a", call)
	if err != nil {
		t.Fatal(err)
	}
	took := regexp.MustCompile(`"hookDurationMs":[0-9.]+`)
	shown := func(s mastra.Span) string {
		if s.Type != mastra.SpanProcessorRun {
			return ""
		}
		return took.ReplaceAllString(string(s.Attributes[strings.Index(string(s.Attributes), `"processorIndex"`):]), `"hookDurationMs":N`) + " " + string(s.Output)
	}
	expect(t, tree(t, w, r.TraceID, shown), `
agent run: 'a'
	input processor: looks "processorIndex":0} {}
	input processor: edits "processorIndex":1,"messageListMutations":[{"type":"removeByIds","count":1,"ids":["one"]},{"type":"add","source":"input","count":1},{"type":"addSystem","message":{"role":"system","content":"be kind"}}]} {"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"two"},{"role":"user","content":"and more"}]}
	llm: 'script'
		step: 0
			input step processor: edits "processorIndex":1,"messageListMutations":[{"type":"removeByIds","count":3}]} {"messages":[{"role":"system","content":"go"}],"tools":[],"toolChoice":"none"}
			inference: 0
			tool: 'calculatorTool'
			tool result processor: adds "processorIndex":2} {"result":4}
		step: 1
			input step processor: edits "processorIndex":1,"messageListMutations":[{"type":"removeByIds","count":5}]} {"messages":[{"role":"system","content":"go"}],"tools":[],"toolChoice":"none"}
			inference: 1
	output stream processor: slow "processorIndex":1,"hookDurationMs":N} {"totalChunks":2}
	output stream processor: slow "processorIndex":1,"hookDurationMs":N} {"totalChunks":4}
	output processor: looks "processorIndex":0} {}
	output processor: adds "processorIndex":2} {"messages":[{"role":"assistant","content":"done bye"}]}
`)
	for _, hidden := range []mastra.TracingOptions{{HideInput: true}, {HideOutput: true}} {
		w := newWorld(t, model(), agent)
		hides := call
		hides.Tracing = hidden
		if r, err = w.generate(t.Context(), "a", hides); err != nil {
			t.Fatal(err)
		}
		if all := tree(t, w, r.TraceID, shown); strings.Contains(all, "more") || strings.Contains(all, "bye") || strings.Contains(all, "kind") || strings.Contains(all, "result\":4") {
			t.Errorf("it shows what is hidden: %s", all)
		}
	}
}

// The log says which run a processor stopped or failed, with its trace.
func TestTheLogSaysWhatProcessorsStopped(t *testing.T) {
	for message, failed := range map[string]error{"a processor stopped a run": mastra.Abort("no"), "a run failed": errors.New("it is broken")} {
		guard := &mastra.Processor{ID: "guard", Input: func(context.Context, mastra.Messages) (mastra.Messages, error) { return nil, failed }}
		log := &lines{}
		w := newWorld(t, &script{}, &mastra.Agent{ID: "a", Processors: []*mastra.Processor{guard}})
		w.Logger = slog.New(log)
		_, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("a", 32)}})
		if want := message + " run " + strings.Repeat("a", 32); strings.Join(log.said, "\n") != want {
			t.Errorf("%q, %v", log.said, err)
		}
	}
}

// A run that fails before it began, or since its answer does not fit, leaves a trace that tells programs by a name what it was.
func TestErrorsOfRunsHaveNames(t *testing.T) {
	broken := &mastra.Processor{ID: "broken", Input: func(context.Context, mastra.Messages) (mastra.Messages, error) {
		return nil, errors.New("it is broken")
	}}
	schema := mastra.JSON(`{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}`)
	for name, c := range map[string]struct {
		agent    *mastra.Agent
		call     mastra.AgentCall
		want     string
		contains string
	}{
		"a processor": {&mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 1}, Processors: []*mastra.Processor{broken}}, mastra.AgentCall{ThreadID: "t", ResourceID: "r"},
			`{"id":"AGENT_PREPARE_STREAM_FAILED","details":{"runId":"run"},"category":"SYSTEM","domain":"AGENT","message":"it is broken","name":"Error"}`, "input processor: broken"},
		"an answer": {&mastra.Agent{ID: "a"}, mastra.AgentCall{Structured: &mastra.Structured{Schema: schema}},
			`{"id":"STRUCTURED_OUTPUT_SCHEMA_VALIDATION_FAILED","details":{"value":"{\"n\":\"x\"}"},"category":"SYSTEM","domain":"AGENT","message":"Structured output validation failed: - n: Invalid input: expected number, received string","name":"Error"}`, "inference: 0"},
		"an answer that is hidden": {&mastra.Agent{ID: "a"}, mastra.AgentCall{Structured: &mastra.Structured{Schema: schema}, Tracing: mastra.TracingOptions{HideOutput: true}},
			`{"id":"STRUCTURED_OUTPUT_SCHEMA_VALIDATION_FAILED","category":"SYSTEM","domain":"AGENT","message":"Structured output validation failed: - n: Invalid input: expected number, received string","name":"Error"}`, "inference: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &script{steps: [][]mastra.ModelPart{said(`{"n":"x"}`)}}, c.agent)
			c.call.Messages, c.call.RunID, c.call.Tracing.TraceID = mastra.UserMessage("go"), "run", strings.Repeat("b", 32)
			if _, err := w.generate(t.Context(), "a", c.call); err == nil {
				t.Fatal("it did not fail")
			}
			if root := find(t, w, c.call.Tracing.TraceID, "agent run: 'a'"); string(root.Error) != c.want || root.EndedAt == 0 {
				t.Errorf("%s", root.Error)
			}
			if all := tree(t, w, c.call.Tracing.TraceID, func(mastra.Span) string { return "" }); !strings.Contains(all, c.contains) || strings.Contains(all, "recall") {
				t.Error(all)
			}
		})
	}
}
