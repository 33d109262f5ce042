package mastra

import (
	"slices"
	"strconv"

	"mastralambda/shared/schema"
)

// Types of an agent's chunks, in the order in which they come: start, then for each model call step-start, what the model
// writes, what its tools answer and step-finish, then finish. After an error come step-finish and finish with reason "error".
const (
	ChunkStart          = "start"
	ChunkStepStart      = "step-start"
	ChunkTextStart      = "text-start"
	ChunkTextDelta      = "text-delta"
	ChunkTextEnd        = "text-end"
	ChunkReasoningStart = "reasoning-start"
	ChunkReasoningDelta = "reasoning-delta"
	ChunkReasoningEnd   = "reasoning-end"
	ChunkToolInputStart = "tool-call-input-streaming-start"
	ChunkToolInputDelta = "tool-call-delta"
	ChunkToolInputEnd   = "tool-call-input-streaming-end"
	ChunkToolCall       = "tool-call"
	ChunkToolResult     = "tool-result"
	ChunkToolError      = "tool-error"
	ChunkApproval       = "tool-call-approval"  // the call waits for a person; the stream stops
	ChunkSuspended      = "tool-call-suspended" // the tool waits for an answer; the stream stops
	ChunkToolOutput     = "tool-output"         // what an agent or a workflow says that was called
	ChunkDenied         = "tool-output-denied"  // a person declined the call
	ChunkObject         = "object"              // the answer's JSON so far
	ChunkObjectResult   = "object-result"       // all of it, validated
	ChunkUserMessage    = "data-user-message"   // a message came to the run, in Data
	ChunkStepFinish     = "step-finish"
	ChunkFinish         = "finish"
	ChunkError          = "error"
	ChunkTripwire       = "tripwire" // a processor stopped the run; nothing follows
	ChunkAbort          = "abort"    // the run was cancelled; nothing follows
	ChunkGoesOn         = "goes-on"  // the stream ends with its invocation; it goes on at the route of its payload
	ChunkEpoch          = "epoch"    // another process took the run over: it goes on behind its last whole step, what came after is repeated
)

// RunStart is the payload of start.
type RunStart struct {
	ID        string `json:"id"` // of the agent
	MessageID string `json:"messageId"`
}

// StepStart is the payload of step-start.
type StepStart struct {
	Warnings  []JSON   `json:"warnings"`
	MessageID string   `json:"messageId"`
	StartedAt int64    `json:"startedAt"` // Unix milliseconds
	Request   struct{} `json:"request"`
}

