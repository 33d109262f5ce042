package agentloop_test

import (
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func TestANetworkRoutesATask(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{
		spoken(`{"primitiveId":"calculatorTool","primitiveType":"tool","prompt":"{\"op\":\"add\",\"a\":1,\"b\":2}","selectionReason":"a sum"}`),
		spoken(`{"primitiveId":"helper","primitiveType":"agent","prompt":"say it","selectionReason":"words"}`),
		spoken("three it is"), // the helper's own
		spoken(`{"primitiveId":"none","primitiveType":"none","prompt":"It is three.","selectionReason":"done"}`),
	}}
	helper := &mastra.Agent{ID: "helper", Description: "Says things"}
	w := newWorld(t, model, helper, &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{calculatorTool(), helper}})
	a, _ := w.Agent("a")
	seq, err := w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("1 and 2?"), ThreadID: "t", ResourceID: "u"})
	all := collect(t, seq, err)
	want := "routing-agent-start routing-agent-end tool-execution-start tool-execution-end routing-agent-start routing-agent-end agent-execution-start " +
		"agent-execution-event-start agent-execution-event-step-start agent-execution-event-text-start agent-execution-event-text-delta agent-execution-event-text-end " +
		"agent-execution-event-step-finish agent-execution-event-finish agent-execution-end routing-agent-start routing-agent-end " +
		"network-execution-event-step-finish network-execution-event-finish"
	if got := types(all); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := payload(t, all[3]); !strings.Contains(got, `"result":"{\"result\":3}"`) {
		t.Error(got)
	}
	if told := model.asked[3].Messages; !strings.Contains(told[len(told)-1].Text(), "three it is") {
		t.Errorf("the model was not told what the helper said: %s", told[len(told)-1].Text())
	}
	until(t, "the thread", func() bool { return strings.HasPrefix(thread(t, w.Storage), "user 1 and 2?; assistant It is three.") })
	w = newWorld(t, &script{steps: [][]mastra.ModelPart{spoken(`no JSON`)}}, a)
	seq, err = w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if got := types(collect(t, seq, err)); got != "routing-agent-start error" {
		t.Error(got)
	}
	if _, err := w.runner.Network(t.Context(), w.Mastra, helper, mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Error(err)
	}
}
