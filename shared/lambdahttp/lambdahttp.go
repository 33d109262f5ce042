// Package lambdahttp answers API Gateway's proxy events with a server.Server: buffered routes through
// aws-lambda-go-api-proxy, streamed and long ones through aws-lambda-go's streaming response.
package lambdahttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

const (
	// maxAnswer is how many bytes Lambda takes for a buffered answer; one more and its instance ends.
	maxAnswer = 6<<20 - 1024
	// reserve is what is kept of an invocation's time, so that what ends by its deadline can still be answered and stored.
	reserve = 2 * time.Second
	// bufferedTime is how long API Gateway waits for a buffered answer (29 s), less what answering takes.
	bufferedTime = 27 * time.Second
)

// Handler answers proxy events of a REST API. It is safe for concurrent use.
type Handler struct {
	Server *server.Server
	// Settle, where not nil, waits until nothing of this invocation is left to be done, at most until ctx ends: an instance
	// is frozen when its answer is out.
	Settle func(ctx context.Context) error
	// Buffered answers every route buffered: sam local reads no streaming response.
	Buffered bool
	// Direct, where not nil, answers the events that are no request of API Gateway: what other functions invoke this one with.
	// Its answer is encoded as JSON, its error is the invocation's.
	Direct func(ctx context.Context, event mastra.JSON) (any, error)
}

// Serve answers invocations. It does not return.
func Serve(h *Handler) {
	if h.Direct == nil {
		lambda.StartWithOptions(h.Invoke, lambda.WithSetEscapeHTML(false))
	}
	lambda.StartWithOptions(h.InvokeAny, lambda.WithSetEscapeHTML(false))
}

// InvokeAny answers an event of any kind: one with an httpMethod as Invoke does, others by Direct. It does not panic.
func (h *Handler) InvokeAny(ctx context.Context, event mastra.JSON) (_ any, err error) {
	var kind struct {
		Method *string `json:"httpMethod"`
	}
	if err := schema.Unmarshal(event, &kind); err == nil && kind.Method != nil {
		var e events.APIGatewayProxyRequest
		if err := schema.Unmarshal(event, &e); err != nil {
			return nil, err
		}
		return h.Invoke(ctx, e)
	}
	defer func() {
		if p := recover(); p != nil { // the runtime would end the process
			h.log().ErrorContext(ctx, "invocation failed", "error", fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
			err = errors.New("internal error")
		}
	}()
	ctx, cancel := withReserve(ctx)
	defer cancel()
	out, err := h.Direct(ctx, event)
	h.settle(ctx)
	return out, err
}

// Invoke answers one event: an events.APIGatewayProxyResponse, or a pointer to an events.APIGatewayProxyStreamingResponse
// where the integration of the event's resource streams. It returns no error and does not panic.
func (h *Handler) Invoke(ctx context.Context, e events.APIGatewayProxyRequest) (any, error) {
	streamed := h.streams(e)
	ctx, cancel := withReserve(ctx)
	normalize(&e)
	if streamed {
		return h.stream(ctx, cancel, e), nil
	}
	defer cancel()
	return h.buffer(ctx, e), nil
}

// streams says whether API Gateway waits for a streaming response. It decides by resource, not by method: OPTIONS and a wrong
// method of a streamed resource come through the same integration. A greedy resource never streams.
func (h *Handler) streams(e events.APIGatewayProxyRequest) bool {
	if h.Buffered || strings.HasSuffix(e.Resource, "+}") {
		return false
	}
	path := e.Resource
	if path == "" {
		path = e.Path
	}
	return Streams(h.Server.RoutesOf(path))
}

// Streams says whether the resource of these routes needs a streaming integration: one of them is a stream, or waits for a
// model or a run. template.yaml is held to the same rule.
func Streams(routes map[string]*server.Route) bool {
	for _, r := range routes {
		if r.Framing != "" || r.Long {
			return true
		}
	}
	return false
}

func withReserve(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	left := time.Until(deadline)
	return context.WithDeadline(ctx, deadline.Add(-min(reserve, left/4)))
}

// buffer answers whole.
func (h *Handler) buffer(ctx context.Context, e events.APIGatewayProxyRequest) events.APIGatewayProxyResponse {
	if !h.Buffered {
		short, cancel := context.WithTimeout(ctx, bufferedTime)
		defer cancel()
		ctx = short
	}
	whole := true
	adapter := httpadapter.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		finish(r, e)
		a := &answer{ResponseWriter: w}
		whole = h.serve(a, r)
	}))
	out, err := adapter.ProxyWithContext(ctx, e)
	h.settle(ctx)
	switch {
	case err != nil: // no request can be made of the event
		h.log().WarnContext(ctx, "the event is no request", "path", e.Path, "error", err)
		out = problem(http.StatusBadRequest, "Bad Request", nil)
	case !whole:
		out = problem(http.StatusInternalServerError, "Internal Server Error", out.MultiValueHeaders)
	case tooLong(out):
		h.log().ErrorContext(ctx, "the answer is larger than a Lambda may give", "path", e.Path, "bytes", len(out.Body))
		out = problem(http.StatusInternalServerError, "The answer is too large: ask for a smaller page", out.MultiValueHeaders)
	}
	dropFraming(out.MultiValueHeaders)
	return out
}

