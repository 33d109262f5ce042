// Package openai asks any endpoint that speaks Chat Completions: OpenAI's own and what imitates it.
package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Config says where and as whom. An empty BaseURL is OpenAI's; an empty APIKey is for endpoints without one.
type Config struct {
	BaseURL   string
	APIKey    string
	Transport http.RoundTripper // http.DefaultTransport where nil
}

// Model is one model of an endpoint. It is safe for concurrent use.
type Model struct {
	id     string
	client *api.Client
}

// maxAnswer is how many bytes of one answer are read: a model's output is input too.
const maxAnswer = 32 << 20

// New makes the model id of an endpoint. Nothing is sent before the first Stream.
func New(id string, c Config) *Model {
	config := api.DefaultConfig(c.APIKey)
	if c.BaseURL != "" {
		config.BaseURL = strings.TrimRight(c.BaseURL, "/")
	}
	base := c.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	config.HTTPClient = &http.Client{Transport: retrying{base}}
	config.EmptyMessagesLimit = 1 << 20 // comments that keep the connection alive count too
	return &Model{id: id, client: api.NewClientWithConfig(config)}
}

// Info names the model.
func (m *Model) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "openai", ID: m.id, Version: "v2"}
}

// Stream asks the model. It is asked again after a 429, a 5xx or a refused connection, up to Settings.MaxRetries times
// (2 where nil), but never once a part has come.
func (m *Model) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		request, err := m.request(r)
		if err != nil {
			yield(mastra.ModelPart{}, err)
			return
		}
		retries := 2
		if r.Settings.MaxRetries != nil {
			retries = *r.Settings.MaxRetries
		}
		stream, err := m.client.CreateChatCompletionStream(withRetries(ctx, retries), request)
		if err != nil {
			yield(mastra.ModelPart{}, m.failure(ctx, err))
			return
		}
		defer func() { _ = stream.Close() }()
		a := assembler{yield: func(p mastra.ModelPart) bool { return yield(p, nil) }}
		for {
			event, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF) && a.finish != "":
				a.end()
				return
			case errors.Is(err, io.EOF):
				err = io.ErrUnexpectedEOF // the connection was cut: an answer says why it ends
			}
			if err != nil {
				yield(mastra.ModelPart{}, m.failure(ctx, err))
				return
			}
			if !a.take(event) {
				if a.full {
					yield(mastra.ModelPart{}, m.failure(ctx, errors.New("the answer is too long")))
				}
				return
			}
		}
	}
}

// failure is what the caller may know of err. The answer's text may hold anything: it goes to the log only.
func (m *Model) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	message := "The model could not be reached"
	var apiErr *api.APIError
	var requestErr *api.RequestError
	status := 0
	switch {
	case errors.As(err, &apiErr):
		status = apiErr.HTTPStatusCode
		message = "The model refused the request"
	case errors.As(err, &requestErr):
		status = requestErr.HTTPStatusCode
		err = fmt.Errorf("status %d: %w", status, requestErr.Err) // without the body
	case errors.Is(err, io.ErrUnexpectedEOF):
		message = "The model's answer was cut off"
	}
	switch {
	case status == http.StatusTooManyRequests:
		message = "The model is rate limited"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		message = "The model's provider does not accept the credentials of this server"
	case status == http.StatusNotFound:
		message = "The model's provider does not know the model"
	case status >= 500:
		message = "The model's provider failed"
	}
	return &mastra.Error{Code: mastra.CodeUpstream, Message: message, Err: fmt.Errorf("openai/%s: %w", m.id, err)}
}

