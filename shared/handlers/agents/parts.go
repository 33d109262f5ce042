package agents

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// knownParts are the parts that messages of models, of user interfaces and of threads have.
var knownParts = []string{mastra.PartText, mastra.PartReasoning, mastra.PartFile, mastra.PartImage, mastra.PartStepStart, mastra.PartInvocation, mastra.PartToolCall, mastra.PartToolResult,
	"redacted-reasoning", "source", "source-url", "source-document", "dynamic-tool", "tool-approval-request", "tool-approval-response"}

// checkMessages lists what in messages makes no sense, and brings files of user interfaces into the form of the others.
func checkMessages(field string, messages mastra.Messages) (issues []mastra.Issue) {
	for i := range messages {
		m := &messages[i]
		parts, where := m.Content, "content"
		if len(m.Parts) > 0 {
			parts, where = m.Parts, "parts"
		}
		for j := range parts {
			at := fmt.Sprintf("%s.%d.%s.%d.", field, i, where, j)
			issues = append(issues, checkPart(at, &parts[j])...)
		}
	}
	return issues
}

func checkPart(at string, p *mastra.Part) (issues []mastra.Issue) {
	refuse := func(field, message string) {
		issues = append(issues, mastra.Issue{Field: at + field, Message: message})
	}
	switch {
	case p.Type == mastra.PartFile:
		if p.Data == nil && p.URL != "" {
			p.Data, _ = schema.Marshal(p.URL) // a text always encodes
			p.URL = ""
		}
		if message, bare := checkFile(p.Data); message != "" {
			refuse("data", message)
		} else if bare && p.MediaType == "" {
			refuse("mediaType", "Required")
		}
	case p.Type == mastra.PartImage:
		if message, _ := checkFile(p.Image); message != "" {
			refuse("image", message)
		}
	case p.Type == mastra.PartToolCall, p.Type == mastra.PartToolResult:
		if p.ToolCallID == "" {
			refuse("toolCallId", "Required")
		}
		if p.ToolName == "" {
			refuse("toolName", "Required")
		}
		if p.Type == mastra.PartToolCall && given(p.Input) && p.Input.Kind() != '{' {
			refuse("input", "Invalid input: expected object")
		}
	case p.Type == mastra.PartInvocation:
		if p.Invocation == nil || p.Invocation.ToolCallID == "" || p.Invocation.ToolName == "" {
			refuse("toolInvocation", "Required, with a toolCallId and a toolName")
		}
	case !slices.Contains(knownParts, p.Type) && !strings.HasPrefix(p.Type, "data-") && !strings.HasPrefix(p.Type, "tool-"):
		refuse("type", "Unknown type of a part")
	}
	return issues
}

// checkFile says what is wrong with a file: it is the URL of one, a data URL, or bare base64.
func checkFile(data mastra.JSON) (wrong string, bare bool) {
	var text string
	switch {
	case !given(data):
		return "Required", false
	case schema.Unmarshal(data, &text) != nil:
		return "Invalid input: expected string", false
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		return "", false
	}
	rest, inURL := strings.CutPrefix(text, "data:")
	if inURL {
		head, content, ok := strings.Cut(rest, ",")
		if text = content; !ok || !strings.HasSuffix(head, ";base64") {
			return "A data URL has base64", false
		}
	}
	text = strings.TrimRight(text, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if _, err := encoding.DecodeString(text); err == nil && text != "" {
			return "", !inURL
		}
	}
	return "It is neither base64, nor a data URL, nor an http URL", false
}
