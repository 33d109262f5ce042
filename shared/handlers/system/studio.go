package system

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// absent is what Studio asks for and this server has nothing of: each page stays empty, as on a reference server where
// nobody made any.
var absent = []struct{ path, answer string }{
	{"/mcp/v0/servers", `{"servers":[],"total_count":0,"next":null}`},
	{"/workspaces", `{"workspaces":[]}`},
	{"/workspaces/:workspaceId", `{"isWorkspaceConfigured":false}`},
	{"/channels/platforms", `[]`},
	{"/schedules", `{"schedules":[]}`},
	{"/background-tasks", `{"tasks":[],"total":0}`},
	{"/datasets", `{"datasets":[],"pagination":{"total":0,"page":0,"perPage":10,"hasMore":false}}`},
	{"/experiments", `{"experiments":[],"pagination":{"total":0,"page":0,"perPage":10,"hasMore":false}}`},
	{"/experiments/review-summary", `{"counts":[]}`},
	{"/editor/builder/settings", `{"enabled":false,"modelPolicy":{"active":false}}`},
	{"/editor/builder/models/available", `{"providers":[]}`},
	{"/editor/workflow-builder/settings", `{"enabled":false}`},
	{"/stored/agents", `{"agents":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
	{"/stored/workflows", `{"workflows":[],"total":0}`},
	{"/stored/scorers", `{"scorerDefinitions":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
	{"/stored/mcp-clients", `{"mcpClients":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
	{"/stored/prompt-blocks", `{"promptBlocks":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
	{"/stored/skills", `{"skills":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
	{"/stored/workspaces", `{"workspaces":[],"total":0,"page":0,"perPage":100,"hasMore":false}`},
}

func absentRoutes() []server.Route {
	routes := make([]server.Route, len(absent))
	for i, a := range absent {
		answer := mastra.JSON(a.answer)
		routes[i] = server.JSON("GET "+a.path, func(context.Context, *mastra.Mastra, Nothing) (mastra.JSON, error) { return answer, nil },
			server.Permission("system:read"), server.Summary("None: this server has no such thing"))
	}
	return routes
}
