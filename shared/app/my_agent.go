package app

import "mastralambda/shared/mastra"

// An agent is instructions, tools and, where it shall remember, memory. Ask it:
//
//	curl -X POST localhost:3000/api/agents/myAgent/generate -H 'Content-Type: application/json' \
//	  -d '{"messages": "What is 2+2?", "memory": {"thread": "t1", "resource": "ann"}}'
var myAgent = &mastra.Agent{
	ID:           "myAgent",
	Name:         "My Agent",
	Description:  "Answers questions and calculates.",
	Instructions: "You are a helpful assistant. Use the calculator for every calculation.",
	Tools:        []mastra.Callable{calculator},
	Memory:       &mastra.Memory{LastMessages: 10}, // of the thread that the caller names
}
