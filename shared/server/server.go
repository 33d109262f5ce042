package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Server is an http.Handler over route tables. Its fields are set before New and not changed after. Callers are
// authenticated by Mastra.Auth; where it is nil, every caller is let in as nobody in particular.
type Server struct {
	Mastra       *mastra.Mastra
	Prefix       string   // "/api"
	Version      string   // of the application, for OpenAPI
	Origins      []string // web origins that browsers may call from: "https://app.example", "*" for all
	LoopbackOnly bool     // only this machine's Host, and its Origins besides those above
	StreamFormat Framing  // instead of each route's own
	routes       []Route
	root         node
	openAPI      func() ([]byte, error)
	apiRoutes    func() []apiRoute
}

// New checks the tables and makes the server ready. Two routes of one method and path are an error.
func New(s Server, tables ...[]Route) (*Server, error) {
	for _, t := range tables {
		s.routes = append(s.routes, t...)
	}
	for i := range s.routes {
		r := &s.routes[i]
		if err := s.root.add(r.Method, s.pathOf(r), r); err != nil {
			return nil, err
		}
	}
	s.openAPI, s.apiRoutes = sync.OnceValues(s.describe), sync.OnceValue(s.listRoutes)
	nothing := func() *input { return newInput(reflect.TypeFor[struct{}]()) }
	return &s, errors.Join(
		s.root.add(http.MethodGet, s.Prefix+"/system/api-schema", &Route{Permission: "system:read", serve: (*Server).serveAPISchema, input: nothing}),
		s.root.add(http.MethodGet, s.Prefix+"/auth/permission-patterns", &Route{Permission: "system:read", serve: (*Server).servePermissions, input: nothing}),
		s.root.add(http.MethodGet, s.Prefix+"/openapi.json", &Route{serve: (*Server).serveOpenAPI, input: nothing}),
		s.root.add(http.MethodGet, "/", &Route{Public: true, Root: true, serve: (*Server).serveRoot, input: nothing}),
		s.root.add(http.MethodGet, "/swagger-ui", &Route{serve: (*Server).serveSwagger, input: nothing}))
}

// Routes are the rows that the server serves.
func (s *Server) Routes() []Route { return s.routes }

// RoutesOf are the rows of one escaped path by method, nil where there are none. The map must not be changed.
func (s *Server) RoutesOf(path string) map[string]*Route {
	if found, _ := s.root.find(path, nil); found != nil {
		return found.routes
	}
	return nil
}

