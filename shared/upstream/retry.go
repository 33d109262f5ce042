// Package upstream is what the clients of model providers have in common: requests that are sent again, server-sent
// events, pieces that become the parts of a model, and failures as callers may see them.
package upstream

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// MaxAnswer is how many bytes of one answer are read: a model's output is input too.
const MaxAnswer = 32 << 20

// StandardRetries is how often a request is sent again where the call does not say.
const StandardRetries = 2

type retriesKey struct{}

// WithRetries says how often a request of Client is sent again; nil is StandardRetries.
func WithRetries(ctx context.Context, n *int) context.Context {
	if n == nil {
		return ctx
	}
	return context.WithValue(ctx, retriesKey{}, *n)
}

// Client sends a request again that was refused before an answer began: after a 429, a 5xx or a connection that was not
// made. Header is added to each request. base is http.DefaultTransport where nil.
func Client(base http.RoundTripper, header http.Header) *http.Client {
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{Transport: retrying{base, header}}
}

type retrying struct {
	base   http.RoundTripper
	header http.Header
}

// maxBody bounds what is read of one answer, framing and all.
const maxBody = 4 * MaxAnswer

type bounded struct {
	io.Reader
	io.Closer
}

// longestWait is how long a Retry-After is obeyed: who waits longer is better told.
const longestWait = 20 * time.Second

func (t retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	retries, given := r.Context().Value(retriesKey{}).(int)
	if !given {
		retries = StandardRetries
	}
	if len(t.header) > 0 { // a RoundTripper must not change its request
		r = r.Clone(r.Context())
		for name, values := range t.header {
			r.Header[name] = values
		}
	}
	for attempt := 0; ; attempt++ {
		response, err := t.base.RoundTrip(r)
		if err == nil {
			response.Body = bounded{io.LimitReader(response.Body, maxBody), response.Body}
		}
		if attempt >= retries || r.GetBody == nil || err == nil && response.StatusCode != http.StatusTooManyRequests && response.StatusCode < 500 {
			return response, err
		}
		wait := time.Duration(rand.Int64N(int64(250*time.Millisecond<<min(attempt, 5)))) + 100*time.Millisecond
		if err == nil {
			if asked, ok := retryAfter(response.Header, time.Now()); ok {
				wait = asked
			}
			if wait > longestWait {
				return response, nil
			}
			io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) //nolint:errcheck // so that the connection is used again
			response.Body.Close()
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = body
	}
}

// retryAfter reads the header in its three forms: milliseconds, seconds and a date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond)), true
	}
	v := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(v, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second)), true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}
