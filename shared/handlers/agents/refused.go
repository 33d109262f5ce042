package agents

import (
	"context"
	"fmt"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// What only stored agents, or servers of former times, have: answered as the reference server does for agents of code.

func refusedRoutes() []server.Route {
	read, run, write := server.Permission("agents:read"), server.Permission("agents:execute"), server.Permission("agents:write")
	return []server.Route{
		server.JSON("POST /agents/:agentId/clone", Clone, write, server.Summary("Clone an agent: needs an editor, which this server has not")),
		server.JSON("GET /agents/:agentId/plans/file", Plan, read, server.Summary("Read a plan: agents of code have none")),
		server.JSON("GET /agents/:agentId/skills/:skillName", Skill, read, server.Summary("Read a skill: agents of code have none")),
		server.JSON("GET /agents/:agentId/browser/session", BrowserSession, read, server.Summary("Whether an agent has a browser: agents of code have none")),
		server.JSON("POST /agents/:agentId/browser/close", CloseBrowser, run, server.Summary("Close an agent's browser: agents of code have none")),
		server.JSON("POST /agents/:agentId/generate-legacy", GenerateLegacy, run, server.Summary("Deprecated, for models of a former kind")),
		server.JSON("POST /agents/:agentId/stream-legacy", StreamLegacy, run, server.Summary("Deprecated, for models of a former kind")),
		server.JSON("POST /agents/:agentId/stream/ui", StreamUI, run, server.Summary("Deprecated")),
		server.JSON("POST /agents/:agentId/stream/vnext/ui", StreamUI, run, server.Summary("Deprecated")),
	}
}

// CloneInput is what a clone would be.
type CloneInput struct {
	AgentID  string      `path:"agentId" json:"-"`
	NewID    string      `json:"newId,omitempty"`
	NewName  string      `json:"newName,omitempty"`
	Metadata mastra.JSON `json:"metadata,omitempty"`
	AuthorID string      `json:"authorId,omitempty"`
}

// Clone is refused: there is no editor.
func Clone(_ context.Context, m *mastra.Mastra, in CloneInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeInvalid, "Editor is not configured on the Mastra instance")
}

// PlanInput names a plan.
type PlanInput struct {
	AgentID   string `path:"agentId" json:"-"`
	Status    string `query:"status" json:"-" enum:"draft,published"`
	VersionID string `query:"versionId" json:"-"`
	Path      string `query:"path" json:"-" required:"true"`
}

// Plan finds none.
func Plan(_ context.Context, m *mastra.Mastra, in PlanInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeNotFound, "Plan capability not found")
}

// SkillInput names a skill.
type SkillInput struct {
	AgentID   string `path:"agentId" json:"-"`
	SkillName string `path:"skillName" json:"-"`
	Path      string `query:"path" json:"-"`
}

// Skill finds none.
func Skill(_ context.Context, m *mastra.Mastra, in SkillInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeNotFound, fmt.Sprintf("Skill %q not found", in.SkillName))
}

// BrowserInput names a session.
type BrowserInput struct {
	AgentID  string `path:"agentId" json:"-"`
	ThreadID string `query:"threadId" json:"-"`
}

// Browser says whether there is a session.
type Browser struct {
	HasSession bool `json:"hasSession"`
	Screencast bool `json:"screencastAvailable"`
}

// BrowserSession finds none.
func BrowserSession(_ context.Context, m *mastra.Mastra, in BrowserInput) (Browser, error) {
	_, err := m.Agent(in.AgentID)
	return Browser{}, err
}

// CloseBrowserInput names a session.
type CloseBrowserInput struct {
	AgentID  string `path:"agentId" json:"-"`
	ThreadID string `json:"threadId,omitempty"`
}

// CloseBrowser finds none.
func CloseBrowser(_ context.Context, m *mastra.Mastra, in CloseBrowserInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeNotFound, "No browser session for this agent")
}

// LegacyInput names an agent.
type LegacyInput struct {
	AgentID  string      `path:"agentId" json:"-"`
	Messages mastra.JSON `json:"messages"`
}

// GenerateLegacy is refused: there are no models of the former kind.
func GenerateLegacy(_ context.Context, m *mastra.Mastra, in LegacyInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeInvalid, `Models with specificationVersion "v2" are not supported for generateLegacy(). Please use generate() instead.`)
}

// StreamLegacy is refused: there are no models of the former kind.
func StreamLegacy(_ context.Context, m *mastra.Mastra, in LegacyInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeInvalid, `Models with specificationVersion "v2" are not supported for streamLegacy(). Please use stream() instead.`)
}

// StreamUI is refused.
func StreamUI(_ context.Context, m *mastra.Mastra, in LegacyInput) (mastra.JSON, error) {
	return refused(m, in.AgentID, mastra.CodeInvalid, "This endpoint is deprecated. Please use the @mastra/ai-sdk package to for uiMessage transformations")
}

func refused(m *mastra.Mastra, agent string, code mastra.Code, message string) (mastra.JSON, error) {
	if _, err := m.Agent(agent); err != nil {
		return nil, err
	}
	return nil, mastra.Errorf(code, "%s", message)
}
