package mastra

import (
	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// Chunk is one event of a run's stream. Its Payload is a value that encodes to the wire's payload.
type Chunk struct {
	Type    string `json:"type"`
	RunID   string `json:"runId,omitempty"`
	From    string `json:"from,omitempty"` // "AGENT" or "WORKFLOW"
	Text    string `json:"text,omitempty"` // of a text-delta, beside payload.text: simple clients read it here
	Payload any    `json:"payload,omitempty"`
	encoded JSON
}

// Senders of chunks.
const (
	FromAgent    = "AGENT"
	FromWorkflow = "WORKFLOW"
)

// TextDelta is the payload of a text-delta and of a reasoning-delta.
type TextDelta struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Encode is the chunk as it goes over the wire. The bytes are shared where WithEncoding set them: they must not be changed.
func (c Chunk) Encode() (JSON, error) {
	if c.encoded != nil {
		return c.encoded, nil
	}
	return c.Append(nil)
}

// WithEncoding is the chunk with its encoding kept, so that each reader and the storage use the same bytes.
func (c Chunk) WithEncoding(data JSON) Chunk { c.encoded = data; return c }

// Append appends the chunk's encoding to b. Most of a stream are deltas: they do without reflection.
func (c Chunk) Append(b []byte) ([]byte, error) {
	b = append(b, `{"type":`...)
	b = appendString(b, c.Type)
	b = appendMember(b, `,"runId":`, c.RunID)
	b = appendMember(b, `,"from":`, c.From)
	b = appendMember(b, `,"text":`, c.Text)
	switch p := c.Payload.(type) {
	case nil:
	case TextDelta:
		b = append(b, `,"payload":{"id":`...)
		b = appendString(b, p.ID)
		b = append(b, `,"text":`...)
		b = appendString(b, p.Text)
		b = append(b, '}')
	case Finish:
		b = p.append(append(b, `,"payload":`...))
	default:
		data, err := schema.Marshal(p)
		if err != nil {
			return b, err
		}
		b = append(b, `,"payload":`...)
		b = append(b, data...)
	}
	return append(b, '}'), nil
}

func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, key...), value)
}

// appendString quotes s; bytes that are not UTF-8 become replacement characters.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
