package mastra

// AgentResult is the answer of a generate: what a run did, in the shape of the reference server.
// It is shared by those who wait for one run and must not be changed.
type AgentResult struct {
	Text              string        `json:"text"` // of all steps
	Usage             RunUsage      `json:"usage"`
	Steps             []AgentStep   `json:"steps"`
	FinishReason      FinishReason  `json:"finishReason"`
	Warnings          []JSON        `json:"warnings"`
	Request           struct{}      `json:"request"`
	Reasoning         []Chunk       `json:"reasoning"`
	ReasoningText     string        `json:"reasoningText,omitempty"`
	ToolCalls         []Chunk       `json:"toolCalls"`   // of all steps; payload ToolCalled
	ToolResults       []Chunk       `json:"toolResults"` // payload ToolAnswered
	Sources           []JSON        `json:"sources"`
	Files             []JSON        `json:"files"`
	Response          AgentResponse `json:"response"` // of the last model call
	TotalUsage        RunUsage      `json:"totalUsage"`
	Object            JSON          `json:"object,omitzero"` // where JSON was asked for
	UsedFallbackValue bool          `json:"usedFallbackValue"`
	TraceID           string        `json:"traceId"`
	SpanID            string        `json:"spanId"`
	RunID             string        `json:"runId"`
	SuspendPayload    JSON          `json:"suspendPayload,omitzero"` // where FinishReason is "suspended": what the first call waits for
	ResumeSchema      string        `json:"resumeSchema,omitempty"`
	Tripwire          *Tripwire     `json:"tripwire,omitempty"` // a processor stopped the run: there is no answer
	Scoring           *ScoringData  `json:"scoringData,omitempty"`
	Messages          []Message     `json:"messages"` // remembered, given and made
	Remembered        []Message     `json:"rememberedMessages"`
}

// ScoringData is what scorers are shown of a run.
type ScoringData struct {
	Input  JSON `json:"input"`
	Output JSON `json:"output"`
}

// AgentStep is one model call and what its tools answered.
type AgentStep struct {
	StepType           string        `json:"stepType"` // "initial", "tool-result"
	Sources            []JSON        `json:"sources"`
	Files              []JSON        `json:"files"`
	ToolCalls          []Chunk       `json:"toolCalls"`
	ToolResults        []Chunk       `json:"toolResults"`
	Content            JSON          `json:"content"` // a list of model message parts
	Text               string        `json:"text"`
	ReasoningText      string        `json:"reasoningText"`
	Reasoning          []Chunk       `json:"reasoning"`
	StaticToolCalls    []JSON        `json:"staticToolCalls"`
	DynamicToolCalls   []JSON        `json:"dynamicToolCalls"`
	StaticToolResults  []JSON        `json:"staticToolResults"`
	DynamicToolResults []JSON        `json:"dynamicToolResults"`
	FinishReason       FinishReason  `json:"finishReason"`
	Usage              RunUsage      `json:"usage"`
	Warnings           []JSON        `json:"warnings"`
	Request            struct{}      `json:"request"`
	Response           AgentResponse `json:"response"`
	Tripwire           *Tripwire     `json:"tripwire,omitempty"` // why a processor refused it
}

// RunUsage is a usage beside the one that the (last) model call told.
type RunUsage struct {
	Usage
	Raw *Usage `json:"raw,omitempty"`
}

// ModelAnswer identifies a model's answer.
type ModelAnswer struct {
	ID        string    `json:"id"`
	Timestamp Time      `json:"timestamp"`
	ModelID   string    `json:"modelId"`
	Model     ModelInfo `json:"modelMetadata"`
}

// AgentResponse is a model's answer with the messages of the run up to it, in three forms: as a model is given them, as a
// user interface shows them, as they are stored.
type AgentResponse struct {
	ModelAnswer
	Messages   JSON `json:"messages"`
	UIMessages JSON `json:"uiMessages"`
	DBMessages JSON `json:"dbMessages,omitempty"` // not in a finish chunk
}
