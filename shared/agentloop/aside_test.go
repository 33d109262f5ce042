package agentloop_test

import (
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// What a model is asked beside a run, for a title or to observe, is in the run's trace, with what it took: as the real server has it.
func TestCallsBesideARunAreInItsTrace(t *testing.T) {
	took := func(s mastra.Span) string {
		switch s.Type {
		case mastra.SpanModelGeneration:
			_, used, _ := strings.Cut(string(s.Attributes), `"usage":`)
			used, _, _ = strings.Cut(used, `,"inputDetails"`)
			return used + " " + s.EntityID + " " + string(s.Error)
		case mastra.SpanMemory:
			if s.EntityType == "memory" {
				return s.EntityID + " " + s.EntityName + " " + string(s.Attributes)[:len(`{"operationType":"observe"`)] + " " + string(s.Error)
			}
		case mastra.SpanAgentRun:
			return s.EntityID + " " + string(s.Output)
		}
		return ""
	}
	answer := func(text string) []mastra.ModelPart {
		parts := said(text)
		parts[len(parts)-1].Usage = mastra.Usage{InputTokens: 7, OutputTokens: 3, TotalTokens: 10}
		return parts
	}
	titled := &mastra.Agent{ID: "titled", Memory: &mastra.Memory{GenerateTitle: &mastra.GenerateTitle{}}}
	model := &script{}
	onBoth(t, model, titled, func(t *testing.T, p, _ *process) {
		*model = script{steps: [][]mastra.ModelPart{answer("Hello"), answer("Greetings")}}
		call := mastra.AgentCall{Messages: mastra.UserMessage("hi"), ThreadID: "t", ResourceID: "ann", RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("c", 32), Tags: []string{"tag"}}}
		if _, err := p.generate(t.Context(), "titled", call); err != nil {
			t.Fatal(err)
		}
		p.idle(t)
		expect(t, tree(t, p.world, call.Tracing.TraceID, took), `
agent run: 'titled' titled {"text":"Hello","files":[]}
	memory: recall
	llm: 'script' {"inputTokens":7,"outputTokens":3 titled
		step: 0
			inference: 0
	memory: save
	llm: 'script' {"inputTokens":7,"outputTokens":3 titled
		step: 0
			inference: 0
`)
		if th, err := p.Storage.Thread(t.Context(), "t"); err != nil || th.Title != "Greetings" {
			t.Errorf("%+v, %v", th, err)
		}
	})
	watcher := &observer{}
	observed := &mastra.Agent{ID: "observed", Memory: &mastra.Memory{LastMessages: 1, Observational: &mastra.ObservationalMemory{MessageTokens: 60, ObservationTokens: 10}}}
	onBoth(t, watcher, observed, func(t *testing.T, p, _ *process) {
		watcher.script, watcher.told = script{}, nil
		watcher.notes = []string{"<observations>" + strings.Repeat("a long line ", 10) + "</observations>", ""} // the second one is away
		call := mastra.AgentCall{Messages: mastra.UserMessage(strings.Repeat("la ", 80)), ThreadID: "t", ResourceID: "ann", RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("d", 32), HideInput: true, HideOutput: true}}
		if _, err := p.generate(t.Context(), "observed", call); err != nil {
			t.Fatal(err)
		}
		p.idle(t)
		expect(t, tree(t, p.world, call.Tracing.TraceID, took), `
agent run: 'observed' observed
	memory: recall
	llm: 'script' {}} observed
		step: 0
			inference: 0
	memory: save
	memory: observe observational-memory Observer {"operationType":"observe"
		agent run: 'observational-memory-observer' observational-memory-observer
			llm: 'script' {}} observational-memory-observer
				step: 0
					inference: 0
	memory: reflect observational-memory Reflector {"operationType":"reflect" {"message":"The model failed","name":"Error"}
		agent run: 'observational-memory-reflector' observational-memory-reflector
			llm: 'script' {}} observational-memory-reflector {"message":"The model failed","name":"Error"}
				step: 0
					inference: 0
`)
		spans, err := p.Storage.Trace(t.Context(), call.Tracing.TraceID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			if strings.Contains(string(s.Input)+string(s.Output), "la la") || strings.Contains(string(s.Input)+string(s.Output), "long line") || s.ThreadID != "t" || s.ResourceID != "ann" || s.RunID != "run" {
				t.Errorf("%+v", s)
			}
		}
	})
}
