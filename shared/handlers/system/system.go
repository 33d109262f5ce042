// Package system is the system group: health, and what clients and Studio ask first.
package system

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	return append(append(absentRoutes(), versionRoutes()...),
		server.JSON("GET /health", Health, server.Public, server.Root, server.Summary("Whether the process answers")),
		server.JSON("GET /auth/capabilities", Capabilities, server.Public, server.Summary("How a client signs in")),
		server.JSON("GET /auth/me", Me, server.Public, server.Summary("Who calls")),
		server.JSON("GET /auth/sso/login", notConfigured("SSO"), server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("GET /auth/sso/callback", notConfigured("SSO"), server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("POST /auth/logout", notConfigured("Logout"), server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("POST /auth/refresh", notConfigured("Session refresh"), server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("POST /auth/credentials/sign-in", SignIn, server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("POST /auth/credentials/sign-up", SignIn, server.Public, server.Summary("Not configured: callers have API keys")),
		server.JSON("GET /auth/roles/:roleId/permissions", RolePermissions, server.Permission("system:read"), server.Summary("There are no roles")),
		server.JSON("GET /system/packages", Packages, server.Permission("system:read"), server.Summary("What the server is made of")))
}

// Nothing is the input of routes that take none.
type Nothing struct{}

// Healthy is the answer of Health.
type Healthy struct {
	Success bool `json:"success"`
}

// Health answers as long as the process does.
func Health(context.Context, *mastra.Mastra, Nothing) (Healthy, error) { return Healthy{true}, nil }

// PackageList is what Studio reads to know which pages to show.
type PackageList struct {
	Packages                 []mastra.JSON   `json:"packages"`
	IsDev                    bool            `json:"isDev"`
	CMSEnabled               bool            `json:"cmsEnabled"`
	LiveKit                  bool            `json:"liveKitConnectionRouteEnabled"`
	ObservabilityEnabled     bool            `json:"observabilityEnabled"`
	StorageType              string          `json:"storageType,omitempty"`
	ObservabilityStorageType string          `json:"observabilityStorageType,omitempty"`
	Capabilities             map[string]bool `json:"observabilityStorageCapabilities"`
}

// Packages says what the server has.
func Packages(_ context.Context, m *mastra.Mastra, _ Nothing) (PackageList, error) {
	return PackageList{ObservabilityEnabled: m.Storage != nil, Capabilities: map[string]bool{"metrics": m.Storage != nil, "logs": m.Storage != nil, "traceQueryDiscovery": m.Storage != nil}}, nil
}
