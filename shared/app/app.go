// Package app is the application: the one folder that you edit.
//
// An agent, a tool or a workflow is a Go value in a file of this folder and one line in New. Everything else (routes,
// validation, storage, traces, deployment) follows from that.
package app

import "mastralambda/shared/mastra"

// New puts the application together. What does not fit (two tools of one name, a step whose input is not the output of the
// step before) is an error that names both sides.
func New(b mastra.Backends) (*mastra.Mastra, error) {
	return mastra.New(mastra.Config{
		Agents:    []*mastra.Agent{myAgent, docsAgent},
		Workflows: []mastra.Workflow{myWorkflow, refundWorkflow},
		Tools:     []*mastra.Tool{calculator, searchDocs},
		Backends:  b,
	})
}
