package mastra

import (
	"strconv"
	"strings"

	"mastralambda/shared/schema"
)

// Chunk is one event of a run's stream. Its Payload is a value that encodes to the wire's payload.
type Chunk struct {
	Type      string   `json:"type"`
	RunID     string   `json:"runId,omitempty"`
	From      string   `json:"from,omitempty"` // "AGENT", "WORKFLOW" or "USER"
	Text      string   `json:"text,omitempty"` // of a text-delta, beside payload.text: simple clients read it here
	Payload   any      `json:"payload,omitempty"`
	Object    JSON     `json:"object,omitzero"`    // of an object and an object-result
	Data      JSON     `json:"data,omitzero"`      // of a chunk of a step's own type
	Transient bool     `json:"transient,omitzero"` // it belongs to no message
	At        Position `json:"-"`                  // its place in the run's stream; zero where the stream has no places
	encoded   JSON
}

// Position is a place in a run's stream. Whoever takes a run over writes under a higher epoch; within one the chunks are
// numbered from 1. The zero Position is before the first chunk.
type Position struct{ Epoch, Seq int64 }

// Before says whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

// String is the position as an event's id, "epoch-seq".
func (p Position) String() string { return string(p.Append(nil)) }

// Append appends String to b.
func (p Position) Append(b []byte) []byte {
	return strconv.AppendInt(append(strconv.AppendInt(b, p.Epoch, 10), '-'), p.Seq, 10)
}

// ParsePosition reads what String wrote; "" is the zero Position.
func ParsePosition(s string) (p Position, err error) {
	if s == "" {
		return p, nil
	}
	epoch, seq, _ := strings.Cut(s, "-")
	if p.Epoch, err = strconv.ParseInt(epoch, 10, 64); err == nil {
		p.Seq, err = strconv.ParseInt(seq, 10, 64)
	}
	if err != nil || p.Epoch < 0 || p.Seq < 0 {
		return Position{}, Invalid("Last-Event-ID", "Invalid event id: it is of the form 1-7")
	}
	return p, nil
}

// ChunkBlock is some chunks of a run in a row, as they are stored: written once, replaced by one of the same End.
type ChunkBlock struct {
	RunID      string
	End        Position // of its last chunk
	Count      int      // chunks; the first is at End.Seq-Count+1
	Last       bool     // the stream stops here: the run has ended, or waits for an answer
	ResourceID string   // whose run it is
	Data       []byte   // the encodings, as package runlog writes them
	ExpiresAt  Time     // may be gone after it; 0 is never
}

// Senders of chunks.
const (
	FromAgent    = "AGENT"
	FromWorkflow = "WORKFLOW"
	FromUser     = "USER" // a step itself
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
	b = schema.AppendString(b, c.Type)
	b = appendMember(b, `,"runId":`, c.RunID)
	b = appendMember(b, `,"from":`, c.From)
	b = appendMember(b, `,"text":`, c.Text)
	switch p := c.Payload.(type) {
	case nil:
	case TextDelta:
		b = append(b, `,"payload":{"id":`...)
		b = schema.AppendString(b, p.ID)
		b = append(b, `,"text":`...)
		b = schema.AppendString(b, p.Text)
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
	if c.Object != nil {
		b = appendJSON(b, `,"object":`, c.Object)
	}
	if c.Data != nil {
		b = append(append(b, `,"data":`...), c.Data...)
	}
	if c.Transient {
		b = append(b, `,"transient":true`...)
	}
	return append(b, '}'), nil
}

func appendMember(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return schema.AppendString(append(b, key...), value)
}
