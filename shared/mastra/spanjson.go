package mastra

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// AppendJSON appends the span as schema.Marshal encodes it, in a fraction of the time: a run has half a dozen of them, and
// most of their bytes are JSON already. What is none is an error.
func (s *Span) AppendJSON(b []byte) ([]byte, error) {
	b = schema.AppendString(append(b, `{"traceId":`...), s.TraceID)
	b = schema.AppendString(append(b, `,"spanId":`...), s.SpanID)
	b = appendMember(b, `,"parentSpanId":`, s.ParentID)
	if s.Remote {
		b = append(b, `,"remoteParent":true`...)
	}
	b = schema.AppendString(append(b, `,"name":`...), s.Name)
	b = schema.AppendString(append(b, `,"spanType":`...), s.Type)
	if s.IsEvent {
		b = append(b, `,"isEvent":true`...)
	}
	b = s.StartedAt.AppendJSON(append(b, `,"startedAt":`...))
	b = s.EndedAt.AppendJSON(append(b, `,"endedAt":`...))
	b = appendMember(b, `,"entityType":`, s.EntityType)
	b = appendMember(b, `,"entityId":`, s.EntityID)
	b = appendMember(b, `,"entityName":`, s.EntityName)
	b = appendMember(b, `,"runId":`, s.RunID)
	b = appendMember(b, `,"threadId":`, s.ThreadID)
	b = appendMember(b, `,"resourceId":`, s.ResourceID)
	for i, tag := range s.Tags {
		if i == 0 {
			b = append(b, `,"tags":[`...)
		} else {
			b = append(b, ',')
		}
		b = schema.AppendString(b, tag)
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
