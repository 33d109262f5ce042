package main

import "mastralambda/shared/mastra"

// vectorStore is the key of the reference application's vector store; its type is shown as that of the original.
const vectorStore = "libsqlVector"

// newApp is the reference application on b.
func newApp(b mastra.Backends) (*mastra.Mastra, error) {
	for i := range b.Vectors {
		if b.Vectors[i].Name == vectorStore {
			b.Vectors[i].Type = "LibSQLVector"
		}
	}
	return mastra.New(mastra.Config{
		Agents:    []*mastra.Agent{echoAgent, weatherAgent, networkAgent},
		Workflows: []mastra.Workflow{sequentialWorkflow, branchingWorkflow, approvalWorkflow, failingWorkflow, slowWorkflow},
		Tools:     []*mastra.Tool{weatherTool, calculatorTool, contextTool, dangerousTool},
		Scorers:   []*mastra.Scorer{lengthScorer},
		Backends:  b,
	})
}
