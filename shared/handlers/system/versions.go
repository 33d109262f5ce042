package system

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Versions of agents are made by an editor, which this server has not: agents of code have none. The official client's class
// of agents asks for them, and is answered as by a reference server where nobody has made any.

func versionRoutes() []server.Route {
	read, write := server.Permission("system:read"), server.Permission("system:write")
	const versions = "/stored/agents/:agentId/versions"
	return []server.Route{
		server.JSON("GET "+versions, ListVersions, read, server.Summary("List an agent's versions: agents of code have none")),
		server.JSON("POST "+versions, noVersions, write, server.Summary("Make a version of an agent: needs an editor, which this server has not")),
		server.JSON("GET "+versions+"/compare", CompareVersions, read, server.Summary("Compare an agent's versions: agents of code have none")),
		server.JSON("GET "+versions+"/:versionId", GetVersion, read, server.Summary("Get an agent's version: agents of code have none")),
		server.JSON("POST "+versions+"/:versionId/activate", noVersions, write, server.Summary("Activate an agent's version: agents of code have none")),
		server.JSON("POST "+versions+"/:versionId/restore", noVersions, write, server.Summary("Restore an agent's version: agents of code have none")),
		server.JSON("DELETE "+versions+"/:versionId", noVersions, write, server.Summary("Delete an agent's version: agents of code have none")),
	}
}

// VersionsInput asks for an agent's versions.
type VersionsInput struct {
	AgentID string `path:"agentId" json:"-"`
	Page    int    `query:"page" json:"-" minimum:"0"`
	PerPage *int   `query:"perPage" json:"-" minimum:"0"`
}

// VersionList is a page of none.
type VersionList struct {
	Versions []mastra.JSON `json:"versions"`
	Total    int           `json:"total"`
	Page     int           `json:"page"`
	PerPage  int           `json:"perPage"`
	HasMore  bool          `json:"hasMore"`
}

// ListVersions finds none.
func ListVersions(_ context.Context, m *mastra.Mastra, in VersionsInput) (VersionList, error) {
	out := VersionList{Versions: []mastra.JSON{}, Page: in.Page, PerPage: 20}
	if in.PerPage != nil {
		out.PerPage = *in.PerPage
	}
	if _, err := m.Agent(in.AgentID); err != nil {
		return out, noAgent(in.AgentID)
	}
	return out, nil
}

// VersionInput names a version.
type VersionInput struct {
	AgentID   string `path:"agentId" json:"-"`
	VersionID string `path:"versionId" json:"-"`
}

// GetVersion finds none.
func GetVersion(_ context.Context, _ *mastra.Mastra, in VersionInput) (mastra.JSON, error) {
	return nil, noVersion(in.VersionID)
}

// CompareInput names two versions.
type CompareInput struct {
	AgentID string `path:"agentId" json:"-"`
	From    string `query:"from" json:"-" required:"true"`
	To      string `query:"to" json:"-" required:"true"`
}

// CompareVersions finds none.
func CompareVersions(_ context.Context, _ *mastra.Mastra, in CompareInput) (mastra.JSON, error) {
	return nil, noVersion(in.From)
}

// AgentInput names an agent.
type AgentInput struct {
	AgentID string `path:"agentId" json:"-"`
}

// noVersions finds no stored agent.
func noVersions(_ context.Context, _ *mastra.Mastra, in AgentInput) (mastra.JSON, error) {
	return nil, noAgent(in.AgentID)
}

func noAgent(id string) error {
	return mastra.Errorf(mastra.CodeNotFound, "Agent with id %s not found", id)
}

func noVersion(id string) error {
	return mastra.Errorf(mastra.CodeNotFound, "Version with id %s not found", id)
}
