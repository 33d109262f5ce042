// Package workflows is the workflows group: what workflows there are, running them, and their runs.
package workflows

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	read, run := server.Permission("workflows:read"), server.Permission("workflows:execute")
	return []server.Route{
		server.JSON("GET /workflows", List, read, server.Summary("List all workflows")),
		server.JSON("GET /workflows/run-counts", RunCounts, read, server.Summary("List workflow run counts")),
		server.JSON("POST /workflows/events", Receive, run, server.Summary("Receive a workflow event from a broker")),
		server.JSON("GET /workflows/:workflowId", Get, read, server.Summary("Get workflow by ID")),
		server.JSON("POST /workflows/:workflowId/execute", Execute, run, server.Long, server.Summary("Execute a workflow to its end")),
		server.JSON("POST /workflows/:workflowId/create-run", CreateRun, run, server.Summary("Create workflow run")),
		server.JSON("POST /workflows/:workflowId/start", Start, run, server.Summary("Start specific workflow run")),
		server.JSON("POST /workflows/:workflowId/start-async", StartAsync, run, server.Long, server.Summary("Run a workflow and answer its result")),
		server.Stream("POST /workflows/:workflowId/stream", server.Chunked, Stream, run, server.Summary("Stream workflow execution")),
		server.JSON("POST /workflows/:workflowId/resume", Resume, run, server.Summary("Resume workflow")),
		server.JSON("POST /workflows/:workflowId/resume-async", ResumeAsync, run, server.Long, server.Summary("Resume a workflow and answer its result")),
		server.Stream("POST /workflows/:workflowId/resume-stream", server.Chunked, ResumeStream, run, server.Summary("Resume workflow stream")),
		server.JSON("POST /workflows/:workflowId/resume-no-wait", ResumeNoWait, run, server.Summary("Resume workflow without waiting")),
		server.Stream("POST /workflows/:workflowId/observe", server.Chunked, Observe, read, server.Summary("Observe workflow stream")),
		server.JSON("POST /workflows/:workflowId/time-travel", TimeTravel, run, server.Summary("Run a workflow run again from a step")),
		server.JSON("POST /workflows/:workflowId/time-travel-async", TimeTravelAsync, run, server.Long, server.Summary("Run a workflow run again from a step and answer its result")),
		server.Stream("POST /workflows/:workflowId/time-travel-stream", server.Chunked, TimeTravelStream, run, server.Summary("Run a workflow run again from a step as a stream")),
		server.JSON("POST /workflows/:workflowId/restart", Restart, run, server.Summary("Restart workflow")),
		server.JSON("POST /workflows/:workflowId/restart-async", RestartAsync, run, server.Long, server.Summary("Restart workflow and answer its result")),
		server.JSON("POST /workflows/:workflowId/restart-all-active-workflow-runs", RestartAll, run, server.Summary("Restart all active workflow runs")),
		server.JSON("POST /workflows/:workflowId/restart-all-active-workflow-runs-async", RestartAllAsync, run, server.Long, server.Summary("Restart all active workflow runs and wait for them")),
		server.Stream("POST /workflows/:workflowId/stream-legacy", server.Chunked, StreamLegacy, run, server.Summary("Stream workflow execution in the legacy format")),
		server.Stream("POST /workflows/:workflowId/observe-stream-legacy", server.Chunked, ObserveStreamLegacy, read, server.Summary("Observe workflow stream in the legacy format")),
		server.JSON("POST /workflows/:workflowId/runs/:runId/steps/execute", ExecuteStep, run, server.Long, server.Summary("Execute a workflow step")),
		server.JSON("DELETE /workflows/:workflowId/runs/:runId", DeleteRun, server.Permission("workflows:delete"), server.Summary("Delete workflow run by ID")),
		server.JSON("GET /workflows/:workflowId/runs", Runs, read, server.Summary("List workflow runs")),
		server.JSON("GET /workflows/:workflowId/runs/:runId", Run, read, server.Summary("Get workflow run by ID")),
		server.JSON("POST /workflows/:workflowId/runs/:runId/cancel", CancelRun, run, server.Summary("Cancel workflow run")),
	}
}

// Info is a workflow as lists and Studio show it. A partial one has a StepCount and no schemas.
type Info struct {
	Name         string                  `json:"name"`
	Description  string                  `json:"description,omitempty"`
	StepCount    *int                    `json:"stepCount,omitempty"`
	Steps        mastra.Object[StepInfo] `json:"steps"`
	AllSteps     mastra.Object[StepInfo] `json:"allSteps"` // with those of nested workflows, by their paths
	StepGraph    mastra.JSON             `json:"stepGraph"`
	InputSchema  string                  `json:"inputSchema,omitempty"`
	OutputSchema string                  `json:"outputSchema,omitempty"`
	StateSchema  string                  `json:"stateSchema,omitempty"`
	Options      Options                 `json:"options"`
	IsProcessor  *bool                   `json:"isProcessorWorkflow,omitempty"`
	Origin       string                  `json:"origin"`
}

