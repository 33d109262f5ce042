package mastra

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the span as schema.Marshal encodes it, in a fraction of the time: a run has half a dozen of them, and
// most of their bytes are JSON already. What is none is an error.
func (s *Span) AppendJSON(b []byte) ([]byte, error) {
	text := func(key, value string) {
		b, _ = jsontext.AppendQuote(append(b, key...), value) // what is no UTF-8 is replaced
	}
	some := func(key, value string) {
		if value != "" {
			text(key, value)
		}
	}
	moment := func(key string, t Time) {
		b = t.AppendJSON(append(b, key...))
	}
	text(`{"traceId":`, s.TraceID)
	text(`,"spanId":`, s.SpanID)
	some(`,"parentSpanId":`, s.ParentID)
	if s.Remote {
		b = append(b, `,"remoteParent":true`...)
	}
	text(`,"name":`, s.Name)
	text(`,"spanType":`, s.Type)
	if s.IsEvent {
		b = append(b, `,"isEvent":true`...)
	}
	moment(`,"startedAt":`, s.StartedAt)
	moment(`,"endedAt":`, s.EndedAt)
	some(`,"entityType":`, s.EntityType)
	some(`,"entityId":`, s.EntityID)
	some(`,"entityName":`, s.EntityName)
	some(`,"runId":`, s.RunID)
	some(`,"threadId":`, s.ThreadID)
	some(`,"resourceId":`, s.ResourceID)
	for i, tag := range s.Tags {
		if i == 0 {
			text(`,"tags":[`, tag)
		} else {
			text(`,`, tag)
		}
	}
	if len(s.Tags) > 0 {
		b = append(b, ']')
	}
	for _, v := range [...]struct {
		key   string
		value JSON
	}{{`,"attributes":`, s.Attributes}, {`,"metadata":`, s.Metadata}, {`,"input":`, s.Input}, {`,"output":`, s.Output}, {`,"error":`, s.Error}, {`,"requestContext":`, s.Context}} {
		if len(v.value) == 0 {
			continue
		}
		if !v.value.IsValid(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) {
			return nil, fmt.Errorf("span %s: %s is no JSON", s.SpanID, v.key[1:])
		}
		b = append(append(b, v.key...), v.value...)
	}
	return append(b, '}'), nil
}

// AppendSpans appends a JSON array of spans.
func AppendSpans(b []byte, spans []Span) (_ []byte, err error) {
	b = append(b, '[')
	for i := range spans {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = spans[i].AppendJSON(b); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}
