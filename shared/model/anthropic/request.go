package anthropic

import (
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

type request struct {
	Model       string      `json:"model"`
	MaxTokens   int         `json:"max_tokens"`
	Stream      bool        `json:"stream"`
	System      []block     `json:"system,omitempty"`
	Messages    []message   `json:"messages"`
	Temperature *float64    `json:"temperature,omitempty"`
	TopP        *float64    `json:"top_p,omitempty"`
	TopK        *int        `json:"top_k,omitempty"`
	Stop        []string    `json:"stop_sequences,omitempty"`
	Tools       []tool      `json:"tools,omitempty"`
	ToolChoice  *toolChoice `json:"tool_choice,omitempty"`
	Thinking    *thinking   `json:"thinking,omitempty"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is a piece of a message; which fields are set depends on Type.
type block struct {
	Type      string      `json:"type"`
	Text      string      `json:"text,omitempty"`
	ID        string      `json:"id,omitempty"`
	Name      string      `json:"name,omitempty"`
	Input     mastra.JSON `json:"input,omitzero"`
	ToolUseID string      `json:"tool_use_id,omitempty"`
	Content   string      `json:"content,omitempty"` // of a tool's result
	IsError   bool        `json:"is_error,omitzero"`
	Source    *source     `json:"source,omitempty"`
	Thinking  *string     `json:"thinking,omitempty"`
	Signature string      `json:"signature,omitempty"`
	Data      string      `json:"data,omitempty"`
}

type source struct {
	Type      string `json:"type"` // base64 or url
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

type tool struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	InputSchema mastra.JSON `json:"input_schema"`
}

type toolChoice struct {
	Type string `json:"type"` // auto, any, tool or none
	Name string `json:"name,omitempty"`
}

type thinking struct {
	Type         string `json:"type"` // enabled, adaptive or disabled
	BudgetTokens int    `json:"budget_tokens,omitzero"`
}

// options are the provider's own settings of a call.
type options struct {
	Thinking *struct {
		Type         string `json:"type"`
		BudgetTokens int    `json:"budgetTokens"`
	} `json:"thinking"`
}

func (m *Model) request(r *mastra.ModelRequest) (*request, error) {
	out := &request{Model: m.id, Stream: true, MaxTokens: maxTokens(m.id), Temperature: r.Settings.Temperature, TopP: r.Settings.TopP, TopK: r.Settings.TopK, Stop: r.Settings.StopSequences}
	if r.Settings.MaxOutputTokens != nil {
		out.MaxTokens = *r.Settings.MaxOutputTokens
	}
	var o options
	if given := r.Options["anthropic"]; given != nil {
		if err := schema.Unmarshal(given, &o); err != nil {
			return nil, mastra.Invalid("providerOptions.anthropic", "%v", err)
		}
	}
	if t := o.Thinking; t != nil && t.Type != "disabled" {
		if t.Type != "enabled" && t.Type != "adaptive" || t.BudgetTokens < 0 {
			return nil, mastra.Invalid("providerOptions.anthropic.thinking", "Its type is enabled, adaptive or disabled, its budget a number of tokens")
		}
		out.Thinking = &thinking{t.Type, t.BudgetTokens}
		out.Temperature, out.TopP, out.TopK = nil, nil, nil // the API takes neither beside it
		if r.Settings.MaxOutputTokens != nil || out.MaxTokens <= t.BudgetTokens {
			out.MaxTokens += t.BudgetTokens // the budget counts as output, and is not what the caller meant
		}
	}
	m.offer(out, r)
	for _, message := range r.Messages {
		if err := out.add(message); err != nil {
			return nil, err
		}
	}
	if n := len(out.Messages); n > 0 && out.Messages[n-1].Role == "assistant" { // the API takes no blanks at the end of what it goes on with
		last := out.Messages[n-1].Content
		if b := &last[len(last)-1]; b.Type == "text" {
			b.Text = strings.TrimRight(b.Text, " \t\r\n")
		}
	}
	return out, nil
}

// offer tells the model its tools. JSON is asked for as the input of one more tool, which every model understands.
func (m *Model) offer(out *request, r *mastra.ModelRequest) {
	none := r.ToolChoice.Mode == "none"
	for _, t := range r.Tools {
		out.Tools = append(out.Tools, tool{t.Name(), t.Description, t.Input.JSON()})
	}
	switch {
	case len(r.Tools) == 0:
	case r.ToolChoice.Tool != "":
		out.ToolChoice = &toolChoice{"tool", r.ToolChoice.Tool}
	case r.ToolChoice.Mode == "required":
		out.ToolChoice = &toolChoice{Type: "any"}
	case none:
		out.ToolChoice = &toolChoice{Type: "none"}
	}
	if r.Schema == nil {
		return
	}
	out.Tools = append(out.Tools, tool{upstream.AnswerTool, "Respond with a JSON object.", r.Schema})
	switch {
	case out.Thinking != nil: // it may not be forced to call a tool
		out.ToolChoice = nil
		out.System = append(out.System, block{Type: "text", Text: "Give your answer by calling the tool " + upstream.AnswerTool + "."})
	case len(r.Tools) > 0 && !none && r.ToolChoice.Tool == "":
		out.ToolChoice = &toolChoice{Type: "any"}
	case r.ToolChoice.Tool == "":
		out.ToolChoice = &toolChoice{"tool", upstream.AnswerTool}
	}
}

// maxTokens is the longest answer of a model, or less: the API wants a number, and refuses one that is too large.
func maxTokens(id string) int {
	switch {
	case strings.HasPrefix(id, "claude-3-5"):
		return 8192
	case strings.HasPrefix(id, "claude-3-7"):
		return 64_000
	case strings.HasPrefix(id, "claude-3"), strings.HasPrefix(id, "claude-2"):
		return 4096
	}
	return 32_000
}

// add appends a message of the prompt. Messages of one role that follow each other are one: tools answer as the user.
func (out *request) add(m mastra.PromptMessage) error {
	role := m.Role
	if role == "tool" {
		role = "user"
	}
	for _, p := range m.Parts {
		b, err := convert(p)
		if err != nil {
			return err
		}
		switch {
		case b.Type == "":
		case role == "system":
			out.System = append(out.System, b)
		case len(out.Messages) > 0 && out.Messages[len(out.Messages)-1].Role == role:
			last := &out.Messages[len(out.Messages)-1]
			last.Content = append(last.Content, b)
		default:
			out.Messages = append(out.Messages, message{role, []block{b}})
		}
	}
	return nil
}

// convert is the block of a part; one without a type says nothing.
func convert(p mastra.Part) (block, error) {
	switch p.Type {
	case mastra.PartText:
		if p.Text == "" { // refused by the API
			return block{}, nil
		}
		return block{Type: "text", Text: p.Text}, nil
	case mastra.PartReasoning:
		var m metadata
		if p.ProviderOptions != nil {
			if err := schema.Unmarshal(p.ProviderOptions, &m); err != nil {
				return block{}, nil //nolint:nilerr // it is another provider's
			}
		}
		switch s := m.Anthropic; {
		case s.Redacted != "":
			return block{Type: "redacted_thinking", Data: s.Redacted}, nil
		case s.Signature != "":
			return block{Type: "thinking", Thinking: &p.Text, Signature: s.Signature}, nil
		}
	case mastra.PartToolCall:
		input := p.Input
		if input == nil || input.Kind() != '{' {
			input = mastra.JSON("{}")
		}
		return block{Type: "tool_use", ID: p.ToolCallID, Name: p.ToolName, Input: input}, nil
	case mastra.PartToolResult:
		text, failed := upstream.ResultText(p.Output)
		return block{Type: "tool_result", ToolUseID: p.ToolCallID, Content: text, IsError: failed}, nil
	case mastra.PartFile, mastra.PartImage:
		f, err := upstream.Attached(p)
		if err != nil {
			return block{}, err
		}
		kind := "image"
		if !f.Image() {
			if kind = "document"; f.MediaType != "application/pdf" {
				return block{}, mastra.Errorf(mastra.CodeInvalid, "This model takes texts, images and PDF files only, not %q", f.MediaType)
			}
		}
		if f.URL != "" {
			return block{Type: kind, Source: &source{Type: "url", URL: f.URL}}, nil
		}
		return block{Type: kind, Source: &source{Type: "base64", MediaType: f.MediaType, Data: f.Base64}}, nil
	}
	return block{}, nil
}
