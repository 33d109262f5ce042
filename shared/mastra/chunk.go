package mastra

import "mastralambda/shared/schema"

// Chunk is one event of a run's stream. Its Payload is a value that encodes to the wire's payload.
type Chunk struct {
	Type    string `json:"type"`
	RunID   string `json:"runId,omitempty"`
	From    string `json:"from,omitempty"` // "AGENT" or "WORKFLOW"
	Text    string `json:"text,omitempty"` // of a text-delta, beside payload.text: simple clients read it here
	Payload any    `json:"payload,omitempty"`
}

// Senders of chunks.
const (
	FromAgent    = "AGENT"
	FromWorkflow = "WORKFLOW"
)

// TextDelta is the payload of a text-delta.
type TextDelta struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// Encode is the chunk as it goes over the wire.
func (c Chunk) Encode() (JSON, error) { return schema.Marshal(c) }
