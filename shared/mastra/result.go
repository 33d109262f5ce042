package mastra

// AgentResult is the answer of a generate: what a run did, in the shape of the reference server.
type AgentResult struct {
	Text    string `json:"text"`
	RunID   string `json:"runId"`
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
}