// Block is the payload of text-start, reasoning-start and the -end of both; Type stands in a text-end alone.
type Block struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"id"`
}

// ToolInput is the payload of the tool-call-input-streaming chunks, ToolInputDelta that of tool-call-delta.
type ToolInput struct {
	ToolCallID string `json:"toolCallId"`
	ToolName   string `json:"toolName,omitempty"`
}

// ToolInputDelta is a piece of a tool call's arguments as the model writes them.
type ToolInputDelta struct {
	ArgsTextDelta string `json:"argsTextDelta"`
	ToolCallID    string `json:"toolCallId"`
	ToolName      string `json:"toolName"`
}

// ToolCalled is the payload of tool-call. Args is nil where the model wrote no JSON.
type ToolCalled struct {
	ToolCallID string `json:"toolCallId"`
	ToolName   string `json:"toolName"`
	Args       JSON   `json:"args,omitzero"`
	// Observability, of a call that the client runs, is where its spans belong.
	Observability *Traceparent `json:"observability,omitempty"`
}

// Traceparent is a place in a trace, as W3C writes it.
type Traceparent struct {
	Traceparent string `json:"traceparent"`
}

// ToolAnswered is the payload of tool-result.
type ToolAnswered struct {
	Args       JSON   `json:"args,omitzero"`
	ToolCallID string `json:"toolCallId"`
	ToolName   string `json:"toolName"`
	Result     JSON   `json:"result"`
}

// ToolOutput is the payload of tool-output: a chunk of the agent or workflow that a call has called.
type ToolOutput struct {
	Output     JSON   `json:"output"`
	ToolCallID string `json:"toolCallId"`
	ToolName   string `json:"toolName"`
}

// ToolFailed is the payload of tool-error: the tool, or the call itself, failed and the model was told so.
type ToolFailed struct {
	Error      RunError `json:"error"`
	Args       JSON     `json:"args,omitzero"`
	ToolCallID string   `json:"toolCallId"`
	ToolName   string   `json:"toolName"`
}

// ToolWaits is the payload of tool-call-approval and, with SuspendPayload, of tool-call-suspended.
type ToolWaits struct {
	ToolCallID     string `json:"toolCallId"`
	ToolName       string `json:"toolName"`
	SuspendPayload JSON   `json:"suspendPayload,omitzero"`
	Args           JSON   `json:"args,omitzero"`
	ResumeSchema   string `json:"resumeSchema,omitempty"`
}

// ToolDenied is the payload of tool-output-denied.
type ToolDenied struct {
	ToolCallID string   `json:"toolCallId"`
	ToolName   string   `json:"toolName"`
	Args       JSON     `json:"args,omitzero"`
	Approval   Approval `json:"approval"`
}

// Approval is a person's decision on a call.
type Approval struct {
	ID       string `json:"id"` // of the call
	Approved bool   `json:"approved"`
	Reason   string `json:"reason,omitempty"`
}

// Epoch is the payload of epoch.
type Epoch struct {
	Epoch int64 `json:"epoch"`
	Steps int   `json:"steps"` // whole ones before it
}

// GoesOn is the payload of a goes-on and of a workflow-goes-on: where the stream is to be asked for.
type GoesOn struct {
	At string `json:"at"` // "observe", or "subscribe" of a thread
}

// Failure is the payload of error.
type Failure struct {
	Type  string   `json:"type"`
	Error RunError `json:"error"`
}

// Finish is the payload of step-finish and, with Response, of finish.
type Finish struct {
	MessageID           string         `json:"messageId"`
	StepResult          StepReason     `json:"stepResult"`
	Metadata            ModelAnswer    `json:"metadata"`
	Output              FinishOutput   `json:"output"`
	Messages            FinishMessages `json:"messages"`
	ProcessorRetryCount int            `json:"processorRetryCount"`
	RetryFeedback       string         `json:"processorRetryFeedback,omitempty"` // what the model is told
	Response            *AgentResponse `json:"response,omitempty"`
}

// StepReason says why a step ended and whether another follows.
type StepReason struct {
	Reason      FinishReason `json:"reason"`
	IsContinued bool         `json:"isContinued"`
	MessageID   string       `json:"messageId,omitempty"` // of the step that a resumed run goes on with
	// Of a step that a processor refused: why, and which one.
	RetryReason      string `json:"retryReason,omitempty"`
	RetryMetadata    JSON   `json:"retryMetadata,omitzero"`
	RetryProcessorID string `json:"retryProcessorId,omitempty"`
}

// FinishOutput is what the run made so far; Text and ToolCalls are the last step's.
type FinishOutput struct {
	Text      string       `json:"text"`
	ToolCalls []ToolCalled `json:"toolCalls"`
	Usage     RunUsage     `json:"usage"`
	Steps     JSON         `json:"steps"` // [{content, usage, warnings, response}]
	Object    JSON         `json:"object,omitzero"`
}

// FinishMessages is the conversation as lists of model messages.
type FinishMessages struct {
	All     JSON `json:"all"`
	User    JSON `json:"user"`
	NonUser JSON `json:"nonUser"`
}

// append encodes the payload as reflection would. It holds much JSON that is encoded already, and is sent twice a stream.
func (f *Finish) append(b []byte) []byte {
	size := 1024 + len(f.Output.Text) + len(f.Output.Steps) + len(f.Messages.All) + len(f.Messages.User) + len(f.Messages.NonUser)
	if r := f.Response; r != nil {
		size += len(r.Messages) + len(r.UIMessages) + len(r.DBMessages)
	}
	b = appendMember(slices.Grow(b, size), `{"messageId":`, f.MessageID)
	b = schema.AppendString(append(b, `,"stepResult":{"reason":`...), string(f.StepResult.Reason))
	b = strconv.AppendBool(append(b, `,"isContinued":`...), f.StepResult.IsContinued)
	b = appendMember(b, `,"messageId":`, f.StepResult.MessageID)
	b = appendMember(b, `,"retryReason":`, f.StepResult.RetryReason)
	if f.StepResult.RetryMetadata != nil {
		b = appendJSON(b, `,"retryMetadata":`, f.StepResult.RetryMetadata)
	}
	b = appendMember(b, `,"retryProcessorId":`, f.StepResult.RetryProcessorID)
	b = f.Metadata.append(append(b, `},"metadata":{`...))
	b = schema.AppendString(append(b, `},"output":{"text":`...), f.Output.Text)
	b = append(b, `,"toolCalls":[`...)
	for i, c := range f.Output.ToolCalls {
		if i > 0 {
			b = append(b, ',')
		}
		b = schema.AppendString(append(b, `{"toolCallId":`...), c.ToolCallID)
		b = schema.AppendString(append(b, `,"toolName":`...), c.ToolName)
		if c.Args != nil {
			b = append(append(b, `,"args":`...), c.Args...)
		}
		if c.Observability != nil {
			b = append(schema.AppendString(append(b, `,"observability":{"traceparent":`...), c.Observability.Traceparent), '}')
		}
		b = append(b, '}')
	}
	b = f.Output.Usage.AppendJSON(append(b, `],"usage":`...))
	if f.Output.Steps != nil {
		b = appendJSON(b, `,"steps":`, f.Output.Steps)
	}
	if f.Output.Object != nil {
		b = appendJSON(b, `,"object":`, f.Output.Object)
	}
	if f.Messages.All != nil {
		b = appendJSON(b, `},"messages":{"all":`, f.Messages.All)
		b = appendJSON(b, `,"user":`, f.Messages.User)
		b = appendJSON(b, `,"nonUser":`, f.Messages.NonUser)
	}
	b = strconv.AppendInt(append(b, `},"processorRetryCount":`...), int64(f.ProcessorRetryCount), 10)
	b = appendMember(b, `,"processorRetryFeedback":`, f.RetryFeedback)
	if f.Response != nil {
		b = f.Response.append(append(b, `,"response":`...))
	}
	return append(b, '}')
}

// append encodes the members, without braces.
func (a *ModelAnswer) append(b []byte) []byte {
	b = schema.AppendString(append(b, `"id":`...), a.ID)
	b = a.Timestamp.AppendJSON(append(b, `,"timestamp":`...))
	b = schema.AppendString(append(b, `,"modelId":`...), a.ModelID)
	b = schema.AppendString(append(b, `,"modelMetadata":{"modelProvider":`...), a.Model.Provider)
	b = schema.AppendString(append(b, `,"modelId":`...), a.Model.ID)
	b = schema.AppendString(append(b, `,"modelVersion":`...), a.Model.Version)
	return append(b, '}')
}

// AppendJSON appends the usage as it encodes.
func (u *RunUsage) AppendJSON(b []byte) []byte {
	b = u.Usage.append(append(b, '{'))
	if u.Raw != nil {
		b = append(u.Raw.append(append(b, `,"raw":{`...)), '}')
	}
	return append(b, '}')
}

// append encodes the members, without braces.
func (u *Usage) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `"inputTokens":`...), int64(u.InputTokens), 10)
	b = strconv.AppendInt(append(b, `,"outputTokens":`...), int64(u.OutputTokens), 10)
	b = strconv.AppendInt(append(b, `,"totalTokens":`...), int64(u.TotalTokens), 10)
	if u.ReasoningTokens != 0 {
		b = strconv.AppendInt(append(b, `,"reasoningTokens":`...), int64(u.ReasoningTokens), 10)
	}
	if u.CachedInputTokens != 0 {
		b = strconv.AppendInt(append(b, `,"cachedInputTokens":`...), int64(u.CachedInputTokens), 10)
	}
	if u.CacheCreationInputTokens != 0 {
		b = strconv.AppendInt(append(b, `,"cacheCreationInputTokens":`...), int64(u.CacheCreationInputTokens), 10)
	}
	return b
}

func appendJSON(b []byte, key string, v JSON) []byte {
	if b = append(b, key...); v == nil {
		return append(b, "null"...)
	}
	return append(b, v...)
}
