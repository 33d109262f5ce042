package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const (
	maxBatch  = 512  // spans of one request
	maxQueued = 8192 // more are dropped: an export must not fill the memory
	every     = time.Second
	timeout   = 10 * time.Second
	attempts  = 3
)

// Exporter sends spans as OTLP/JSON over HTTP, in batches, beside the runs. It is safe for concurrent use.
type Exporter struct {
	url      string
	headers  map[string]string
	resource []attribute
	log      *slog.Logger
	client   *http.Client

	mu      sync.Mutex
	queue   []mastra.Span
	dropped int
	wake    chan struct{} // holds one token where a batch is full
	sending sync.Mutex    // one request at a time, so that Flush waits for the one under way
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

func newExporter(endpoint string, headers map[string]string, service, environment string, log *slog.Logger) *Exporter {
	e := &Exporter{url: strings.TrimSuffix(endpoint, "/") + "/v1/traces", headers: headers, log: log, client: &http.Client{Timeout: timeout},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if service == "" {
		service = "mastra"
	}
	e.resource = append(e.resource, text("service.name", service))
	if environment != "" {
		e.resource = append(e.resource, text("deployment.environment.name", environment))
	}
	go e.run()
	return e
}

// Add queues spans. It never blocks: where the collector does not keep up, the newest are dropped, and the log says how many.
func (e *Exporter) Add(_ context.Context, spans []mastra.Span) {
	e.mu.Lock()
	n := min(len(spans), maxQueued-len(e.queue))
	e.queue = append(e.queue, spans[:n]...)
	e.dropped += len(spans) - n
	full := len(e.queue) >= maxBatch
	e.mu.Unlock()
	if full {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// run sends what is queued, until Close.
func (e *Exporter) run() {
	defer close(e.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.wake:
		case <-e.stop:
			return
		}
		_ = e.Flush(context.Background()) // it logs what fails
	}
}

// Flush sends all that is queued. A function calls it before its invocation ends.
func (e *Exporter) Flush(ctx context.Context) error {
	for {
		e.sending.Lock()
		e.mu.Lock()
		n := min(len(e.queue), maxBatch)
		batch := append([]mastra.Span(nil), e.queue[:n]...)
		e.queue = append(e.queue[:0], e.queue[n:]...)
		dropped := e.dropped
		e.dropped = 0
		e.mu.Unlock()
		if dropped > 0 {
			e.log.WarnContext(ctx, "spans were not exported: the collector does not keep up", "spans", dropped)
		}
		var err error
		if n > 0 {
			err = e.send(ctx, batch)
		}
		e.sending.Unlock()
		if err != nil {
			e.log.WarnContext(ctx, "spans were not exported", "spans", n, "error", err)
			return err
		}
		if n < maxBatch {
			return nil
		}
	}
}

// Close sends the rest and ends the exporter's goroutine.
func (e *Exporter) Close(ctx context.Context) error {
	e.once.Do(func() { close(e.stop) })
	<-e.done
	return e.Flush(ctx)
}

func (e *Exporter) send(ctx context.Context, spans []mastra.Span) error {
	body, err := schema.Marshal(e.encode(spans))
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		again, err := e.post(ctx, body)
		if err == nil || !again || attempt == attempts {
			return err
		}
		select {
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// post sends one request; again says that another try may succeed.
func (e *Exporter) post(ctx context.Context, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range e.headers {
		r.Header.Set(name, value)
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	switch {
	case resp.StatusCode < 300:
		return false, nil
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 502 && resp.StatusCode <= 504:
		again = true
	}
	return again, fmt.Errorf("the collector answered %s", resp.Status)
}
