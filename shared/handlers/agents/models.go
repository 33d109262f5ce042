package agents

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

func modelRoutes() []server.Route {
	write, run := server.Permission("agents:write"), server.Permission("agents:execute")
	return []server.Route{
		server.JSON("GET /agents/providers", Providers, server.Permission("agents:read"), server.Summary("List the providers of models that this server speaks to")),
		server.JSON("POST /agents/:agentId/model", SetModel, write, server.Summary("Change the agent's model until the process ends")),
		server.JSON("POST /agents/:agentId/model/reset", ResetModel, write, server.Summary("Take back a change of the agent's model")),
		server.JSON("POST /agents/:agentId/models/reorder", ReorderModels, write, server.Summary("Put the agent's list of models into another order until the process ends")),
		server.JSON("POST /agents/:agentId/models/:modelConfigId", SetListedModel, write, server.Summary("Change a model of the agent's list until the process ends")),
		server.JSON("POST /agents/:agentId/instructions/enhance", EnhanceInstructions, run, server.Long, server.Summary("Have the deployment's model improve instructions")),
	}
}

// Provider is a provider of models.
type Provider struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Label       string   `json:"label"`
	Description string   `json:"description"`
	EnvVar      string   `json:"envVar"`
	Connected   bool     `json:"connected"` // models of it can be made
	DocURL      string   `json:"docUrl,omitempty"`
	Models      []string `json:"models"` // those that agents name
}

// ProviderList is every provider.
type ProviderList struct {
	Providers []Provider `json:"providers"`
}

// ProvidersInput asks for all of them.
type ProvidersInput struct{}

// Providers lists the providers that this server speaks to, and those that agents name.
func Providers(_ context.Context, m *mastra.Mastra, _ ProvidersInput) (ProviderList, error) {
	out := ProviderList{Providers: []Provider{
		{ID: "openai", Name: "OpenAI", EnvVar: "OPENAI_API_KEY", DocURL: "https://platform.openai.com/docs/models"},
		{ID: "anthropic", Name: "Anthropic", EnvVar: "ANTHROPIC_API_KEY", DocURL: "https://docs.anthropic.com/en/docs/about-claude/models"},
		{ID: "bedrock", Name: "Amazon Bedrock", EnvVar: "AWS_REGION", DocURL: "https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html"},
		{ID: "offline", Name: "Offline", Description: "A deterministic program, no language model"},
	}}
	named := func(id string) {
		provider, model, ok := strings.Cut(id, "/")
		if !ok {
			return
		}
		i := slices.IndexFunc(out.Providers, func(p Provider) bool { return p.ID == provider })
		if i < 0 {
			i = len(out.Providers)
			out.Providers = append(out.Providers, Provider{ID: provider, Name: provider, EnvVar: strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(provider)) + "_API_KEY"})
		}
		if p := &out.Providers[i]; !slices.Contains(p.Models, model) {
			p.Models = append(p.Models, model)
		}
	}
	for _, a := range m.AllAgents() {
		a = m.Chosen(a)
		named(a.Model)
		for _, c := range a.Models {
			named(c.Model)
		}
	}
	if standard, err := m.Models(""); err == nil {
		named(standard.Info().Provider + "/" + standard.Info().ID)
	}
	for i := range out.Providers {
		p := &out.Providers[i]
		p.Label = p.Name
		probe := "demo"
		if len(p.Models) > 0 {
			probe = p.Models[0]
		}
		_, err := m.Models(p.ID + "/" + probe)
		p.Connected = err == nil
	}
	return out, nil
}

// ListedModel is one model of an agent's list.
type ListedModel struct {
	ID         string `json:"id"`
	Enabled    bool   `json:"enabled"`
	MaxRetries int    `json:"maxRetries"`
	Model      struct {
		ModelID  string `json:"modelId"`
		Provider string `json:"provider"`
	} `json:"model"`
}

func listed(c mastra.ModelChoice) ListedModel {
	l := ListedModel{ID: choiceID(c), Enabled: !c.Disabled}
	if c.Retries != nil {
		l.MaxRetries = *c.Retries
	}
	l.Model.Provider, l.Model.ModelID, _ = strings.Cut(c.Model, "/")
	return l
}

func choiceID(c mastra.ModelChoice) string {
	if c.ID != "" {
		return c.ID
	}
	return c.Model
}

// Message says what was done.
type Message struct {
	Message string `json:"message"`
}

// ModelID names a model.
type ModelID struct {
	ModelID  string `json:"modelId" minLength:"1" maxLength:"256"`
	Provider string `json:"provider" minLength:"1" maxLength:"256"`
}

// SetModelInput names the model that an agent is to have.
type SetModelInput struct {
	AgentID string `path:"agentId" json:"-"`
	ModelID `json:",inline"`
}

// chooser finds the agent whose models are to be changed. Where other processes serve it too there is no such change.
func chooser(m *mastra.Mastra, id string) (*mastra.Agent, error) {
	a, err := m.Agent(id)
	if err != nil {
		return nil, err
	}
	if !m.Alone {
		return nil, mastra.Errorf(mastra.CodeConflict, "The models of a deployed agent are chosen in its code, or by MODEL: other instances would not know of another choice")
	}
	return a, nil
}

// SetModel changes the agent's model for this process.
func SetModel(_ context.Context, m *mastra.Mastra, in SetModelInput) (Message, error) {
	a, err := chooser(m, in.AgentID)
	if err != nil {
		return Message{}, err
	}
	id := in.Provider + "/" + in.ModelID.ModelID
	if _, err := m.Models(id); err != nil {
		return Message{}, mastra.Invalid("modelId", "%s is not available: %s", id, err.Error())
	}
	m.Choose(a, []mastra.ModelChoice{{Model: id}})
	return Message{"Agent model updated"}, nil
}

