// Package tools is the tools group: what tools there are, and calling one directly.
package tools

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	return []server.Route{
		server.JSON("GET /tools", List, server.Permission("tools:read"), server.Summary("List all tools")),
		server.JSON("GET /tools/:toolId", Get, server.Permission("tools:read"), server.Summary("Get a tool's metadata")),
		server.JSON("POST /tools/:toolId/execute", Execute, server.Permission("tools:execute"), server.Long, server.Summary("Execute a tool; calling it directly is its approval")),
		server.JSON("GET /agents/:agentId/tools/:toolId", GetOfAgent, server.Permission("tools:read"), server.Summary("Get a tool of an agent")),
		server.JSON("POST /agents/:agentId/tools/:toolId/execute", ExecuteOfAgent, server.Permission("tools:execute"), server.Long, server.Summary("Execute a tool of an agent")),
	}
}

// Info is a tool as lists show it. The schemas are strings that hold {"json": schema}.
type Info struct {
	ID              string `json:"id"`
	Description     string `json:"description"`
	InputSchema     string `json:"inputSchema,omitempty"`
	OutputSchema    string `json:"outputSchema,omitempty"`
	RequireApproval bool   `json:"requireApproval"`
}

// Describe is the Info of t.
func Describe(t *mastra.Tool) Info {
	return Info{ID: t.ID, Description: t.Description, InputSchema: t.Input.SuperJSON(schema.Draft202012),
		OutputSchema: t.Output.SuperJSON(schema.Draft202012), RequireApproval: t.RequireApproval}
}

// ListInput asks for all tools.
type ListInput struct{}

// List describes every tool, by its key.
func List(_ context.Context, m *mastra.Mastra, _ ListInput) (mastra.Object[Info], error) {
	out := make(mastra.Object[Info], 0, len(m.AllTools()))
	for _, t := range m.AllTools() {
		out = append(out, mastra.Member[Info]{Key: t.Name(), Value: Describe(t)})
	}
	return out, nil
}

// GetInput names a tool by id or key.
type GetInput struct {
	ToolID string `path:"toolId" json:"-"`
}

// Get describes one tool.
func Get(_ context.Context, m *mastra.Mastra, in GetInput) (Info, error) {
	t, err := m.Tool(in.ToolID)
	if err != nil {
		return Info{}, err
	}
	return Describe(t), nil
}

// GetOfAgentInput names a tool of an agent.
type GetOfAgentInput struct {
	AgentID string `path:"agentId" json:"-"`
	ToolID  string `path:"toolId" json:"-"`
}

// GetOfAgent describes one tool of an agent.
func GetOfAgent(_ context.Context, m *mastra.Mastra, in GetOfAgentInput) (Info, error) {
	t, err := ofAgent(m, in.AgentID, in.ToolID)
	if err != nil {
		return Info{}, err
	}
	return Describe(t), nil
}

func ofAgent(m *mastra.Mastra, agentID, toolID string) (*mastra.Tool, error) {
	a, err := m.Agent(agentID)
	if err != nil {
		return nil, err
	}
	for _, c := range a.Tools {
		if t, ok := c.(*mastra.Tool); ok && (t.ID == toolID || t.Key == toolID) {
			return t, nil
		}
	}
	return nil, mastra.Errorf(mastra.CodeNotFound, "Tool not found")
}

// ExecuteInput is a call of a tool.
type ExecuteInput struct {
	ToolID         string                `path:"toolId" json:"-"`
	Data           mastra.JSON           `json:"data"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
}

// Execute runs a tool and answers what it returns. Data that does not fit is answered as a model would be told:
// {"error": true, "message", "validationErrors"} with status 200, as the reference server does.
// An error of the tool is a CodeUserCode with its message.
func Execute(ctx context.Context, m *mastra.Mastra, in ExecuteInput) (mastra.JSON, error) {
	t, err := m.Tool(in.ToolID)
	if err != nil {
		return nil, err
	}
	return execute(ctx, m, t, in.Data, in.RequestContext)
}

// ExecuteOfAgentInput is a call of a tool of an agent.
type ExecuteOfAgentInput struct {
	AgentID        string                `path:"agentId" json:"-"`
	ToolID         string                `path:"toolId" json:"-"`
	Data           mastra.JSON           `json:"data"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
}

// ExecuteOfAgent is Execute for a tool of an agent.
func ExecuteOfAgent(ctx context.Context, m *mastra.Mastra, in ExecuteOfAgentInput) (mastra.JSON, error) {
	t, err := ofAgent(m, in.AgentID, in.ToolID)
	if err != nil {
		return nil, err
	}
	return execute(ctx, m, t, in.Data, in.RequestContext)
}

func execute(ctx context.Context, m *mastra.Mastra, t *mastra.Tool, data mastra.JSON, rc mastra.RequestContext) (mastra.JSON, error) {
	out, err := t.Call(mastra.WithRequestContext(mastra.NewContext(ctx, m), rc), data)
	var invalid *schema.InvalidError
	var known *mastra.Error
	switch {
	case errors.As(err, &invalid):
		return schema.Marshal(mastra.Refuse(t.ID, data, invalid.Issues))
	case errors.As(err, &known):
		return nil, err
	case err != nil:
		return nil, &mastra.Error{Code: mastra.CodeUserCode, Message: err.Error()}
	}
	return out, nil
}
