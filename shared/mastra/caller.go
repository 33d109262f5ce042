package mastra

import "context"

// Principal is who calls: it, not the request, decides whose data a call touches.
type Principal struct {
	ID          string   `json:"id"`                   // of the key or user
	Tenant      string   `json:"tenant,omitempty"`     // begins every storage key; "-" without one
	Resource    string   `json:"resource,omitempty"`   // if set, the only resource whose threads and runs the caller sees; it wins over what a request says
	Permissions []string `json:"permissions,omitzero"` // "agents:execute", "agents:*", "*"; nil allows all, an empty list nothing
}

// Credentials are what a request shows of its caller.
type Credentials struct {
	Token  string // of "Authorization: Bearer" or ?apiKey=; "" without one
	Header func(name string) string
}

// Authenticator turns credentials into a principal. It returns an Error of CodeUnauthorized where it knows nobody.
type Authenticator interface {
	Authenticate(ctx context.Context, c Credentials) (*Principal, error)
}

// May says whether p has a permission such as "agents:execute".
func (p *Principal) May(permission string) bool {
	if p == nil || p.Permissions == nil || permission == "" {
		return true
	}
	for _, have := range p.Permissions {
		if have == "*" || have == permission || len(have) > 2 && have[len(have)-2:] == ":*" && len(permission) >= len(have)-1 && permission[:len(have)-1] == have[:len(have)-1] {
			return true
		}
	}
	return false
}

// WithPrincipal says who calls. The server sets it; a unit test may.
func WithPrincipal(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey, p)
}

// Caller is who calls, nil in a process without authentication.
func Caller(ctx context.Context) *Principal {
	p, _ := ctx.Value(principalKey).(*Principal)
	return p
}

// Tenant is whose storage ctx works on.
func Tenant(ctx context.Context) string {
	if p := Caller(ctx); p != nil && p.Tenant != "" {
		return p.Tenant
	}
	return "-"
}

// Resource is the resource that a call works for: the caller's own where it has one, else what the request says.
func Resource(ctx context.Context, asked string) string {
	if p := Caller(ctx); p != nil && p.Resource != "" {
		return p.Resource
	}
	return asked
}

// Request identifies one call for logs and retries.
type Request struct {
	ID             string
	IdempotencyKey string // as the client sent it; "" without one
	Fingerprint    string // of caller, route and body: a repeat of the same request has the same one; "" where it needs none
	LastEventID    string // the last event of a stream that the client has seen, "epoch-seq"
	ended          []func(answered bool)
}

// OnEnd asks for f to be called once when the request is over: answered says that a status below 500 reached the client.
// The handler's goroutine calls it; f must not block.
func (r *Request) OnEnd(f func(answered bool)) { r.ended = append(r.ended, f) }

// End calls what OnEnd was given. The server calls it after its answer.
func (r *Request) End(answered bool) {
	for _, f := range r.ended {
		f(answered)
	}
	r.ended = nil
}

// WithRequest and RequestOf carry it.
func WithRequest(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey, r)
}

// RequestOf is the request that ctx belongs to, nil where a handler is called directly.
func RequestOf(ctx context.Context) *Request { r, _ := ctx.Value(requestKey).(*Request); return r }

// RequestContext is what a caller hands to its tools and steps beside their input.
type RequestContext map[string]JSON

// WithRequestContext and RequestContextOf carry it.
func WithRequestContext(ctx context.Context, rc RequestContext) context.Context {
	return context.WithValue(ctx, requestContextKey, rc)
}

// RequestContextOf is the request context of ctx, nil without one.
func RequestContextOf(ctx context.Context) RequestContext {
	rc, _ := ctx.Value(requestContextKey).(RequestContext)
	return rc
}
