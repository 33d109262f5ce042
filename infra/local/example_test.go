package local_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"mastralambda/infra/local"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/handlers/voice"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/mastra"
)

// Handlers are plain functions: a unit test calls them without HTTP.
func Example_handlers() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p, err := local.Open(local.Options{App: app.New, Getenv: func(name string) string { return map[string]string{"DATA_DIR": dir}[name] }})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	ctx, m := context.Background(), p.Mastra

	answer, err := agents.Generate(ctx, m, agents.GenerateInput{AgentID: "myAgent", Messages: mastra.UserMessage("What is 2+2?"),
		Memory: &agents.MemoryInput{Thread: agents.ThreadRef{ID: "t1"}, Resource: "ann"}})
	fmt.Println("agents:", strings.Contains(answer.Text, "4"), err)

	run, err := workflows.Execute(ctx, m, workflows.ExecuteInput{WorkflowID: "myWorkflow", TriggerData: mastra.JSON(`{"userId":"123","action":"process"}`)})
	fmt.Println("workflows:", run.Status, err)

	result, err := tools.Execute(ctx, m, tools.ExecuteInput{ToolID: "calculator", Data: mastra.JSON(`{"expression":"6*7"}`)})
	fmt.Println("tools:", string(result), err)

	page, err := memory.Messages(ctx, m, memory.MessagesInput{ThreadID: "t1"})
	fmt.Println("memory:", len(page.Messages), err)

	trace, err := observability.Trace(ctx, m, observability.TraceInput{TraceID: answer.TraceID})
	fmt.Println("observability:", trace.Spans[0].Name, err)

	_, err = logs.List(ctx, m, logs.ListInput{Level: "error"})
	fmt.Println("logs:", err)

	ids, err := vector.Upsert(ctx, m, vector.UpsertInput{Entries: vector.Entries{IndexName: "colors", Vectors: [][]float32{{1, 0}, {0, 1}}, IDs: []string{"red", "blue"}}})
	fmt.Println("vector:", ids.IDs, err)

	speakers, err := voice.Speakers(ctx, m, voice.AgentInput{AgentID: "myAgent"})
	fmt.Println("voice:", len(speakers), err)

	// Output:
	// agents: true <nil>
	// workflows: success <nil>
	// tools: {"result":42} <nil>
	// memory: 2 <nil>
	// observability: agent run: 'myAgent' <nil>
	// logs: <nil>
	// vector: [red blue] <nil>
	// voice: 0 <nil>
}
