package lambdalocal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"mastralambda/shared/mastra"
)

const (
	maxRequest = 10 << 20        // bytes of a body that the gateway takes
	idleStream = 5 * time.Minute // without a byte, after which it ends a stream of a regional API
	apiID      = "local"
)

// Gateway is API Gateway's REST front, below the stage ("/prod/api/agents"). It is safe for concurrent use.
type Gateway struct {
	API
	Logger *slog.Logger
	root   *Resource
	bucket *bucket
	base   *string // of a custom domain
}

// Domain is the same API at a custom domain: below base ("" or "/v1"), without the stage.
func (g *Gateway) Domain(base string) *Gateway {
	d := *g
	d.base = &base
	return &d
}

// NewGateway puts pools behind their functions' routes.
func NewGateway(api API, logger *slog.Logger, pools ...*Pool) (*Gateway, error) {
	g := &Gateway{API: api, Logger: logger, root: &Resource{Path: "/"}}
	g.bucket = &bucket{rate: api.Rate, burst: float64(api.Burst), level: float64(api.Burst)}
	for _, p := range pools {
		for _, route := range p.Routes {
			r := g.root.add(route.Path)
			if r.methods == nil {
				r.methods, r.id = map[string]*integration{}, fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(route.Path)))
			}
			if r.methods[route.Method] != nil {
				return nil, fmt.Errorf("%s %s leads to two functions", route.Method, route.Path)
			}
			r.methods[route.Method] = &integration{Route: route, pool: p}
		}
	}
	return g, g.root.siblings()
}

// Leads says which function a request's path below the stage leads to, and by which event; ok is whether it leads anywhere.
func (g *Gateway) Leads(method, path string) (function string, by Route, ok bool) {
	to, _ := g.match(method, path, map[string]string{})
	if to == nil {
		return "", Route{}, false
	}
	return to.pool.Name, to.Route, true
}

func (g *Gateway) match(method, path string, values map[string]string) (*integration, *Resource) {
	r := g.root.match(path, values)
	if r == nil {
		return nil, nil
	}
	if to := r.methods[method]; to != nil {
		return to, r
	}
	return r.methods["ANY"], r
}

// siblings says what API Gateway refuses: variables of two names side by side.
func (r *Resource) siblings() error {
	var variables []string
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.children)) {
		if strings.HasPrefix(name, "{") {
			variables = append(variables, name)
		}
		errs = append(errs, r.children[name].siblings())
	}
	if len(variables) > 1 {
		errs = append(errs, fmt.Errorf("%s has sibling variables %v: API Gateway takes one", r.Path, variables))
	}
	return errors.Join(errs...)
}

