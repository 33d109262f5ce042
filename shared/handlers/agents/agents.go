// Package agents is the agents group: what agents there are, and running them.
package agents

import (
	"context"
	"iter"
	"slices"
	"strings"

	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	read, run := server.Permission("agents:read"), server.Permission("agents:execute")
	return slices.Concat([]server.Route{
		server.JSON("GET /agents", List, read, server.Summary("List all registered agents")),
		server.JSON("GET /agents/:agentId", Get, read, server.Summary("Get agent metadata")),
		server.JSON("POST /agents/:agentId/generate", Generate, run, server.Long, server.Summary("Generate agent response")),
		server.JSON("POST /agents/:agentId/generate/vnext", Generate, run, server.Long, server.Summary("Generate agent response (deprecated path)")),
		server.Stream("POST /agents/:agentId/stream", server.SSE, Stream, run, server.Summary("Stream agent response")),
		server.Stream("POST /agents/:agentId/stream/vnext", server.Chunked, Stream, run, server.Summary("Stream agent response (deprecated path)")),
		server.Stream("POST /agents/:agentId/streamVNext", server.Chunked, Stream, run, server.Summary("Stream agent response (deprecated path)")),
		server.Stream("POST /agents/:agentId/stream-until-idle", server.SSE, Stream, run, server.Summary("Stream agent response; there are no background tasks to wait for")),
		server.Stream("POST /agents/:agentId/network", server.SSE, Network, run, server.Summary("Route a task through an agent's network")),
	}, processorRoutes(), approvalRoutes(), threadRoutes(), modelRoutes(), refusedRoutes())
}

// Info is an agent as lists and Studio show it.
type Info struct {
	ID                    string                     `json:"id"`
	Name                  string                     `json:"name"`
	Model                 string                     `json:"model"`
	Description           string                     `json:"description"`
	Instructions          string                     `json:"instructions"`
	Agents                mastra.Object[Sub]         `json:"agents"`
	Tools                 mastra.Object[tools.Info]  `json:"tools"`
	Workflows             mastra.Object[WorkflowRef] `json:"workflows"`
	Skills                []mastra.JSON              `json:"skills"`
	WorkspaceTools        []string                   `json:"workspaceTools"`
	BrowserTools          []string                   `json:"browserTools"`
	HasBrowser            bool                       `json:"hasBrowser"`
	InputProcessors       []Sub                      `json:"inputProcessors"`
	OutputProcessors      []Sub                      `json:"outputProcessors"`
	Provider              string                     `json:"provider"`
	ModelID               string                     `json:"modelId"`
	ModelVersion          string                     `json:"modelVersion"`
	SupportsMemory        bool                       `json:"supportsMemory"`
	ModelList             []ListedModel              `json:"modelList,omitempty"`
	DefaultOptions        struct{}                   `json:"defaultOptions"`
	DefaultGenerateLegacy struct{}                   `json:"defaultGenerateOptionsLegacy"`
	DefaultStreamLegacy   struct{}                   `json:"defaultStreamOptionsLegacy"`
	Source                string                     `json:"source"`
}

// ListedInfo is an Info in a list.
type ListedInfo struct {
	Info     `json:",inline"`
	HasDraft bool `json:"hasDraft"`
}

// Sub names an agent that another one may call, or its processors.
type Sub struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// WorkflowRef names a workflow that an agent may call.
type WorkflowRef struct {
	Name string `json:"name"`
}

// ListInput asks for all agents. Partial leaves the tools' schemas out.
type ListInput struct {
	Partial string `query:"partial" json:"-"`
}

// AgentList is every agent, by its id.
type AgentList = mastra.Encoded[mastra.Object[ListedInfo]]

type listKey struct {
	partial bool
	choices int64
}

// List describes every agent.
func List(_ context.Context, m *mastra.Mastra, in ListInput) (AgentList, error) {
	partial := in.Partial == "true"
	return mastra.Once(m, listKey{partial, m.Choices()}, func() (AgentList, error) {
		out := make(mastra.Object[ListedInfo], 0, len(m.AllAgents()))
		for _, a := range m.AllAgents() {
			info, err := describe(m, a, partial)
			if err != nil {
				return AgentList{}, err
			}
			out = append(out, mastra.Member[ListedInfo]{Key: a.ID, Value: ListedInfo{Info: info}})
		}
		return mastra.Encode(out)
	})
}

// GetInput names an agent by id or key.
type GetInput struct {
	AgentID string `path:"agentId" json:"-"`
	Status  string `query:"status" json:"-" enum:"draft,published"`
}

// Get describes one agent.
func Get(_ context.Context, m *mastra.Mastra, in GetInput) (Info, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return Info{}, err
	}
	return describe(m, a, false)
}

