// Package anthropic asks the Messages API of Anthropic, or of what imitates it.
package anthropic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// Config says where and as whom. An empty BaseURL is Anthropic's.
type Config struct {
	BaseURL   string
	APIKey    string
	Header    http.Header       // added to each request
	Transport http.RoundTripper // http.DefaultTransport where nil
}

// Model is one model. It is safe for concurrent use.
type Model struct {
	id     string
	url    string
	client *http.Client
}

// New makes the model id. Nothing is sent before the first Stream.
func New(id string, c Config) *Model {
	base := c.BaseURL
	if base == "" {
		base = "https://api.anthropic.com"
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"text/event-stream"}, "Anthropic-Version": {"2023-06-01"}}
	if c.APIKey != "" {
		header["X-Api-Key"] = []string{c.APIKey}
	}
	for name, values := range c.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	url := strings.TrimSuffix(strings.TrimRight(base, "/"), "/v1") + "/v1/messages"
	return &Model{id: id, url: url, client: upstream.Client(c.Transport, header)}
}

// Info names the model.
func (m *Model) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "anthropic", ID: m.id, Version: "v2"}
}

// Stream asks the model. It is asked again as upstream.Client does it, but never once a part has come.
func (m *Model) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		fail := func(status int, err error) {
			yield(mastra.ModelPart{}, upstream.Failure(ctx, "anthropic/"+m.id, status, err))
		}
		asked, err := m.request(r)
		if err != nil {
			yield(mastra.ModelPart{}, err)
			return
		}
		body, err := schema.Marshal(asked)
		if err != nil {
			yield(mastra.ModelPart{}, fmt.Errorf("anthropic/%s: %w", m.id, err))
			return
		}
		request, err := http.NewRequestWithContext(upstream.WithRetries(ctx, r.Settings.MaxRetries), http.MethodPost, m.url, bytes.NewReader(body))
		if err != nil {
			fail(0, err)
			return
		}
		response, err := m.client.Do(request)
		if err != nil {
			fail(0, err)
			return
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			yield(mastra.ModelPart{}, upstream.Refused(ctx, "anthropic/"+m.id, response))
			return
		}
		a := assembler{parts: upstream.Parts{Yield: func(p mastra.ModelPart) bool { return yield(p, nil) }, JSON: r.Schema != nil}}
		for data, err := range upstream.Events(response.Body) {
			if err != nil {
				fail(0, upstream.Broken(err))
				return
			}
			more, err := a.take(data)
			var refused *refusal
			switch {
			case errors.As(err, &refused):
				fail(refused.status(), err)
				return
			case err != nil:
				fail(0, upstream.Broken(err))
				return
			case a.parts.Err != nil:
				fail(0, a.parts.Err)
				return
			case !more:
				return
			}
		}
		fail(0, io.ErrUnexpectedEOF) // an answer says that it ends
	}
}

// refusal is an error that comes within a stream.
type refusal struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %q", r.Type, r.Message) }

func (r *refusal) status() int {
	switch r.Type {
	case "overloaded_error":
		return upstream.StatusOverloaded
	case "rate_limit_error":
		return http.StatusTooManyRequests
	case "timeout_error":
		return http.StatusGatewayTimeout
	case "invalid_request_error":
		return http.StatusBadRequest
	case "authentication_error", "permission_error":
		return http.StatusUnauthorized
	case "not_found_error":
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
