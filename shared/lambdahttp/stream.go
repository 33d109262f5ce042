package lambdahttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"mastralambda/shared/server"
)

// errCut ends a body that is not whole: the client sees its transfer broken off.
var errCut = errors.New("the answer was cut off")

// errGone is what a write gets once Lambda takes no more.
var errGone = errors.New("the response is no longer read")

// stream answers as the handler writes. It returns with the header; the body's end comes after Settle.
func (h *Handler) stream(ctx context.Context, cancel context.CancelFunc, e events.APIGatewayProxyRequest) *events.APIGatewayProxyStreamingResponse {
	accessor := core.RequestAccessor{}
	r, err := accessor.EventToRequestWithContext(ctx, e)
	if err != nil {
		cancel()
		h.log().WarnContext(ctx, "the event is no request", "path", e.Path, "error", err)
		out := problem(http.StatusBadRequest, "Bad Request", nil)
		b := newBody()
		_, _ = b.Write([]byte(out.Body))
		b.end(nil)
		return &events.APIGatewayProxyStreamingResponse{StatusCode: out.StatusCode, MultiValueHeaders: out.MultiValueHeaders, Body: b}
	}
	finish(r, e)
	w := &streamWriter{header: http.Header{}, body: newBody(), ready: make(chan struct{})}
	go func() {
		defer cancel()
		whole := h.serve(&answer{ResponseWriter: w}, r)
		w.commit()
		var end error
		if !whole || ctx.Err() != nil && w.streaming() {
			end = errCut
		}
		h.settle(ctx)
		w.body.end(end)
	}()
	<-w.ready
	return &events.APIGatewayProxyStreamingResponse{StatusCode: w.status, MultiValueHeaders: w.sent, Body: w.body}
}

// streamWriter is the http.ResponseWriter of a streamed answer. Its header is out with the first byte or flush, so that an
// answer without a body is known as one.
type streamWriter struct {
	header http.Header
	status int
	body   *body
	ready  chan struct{} // closed when status and sent are decided
	sent   http.Header
	begun  bool
}

func (w *streamWriter) Header() http.Header { return w.header }

func (w *streamWriter) WriteHeader(status int) { w.status = status }

func (w *streamWriter) Write(b []byte) (int, error) {
	if len(b) > 0 {
		w.begin()
	}
	return w.body.Write(b)
}

// Flush sends the header of a stream, which may have nothing to say for long, with a first byte: API Gateway waits for one.
// What is written is read at once, without it.
func (w *streamWriter) Flush() {
	if w.begun || w.header.Get("Content-Type") == "" {
		return
	}
	_, _ = w.Write([]byte(server.Beat(w.header.Get("Content-Type"))))
}

func (w *streamWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	w.sent = w.header.Clone()
	dropFraming(w.sent)
	close(w.ready)
}

// commit ends the header of an answer that nothing was written to. API Gateway takes no stream without a body, and no body
// goes with a 204.
func (w *streamWriter) commit() {
	if w.begun {
		return
	}
	if w.status == 0 || w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		w.status = http.StatusOK
	}
	if w.header.Get("Content-Type") == "" {
		w.header.Set("Content-Type", "text/plain")
	}
	w.begin()
	_, _ = w.body.Write([]byte("\n"))
}

// streaming says whether the answer is a stream of chunks, which ends early where the invocation's time does.
func (w *streamWriter) streaming() bool { return w.sent.Get("Cache-Control") == "no-cache" }

// body is the one place between the handler's writes and Lambda's reads. What is written meanwhile is read in one piece; a
// writer that is maxPending ahead waits.
type body struct {
	mu      sync.Mutex
	changed sync.Cond
	pending bytes.Buffer
	err     error // set at the end: io.EOF or why it is cut off
	ended   bool
	gone    bool // nobody reads any more
}

const maxPending = 256 << 10

func newBody() *body {
	b := &body{}
	b.changed.L = &b.mu
	return b
}

func (b *body) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.pending.Len() > maxPending && !b.gone {
		b.changed.Wait()
	}
	if b.gone {
		return 0, errGone
	}
	b.pending.Write(p)
	b.changed.Broadcast()
	return len(p), nil
}

// end is the writer's last word. A nil error is an io.EOF.
func (b *body) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err = io.EOF; err != nil {
		b.err = err
	}
	b.ended = true
	b.changed.Broadcast()
}

// Read never returns bytes and an error at once: aws-lambda-go would drop those bytes.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.pending.Len() == 0 && !b.ended {
		b.changed.Wait()
	}
	if b.pending.Len() == 0 {
		return 0, b.err
	}
	n, _ := b.pending.Read(p)
	b.changed.Broadcast()
	return n, nil
}

// Close comes after the last read, also where the post of the response failed, after which the process ends: it waits until
// the handler and its runs are done.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	b.changed.Broadcast()
	for !b.ended {
		b.changed.Wait()
	}
	return nil
}
