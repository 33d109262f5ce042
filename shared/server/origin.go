package server

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// admit keeps strangers out: where only this machine may call, a web page elsewhere must not drive a laptop's agent,
// neither by its own origin nor through a name that it points at 127.0.0.1. It sets the CORS headers of the rest.
func (s *Server) admit(header http.Header, r *http.Request) error {
	if s.LoopbackOnly && !loopback(r.Host) {
		return mastra.Errorf(mastra.CodeForbidden, "Host %q is not this machine", r.Host)
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	anyOrigin := slices.Contains(s.Origins, "*")
	if !anyOrigin {
		header.Add("Vary", "Origin")
	}
	allowed := slices.Contains(s.Origins, origin)
	if s.LoopbackOnly && !allowed {
		u, err := url.Parse(origin)
		allowed = err == nil && loopback(u.Host)
	}
	switch {
	case anyOrigin:
		header.Set("Access-Control-Allow-Origin", "*")
	case allowed:
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Allow-Credentials", "true") // Studio asks for it; there are no cookies
	case s.LoopbackOnly:
		return mastra.Errorf(mastra.CodeForbidden, "Origin %q is not this machine; CORS_ORIGINS lets it in", origin)
	default:
		return nil // without the headers a browser keeps the answer from its page
	}
	header.Set("Access-Control-Expose-Headers", "Content-Length,X-Requested-With,X-Request-Id")
	return nil
}

// preflight answers what a browser asks before a request of another origin.
func preflight(header http.Header, r *http.Request) {
	if header.Get("Access-Control-Allow-Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return
	}
	header.Set("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS")
	headers := "Content-Type,Authorization,Idempotency-Key,Last-Event-ID,X-Request-Id,x-mastra-client-type,x-mastra-dev-playground"
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && header.Get("Access-Control-Allow-Origin") != "*" {
		headers = asked // of an origin that is let in by name: Studio sends what its user configures
	}
	header.Set("Access-Control-Allow-Headers", headers)
	header.Set("Access-Control-Max-Age", "3600")
}

func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.Trim(name, "[]"), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}
