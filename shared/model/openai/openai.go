// Package openai asks any endpoint that speaks Chat Completions: OpenAI's own and what imitates it.
package openai

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// Config says where and as whom. An empty BaseURL is OpenAI's; an empty APIKey is for endpoints without one.
type Config struct {
	Provider  string // what the endpoint is called; "openai" where empty
	BaseURL   string
	APIKey    string
	Header    http.Header       // added to each request
	Transport http.RoundTripper // http.DefaultTransport where nil
}

func (c Config) client() *api.Client {
	config := api.DefaultConfig(c.APIKey)
	if c.BaseURL != "" {
		config.BaseURL = strings.TrimRight(c.BaseURL, "/")
	}
	config.HTTPClient = upstream.Client(c.Transport, c.Header)
	config.EmptyMessagesLimit = 1 << 20 // comments that keep the connection alive count too
	return api.NewClientWithConfig(config)
}

func (c Config) provider() string {
	if c.Provider == "" {
		return "openai"
	}
	return c.Provider
}

// Model is one model of an endpoint. It is safe for concurrent use.
type Model struct {
	id, provider string
	client       *api.Client
}

// New makes the model id of an endpoint. Nothing is sent before the first Stream.
func New(id string, c Config) *Model { return &Model{id, c.provider(), c.client()} }

// Info names the model.
func (m *Model) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: m.provider, ID: m.id, Version: "v2"}
}

// Stream asks the model. It is asked again as upstream.Client does it, but never once a part has come.
func (m *Model) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		request, err := m.request(r)
		if err != nil {
			yield(mastra.ModelPart{}, err)
			return
		}
		stream, err := m.client.CreateChatCompletionStream(upstream.WithRetries(ctx, r.Settings.MaxRetries), request)
		if err != nil {
			yield(mastra.ModelPart{}, failure(ctx, m.provider+"/"+m.id, err))
			return
		}
		defer func() { _ = stream.Close() }()
		a := assembler{parts: upstream.Parts{Yield: func(p mastra.ModelPart) bool { return yield(p, nil) }}, last: -1}
		for {
			event, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF) && a.finish != "":
				a.parts.Finish(a.finish, a.usage)
				return
			case errors.Is(err, io.EOF):
				err = io.ErrUnexpectedEOF // the connection was cut: an answer says why it ends
			}
			if err == nil && !a.take(event) {
				if err = a.parts.Err; err == nil {
					return
				}
			}
			var told *api.APIError
			if err != nil && !errors.As(err, &told) {
				err = upstream.Broken(err)
			}
			if err != nil {
				yield(mastra.ModelPart{}, failure(ctx, m.provider+"/"+m.id, err))
				return
			}
		}
	}
}

// failure is what the caller may know of err. The answer's text may hold anything: it goes to the log only.
func failure(ctx context.Context, model string, err error) error {
	var apiErr *api.APIError
	var requestErr *api.RequestError
	status := 0
	switch {
	case errors.As(err, &apiErr):
		if status = apiErr.HTTPStatusCode; status == 0 { // it came within the stream
			status = http.StatusInternalServerError
		}
	case errors.As(err, &requestErr):
		status = requestErr.HTTPStatusCode
	}
	return upstream.Failure(ctx, model, status, err)
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
	if given := r.Options["openai"]; given != nil {
		var o struct {
			ReasoningEffort string `json:"reasoningEffort"`
		}
		if err := schema.Unmarshal(given, &o); err != nil {
			return out, mastra.Invalid("providerOptions.openai", "%v", err)
		}
		out.ReasoningEffort = o.ReasoningEffort
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
			text, _ := upstream.ResultText(p.Output)
			results = append(results, api.ChatCompletionMessage{Role: api.ChatMessageRoleTool, ToolCallID: p.ToolCallID, Content: text})
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

func picture(p mastra.Part) (api.ChatMessagePart, error) {
	f, err := upstream.Attached(p)
	if err == nil && !f.Image() {
		err = mastra.Errorf(mastra.CodeInvalid, "This model takes texts and images only, not %q", f.MediaType)
	}
	return api.ChatMessagePart{Type: api.ChatMessagePartTypeImageURL, ImageURL: &api.ChatMessageImageURL{URL: f.DataURL()}}, err
}