// ResetModelInput names an agent.
type ResetModelInput struct {
	AgentID string `path:"agentId" json:"-"`
}

// ResetModel gives the agent back the models of its code.
func ResetModel(_ context.Context, m *mastra.Mastra, in ResetModelInput) (Message, error) {
	a, err := chooser(m, in.AgentID)
	if err != nil {
		return Message{}, err
	}
	m.Choose(a, nil)
	return Message{"Agent model reset to original"}, nil
}

var errNoList = mastra.Errorf(mastra.CodeInvalid, "Agent model list is not found or empty")

// ReorderModelsInput is the order that the list is to have.
type ReorderModelsInput struct {
	AgentID           string   `path:"agentId" json:"-"`
	ReorderedModelIDs []string `json:"reorderedModelIds" maxItems:"100"`
}

// modelsOf is an agent whose models may be changed, and a copy of its list of them.
func modelsOf(m *mastra.Mastra, id string) (*mastra.Agent, []mastra.ModelChoice, error) {
	a, err := m.Agent(id)
	if err != nil {
		return nil, nil, err
	}
	list := slices.Clone(m.Chosen(a).Models)
	if len(list) == 0 {
		return nil, nil, errNoList
	}
	a, err = chooser(m, id)
	return a, list, err
}

// ReorderModels puts the agent's models into another order; those that are not named come last.
func ReorderModels(_ context.Context, m *mastra.Mastra, in ReorderModelsInput) (Message, error) {
	a, list, err := modelsOf(m, in.AgentID)
	if err != nil {
		return Message{}, err
	}
	place := func(c mastra.ModelChoice) int {
		if i := slices.Index(in.ReorderedModelIDs, choiceID(c)); i >= 0 {
			return i
		}
		return len(in.ReorderedModelIDs)
	}
	slices.SortStableFunc(list, func(a, b mastra.ModelChoice) int { return place(a) - place(b) })
	m.Choose(a, list)
	return Message{"Model list reordered"}, nil
}

// SetListedModelInput changes one model of a list.
type SetListedModelInput struct {
	AgentID       string   `path:"agentId" json:"-"`
	ModelConfigID string   `path:"modelConfigId" json:"-"`
	Model         *ModelID `json:"model,omitempty"`
	MaxRetries    *int     `json:"maxRetries,omitempty" minimum:"0" maximum:"10"`
	Enabled       *bool    `json:"enabled,omitempty"`
}

// SetListedModel changes one model of the agent's list. One of them stays enabled.
func SetListedModel(_ context.Context, m *mastra.Mastra, in SetListedModelInput) (Message, error) {
	a, list, err := modelsOf(m, in.AgentID)
	if err != nil {
		return Message{}, err
	}
	i := slices.IndexFunc(list, func(c mastra.ModelChoice) bool { return choiceID(c) == in.ModelConfigID })
	if i < 0 {
		return Message{}, mastra.Errorf(mastra.CodeNotFound, "Model with id %s not found in the agent's list", in.ModelConfigID)
	}
	c := &list[i]
	if in.Model != nil {
		id := in.Model.Provider + "/" + in.Model.ModelID
		if _, err := m.Models(id); err != nil {
			return Message{}, mastra.Invalid("model.modelId", "%s is not available: %s", id, err.Error())
		}
		c.ID, c.Model = choiceID(*c), id
	}
	if in.MaxRetries != nil {
		c.Retries = in.MaxRetries
	}
	if in.Enabled != nil {
		c.Disabled = !*in.Enabled
	}
	if !slices.ContainsFunc(list, func(c mastra.ModelChoice) bool { return !c.Disabled }) {
		return Message{}, mastra.Invalid("enabled", "One model of the list has to stay enabled")
	}
	m.Choose(a, list)
	return Message{"Model updated in model list"}, nil
}

// EnhanceInput are instructions, and what is to become of them.
type EnhanceInput struct {
	AgentID      string `path:"agentId" json:"-"`
	Instructions string `json:"instructions" maxLength:"200000"`
	Comment      string `json:"comment" maxLength:"20000"`
}

// Enhanced are better instructions.
type Enhanced struct {
	Explanation string `json:"explanation"`
	NewPrompt   string `json:"new_prompt"`
}

const enhancing = `You improve the instructions (the system prompt) of an AI agent. Keep what they are about, make them clear, specific and well structured, and do what the user's comment asks for. Answer with JSON: {"explanation": what you changed and why, in a few sentences, "new_prompt": the whole new instructions}.`

// EnhanceInstructions has the deployment's model write better instructions.
func EnhanceInstructions(ctx context.Context, m *mastra.Mastra, in EnhanceInput) (out Enhanced, err error) {
	if _, err := m.Agent(in.AgentID); err != nil {
		return out, err
	}
	model, err := m.Models("")
	if err != nil || model.Info().Provider == "offline" {
		return out, mastra.Errorf(mastra.CodeInvalid, "No model with a configured API key found. Please set the required environment variable for your model provider.")
	}
	asked, err := schema.Marshal(struct {
		Instructions string `json:"instructions"`
		Comment      string `json:"comment"`
	}{in.Instructions, in.Comment})
	if err != nil {
		return out, err
	}
	request := &mastra.ModelRequest{Messages: []mastra.PromptMessage{mastra.PromptText("system", enhancing), mastra.PromptText("user", string(asked))}, Schema: schema.For[Enhanced]().JSON()}
	answer, err := mastra.Written(model.Stream(ctx, request), mastra.MaxWritten, nil)
	if err != nil {
		return out, err
	}
	if err := schema.For[Enhanced]().Decode([]byte(answer), &out); err != nil {
		return out, mastra.Errorf(mastra.CodeUpstream, "The model did not answer with instructions")
	}
	return out, nil
}
