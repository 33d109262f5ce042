package observability

import (
	"strings"
	"unicode/utf16"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Span is a span as the reference server shows it: every field is there, null where it is not set.
type Span struct {
	TraceID             string      `json:"traceId"`
	SpanID              string      `json:"spanId"`
	Name                string      `json:"name"`
	SpanType            string      `json:"spanType"`
	ParentSpanID        *string     `json:"parentSpanId"`
	IsEvent             bool        `json:"isEvent"`
	StartedAt           mastra.Time `json:"startedAt"`
	EndedAt             mastra.Time `json:"endedAt"`
	ExperimentID        *string     `json:"experimentId"`
	EntityType          *string     `json:"entityType"`
	EntityID            *string     `json:"entityId"`
	EntityName          *string     `json:"entityName"`
	EntityVersion       *string     `json:"entityVersionId"`
	ParentEntityVersion *string     `json:"parentEntityVersionId"`
	RootEntityVersion   *string     `json:"rootEntityVersionId"`
	UserID              *string     `json:"userId"`
	OrganizationID      *string     `json:"organizationId"`
	ResourceID          *string     `json:"resourceId"`
	RunID               *string     `json:"runId"`
	SessionID           *string     `json:"sessionId"`
	ThreadID            *string     `json:"threadId"`
	RequestID           *string     `json:"requestId"`
	Environment         *string     `json:"environment"`
	Source              *string     `json:"source"`
	ServiceName         *string     `json:"serviceName"`
	Attributes          mastra.JSON `json:"attributes"`
	Metadata            mastra.JSON `json:"metadata"`
	Tags                *[]string   `json:"tags"`
	Scope               mastra.JSON `json:"scope"`
	Links               mastra.JSON `json:"links"`
	Input               mastra.JSON `json:"input"`
	Output              mastra.JSON `json:"output"`
	Error               mastra.JSON `json:"error"`
	RequestContext      mastra.JSON `json:"requestContext"`
	CreatedAt           mastra.Time `json:"createdAt"`
	UpdatedAt           mastra.Time `json:"updatedAt"`
	Status              string      `json:"status,omitempty"` // not of a span shown alone
}

// show is a span without its status.
func show(m *mastra.Mastra, s *mastra.Span) Span {
	out := Span{TraceID: s.TraceID, SpanID: s.SpanID, Name: s.Name, SpanType: s.Type, ParentSpanID: orNull(s.ParentID), IsEvent: s.IsEvent,
		StartedAt: s.StartedAt, EndedAt: s.EndedAt, EntityType: orNull(s.EntityType), EntityID: orNull(s.EntityID), EntityName: orNull(s.EntityName),
		ResourceID: orNull(s.ResourceID), RunID: orNull(s.RunID), ThreadID: orNull(s.ThreadID), Environment: orNull(m.Tracing.Environment),
		Attributes: s.Attributes, Metadata: s.Metadata, Input: s.Input, Output: s.Output, Error: s.Error, RequestContext: s.Context, CreatedAt: s.StartedAt}
	if s.Tags != nil {
		out.Tags = &s.Tags
	}
	if c := s.Correlated(); c != nil {
		out.UserID, out.OrganizationID, out.SessionID, out.RequestID, out.ExperimentID = orNull(c.UserID), orNull(c.OrganizationID), orNull(c.SessionID), orNull(c.RequestID), orNull(c.ExperimentID)
	}
	return out
}

// showTrace is a span with its status.
func showTrace(m *mastra.Mastra, s *mastra.Span) Span {
	out := show(m, s)
	out.Status = s.Status()
	return out
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// aboutSpan is a text in a span's metadata, "" where there is none.
func aboutSpan(s *mastra.Span, key string) string {
	var all map[string]mastra.JSON
	var text string
	if len(s.Metadata) == 0 || schema.Unmarshal(s.Metadata, &all) != nil || all[key] == nil || schema.Unmarshal(all[key], &text) != nil {
		return ""
	}
	return text
}

// LightSpan is a span without its contents.
type LightSpan struct {
	TraceID      string      `json:"traceId"`
	SpanID       string      `json:"spanId"`
	Name         string      `json:"name"`
	SpanType     string      `json:"spanType"`
	ParentSpanID *string     `json:"parentSpanId"`
	IsEvent      bool        `json:"isEvent"`
	StartedAt    mastra.Time `json:"startedAt"`
	EndedAt      mastra.Time `json:"endedAt"`
	EntityType   *string     `json:"entityType"`
	EntityID     *string     `json:"entityId"`
	EntityName   *string     `json:"entityName"`
	Error        mastra.JSON `json:"error"`
	CreatedAt    mastra.Time `json:"createdAt"`
	UpdatedAt    mastra.Time `json:"updatedAt"`
}

func light(s *mastra.Span) LightSpan {
	return LightSpan{TraceID: s.TraceID, SpanID: s.SpanID, Name: s.Name, SpanType: s.Type, ParentSpanID: orNull(s.ParentID), IsEvent: s.IsEvent,
		StartedAt: s.StartedAt, EndedAt: s.EndedAt, EntityType: orNull(s.EntityType), EntityID: orNull(s.EntityID), EntityName: orNull(s.EntityName),
		Error: s.Error, CreatedAt: s.StartedAt, UpdatedAt: s.EndedAt}
}

// LightTrace is a trace in a list without contents.
type LightTrace struct {
	LightSpan
	Status       string      `json:"status"`
	Metadata     mastra.JSON `json:"metadata"`
	InputPreview string      `json:"inputPreview,omitempty"`
}

func lightTrace(s *mastra.Span) LightTrace {
	return LightTrace{light(s), s.Status(), s.Metadata, preview(s.Input)}
}

// maxPreview is how many UTF-16 code units a preview has.
const maxPreview = 100

// preview is the beginning of what a run was asked: what its user said, else the input itself.
func preview(input mastra.JSON) string {
	if len(input) == 0 || string(input) == "null" {
		return ""
	}
	type message struct {
		Role    string      `json:"role"`
		Content mastra.JSON `json:"content"`
	}
	var text string
	var messages []message
	var wrapped struct {
		Messages []message `json:"messages"`
	}
	switch {
	case schema.Unmarshal(input, &text) == nil:
		return cut(text)
	case schema.Unmarshal(input, &messages) == nil:
	case schema.Unmarshal(input, &wrapped) == nil && wrapped.Messages != nil:
		messages = wrapped.Messages
	default:
		compact := input.Clone()
		if compact.Compact() != nil {
			return ""
		}
		return cut(string(compact))
	}
	var said []string
	for _, m := range messages {
		if m.Role != "user" {
			continue
		}
		if t := contentText(m.Content); t != "" {
			said = append(said, t)
		}
	}
	return cut(strings.Join(said, " | "))
}

func contentText(content mastra.JSON) string {
	var text string
	if schema.Unmarshal(content, &text) == nil {
		return text
	}
	var parts []mastra.JSON
	if schema.Unmarshal(content, &parts) != nil {
		return ""
	}
	var texts []string
	for _, p := range parts {
		var part struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		switch {
		case schema.Unmarshal(p, &text) == nil:
			texts = append(texts, text)
		case schema.Unmarshal(p, &part) == nil && part.Type == "text" && part.Text != "":
			texts = append(texts, part.Text)
		}
	}
	return strings.Join(texts, " ")
}

func cut(text string) string {
	if len(text) <= maxPreview {
		return text
	}
	units := utf16.Encode([]rune(text))
	if len(units) <= maxPreview {
		return text
	}
	return string(utf16.Decode(units[:maxPreview])) + "…"
}