func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := mastra.NewID()
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("X-Amz-Apigw-Id", id[:16]+"=")
	path, below, ok := g.below(r.URL.EscapedPath())
	if !ok { // no API is there that could word it
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"message":"Forbidden"}`)
		return
	}
	if !g.bucket.take(time.Now()) {
		g.refuse(w, r, id, "THROTTLED", http.StatusTooManyRequests, "Too Many Requests")
		return
	}
	values := map[string]string{}
	to, resource := g.match(r.Method, below, values)
	if to == nil {
		g.refuse(w, r, id, "MISSING_AUTHENTICATION_TOKEN", http.StatusForbidden, "Missing Authentication Token")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return // the client is gone
	}
	if len(body) > maxRequest {
		g.refuse(w, r, id, "REQUEST_TOO_LARGE", http.StatusRequestEntityTooLarge, "HTTP content length exceeded 10485760 bytes.")
		return
	}
	event, err := json.Marshal(g.event(r, id, path, resource, values, body))
	if err != nil {
		panic(err) // a proxy event has no value that JSON refuses
	}
	if len(event) > maxPayload {
		g.refuse(w, r, id, "REQUEST_TOO_LARGE", http.StatusRequestEntityTooLarge, "Request Too Long")
		return
	}
	// A client that leaves is not seen by the function.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), to.Timeout)
	defer cancel()
	a, err := to.pool.Invoke(ctx, event)
	switch {
	case errors.Is(err, ErrThrottled): // not a 429: API Gateway does not pass Lambda's own on
		g.refuse(w, r, id, "INTEGRATION_FAILURE", http.StatusInternalServerError, "Internal server error")
		return
	case err != nil:
		g.refuse(w, r, id, "INTEGRATION_TIMEOUT", http.StatusGatewayTimeout, "Endpoint request timed out")
		return
	}
	switch {
	case a.Failed:
		err = g.broken(a)
	case to.Streamed:
		err = g.stream(ctx, w, a)
	default:
		err = g.buffer(w, r, a)
	}
	if err != nil {
		g.Logger.Warn("the function's answer cannot be passed on", "function", to.pool.Name, "path", path, "error", err)
		g.refuse(w, r, id, "INTEGRATION_FAILURE", http.StatusBadGateway, "Internal server error")
	}
}

// below is the path as the event has it, and the part of it that is matched.
func (g *Gateway) below(raw string) (path, below string, ok bool) {
	prefix := "/" + g.Stage
	if g.base != nil {
		prefix = *g.base
	}
	rest, ok := strings.CutPrefix(raw, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return "", "", false
	}
	if rest == "" {
		rest = "/"
	}
	if g.base != nil {
		return raw, rest, true // a base path is part of the event's
	}
	return rest, rest, true
}

// refuse is an answer of the gateway's own.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, id, kind string, status int, message string) {
	response, ok := g.Responses[kind]
	if fallback := map[bool]string{true: "DEFAULT_5XX", false: "DEFAULT_4XX"}[status >= 500]; !ok {
		response = g.Responses[fallback]
	}
	quoted, _ := json.Marshal(message)
	body := fmt.Sprintf(`{"message":%s}`, quoted)
	if response.JSON != "" {
		body = strings.NewReplacer("$context.error.messageString", string(quoted), "$context.error.message", message, "$context.requestId", id,
			"$context.error.responseType", kind).Replace(response.JSON)
	}
	h := w.Header()
	for name, value := range response.Headers {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/json")
	if kind == "MISSING_AUTHENTICATION_TOKEN" {
		h.Set("X-Amzn-Errortype", "MissingAuthenticationTokenException")
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

// broken says what a function's error was.
func (g *Gateway) broken(a *Answer) error {
	defer a.Body.Close()
	data, err := io.ReadAll(io.LimitReader(a.Body, 4096))
	return errors.Join(fmt.Errorf("the function failed: %s", data), err)
}

// buffer passes a proxy response on.
func (g *Gateway) buffer(w http.ResponseWriter, r *http.Request, a *Answer) error {
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	var out events.APIGatewayProxyResponse
	if err := strict(data, &out); err != nil {
		return err
	}
	body := []byte(out.Body)
	if out.IsBase64Encoded && g.binary(r.Header.Get("Accept")) {
		if body, err = decode64(out.Body); err != nil {
			return err
		}
	}
	if err := head(w, out.StatusCode, out.Headers, out.MultiValueHeaders); err != nil {
		return err
	}
	_, _ = w.Write(body) // to a client that may have gone
	return nil
}

// delimiter stands between the head of a streamed answer and its body, within maxHead bytes.
var delimiter = make([]byte, 8)

const maxHead = 16 << 10

// stream passes a streamed proxy response on as it comes. An error means that nothing was sent.
func (g *Gateway) stream(ctx context.Context, w http.ResponseWriter, a *Answer) error {
	chunks := read(a.Body)
	defer func() {
		go func() { // a client that has gone does not hold up the function
			for range chunks {
			}
			_ = a.Body.Close()
		}()
	}()
	var begun []byte
	at := -1
	for at < 0 {
		c, ok := next(ctx, chunks)
		if !ok || c.err != nil {
			return fmt.Errorf("the answer ends before its head: %.200q %w", begun, errors.Join(c.err, ctx.Err()))
		}
		begun = append(begun, c.data...)
		if at = bytes.Index(begun, delimiter); at < 0 && len(begun) > maxHead || at > maxHead {
			return fmt.Errorf("no head within %d bytes: %.200q", maxHead, begun)
		}
	}
	var out struct {
		StatusCode        int                 `json:"statusCode"`
		Headers           map[string]string   `json:"headers"`
		MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
		Cookies           []string            `json:"cookies"`
	}
	if err := strict(begun[:at], &out); err != nil {
		return err
	}
	begun = begun[at+len(delimiter):]
	for len(begun) == 0 {
		c, ok := next(ctx, chunks)
		if !ok || c.err != nil {
			return fmt.Errorf("a stream without a body: %w", errors.Join(c.err, ctx.Err()))
		}
		begun = c.data
	}
	for _, cookie := range out.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	if err := head(w, out.StatusCode, out.Headers, out.MultiValueHeaders); err != nil {
		return err
	}
	flush := http.NewResponseController(w)
	for {
		if _, err := w.Write(begun); err != nil {
			return nil // the client has gone
		}
		_ = flush.Flush()
		c, ok := next(ctx, chunks)
		switch {
		case ok && c.err == nil:
			begun = c.data
		case errors.Is(c.err, io.EOF) && a.Trailer.Get("Lambda-Runtime-Function-Error-Type") == "":
			return nil
		default:
			g.Logger.Warn("a stream was cut off", "error", errors.Join(c.err, ctx.Err()), "functionError", a.Trailer.Get("Lambda-Runtime-Function-Error-Type"))
			panic(http.ErrAbortHandler) // the client sees its transfer broken off
		}
	}
}

type chunk struct {
	data []byte
	err  error
}

// read reads until the end, which is the last chunk's error.
func read(from io.Reader) <-chan chunk {
	out := make(chan chunk)
	go func() {
		defer close(out)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				out <- chunk{data: buf[:n]}
			}
			if err != nil {
				out <- chunk{err: err}
				return
			}
		}
	}()
	return out
}

// next is the next chunk; none when the stream is idle for too long or its time is over.
func next(ctx context.Context, chunks <-chan chunk) (c chunk, ok bool) {
	idle := time.NewTimer(idleStream)
	defer idle.Stop()
	select {
	case c, ok = <-chunks:
		return c, ok
	case <-idle.C:
	case <-ctx.Done():
	}
	return chunk{}, false
}

// remapped are the headers that API Gateway keeps for itself.
var remapped = []string{"Authorization", "Connection", "Content-Length", "Content-Md5", "Date", "Expect", "Host", "Max-Forwards", "Proxy-Authenticate", "Server",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Via", "Warn", "Www-Authenticate"}

// head writes the status and the headers of a proxy response.
func head(w http.ResponseWriter, status int, single map[string]string, multi map[string][]string) error {
	if status < 200 || status > 599 {
		return fmt.Errorf("status %d", status)
	}
	set := http.Header{}
	for name, value := range single {
		set[http.CanonicalHeaderKey(name)] = []string{value}
	}
	for name, values := range multi {
		set[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	for name, values := range set {
		switch {
		case name == "Transfer-Encoding" || name == "Connection":
			return fmt.Errorf("a proxy response must not have %s", name)
		case slices.Contains(remapped, name):
			name = "X-Amzn-Remapped-" + name
		}
		w.Header()[name] = append(w.Header()[name], values...)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json") // the gateway's default
	}
	w.WriteHeader(status)
	return nil
}

// binary says whether the API takes this media type for binary.
func (g *Gateway) binary(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ",")
	mediaType, _, _ = strings.Cut(mediaType, ";")
	return slices.Contains(g.BinaryTypes, "*/*") || slices.Contains(g.BinaryTypes, strings.TrimSpace(mediaType))
}

func (g *Gateway) textBody(contentType string, body []byte) (string, bool) {
	if len(body) == 0 {
		return "", false
	}
	if g.binary(contentType) {
		return encode64(body), true
	}
	if !utf8.Valid(body) {
		return strings.ToValidUTF8(string(body), "\uFFFD"), false // the gateway takes it for text
	}
	return string(body), false
}

// clientIP is the address of the caller.
func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// bucket is the stage's throttle.
type bucket struct {
	mu                 sync.Mutex
	rate, burst, level float64
	last               time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.rate == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() {
		b.level = min(b.burst, b.level+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}