// response remembers what was answered, for the access log and for what comes after a panic.
type response struct {
	http.ResponseWriter
	status int
	failed bool // a write did not reach the client
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.failed = w.failed || err != nil
	return n, err
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP gives the request an id, keeps strangers out, finds its route and caller, and answers; in this order.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := &response{ResponseWriter: rw}
	req := &mastra.Request{ID: newRequestID(r.Header.Get("X-Request-Id")), LastEventID: r.Header.Get("Last-Event-ID")}
	r = r.WithContext(mastra.WithRequest(r.Context(), req))
	header := w.Header()
	header.Set("X-Request-Id", req.ID)
	header.Set("X-Content-Type-Options", "nosniff")
	defer func() {
		if p := recover(); p != nil {
			if w.status != 0 {
				req.End(false)
			}
			if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			if w.status != 0 { // too late for a status: cut the connection, so that nobody takes the rest for whole
				s.logger(r).ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
				panic(http.ErrAbortHandler)
			}
			s.writeError(w, r, err)
		}
		req.End(!w.failed && w.status < 500 && r.Context().Err() == nil)
		s.Mastra.Logger.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.String("requestId", req.ID), slog.String("method", r.Method),
			slog.String("path", r.URL.Path), slog.Int("status", w.status), slog.Int64("ms", time.Since(start).Milliseconds()))
	}()
	if err := s.admit(header, r); err != nil {
		s.writeError(w, r, err)
		return
	}
	path, _, _ := strings.Cut(r.RequestURI, "?") // as sent: EscapedPath would build it anew
	if path == "" || path[0] != '/' {
		path = r.URL.EscapedPath()
	}
	found, values := s.root.find(path, nil)
	if found == nil {
		s.writeError(w, r, mastra.Errorf(mastra.CodeNotFound, "Not Found"))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if method == http.MethodOptions {
		header.Set("Allow", found.allow)
		preflight(header, r)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	route := found.routes[method]
	if route == nil {
		header.Set("Allow", found.allow)
		s.writeJSON(w, r, http.StatusMethodNotAllowed, Problem{Error: "Method Not Allowed"})
		return
	}
	ctx, err := s.authenticate(r, route)
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	if caller, ok := mastra.ParseTraceparent(r.Header.Get("Traceparent")); ok {
		ctx = mastra.WithSpan(ctx, caller)
	}
	r = r.WithContext(ctx)
	if route.BodyLimit > 0 && r.ContentLength > int64(route.BodyLimit) {
		s.writeError(w, r, tooLarge())
		return
	}
	in, body, err := route.input().decode(r, route.params, values)
	if err == nil && route.BodyLimit > 0 && len(body) > route.BodyLimit { // its length was not announced
		err = tooLarge()
	}
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	if route.Long && r.Method == http.MethodPost {
		req.IdempotencyKey, req.Fingerprint = r.Header.Get("Idempotency-Key"), fingerprint(r, body)
	}
	route.serve(s, w, r, in)
}

// fingerprint is the same for a repeat of the same request by the same caller.
func fingerprint(r *http.Request, body []byte) string {
	h := sha256.New()
	caller := ""
	if p := mastra.Caller(r.Context()); p != nil {
		caller = p.ID
	}
	for _, part := range []string{mastra.Tenant(r.Context()), caller, r.URL.Path, r.URL.RawQuery} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// authenticate finds out who calls and whether the caller may use the route.
func (s *Server) authenticate(r *http.Request, route *Route) (context.Context, error) {
	ctx := r.Context()
	if s.Mastra.Auth == nil {
		return ctx, nil
	}
	token := ""
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		token = rest
	} else if strings.Contains(r.URL.RawQuery, "apiKey=") {
		token = r.URL.Query().Get("apiKey")
	}
	if route.Public && (route.Root || token == "") {
		return ctx, nil
	}
	p, err := s.Mastra.Auth.Authenticate(ctx, mastra.Credentials{Token: token, Header: r.Header.Get})
	switch {
	case route.Public && mastra.CodeOf(err) == mastra.CodeUnauthorized:
		return ctx, nil
	case err != nil:
		return nil, err
	}
	if !p.May(route.Permission) {
		return nil, mastra.Errorf(mastra.CodeForbidden, "Access denied")
	}
	return mastra.WithPrincipal(ctx, p), nil
}

func (s *Server) logger(r *http.Request) *slog.Logger {
	return s.Mastra.Logger.With("requestId", requestID(r))
}

func requestID(r *http.Request) string {
	if req := mastra.RequestOf(r.Context()); req != nil {
		return req.ID
	}
	return ""
}

// newRequestID takes over a caller's id where it is one that a log may hold.
func newRequestID(given string) string {
	if given != "" && len(given) <= 128 && strings.Trim(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:=") == "" {
		return given
	}
	return rand.Text()
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	if e, ok := v.(interface{ JSON() mastra.JSON }); ok {
		s.write(w, r, status, e.JSON())
		return
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() < 1<<20 {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	if err := encode(buf, v); err != nil {
		s.logger(r).ErrorContext(r.Context(), "the answer does not encode", "path", r.URL.Path, "error", err)
		buf.Reset()
		fmt.Fprintf(buf, `{"error":"Internal Server Error","requestId":%q}`, requestID(r))
		status = http.StatusInternalServerError
	}
	s.write(w, r, status, buf.Bytes())
}

func encode(buf *bytes.Buffer, v any) error {
	a, ok := v.(interface{ AppendJSON([]byte) ([]byte, error) })
	if !ok {
		return schema.MarshalWrite(buf, v)
	}
	data, err := a.AppendJSON(buf.AvailableBuffer())
	if err == nil {
		buf.Write(data)
	}
	return err
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		if _, err := w.Write(data); err != nil {
			s.logger(r).DebugContext(r.Context(), "the answer did not reach the client", "error", err)
		}
	}
}
