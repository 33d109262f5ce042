package agents

import (
	"context"
	"errors"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

func processorRoutes() []server.Route {
	return []server.Route{
		server.JSON("GET /processors", ListProcessors, server.Permission("processors:read"), server.Summary("List the processors of all agents")),
		server.JSON("GET /processors/:processorId", GetProcessor, server.Permission("processors:read"), server.Summary("Get a processor and its agents")),
		server.JSON("POST /processors/:processorId/execute", ExecuteProcessor, server.Permission("processors:execute"), server.Long, server.Summary("Try a processor on messages")),
	}
}

// ProcessorInfo is a processor as lists show it.
type ProcessorInfo struct {
	ID             string           `json:"id"`
	Name           string           `json:"name"`
	Description    string           `json:"description,omitempty"`
	Phases         []string         `json:"phases"`
	AgentIDs       []string         `json:"agentIds,omitempty"` // in lists
	Configurations []ProcessorPlace `json:"configurations"`
	IsWorkflow     bool             `json:"isWorkflow"`
}

// ProcessorPlace is an agent that has a processor, and on which side.
type ProcessorPlace struct {
	AgentID   string `json:"agentId"`
	AgentName string `json:"agentName,omitempty"` // of one processor alone
	Type      string `json:"type"`                // "input", "output"
}

// ListProcessorsInput asks for all processors.
type ListProcessorsInput struct{}

// ListProcessors describes the processors of all agents, by their ids.
func ListProcessors(_ context.Context, m *mastra.Mastra, _ ListProcessorsInput) (mastra.Object[ProcessorInfo], error) {
	out := mastra.Object[ProcessorInfo]{}
	for _, a := range m.AllAgents() {
		for _, p := range a.Processors {
			if _, ok := out.Get(p.ID); !ok {
				info := processorInfo(m, p)
				for i := range info.Configurations {
					info.Configurations[i].AgentName = ""
					if id := info.Configurations[i].AgentID; !slices.Contains(info.AgentIDs, id) {
						info.AgentIDs = append(info.AgentIDs, id)
					}
				}
				out.Set(p.ID, info)
			}
		}
	}
	return out, nil
}

// GetProcessorInput names a processor.
type GetProcessorInput struct {
	ProcessorID string `path:"processorId" json:"-"`
}

// GetProcessor describes one processor.
func GetProcessor(_ context.Context, m *mastra.Mastra, in GetProcessorInput) (ProcessorInfo, error) {
	p, err := findProcessor(m, in.ProcessorID, "")
	if err != nil {
		return ProcessorInfo{}, err
	}
	return processorInfo(m, p), nil
}

func processorInfo(m *mastra.Mastra, p *mastra.Processor) ProcessorInfo {
	info := ProcessorInfo{ID: p.ID, Name: p.Shown(), Description: p.Description, Phases: p.Phases(), Configurations: []ProcessorPlace{}}
	for _, a := range m.AllAgents() {
		for _, o := range a.Processors {
			if o.ID != p.ID {
				continue
			}
			if o.OnInput() {
				info.Configurations = append(info.Configurations, ProcessorPlace{a.ID, a.Name, "input"})
			}
			if o.OnOutput() {
				info.Configurations = append(info.Configurations, ProcessorPlace{a.ID, a.Name, "output"})
			}
		}
	}
	return info
}

// findProcessor finds a processor: that of an agent, where one is named.
func findProcessor(m *mastra.Mastra, id, agentID string) (*mastra.Processor, error) {
	for _, a := range m.AllAgents() {
		for _, p := range a.Processors {
			if p.ID == id && (agentID == "" || agentID == a.ID || agentID == a.Registered()) {
				return p, nil
			}
		}
	}
	return nil, mastra.Errorf(mastra.CodeNotFound, "Processor not found")
}

// ProcessorMessage is a message to try a processor on: as it is stored, or with a text as its content.
type ProcessorMessage struct {
	ID        string              `json:"id" maxLength:"256"`
	Role      string              `json:"role" enum:"user,assistant,system,tool,signal"`
	CreatedAt mastra.JSON         `json:"createdAt,omitzero"`
	Content   mastra.InputContent `json:"content"`
}

// ProcessorTried is a message as a processor left it.
type ProcessorTried struct {
	ID        string         `json:"id"`
	Role      string         `json:"role"`
	CreatedAt mastra.JSON    `json:"createdAt,omitzero"`
	Content   mastra.Content `json:"content"`
}

// ExecuteProcessorInput tries a processor.
type ExecuteProcessorInput struct {
	ProcessorID    string                `path:"processorId" json:"-"`
	Phase          string                `json:"phase" enum:"input,inputStep,outputStream,outputResult,outputStep,toolResult"`
	Messages       []ProcessorMessage    `json:"messages"`
	AgentID        string                `json:"agentId,omitempty"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
}

// ProcessorTrial is what came of it.
type ProcessorTrial struct {
	Success     bool             `json:"success"`
	Phase       string           `json:"phase"`
	Tripwire    *TrialTripwire   `json:"tripwire,omitempty"`
	Messages    []ProcessorTried `json:"messages"`
	MessageList struct {
		Messages []ProcessorTried `json:"messages"`
	} `json:"messageList"`
}

// TrialTripwire is what a processor would have stopped a run with.
type TrialTripwire struct {
	Triggered bool        `json:"triggered"`
	Reason    string      `json:"reason"`
	Metadata  mastra.JSON `json:"metadata,omitzero"`
}

// ExecuteProcessor tries a processor on messages. Of an answer it is given the texts of the assistant's.
func ExecuteProcessor(ctx context.Context, m *mastra.Mastra, in ExecuteProcessorInput) (ProcessorTrial, error) {
	p, err := findProcessor(m, in.ProcessorID, in.AgentID)
	if err != nil {
		return ProcessorTrial{}, err
	}
	switch {
	case in.Phase == mastra.PhaseOutputStream:
		return ProcessorTrial{}, mastra.Errorf(mastra.CodeInvalid, "outputStream phase cannot be executed directly. Use streaming instead.")
	case in.Phase == mastra.PhaseToolResult: // as the reference server: messages hold no tool that has just run
		return ProcessorTrial{}, mastra.Errorf(mastra.CodeInvalid, "Unknown phase: %s", in.Phase)
	case !slices.Contains(p.Phases(), in.Phase):
		return ProcessorTrial{}, mastra.Errorf(mastra.CodeInvalid, "Processor does not support %s phase", in.Phase)
	}
	messages, err := try(mastra.WithRequestContext(mastra.NewContext(ctx, m), in.RequestContext), p, in.Phase, in.Messages)
	out := ProcessorTrial{Success: err == nil, Phase: in.Phase}
	var tripped *mastra.Tripwire
	var known *mastra.Error
	switch {
	case errors.As(err, &tripped):
		out.Tripwire, messages = &TrialTripwire{true, tripped.Reason, tripped.Metadata}, in.Messages
	case errors.As(err, &known):
		return out, err
	case err != nil:
		return out, &mastra.Error{Code: mastra.CodeUserCode, Message: err.Error()}
	}
	out.Messages = make([]ProcessorTried, len(messages))
	for i, msg := range messages {
		out.Messages[i] = ProcessorTried{msg.ID, msg.Role, msg.CreatedAt, mastra.Content{Format: 2, Parts: msg.Content}}
	}
	out.MessageList.Messages = out.Messages
	return out, nil
}

func try(ctx context.Context, p *mastra.Processor, phase string, given []ProcessorMessage) ([]ProcessorMessage, error) {
	out := make([]ProcessorMessage, len(given))
	for i, m := range given {
		m.Content = slices.Clone(m.Content)
		out[i] = m
	}
	switch phase {
	case mastra.PhaseInput:
		messages := make(mastra.Messages, len(out))
		for i, m := range out {
			messages[i] = mastra.InputMessage{ID: m.ID, Role: m.Role, Content: m.Content}
		}
		messages, err := p.Input(ctx, messages)
		if err != nil {
			return nil, err
		}
		left := make([]ProcessorMessage, len(messages))
		for i, m := range messages {
			left[i] = ProcessorMessage{ID: m.ID, Role: m.Role, Content: m.All()}
			if j := slices.IndexFunc(out, func(o ProcessorMessage) bool { return o.ID == m.ID }); j >= 0 {
				left[i].CreatedAt = out[j].CreatedAt
			}
		}
		return left, nil
	case mastra.PhaseInputStep:
		var r mastra.ModelRequest
		for _, m := range out {
			r.Messages = append(r.Messages, mastra.PromptMessage{Role: m.Role, Parts: m.Content})
		}
		if err := p.InputStep(ctx, &r); err != nil {
			return nil, err
		}
		left := make([]ProcessorMessage, len(r.Messages)) // from the end on: what is left out is the beginning
		for i, m := range r.Messages {
			left[i] = ProcessorMessage{ID: mastra.NewID(), Role: m.Role, Content: m.Parts}
			if from := i + len(out) - len(r.Messages); from >= 0 {
				left[i].ID, left[i].CreatedAt = out[from].ID, out[from].CreatedAt
			}
		}
		return left, nil
	case mastra.PhaseOutputStep:
		s := mastra.StepOutput{Finish: mastra.FinishStop}
		if len(out) > 0 { // as the reference server
			for _, part := range out[0].Content {
				if part.Type == mastra.PartText {
					s.Text += part.Text
				}
			}
		}
		return out, p.OutputStep(ctx, &s)
	}
	a := mastra.Answer{Finish: mastra.FinishStop}
	var places []*mastra.Part
	for i := range out {
		for j := range out[i].Content {
			if part := &out[i].Content[j]; out[i].Role == "assistant" && part.Type == mastra.PartText {
				a.Texts, places = append(a.Texts, part.Text), append(places, part)
			}
		}
	}
	if err := p.OutputResult(ctx, &a); err != nil {
		return nil, err
	}
	for i, part := range places[:min(len(places), len(a.Texts))] {
		part.Text = a.Texts[i]
	}
	return out, nil
}