func describe(m *mastra.Mastra, a *mastra.Agent, partial bool) (Info, error) {
	a = m.Chosen(a)
	first := a.Model
	var list []ListedModel
	for _, c := range a.Models {
		if first == "" && !c.Disabled {
			first = c.Model
		}
		list = append(list, listed(c))
	}
	model, err := m.Models(first)
	if err != nil {
		return Info{}, err
	}
	id := model.Info()
	info := Info{ID: a.ID, Name: a.Name, Description: a.Description, Instructions: a.Instructions,
		Model: id.Provider + "/" + id.ID, Provider: id.Provider, ModelID: id.ID, ModelVersion: id.Version, SupportsMemory: true, Source: "code", ModelList: list}
	for _, p := range a.Processors { // the reference server shows those of one side as one
		if in := a.ID + "-input-processor"; info.InputProcessors == nil && p.OnInput() {
			info.InputProcessors = []Sub{{in, in}}
		}
		if out := a.ID + "-output-processor"; info.OutputProcessors == nil && p.OnOutput() {
			info.OutputProcessors = []Sub{{out, out}}
		}
	}
	for _, c := range a.Tools {
		switch c := c.(type) {
		case *mastra.Agent:
			info.Agents.Set(c.Registered(), Sub{c.ID, c.Name})
		case mastra.Workflow:
			info.Workflows.Set(c.Graph().Name(), WorkflowRef{c.Graph().ID})
		default:
			t := tools.Describe(c.Tool())
			if partial {
				t.InputSchema, t.OutputSchema = "", ""
			}
			info.Tools.Set(c.Tool().Name(), t)
		}
	}
	return info, nil
}

// Generate runs an agent to its end.
func Generate(ctx context.Context, m *mastra.Mastra, in GenerateInput) (*mastra.AgentResult, error) {
	a, call, err := in.call(ctx, m)
	if err != nil {
		return nil, err
	}
	return m.Agents.Generate(mastra.WithRequestContext(ctx, in.RequestContext), m, a, call)
}

// Stream runs an agent and returns its chunks. Leaving the loop leaves the run running.
func Stream(ctx context.Context, m *mastra.Mastra, in GenerateInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, call, err := in.call(ctx, m)
	if err != nil {
		return nil, err
	}
	return m.Agents.Stream(mastra.WithRequestContext(ctx, in.RequestContext), m, a, call)
}

// Network routes a task through the agents, workflows and tools of an agent.
func Network(ctx context.Context, m *mastra.Mastra, in GenerateInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, call, err := in.call(ctx, m)
	if err != nil {
		return nil, err
	}
	if more := in.Routing.Instructions; more != "" {
		call.System = strings.TrimSpace(call.System + "\n" + more)
	}
	return m.Agents.Network(mastra.WithRequestContext(ctx, in.RequestContext), m, a, call)
}

func (in *GenerateInput) call(ctx context.Context, m *mastra.Mastra) (*mastra.Agent, mastra.AgentCall, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return nil, mastra.AgentCall{}, err
	}
	c, err := in.settings(ctx, m, a)
	return a, c, err
}

// settings are the call of an agent.
func (in *GenerateInput) settings(ctx context.Context, m *mastra.Mastra, a *mastra.Agent) (mastra.AgentCall, error) {
	c := mastra.AgentCall{Messages: in.Messages, Context: in.Context, Instructions: strings.Join(in.Instructions, "\n"),
		System: strings.Join(in.System, "\n"), RunID: in.RunID, MaxSteps: in.MaxSteps, MaxRetries: in.MaxRetries, Model: in.Model, SavePerStep: in.SavePerStep,
		ToolsAtOnce: int(in.AtOnce), ScoringData: in.ScoringData, ToolChoice: mastra.ToolChoice(in.ToolChoice),
		ActiveTools: in.ActiveTools, Approve: in.RequireToolApproval, Settings: in.ModelSettings, ModelOptions: in.ProviderOptions, Tracing: in.TracingOptions,
		ThreadID: in.ThreadID, ResourceID: in.ResourceID}
	if mem := in.Memory; mem != nil {
		c.ThreadID, c.ThreadTitle, c.ThreadMetadata = mem.Thread.ID, mem.Thread.Title, mem.Thread.Metadata
		c.ResourceID, c.ReadOnly = mem.Resource, mem.ReadOnly || mem.Options.ReadOnly
		c.LastMessages, c.Memory = mem.Options.LastMessages.Count, mem.Options.over(a.Memory)
	}
	c.ResourceID = mastra.Resource(ctx, c.ResourceID)
	return c, in.fill(m, &c)
}
