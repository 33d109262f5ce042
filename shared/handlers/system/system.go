// Package system is the system group: health, and what clients and Studio ask first.
package system

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	return []server.Route{
		server.JSON("GET /health", Health, server.Public, server.Root, server.Summary("Whether the process answers")),
		server.JSON("GET /auth/capabilities", Capabilities, server.Public, server.Summary("How a client signs in")),
		server.JSON("GET /system/packages", Packages, server.Permission("system:read"), server.Summary("What the server is made of")),
	}
}

// Nothing is the input of routes that take none.
type Nothing struct{}

// Healthy is the answer of Health.
type Healthy struct {
	Success bool `json:"success"`
}

// Health answers as long as the process does.
func Health(context.Context, *mastra.Mastra, Nothing) (Healthy, error) { return Healthy{true}, nil }

// AuthCapabilities say how a client signs in: API keys need no login page.
type AuthCapabilities struct {
	Enabled bool        `json:"enabled"`
	Login   mastra.JSON `json:"login"`
}

// Capabilities says how a client signs in.
func Capabilities(_ context.Context, m *mastra.Mastra, _ Nothing) (AuthCapabilities, error) {
	return AuthCapabilities{Enabled: m.Auth != nil}, nil
}

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
	return PackageList{ObservabilityEnabled: m.Storage != nil, Capabilities: map[string]bool{"metrics": false, "logs": m.Logs != nil}}, nil
}