// answer remembers whether a status is out: a handler that says nothing answers 200.
type answer struct {
	http.ResponseWriter
	out bool
}

func (a *answer) WriteHeader(status int) {
	if !a.out {
		a.out = true
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

func (a *answer) Flush() {
	a.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(a.ResponseWriter).Flush() // what is buffered has none
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// serve runs the handler and says whether its answer is whole: a panic after its first bytes leaves half an answer.
func (h *Handler) serve(a *answer, r *http.Request) (whole bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			h.log().ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
		}
		if whole = !a.out; whole {
			a.Header().Set("Content-Type", "application/json")
			a.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(a, problemBody("Internal Server Error"))
		}
	}()
	h.Server.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK)
	return true
}

func (h *Handler) settle(ctx context.Context) {
	if h.Settle == nil {
		return
	}
	if err := h.Settle(ctx); err != nil {
		h.log().WarnContext(ctx, "something is left to do when the instance freezes", "error", err)
	}
}

func (h *Handler) log() *slog.Logger { return h.Server.Mastra.Logger }

func problemBody(message string) string { return fmt.Sprintf(`{"error":%q}`, message) }

// problem is an answer of our own. It keeps the CORS headers and the request id of what it replaces.
func problem(status int, message string, header http.Header) events.APIGatewayProxyResponse {
	kept := http.Header{"Content-Type": {"application/json"}}
	for name, values := range header {
		if strings.HasPrefix(name, "Access-Control-") || name == "X-Request-Id" || name == "Vary" {
			kept[name] = values
		}
	}
	return events.APIGatewayProxyResponse{StatusCode: status, MultiValueHeaders: kept, Body: problemBody(message)}
}

// dropFraming leaves what says how long a body is and how it travels to API Gateway.
func dropFraming(header http.Header) {
	for _, name := range []string{"Content-Length", "Transfer-Encoding", "Connection"} {
		header.Del(name)
	}
}

// tooLong says whether the encoded answer would exceed maxAnswer.
func tooLong(out events.APIGatewayProxyResponse) bool {
	n := len(out.Body)
	if n > maxAnswer || n < maxAnswer/6 { // \u001f: six bytes for one
		return n > maxAnswer
	}
	for _, c := range []byte(out.Body) {
		switch {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t':
			n++
		case c < ' ':
			n += 5
		}
	}
	return n+3*strings.Count(out.Body, "\u2028")+3*strings.Count(out.Body, "\u2029") > maxAnswer
}
