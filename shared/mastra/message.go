package mastra

import (
	"strings"

	"mastralambda/shared/schema"
)

// Message is a message as it is kept in a thread. ID is unique within the tenant.
type Message struct {
	ID         string `json:"id"`
	Role       string `json:"role" enum:"system,user,assistant,tool,signal"`
	CreatedAt  Time   `json:"createdAt"`
	ThreadID   string `json:"threadId,omitempty"`
	ResourceID string `json:"resourceId,omitempty"`
	Type       string `json:"type,omitempty"`
	Content    JSON   `json:"content"` // a Content object, kept byte for byte as it came
}

// Content is the body of a stored message, format 2 of the reference server.
type Content struct {
	Format          int          `json:"format"`
	Parts           []Part       `json:"parts"`
	Content         string       `json:"content,omitempty"` // the text parts joined
	ToolInvocations []Invocation `json:"toolInvocations,omitempty"`
	Metadata        JSON         `json:"metadata,omitempty"`
}

// Part types of messages. A stored tool call and its result are one tool-invocation; a prompt has them apart.
const (
	PartText       = "text"
	PartReasoning  = "reasoning"
	PartFile       = "file"
	PartImage      = "image"
	PartStepStart  = "step-start"
	PartInvocation = "tool-invocation"
	PartToolCall   = "tool-call"
	PartToolResult = "tool-result"
)

// Part is one piece of a message; which fields are set depends on Type.
type Part struct {
	Type       string      `json:"type"`
	Text       string      `json:"text,omitempty"`
	ToolCallID string      `json:"toolCallId,omitempty"`
	ToolName   string      `json:"toolName,omitempty"`
	Input      JSON        `json:"input,omitempty"`
	Output     JSON        `json:"output,omitempty"` // of a tool-result: {type: "text"|"json"|"error-text"|…, value}
	Data       JSON        `json:"data,omitempty"`   // of a file: base64, a data URL or a URL
	URL        string      `json:"url,omitempty"`    // of a file or a source, in messages of user interfaces
	Image      JSON        `json:"image,omitempty"`
	MediaType  string      `json:"mediaType,omitempty"`
	Filename   string      `json:"filename,omitempty"`
	Invocation *Invocation `json:"toolInvocation,omitempty"`
	CreatedAt  int64       `json:"createdAt,omitzero"` // Unix milliseconds
	// ProviderOptions, of a reasoning, is what its provider sent with it and wants back: {"anthropic": {"signature": …}}.
	ProviderOptions JSON `json:"providerOptions,omitempty"`
}

// Invocation is a tool call beside its result.
type Invocation struct {
	State      string    `json:"state"` // "call", "result", "output-error" or "output-denied"
	ToolCallID string    `json:"toolCallId"`
	ToolName   string    `json:"toolName"`
	Args       JSON      `json:"args"`
	Result     JSON      `json:"result,omitempty"`
	ErrorText  string    `json:"errorText,omitempty"` // of an output-error
	Approval   *Approval `json:"approval,omitempty"`
}

// PromptMessage is a message as a model is given it.
type PromptMessage struct {
	Role  string `json:"role" enum:"system,user,assistant,tool"`
	Parts []Part `json:"content"`
}

// Text joins the text parts with one space.
func (m PromptMessage) Text() string {
	var texts []string
	for _, p := range m.Parts {
		if p.Type == PartText {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, " ")
}

// PromptText is a prompt's message of one text.
func PromptText(role, text string) PromptMessage {
	return PromptMessage{Role: role, Parts: []Part{{Type: PartText, Text: text}}}
}

// Messages is what a caller sends to an agent: one string, or a list of messages whose content is a string, a list of
// parts or a stored message's content.
type Messages []InputMessage

// InputMessage is one message of a caller.
type InputMessage struct {
	ID       string       `json:"id,omitempty" maxLength:"256"`
	Role     string       `json:"role" enum:"system,user,assistant,tool"`
	Content  InputContent `json:"content,omitempty"`
	Parts    []Part       `json:"parts,omitempty"` // UI messages carry parts instead of content
	Metadata JSON         `json:"metadata,omitempty"`
	Bare     bool         `json:"-"` // it came as a text alone, without a role
}

// InputContent is text or parts; on the wire a string, a list of parts, or an object {format: 2, parts}.
type InputContent []Part

// UserMessage is the shortest input: one message of the user.
func UserMessage(text string) Messages {
	return Messages{{Role: "user", Content: InputContent{{Type: PartText, Text: text}}, Bare: true}}
}

// All are the parts of the message, wherever they came in.
func (m InputMessage) All() []Part {
	if len(m.Parts) > 0 {
		return m.Parts
	}
	return m.Content
}

func (c *InputContent) UnmarshalJSON(data []byte) error {
	switch kind(data) {
	case '"':
		p := Part{Type: PartText}
		if err := schema.Unmarshal(data, &p.Text); err != nil {
			return err
		}
		*c = InputContent{p}
		return nil
	case '{':
		var stored Content
		if err := schema.Unmarshal(data, &stored); err != nil {
			return err
		}
		*c = stored.Parts
		return nil
	}
	return schema.Unmarshal(data, (*[]Part)(c))
}

// UnmarshalJSON takes a bare string for a message of the user, as the reference server does.
func (m *InputMessage) UnmarshalJSON(data []byte) error {
	if kind(data) == '"' {
		m.Role, m.Content = "user", InputContent{{Type: PartText}}
		return schema.Unmarshal(data, &m.Content[0].Text)
	}
	type plain InputMessage
	return schema.Unmarshal(data, (*plain)(m))
}

func (m *Messages) UnmarshalJSON(data []byte) error {
	switch kind(data) {
	case '"':
		var text string
		if err := schema.Unmarshal(data, &text); err != nil {
			return err
		}
		*m = UserMessage(text)
		return nil
	case '{':
		*m = make(Messages, 1)
		return schema.Unmarshal(data, &(*m)[0])
	}
	return schema.Unmarshal(data, (*[]InputMessage)(m))
}

// MarshalJSON writes a bare text as one, as it came.
func (m Messages) MarshalJSON() ([]byte, error) {
	if len(m) == 1 && m[0].Bare && m[0].Role == "user" && m[0].ID == "" && len(m[0].Parts) == 0 && len(m[0].Content) == 1 && m[0].Content[0].Type == PartText {
		return schema.Marshal(m[0].Content[0].Text)
	}
	return schema.Marshal([]InputMessage(m))
}

func kind(data []byte) byte {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

func (InputContent) JSONSchema() *schema.Doc {
	part := &schema.Doc{Type: "object", Required: []string{"type"}, Properties: map[string]*schema.Doc{"type": {Type: "string"}, "text": {Type: "string"}}}
	parts := &schema.Doc{Type: "array", Items: part}
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, parts,
		{Type: "object", Required: []string{"parts"}, Properties: map[string]*schema.Doc{"parts": parts}}, {Type: "null"}}}
}

func (Messages) JSONSchema() *schema.Doc {
	role := make([]any, 0, 4)
	for _, r := range []string{"system", "user", "assistant", "tool"} {
		role = append(role, r)
	}
	one := &schema.Doc{Type: "object", Required: []string{"role"}, Properties: map[string]*schema.Doc{
		"role": {Type: "string", Enum: role}, "content": InputContent(nil).JSONSchema(),
		"parts": {Type: "array", Items: &schema.Doc{Type: "object", Required: []string{"type"}}}, "id": {Type: "string"}},
		AnyOf: []*schema.Doc{{Required: []string{"content"}}, {Required: []string{"parts"}}}}
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, {Type: "array", Items: &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, one}}}}}
}
