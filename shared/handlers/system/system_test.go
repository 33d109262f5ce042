package system_test

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/shared/handlers/system"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// What Studio asks at its start, and what a login page would.
func TestRoutes(t *testing.T) {
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Server{Mastra: m, Prefix: "/api"}, system.Routes())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/health", "", 200, `{"success":true}`},
		{"GET", "/api/auth/capabilities", "", 200, `{"enabled":false,"login":null}`},
		{"GET", "/api/auth/me", "", 200, `null`},
		{"GET", "/api/auth/sso/login?redirect_uri=x", "", 404, `"SSO not configured"`},
		{"POST", "/api/auth/logout", "", 404, `"Logout not configured"`},
		{"POST", "/api/auth/credentials/sign-in", `{"email":"a"}`, 400, `{"field":"password","message":"Required"}`},
		{"POST", "/api/auth/credentials/sign-in", `{"email":"a@example.com","password":"x"}`, 404, `"Credentials authentication not configured"`},
		{"GET", "/api/auth/roles/admin/permissions", "", 404, `"Role admin not found"`},
		{"GET", "/api/mcp/v0/servers", "", 200, `"servers":[]`},
		{"GET", "/api/workspaces/any", "", 200, `{"isWorkspaceConfigured":false}`},
		{"GET", "/api/stored/agents?page=0", "", 200, `{"agents":[],`},
		{"POST", "/api/stored/agents", "{}", 405, `"Method Not Allowed"`},
		{"GET", "/api/system/packages", "", 200, `"packages":`},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, w.Code, w.Body, c.status, c.want)
		}
	}
}
