package agents

import (
	"regexp"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// GenerateInput is a call of an agent.
type GenerateInput struct {
	AgentID         string                 `path:"agentId" json:"-"`
	Messages        mastra.Messages        `json:"messages"`
	Instructions    Lines                  `json:"instructions,omitempty"` // instead of the agent's own
	System          Lines                  `json:"system,omitempty"`       // beside them
	Context         mastra.Messages        `json:"context,omitempty"`      // shown to the model, not kept
	Memory          *MemoryInput           `json:"memory,omitempty"`
	ThreadID        string                 `json:"threadId,omitempty" maxLength:"256"` // the older form of memory
	ResourceID      string                 `json:"resourceId,omitempty" maxLength:"256"`
	RunID           string                 `json:"runId,omitempty" maxLength:"256"`
	MaxSteps        int                    `json:"maxSteps,omitzero" minimum:"1" maximum:"1000"`
	MaxRetries      *int                   `json:"maxProcessorRetries,omitempty" minimum:"0" maximum:"100"` // how often in a row a processor may have the model try again
	ToolChoice      ToolChoice             `json:"toolChoice,omitzero"`
	ActiveTools     []string               `json:"activeTools,omitempty"`
	ModelSettings   mastra.ModelSettings   `json:"modelSettings,omitzero"`
	ProviderOptions map[string]mastra.JSON `json:"providerOptions,omitempty"` // what only one provider of models understands
	RequestContext  mastra.RequestContext  `json:"requestContext,omitempty"`
	TracingOptions  mastra.TracingOptions  `json:"tracingOptions,omitzero"`

	Model       string                      `json:"model,omitempty" pattern:"^[^/]+/.+$" maxLength:"256"` // instead of the agent's
	SavePerStep bool                        `json:"savePerStep,omitzero"`                                 // store the answer so far behind each step
	AtOnce      Concurrency                 `json:"toolCallConcurrency,omitzero"`                         // tool calls of one step that run at the same time
	Scorers     mastra.Object[ScorerOption] `json:"scorers,omitempty"`                                    // instead of the agent's
	ScoringData bool                        `json:"returnScorerData,omitzero"`                            // answer what scorers are shown, too
	Routing     RoutingOption               `json:"routing,omitzero"`                                     // of a network

	RequireToolApproval bool `json:"requireToolApproval,omitzero"`   // ask before any tool is run
	MaxIdleMs           int  `json:"maxIdleMs,omitzero" minimum:"1"` // of stream-until-idle

	ClientTools      mastra.Object[ClientTool]                `json:"clientTools,omitempty"` // run by the caller
	Toolsets         mastra.Object[mastra.Object[ClientTool]] `json:"toolsets,omitempty"`    // the same, in groups
	StructuredOutput *StructuredOutput                        `json:"structuredOutput,omitempty"`
	Output           mastra.JSON                              `json:"output,omitempty"` // the older form of structuredOutput: a schema

	Unserved `json:",inline"`
}

// ClientTool is a tool that the caller runs.
type ClientTool struct {
	ID          string      `json:"id,omitempty" maxLength:"256"`
	Description string      `json:"description,omitempty"`
	InputSchema mastra.JSON `json:"inputSchema,omitempty"`
	Parameters  mastra.JSON `json:"parameters,omitempty"` // the older form of inputSchema
}

// StructuredOutput asks for an answer that is JSON.
type StructuredOutput struct {
	Schema              mastra.JSON `json:"schema"`
	Model               ModelName   `json:"model,omitzero"` // one that makes the JSON out of the agent's answer
	Instructions        string      `json:"instructions,omitempty"`
	JSONPromptInjection mastra.JSON `json:"jsonPromptInjection,omitempty"`
	ErrorStrategy       string      `json:"errorStrategy,omitempty" enum:"strict,warn,fallback"`
	FallbackValue       mastra.JSON `json:"fallbackValue,omitempty"`
}

// ModelName is "provider/model-id", or an object that has it as its id.
type ModelName string

func (n *ModelName) UnmarshalJSON(data []byte) error {
	var object struct {
		ID string `json:"id"`
	}
	if len(data) > 0 && data[0] == '{' {
		err := schema.Unmarshal(data, &object)
		*n = ModelName(object.ID)
		return err
	}
	err := schema.Unmarshal(data, &object.ID)
	*n = ModelName(object.ID)
	return err
}

func (ModelName) JSONSchema() *schema.Doc {
	most := 256
	id := &schema.Doc{Type: "string", Pattern: "^[^/]+/.+$", MaxLength: &most}
	return &schema.Doc{AnyOf: []*schema.Doc{id, {Type: "object", Required: []string{"id"}, Properties: map[string]*schema.Doc{"id": id}}}}
}

func given(v mastra.JSON) bool { return len(v) > 0 && string(v) != "null" && string(v) != "{}" }

// fill takes over what the caller runs itself, the form of the answer, and who judges it.
func (in *GenerateInput) fill(m *mastra.Mastra, c *mastra.AgentCall) error {
	issues := append(checkMessages("messages", c.Messages), checkMessages("context", c.Context)...)
	issues = append(issues, in.unserved()...)
	for _, s := range in.Scorers {
		if _, err := m.Scorer(s.Value.Scorer); err != nil {
			issues = append(issues, mastra.Issue{Field: "scorers." + s.Key + ".scorer", Message: err.Error()})
		}
		c.Scorers = append(c.Scorers, mastra.ScorerChoice{ID: s.Value.Scorer, Rate: s.Value.Sampling.rate()})
	}
	add := func(field string, tools mastra.Object[ClientTool]) {
		for _, t := range tools {
			input := t.Value.InputSchema
			if !given(input) {
				input = t.Value.Parameters
			}
			if !given(input) {
				input = nil
			}
			if !toolName.MatchString(t.Key) {
				issues = append(issues, mastra.Issue{Field: field + "." + t.Key, Message: "Invalid name of a tool: letters, digits, _ and -, up to 64"})
			}
			c.ClientTools = append(c.ClientTools, mastra.ClientTool{Name: t.Key, Description: t.Value.Description, Input: input})
		}
	}
	add("clientTools", in.ClientTools)
	for _, set := range in.Toolsets {
		add("toolsets."+set.Key, set.Value)
	}
	if len(c.ClientTools) > maxClientTools {
		issues = append(issues, mastra.Issue{Field: "clientTools", Message: "Too many tools"})
	}
	if m := in.Memory; m != nil {
		issues = append(issues, m.Options.unserved()...)
	}
	if s := in.StructuredOutput; s != nil {
		if s.ErrorStrategy == "fallback" && len(s.FallbackValue) == 0 {
			issues = append(issues, mastra.Issue{Field: "structuredOutput.fallbackValue", Message: "Required"})
		}
		c.Structured = &mastra.Structured{Schema: s.Schema, Model: string(s.Model), Instructions: s.Instructions, OnError: s.ErrorStrategy, Fallback: s.FallbackValue,
			InPrompt: given(s.JSONPromptInjection) && string(s.JSONPromptInjection) != "false"}
	} else if given(in.Output) {
		c.Structured = &mastra.Structured{Schema: in.Output}
	}
	if len(issues) > 0 {
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body", Issues: issues}
	}
	return nil
}

// maxClientTools is how many tools a caller may offer.
const maxClientTools = 128

var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// MemoryInput says which thread a call belongs to, and whose.
type MemoryInput struct {
	Thread   ThreadRef     `json:"thread"`
	Resource string        `json:"resource,omitempty" maxLength:"256"`
	ReadOnly bool          `json:"readOnly,omitzero"`
	Options  MemoryOptions `json:"options,omitzero"`
}

// MemoryOptions override an agent's memory for one call.
type MemoryOptions struct {
	LastMessages   LastMessages   `json:"lastMessages,omitzero"`
	ReadOnly       bool           `json:"readOnly,omitzero"`
	SemanticRecall RecallOption   `json:"semanticRecall,omitzero"`
	WorkingMemory  *WorkingOption `json:"workingMemory,omitzero"`
	GenerateTitle  *TitleOption   `json:"generateTitle,omitzero"`
	History        *HistoryOption `json:"messageHistory,omitzero"`
	Incomplete     *bool          `json:"filterIncompleteToolCalls,omitzero"`
	Observational  *Observing     `json:"observationalMemory,omitzero"`
}

// ThreadRef is a thread's id, or an object with what the thread is created with.
type ThreadRef struct {
	ID       string      `json:"id"`
	Title    string      `json:"title,omitempty"`
	Metadata mastra.JSON `json:"metadata,omitempty"`
}

func (t *ThreadRef) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return schema.Unmarshal(data, &t.ID)
	}
	type plain ThreadRef
	return schema.Unmarshal(data, (*plain)(t))
}