func (m *Model) request(r *mastra.ModelRequest) (api.ChatCompletionRequest, error) {
	out := api.ChatCompletionRequest{Model: m.id, Stream: true, StreamOptions: &api.StreamOptions{IncludeUsage: true},
		Stop: r.Settings.StopSequences, Seed: r.Settings.Seed}
	set(&out.Temperature, r.Settings.Temperature)
	set(&out.TopP, r.Settings.TopP)
	set(&out.PresencePenalty, r.Settings.PresencePenalty)
	set(&out.FrequencyPenalty, r.Settings.FrequencyPenalty)
	if r.Settings.MaxOutputTokens != nil {
		out.MaxCompletionTokens = *r.Settings.MaxOutputTokens
	}
	if r.Schema != nil {
		out.ResponseFormat = &api.ChatCompletionResponseFormat{Type: api.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &api.ChatCompletionResponseFormatJSONSchema{Name: "answer", Schema: r.Schema}}
	}
	for _, t := range r.Tools {
		out.Tools = append(out.Tools, api.Tool{Type: api.ToolTypeFunction,
			Function: &api.FunctionDefinition{Name: t.Name(), Description: t.Description, Parameters: t.Input}})
	}
	switch {
	case len(r.Tools) == 0:
	case r.ToolChoice.Tool != "":
		out.ToolChoice = api.ToolChoice{Type: api.ToolTypeFunction, Function: api.ToolFunction{Name: r.ToolChoice.Tool}}
	case r.ToolChoice.Mode != "":
		out.ToolChoice = r.ToolChoice.Mode
	}
	for _, message := range r.Messages {
		converted, err := messages(message)
		if err != nil {
			return out, err
		}
		out.Messages = append(out.Messages, converted...)
	}
	return out, nil
}

func set(at *float32, v *float64) {
	if v != nil {
		*at = float32(*v)
	}
}

// messages turns one message into the endpoint's: a tool message holds one result each.
func messages(m mastra.PromptMessage) ([]api.ChatCompletionMessage, error) {
	out := api.ChatCompletionMessage{Role: m.Role}
	var results []api.ChatCompletionMessage
	for _, p := range m.Parts {
		switch p.Type {
		case mastra.PartText:
			out.Content += p.Text
		case mastra.PartToolCall:
			out.ToolCalls = append(out.ToolCalls, api.ToolCall{ID: p.ToolCallID, Type: api.ToolTypeFunction,
				Function: api.FunctionCall{Name: p.ToolName, Arguments: string(p.Input)}})
		case mastra.PartToolResult:
			results = append(results, api.ChatCompletionMessage{Role: api.ChatMessageRoleTool, ToolCallID: p.ToolCallID, Content: resultText(p.Output)})
		case mastra.PartImage, mastra.PartFile:
			part, err := picture(p)
			if err != nil {
				return nil, err
			}
			out.MultiContent = append(out.MultiContent, part)
		}
	}
	if results != nil {
		return results, nil
	}
	if out.MultiContent != nil && out.Content != "" { // the endpoint takes either a text or parts
		out.MultiContent = append([]api.ChatMessagePart{{Type: api.ChatMessagePartTypeText, Text: out.Content}}, out.MultiContent...)
		out.Content = ""
	}
	return []api.ChatCompletionMessage{out}, nil
}

// resultText is a tool's result as text: {type, value} holds it, a bare one is it.
func resultText(output mastra.JSON) string {
	var wrapped struct {
		Type  string      `json:"type"`
		Value mastra.JSON `json:"value"`
	}
	if schema.Unmarshal(output, &wrapped) == nil && wrapped.Type != "" && wrapped.Value != nil {
		output = wrapped.Value
	}
	var text string
	if schema.Unmarshal(output, &text) == nil {
		return text
	}
	return string(output)
}

func picture(p mastra.Part) (api.ChatMessagePart, error) {
	source := p.Image
	if source == nil {
		source = p.Data
	}
	var url string
	if schema.Unmarshal(source, &url) != nil || url == "" || p.Type == mastra.PartFile && !strings.HasPrefix(p.MediaType, "image/") {
		return api.ChatMessagePart{}, mastra.Errorf(mastra.CodeInvalid, "This model takes texts and images only, an image as a URL or in base64")
	}
	if !strings.Contains(url, "://") && !strings.HasPrefix(url, "data:") {
		media := p.MediaType
		if media == "" {
			media = "image/png"
		}
		url = "data:" + media + ";base64," + url
	}
	return api.ChatMessagePart{Type: api.ChatMessagePartTypeImageURL, ImageURL: &api.ChatMessageImageURL{URL: url}}, nil
}