// Options are how a workflow runs.
type Options struct {
	ValidateInputs bool `json:"validateInputs"`
	EmitStepEvents bool `json:"emitStepEvents"`
}

// StepInfo is a step as lists show it. The schemas are strings that hold {"json": schema}.
type StepInfo struct {
	ID            string  `json:"id"`
	Description   *string `json:"description,omitzero"`
	InputSchema   string  `json:"inputSchema,omitempty"`
	OutputSchema  string  `json:"outputSchema,omitempty"`
	ResumeSchema  string  `json:"resumeSchema,omitempty"`
	SuspendSchema string  `json:"suspendSchema,omitempty"`
	IsWorkflow    *bool   `json:"isWorkflow,omitempty"` // in allSteps
	Component     string  `json:"component,omitempty"`  // "WORKFLOW", "AGENT", "TOOL"
}

// ListInput asks for all workflows. Partial leaves steps and schemas out.
type ListInput struct {
	Partial string `query:"partial" json:"-"`
}

// List describes every workflow, by its key.
func List(_ context.Context, m *mastra.Mastra, in ListInput) (mastra.Object[Info], error) {
	out := make(mastra.Object[Info], 0, len(m.AllWorkflows()))
	for _, w := range m.AllWorkflows() {
		info, err := describe(w.Graph(), in.Partial == "true")
		if err != nil {
			return nil, err
		}
		out = append(out, mastra.Member[Info]{Key: w.Graph().Name(), Value: info})
	}
	return out, nil
}

// GetInput names a workflow by id or key.
type GetInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
}

// Get describes one workflow.
func Get(_ context.Context, m *mastra.Mastra, in GetInput) (Info, error) {
	w, err := m.Workflow(in.WorkflowID)
	if err != nil {
		return Info{}, err
	}
	return describe(w.Graph(), false)
}

func describe(g *mastra.Graph, partial bool) (Info, error) {
	graph, err := g.JSON()
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: g.ID, Description: g.Description, StepGraph: graph, Options: Options{true, true}, Origin: "code"}
	own := stepsOf(g, "", false)
	if partial {
		n := len(own)
		info.StepCount = &n
		return info, nil
	}
	info.Steps, info.AllSteps, info.IsProcessor = own, stepsOf(g, "", true), new(bool)
	info.InputSchema, info.OutputSchema = g.In.SuperJSON(schema.Draft07), g.Out.SuperJSON(schema.Draft07)
	info.StateSchema = g.State.SuperJSON(schema.Draft07)
	return info, nil
}

// stepsOf lists the steps of g by their ids; deep adds those of nested workflows below them.
func stepsOf(g *mastra.Graph, prefix string, deep bool) mastra.Object[StepInfo] {
	var list mastra.Object[StepInfo]
	add := func(info StepInfo, nested *mastra.Graph) {
		key := prefix + info.ID
		if deep {
			is := nested != nil
			info.IsWorkflow = &is
		}
		list = append(list, mastra.Member[StepInfo]{Key: key, Value: info})
		if deep && nested != nil {
			list = append(list, stepsOf(nested, key+".", true)...)
		}
	}
	for _, n := range g.Nodes {
		if n.Kind == mastra.KindSleep || n.Kind == mastra.KindUntil {
			empty := schema.For[struct{}]().SuperJSON(schema.Draft07)
			add(StepInfo{ID: n.ID, InputSchema: empty, OutputSchema: empty}, nil)
		}
		for _, s := range n.Steps {
			var description *string
			component := ""
			switch {
			case s.Workflow != nil:
				component = "WORKFLOW"
			case s.Agent != "":
				component, description = "AGENT", &s.Description
			case s.Tool != "":
				component, description = "TOOL", &s.Description
			}
			if s.Description != "" && !g.IsMapping(s) { // of a mapping the graph shows it, in place of its source
				description = &s.Description
			}
			add(StepInfo{ID: s.ID, Description: description, Component: component, InputSchema: s.In.SuperJSON(schema.Draft07), OutputSchema: s.Out.SuperJSON(schema.Draft07),
				ResumeSchema: s.Resume.SuperJSON(schema.Draft07), SuspendSchema: s.Suspend.SuperJSON(schema.Draft07)}, s.Workflow)
		}
	}
	return list
}

// workflow finds a workflow by id or key, and the backends that running it needs.
func workflow(m *mastra.Mastra, id string) (mastra.Workflow, error) {
	w, err := m.Workflow(id)
	if err != nil {
		return nil, err
	}
	if m.Engine == nil || m.Storage == nil {
		return nil, mastra.Errorf(mastra.CodeUnavailable, "No workflow engine is configured")
	}
	return w, nil
}

// stored reads a run of w that the caller may see.
func stored(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, id string) (*mastra.Run, error) {
	run, err := m.Storage.Run(ctx, id)
	if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && (run.WorkflowID != w.Graph().ID || run.ResourceID != mastra.Resource(ctx, run.ResourceID)) {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Workflow run not found")
	}
	return run, err
}
