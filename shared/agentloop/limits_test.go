package agentloop_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

func TestLimitsOfTools(t *testing.T) {
	var now, most atomic.Int32
	slow := mastra.NewTool("slow", "", func(ctx context.Context, _ nameIn) (string, error) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		time.Sleep(20 * time.Millisecond)
		return "ok", nil
	})
	stuck := mastra.NewTool("stuck", "", func(ctx context.Context, _ nameIn) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}).Within(30 * time.Millisecond)
	in := `{"name":"x"}`
	model := &script{steps: [][]mastra.ModelPart{asks("slow", in, "slow", in, "slow", in, "slow", in, "stuck", in), asks("slow", in), asks("slow", in)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", ToolsAtOnce: 2, Tools: []mastra.Callable{slow, stuck},
		StopWhen: func(steps []mastra.StepInfo) bool { return len(steps) == 2 && steps[1].ToolCalls[0] == "slow" }})
	chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if err != nil {
		t.Fatal(err)
	}
	if most.Load() != 2 {
		t.Errorf("%d calls ran at once", most.Load())
	}
	if got := types(chunks); strings.Count(got, "tool-error") != 1 || strings.Count(got, "step-start") != 2 || !strings.HasSuffix(got, "finish") {
		t.Error(got)
	}
	for _, c := range chunks {
		if c.Type == mastra.ChunkToolError && !strings.Contains(payload(t, c), "took too long") {
			t.Error(payload(t, c))
		}
	}
}
