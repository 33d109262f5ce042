package agents_test

import (
	"context"
	"testing"

	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/mastra"
	"mastralambda/shared/processor"
	"mastralambda/shared/schema"
)

func TestProcessorRoutes(t *testing.T) {
	polite := &mastra.Processor{ID: "polite", OutputResult: func(_ context.Context, a *mastra.Answer) error {
		for i := range a.Texts {
			a.Texts[i] += ", please"
		}
		return nil
	}}
	picky := &mastra.Processor{ID: "picky", OutputStep: func(_ context.Context, s *mastra.StepOutput) error {
		if s.Text == "no" {
			return mastra.Abort("say yes").Retry()
		}
		return nil
	}, ToolResult: func(context.Context, *mastra.ToolReturned) error { return nil }}
	limit := processor.InputLimit(8)
	m, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{{ID: "a", Name: "A", Processors: []*mastra.Processor{limit, polite, picky, processor.TokenLimit(20)}}, {ID: "b", Name: "B", Processors: []*mastra.Processor{limit}}}})
	if err != nil {
		t.Fatal(err)
	}
	shows := func(got any, err error, want string) {
		t.Helper()
		data, encode := schema.Marshal(got)
		if err != nil || encode != nil || string(data) != want {
			t.Errorf("%s, want %s: %v", data, want, err)
		}
	}
	list, err := agents.ListProcessors(t.Context(), m, agents.ListProcessorsInput{})
	one, _ := list.Get("input-limit")
	shows(one, err, `{"id":"input-limit","name":"Input limit","description":"Stops runs that are sent too much","phases":["input"],"agentIds":["a","b"],"configurations":[{"agentId":"a","type":"input"},{"agentId":"b","type":"input"}],"isWorkflow":false}`)
	info, err := agents.GetProcessor(t.Context(), m, agents.GetProcessorInput{ProcessorID: "polite"})
	shows(info, err, `{"id":"polite","name":"polite","phases":["outputResult"],"configurations":[{"agentId":"a","agentName":"A","type":"output"}],"isWorkflow":false}`)
	if _, err := agents.GetProcessor(t.Context(), m, agents.GetProcessorInput{ProcessorID: "none"}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Error(err)
	}
	execute := func(id, phase string, messages string) (agents.ProcessorTrial, error) {
		t.Helper()
		in := agents.ExecuteProcessorInput{ProcessorID: id, Phase: phase}
		if err := schema.Unmarshal([]byte(messages), &in.Messages); err != nil {
			t.Fatal(err)
		}
		return agents.ExecuteProcessor(t.Context(), m, in)
	}
	text := func(role, text string) string {
		return `{"id":"` + role + `","role":"` + role + `","createdAt":"2026-01-01T00:00:00.000Z","content":{"format":2,"parts":[{"type":"text","text":"` + text + `"}]}}`
	}
	out, err := execute("polite", "outputResult", "["+text("user", "hi")+","+text("assistant", "sit")+"]")
	after := "[" + text("user", "hi") + "," + text("assistant", "sit, please") + "]"
	shows(out, err, `{"success":true,"phase":"outputResult","messages":`+after+`,"messageList":{"messages":`+after+`}}`)
	out, err = execute("input-limit", "input", "["+text("user", "far too long")+"]")
	same := "[" + text("user", "far too long") + "]"
	shows(out, err, `{"success":false,"phase":"input","tripwire":{"triggered":true,"reason":"The message has 12 bytes, more than 8"},"messages":`+same+`,"messageList":{"messages":`+same+`}}`)
	out, err = execute("token-limit", "inputStep", "["+text("user", "far too long to be remembered for ever")+","+text("assistant", "oh")+","+text("user", "so")+"]")
	if shows(out.Messages, err, "["+text("user", "so")+"]"); !out.Success {
		t.Errorf("%+v", out)
	}
	info, err = agents.GetProcessor(t.Context(), m, agents.GetProcessorInput{ProcessorID: "picky"})
	shows(info, err, `{"id":"picky","name":"picky","phases":["outputStep","toolResult"],"configurations":[{"agentId":"a","agentName":"A","type":"output"}],"isWorkflow":false}`)
	out, err = execute("picky", "outputStep", "["+text("assistant", "no")+"]")
	same = "[" + text("assistant", "no") + "]"
	shows(out, err, `{"success":false,"phase":"outputStep","tripwire":{"triggered":true,"reason":"say yes"},"messages":`+same+`,"messageList":{"messages":`+same+`}}`)
	out, err = execute("picky", "outputStep", "["+text("assistant", "yes")+"]")
	if shows(out.Messages, err, "["+text("assistant", "yes")+"]"); !out.Success {
		t.Errorf("%+v", out)
	}
	if _, err := execute("picky", "toolResult", same); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Error(err)
	}
	for _, phase := range []string{"outputStream", "outputResult"} {
		if _, err := execute("input-limit", phase, "["+same[1:]); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%s: %v", phase, err)
		}
	}
}
