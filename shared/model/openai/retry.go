package openai

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

type retriesKey struct{}

func withRetries(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, retriesKey{}, n)
}

// retrying sends a request again that was refused before an answer began.
type retrying struct{ base http.RoundTripper }

// maxBody bounds what is read of one answer, framing and all.
const maxBody = 4 * maxAnswer

type bounded struct {
	io.Reader
	io.Closer
}

// longestWait is how long a Retry-After is obeyed: who waits longer is better told.
const longestWait = 20 * time.Second

func (t retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	retries, _ := r.Context().Value(retriesKey{}).(int)
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
			if seconds, e := strconv.Atoi(response.Header.Get("Retry-After")); e == nil {
				wait = time.Duration(seconds) * time.Second
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
