package memory

import (
	"cmp"
	"context"

	"mastralambda/shared/mastra"
)

// AgentInput names an agent.
type AgentInput struct {
	AgentID    string `query:"agentId" json:"-" required:"true"`
	ResourceID string `query:"resourceId" json:"-"`
	ThreadID   string `query:"threadId" json:"-"`
}

// StatusOutput says whether an agent remembers.
type StatusOutput struct {
	Result     bool   `json:"result"`
	MemoryType string `json:"memoryType,omitempty"`

	Observational *ObservedStatus `json:"observationalMemory,omitempty"`
}

// Status says whether an agent remembers.
func Status(ctx context.Context, m *mastra.Mastra, in AgentInput) (StatusOutput, error) {
	memory, err := memoryOf(m, in.AgentID)
	if err != nil || memory == nil {
		return StatusOutput{}, err
	}
	out := StatusOutput{Result: true, MemoryType: "local"}
	if memory.Observational != nil {
		out.Observational, err = observedStatus(ctx, m, in)
	}
	return out, err
}

// memoryOf is the memory of an agent, nil where it has none.
func memoryOf(m *mastra.Mastra, agent string) (*mastra.Memory, error) {
	a, err := m.Agent(agent)
	if err != nil {
		return nil, mastra.Errorf(mastra.CodeNotFound, "Agent not found")
	}
	return a.Memory, nil
}

// remembering is memoryOf where there has to be one.
func remembering(m *mastra.Mastra, agent string) (*mastra.Memory, error) {
	memory, err := memoryOf(m, agent)
	if err == nil && memory == nil {
		err = mastra.Errorf(mastra.CodeInvalid, "Memory is not initialized")
	}
	return memory, err
}

// ConfigOutput is what an agent remembers; nil where it remembers nothing.
type ConfigOutput struct {
	Config *Options `json:"config"`
}

// Options are an agent's memory options in the reference server's form.
type Options struct {
	LastMessages   int             `json:"lastMessages"`
	MessageHistory *MessageHistory `json:"messageHistory,omitempty"`
	SemanticRecall any             `json:"semanticRecall"` // false, or a mastra.SemanticRecall
	GenerateTitle  any             `json:"generateTitle"`  // false, or Title
	WorkingMemory  WorkingOptions  `json:"workingMemory"`
	Observational  Observing       `json:"observationalMemory"`
	ReadOnly       bool            `json:"readOnly,omitzero"`
}

// MessageHistory bounds the messages that a run begins with.
type MessageHistory struct {
	MaxTokens int `json:"maxTokens"`
}

// Title says how titles are found.
type Title struct {
	Model        string `json:"model,omitempty"`
	Instructions string `json:"instructions,omitempty"`
}

// WorkingOptions are the options of the working memory.
type WorkingOptions struct {
	Enabled  bool         `json:"enabled"`
	Scope    mastra.Scope `json:"scope,omitempty"`
	Template string       `json:"template,omitempty"`
	Schema   mastra.JSON  `json:"schema,omitzero"`
}

// Observing are the options of observational memory.
type Observing struct {
	Enabled           bool         `json:"enabled"`
	Scope             mastra.Scope `json:"scope,omitempty"`
	MessageTokens     int          `json:"messageTokens,omitzero"`
	ObservationTokens int          `json:"observationTokens,omitzero"`
	ObservationModel  string       `json:"observationModel,omitempty"`
	ReflectionModel   string       `json:"reflectionModel,omitempty"`
}

// Config says what an agent remembers.
func Config(_ context.Context, m *mastra.Mastra, in AgentInput) (ConfigOutput, error) {
	memory, err := memoryOf(m, in.AgentID)
	if err != nil || memory == nil {
		return ConfigOutput{}, err
	}
	out := Options{LastMessages: memory.LastMessages, SemanticRecall: false, GenerateTitle: false, ReadOnly: memory.ReadOnly}
	if memory.MaxTokens > 0 {
		out.MessageHistory = &MessageHistory{memory.MaxTokens}
	}
	if s := memory.SemanticRecall; s != nil {
		recalled := *s
		recalled.TopK = cmp.Or(s.TopK, mastra.DefaultTopK)
		out.SemanticRecall = recalled
	}
	if t := memory.GenerateTitle; t != nil {
		out.GenerateTitle = Title{t.Model, t.Instructions}
	}
	if w := memory.WorkingMemory; w != nil {
		out.WorkingMemory = WorkingOptions{Enabled: true, Scope: w.Scope}
		if w.Schema != nil {
			out.WorkingMemory.Schema = w.Schema.JSON()
		} else {
			out.WorkingMemory.Template = w.Form()
		}
	}
	if o := memory.Observational; o != nil {
		out.Observational = Observing{true, mastra.ScopeThread, o.Messages(), o.Observations(), o.Model, o.Model}
	}
	return ConfigOutput{&out}, nil
}
