package system

import (
	"context"

	"mastralambda/shared/mastra"
)

// User is a caller as the caller may know itself.
type User struct {
	ID          string   `json:"id"`
	Permissions []string `json:"permissions,omitempty"`
}

// Me says who calls; null where nobody is known.
func Me(ctx context.Context, _ *mastra.Mastra, _ Nothing) (*User, error) {
	p := mastra.Caller(ctx)
	if p == nil {
		return nil, nil
	}
	return &User{ID: p.ID, Permissions: p.Permissions}, nil
}

// AuthCapabilities say how a client signs in: API keys need no login page.
type AuthCapabilities struct {
	Enabled bool        `json:"enabled"`
	Login   mastra.JSON `json:"login"`
}

// Capabilities says how a client signs in.
func Capabilities(_ context.Context, m *mastra.Mastra, _ Nothing) (AuthCapabilities, error) {
	return AuthCapabilities{Enabled: m.Auth != nil}, nil
}

// CredentialsInput is a user's name and password.
type CredentialsInput struct {
	Email    string `json:"email" jsonschema:"an e-mail address" pattern:"^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$"`
	Password string `json:"password" minLength:"1"`
	Name     string `json:"name,omitempty"`
}

// SignIn and what else a login page calls: callers are known by API keys, so each answers that it is not configured.
func SignIn(context.Context, *mastra.Mastra, CredentialsInput) (mastra.JSON, error) {
	return nil, mastra.Errorf(mastra.CodeNotFound, "Credentials authentication not configured")
}

func notConfigured(what string) func(context.Context, *mastra.Mastra, Nothing) (mastra.JSON, error) {
	return func(context.Context, *mastra.Mastra, Nothing) (mastra.JSON, error) {
		return nil, mastra.Errorf(mastra.CodeNotFound, "%s not configured", what)
	}
}

// RoleInput names a role.
type RoleInput struct {
	RoleID string `path:"roleId" json:"-"`
}

// RolePermissions answers for roles, which API keys do not have.
func RolePermissions(_ context.Context, _ *mastra.Mastra, in RoleInput) (mastra.JSON, error) {
	return nil, mastra.Errorf(mastra.CodeNotFound, "Role %s not found", in.RoleID)
}