func (ThreadRef) JSONSchema() *schema.Doc {
	one, most := 1, 256
	id := &schema.Doc{Type: "string", MinLength: &one, MaxLength: &most}
	return &schema.Doc{AnyOf: []*schema.Doc{id, {Type: "object", Required: []string{"id"}, Properties: map[string]*schema.Doc{
		"id": id, "title": {Type: "string"}, "metadata": {Type: "object"}}}}}
}

// LastMessages is how many messages of the thread the model sees: a number, or false for none. A nil Count leaves it to the agent.
type LastMessages struct{ Count *int }

func (l *LastMessages) UnmarshalJSON(data []byte) error {
	n := 0
	if string(data) != "false" {
		if err := schema.Unmarshal(data, &n); err != nil {
			return err
		}
	}
	l.Count = &n
	return nil
}

func (LastMessages) JSONSchema() *schema.Doc {
	zero, most := 0.0, 10000.0
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "integer", Minimum: &zero, Maximum: &most}, {Type: "boolean", Enum: []any{false}}}}
}

// ToolChoice is "auto", "none", "required" or {type: "tool", toolName}.
type ToolChoice mastra.ToolChoice

func (c *ToolChoice) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return schema.Unmarshal(data, &c.Mode)
	}
	var object struct {
		ToolName string `json:"toolName"`
	}
	err := schema.Unmarshal(data, &object)
	c.Mode, c.Tool = "tool", object.ToolName
	return err
}

func (ToolChoice) JSONSchema() *schema.Doc {
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string", Enum: []any{"auto", "none", "required"}},
		{Type: "object", Required: []string{"type", "toolName"}, Properties: map[string]*schema.Doc{"type": {Type: "string", Enum: []any{"tool"}}, "toolName": {Type: "string"}}}}}
}

// Lines are instructions: one text, several, or system messages.
type Lines []string

func (l *Lines) UnmarshalJSON(data []byte) error {
	var messages mastra.Messages
	var texts []string
	if len(data) > 0 && data[0] == '[' && schema.Unmarshal(data, &texts) == nil {
		*l = texts
		return nil
	}
	if err := schema.Unmarshal(data, &messages); err != nil {
		return err
	}
	*l = nil
	for _, m := range messages {
		*l = append(*l, mastra.PromptMessage{Parts: m.All()}.Text())
	}
	return nil
}

func (Lines) JSONSchema() *schema.Doc {
	message := &schema.Doc{Type: "object", Required: []string{"content"}, Properties: map[string]*schema.Doc{
		"role": {Type: "string", Enum: []any{"system"}}, "content": mastra.InputContent(nil).JSONSchema()}}
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, message, {Type: "array", Items: &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, message}}}}}
}
