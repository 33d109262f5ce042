package telemetry

import (
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// What models are given and what they say, in the form of OpenTelemetry's conventions for generative AI
// (github.com/open-telemetry/semantic-conventions-genai: gen-ai-input-messages.json, gen-ai-output-messages.json).

type chatMessage struct {
	Role   string     `json:"role"`
	Parts  []chatPart `json:"parts"`
	Finish string     `json:"finish_reason,omitempty"` // of what a model says
}

type chatPart struct {
	Type      string      `json:"type"` // "text", "tool_call", "tool_call_response"
	Content   *string     `json:"content,omitempty"`
	ID        string      `json:"id,omitempty"`
	Name      string      `json:"name,omitempty"`
	Arguments mastra.JSON `json:"arguments,omitzero"`
	Response  mastra.JSON `json:"response,omitzero"`
}

func said(text string) chatPart { return chatPart{Type: "text", Content: &text} }

// given is a span's input as messages: a text, a list of messages, one within an object, or the answer to a call that waited.
// It is nil where the input is none of them.
func given(input mastra.JSON) []chatMessage {
	var text string
	var all []mastra.PromptMessage
	var object struct {
		Messages   mastra.JSON `json:"messages"`
		ToolCallID string      `json:"toolCallId"`
	}
	switch input.Kind() {
	case '"':
		if schema.Unmarshal(input, &text) != nil {
			return nil
		}
		return []chatMessage{{Role: "user", Parts: []chatPart{said(text)}}}
	case '{':
		switch {
		case schema.Unmarshal(input, &object) != nil:
			return nil
		case object.ToolCallID != "":
			return []chatMessage{{Role: "tool", Parts: []chatPart{{Type: "tool_call_response", ID: object.ToolCallID, Response: input}}}}
		case len(object.Messages) == 0:
			return nil
		}
		return given(object.Messages)
	case '[':
		var messages []struct {
			Role    string              `json:"role"`
			Content mastra.InputContent `json:"content"`
		}
		if schema.Unmarshal(input, &messages) != nil {
			return nil
		}
		for _, m := range messages {
			all = append(all, mastra.PromptMessage{Role: m.Role, Parts: m.Content})
		}
	}
	out := make([]chatMessage, 0, len(all))
	for _, m := range all {
		message := chatMessage{Role: m.Role, Parts: []chatPart{}}
		for _, p := range m.Parts {
			switch p.Type {
			case mastra.PartText:
				message.Parts = append(message.Parts, said(p.Text))
			case mastra.PartToolCall:
				message.Parts = append(message.Parts, chatPart{Type: "tool_call", ID: p.ToolCallID, Name: p.ToolName, Arguments: p.Input})
			case mastra.PartToolResult:
				message.Parts = append(message.Parts, chatPart{Type: "tool_call_response", ID: p.ToolCallID, Response: p.Output})
			default:
				message.Parts = append(message.Parts, chatPart{Type: p.Type})
			}
		}
		out = append(out, message)
	}
	return out
}

// answered is a span's output as the message of a model, nil where it has none.
func answered(output mastra.JSON, finish string) []chatMessage {
	var o struct {
		Text  *string `json:"text"`
		Calls []struct {
			ID   string      `json:"toolCallId"`
			Name string      `json:"toolName"`
			Args mastra.JSON `json:"args"`
		} `json:"toolCalls"`
	}
	if output.Kind() != '{' || schema.Unmarshal(output, &o) != nil || o.Text == nil && len(o.Calls) == 0 {
		return nil
	}
	m := chatMessage{Role: "assistant", Parts: []chatPart{}, Finish: finish}
	if o.Text != nil && *o.Text != "" {
		m.Parts = append(m.Parts, said(*o.Text))
	}
	for _, c := range o.Calls {
		m.Parts = append(m.Parts, chatPart{Type: "tool_call", ID: c.ID, Name: c.Name, Arguments: c.Args})
	}
	return []chatMessage{m}
}

// finishReason names why a model stopped as the conventions do.
func finishReason(reason string) string {
	switch mastra.FinishReason(reason) {
	case mastra.FinishToolCalls:
		return "tool_call"
	case "content-filter":
		return "content_filter"
	}
	return reason
}

// providerName is the conventions' name of a provider, its own where they have none.
func providerName(provider string) string {
	if provider == "bedrock" {
		return "aws.bedrock"
	}
	return provider
}

// content is a list of messages, or what else encodes, as the text of an attribute.
func content[T any](key string, list []T) (a attribute, ok bool) {
	if len(list) == 0 {
		return a, false
	}
	data, err := schema.Marshal(list)
	return text(key, string(data)), err == nil
}
