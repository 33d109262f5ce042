package agents

import (
	"context"
	"fmt"
	"iter"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

func threadRoutes() []server.Route {
	run := server.Permission("agents:execute")
	return []server.Route{
		server.JSON("POST /agents/:agentId/send-message", SendMessage, run, server.Summary("Send a message to the run that a thread has under way, or begin one")),
		server.JSON("POST /agents/:agentId/queue-message", QueueMessage, run, server.Summary("Send a message that begins a run behind the one that a thread has under way")),
		server.JSON("POST /agents/:agentId/signals", SendSignal, run, server.Summary("Send a signal to the run that a thread has under way, or begin one")),
		server.JSON("POST /agents/:agentId/threads/abort", AbortThread, run, server.Summary("End the run that a thread has under way")),
		server.Stream("POST /agents/:agentId/threads/subscribe", server.SSE, SubscribeThread, run, server.Summary("Follow the runs of a thread, from now on")),
	}
}

// Target is where a message goes: a run, or a thread of a resource.
type Target struct {
	AgentID    string   `path:"agentId" json:"-"`
	RunID      string   `json:"runId,omitempty" maxLength:"256"`
	ResourceID string   `json:"resourceId,omitempty" maxLength:"256"`
	ThreadID   string   `json:"threadId,omitempty" maxLength:"256"`
	IfActive   IfActive `json:"ifActive,omitzero"`
	IfIdle     IfIdle   `json:"ifIdle,omitzero"`
}

// IfActive says what becomes of a message where a run is under way.
type IfActive struct {
	Behavior string `json:"behavior,omitempty" enum:"deliver,persist,discard"`
}

// IfIdle says what becomes of a message where no run is under way, and how the run is that it begins.
type IfIdle struct {
	Behavior      string         `json:"behavior,omitempty" enum:"wake,persist,discard"`
	StreamOptions *StreamOptions `json:"streamOptions,omitempty"`
}

// StreamOptions are those of a run that a message begins.
type StreamOptions struct {
	Instructions        Lines                                    `json:"instructions,omitempty"`
	System              Lines                                    `json:"system,omitempty"`
	Context             mastra.Messages                          `json:"context,omitempty"`
	Memory              *MemoryInput                             `json:"memory,omitempty"`
	MaxSteps            int                                      `json:"maxSteps,omitzero" minimum:"1" maximum:"1000"`
	ToolChoice          ToolChoice                               `json:"toolChoice,omitzero"`
	ActiveTools         []string                                 `json:"activeTools,omitempty"`
	ModelSettings       mastra.ModelSettings                     `json:"modelSettings,omitzero"`
	RequestContext      mastra.RequestContext                    `json:"requestContext,omitempty"`
	TracingOptions      mastra.TracingOptions                    `json:"tracingOptions,omitzero"`
	RequireToolApproval bool                                     `json:"requireToolApproval,omitzero"`
	ClientTools         mastra.Object[ClientTool]                `json:"clientTools,omitempty"`
	Toolsets            mastra.Object[mastra.Object[ClientTool]] `json:"toolsets,omitempty"`
	StructuredOutput    *StructuredOutput                        `json:"structuredOutput,omitempty"`
	ProviderOptions     map[string]mastra.JSON                   `json:"providerOptions,omitempty"`
	MaxRetries          *int                                     `json:"maxProcessorRetries,omitempty" minimum:"0" maximum:"100"`
	Model               string                                   `json:"model,omitempty" pattern:"^[^/]+/.+$" maxLength:"256"`
	SavePerStep         bool                                     `json:"savePerStep,omitzero"`
	AtOnce              Concurrency                              `json:"toolCallConcurrency,omitzero"`
	Scorers             mastra.Object[ScorerOption]              `json:"scorers,omitempty"`

	Unserved `json:",inline"`
}

func (o *StreamOptions) input() *GenerateInput {
	return &GenerateInput{Instructions: o.Instructions, System: o.System, Context: o.Context, Memory: o.Memory, MaxSteps: o.MaxSteps, ToolChoice: o.ToolChoice, ActiveTools: o.ActiveTools,
		ModelSettings: o.ModelSettings, TracingOptions: o.TracingOptions, RequireToolApproval: o.RequireToolApproval, ClientTools: o.ClientTools, Toolsets: o.Toolsets,
		StructuredOutput: o.StructuredOutput, ProviderOptions: o.ProviderOptions, MaxRetries: o.MaxRetries, Model: o.Model, SavePerStep: o.SavePerStep, AtOnce: o.AtOnce,
		Scorers: o.Scorers, Unserved: o.Unserved}
}

// MessageInput is a message for a thread: a text, parts, or {contents, metadata}.
type MessageInput struct {
	Target  `json:",inline"`
	Message ThreadMessage `json:"message"`
}

// ThreadMessage is a text, parts, or an object that holds either.
type ThreadMessage struct {
	Contents mastra.InputContent `json:"contents"`
	Metadata mastra.JSON         `json:"metadata,omitempty"`
	raw      mastra.JSON
}

func (t *ThreadMessage) UnmarshalJSON(data []byte) error {
	t.raw = mastra.JSON(data).Clone()
	if len(data) == 0 || data[0] != '{' {
		return schema.Unmarshal(data, &t.Contents)
	}
	type plain ThreadMessage
	if err := schema.Unmarshal(data, (*plain)(t)); err != nil {
		return err
	}
	var o struct {
		Contents mastra.JSON `json:"contents"`
	}
	err := schema.Unmarshal(data, &o)
	t.raw = o.Contents
	return err
}

func contentsSchema() *schema.Doc {
	part := &schema.Doc{Type: "object", Required: []string{"type"}, Properties: map[string]*schema.Doc{"type": {Type: "string", Enum: []any{"text", "file"}}, "text": {Type: "string"}}}
	one := 1
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string", MinLength: &one}, {Type: "array", Items: part, MinItems: &one}}}
}

func (ThreadMessage) JSONSchema() *schema.Doc {
	c := contentsSchema()
	return &schema.Doc{AnyOf: append(c.AnyOf, &schema.Doc{Type: "object", Required: []string{"contents"}, Properties: map[string]*schema.Doc{"contents": c, "metadata": {Type: "object"}}})}
}

// SignalInput is a signal for a thread.
type SignalInput struct {
	Target `json:",inline"`
	Signal ThreadSignal `json:"signal"`
}

// ThreadSignal is something that an agent is to know.
type ThreadSignal struct {
	ID       string         `json:"id,omitempty" maxLength:"256"`
	Type     string         `json:"type" enum:"user,reactive,notification,state,user-message,system-reminder"`
	TagName  string         `json:"tagName,omitempty" pattern:"^[a-zA-Z][a-zA-Z0-9_-]{0,63}$"`
	Contents SignalContents `json:"contents"`
	Metadata mastra.JSON    `json:"metadata,omitempty"`
}

// SignalContents are a text or parts.
type SignalContents struct {
	mastra.InputContent
	raw mastra.JSON
}

func (c *SignalContents) UnmarshalJSON(data []byte) error {
	c.raw = mastra.JSON(data).Clone()
	return schema.Unmarshal(data, &c.InputContent)
}

func (SignalContents) JSONSchema() *schema.Doc { return contentsSchema() }

// Sent says which run a message went to, and what it is there.
type Sent struct {
	Accepted bool       `json:"accepted"`
	RunID    string     `json:"runId"`
	Signal   SentSignal `json:"signal"`
}

// SentSignal is a message as its thread has it.
type SentSignal struct {
	Contents   mastra.JSON `json:"contents"`
	Metadata   mastra.JSON `json:"metadata,omitzero"`
	Type       string      `json:"type"`
	TagName    string      `json:"tagName"`
	ID         string      `json:"id"`
	AcceptedAt mastra.Time `json:"acceptedAt"`
	CreatedAt  mastra.Time `json:"createdAt"`
	Created    bool        `json:"__isCreatedSignal"`
}

// SendMessage hands a message to the run that a thread has under way, or begins one. It returns once that is durable.
func SendMessage(ctx context.Context, m *mastra.Mastra, in MessageInput) (Sent, error) {
	return in.send(ctx, m, mastra.ThreadSignal{Type: "user", TagName: "user", Contents: in.Message.Contents, Metadata: in.Message.Metadata}, in.Message.raw, false)
}

// QueueMessage begins a run with a message, behind the one that the thread has under way.
func QueueMessage(ctx context.Context, m *mastra.Mastra, in MessageInput) (Sent, error) {
	return in.send(ctx, m, mastra.ThreadSignal{Type: "user", TagName: "user", Contents: in.Message.Contents, Metadata: in.Message.Metadata}, in.Message.raw, true)
}

// SendSignal hands a signal to the run that a thread has under way, or begins one.
func SendSignal(ctx context.Context, m *mastra.Mastra, in SignalInput) (Sent, error) {
	s := mastra.ThreadSignal{ID: in.Signal.ID, Type: in.Signal.Type, TagName: in.Signal.TagName, Contents: in.Signal.Contents.InputContent, Metadata: in.Signal.Metadata}
	switch s.Type {
	case "user-message":
		s.Type = "user"
	case "system-reminder":
		s.Type = "reactive"
	}
	if s.TagName == "" {
		s.TagName = map[string]string{"user": "user", "reactive": "system-reminder", "notification": "notification", "state": "state"}[s.Type]
	}
	return in.send(ctx, m, s, in.Signal.Contents.raw, false)
}

func (in *Target) send(ctx context.Context, m *mastra.Mastra, s mastra.ThreadSignal, contents mastra.JSON, queue bool) (Sent, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return Sent{}, err
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	if in.RunID == "" && (resource == "" || in.ThreadID == "") {
		e := &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body"}
		for _, f := range []struct{ name, value string }{{"resourceId", resource}, {"threadId", in.ThreadID}} {
			if f.value == "" {
				e.Issues = append(e.Issues, mastra.Issue{Field: f.name, Message: "Required where no runId is given"})
			}
		}
		return Sent{}, e
	}
	var issues []mastra.Issue
	for i := range s.Contents {
		issues = append(issues, checkPart(fmt.Sprintf("contents.%d.", i), &s.Contents[i])...)
	}
	if len(issues) > 0 {
		return Sent{}, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid request body", Issues: issues}
	}
	now := mastra.TimeOf(m.Now())
	if s.ID == "" {
		s.ID = mastra.NewID()
	}
	s.AcceptedAt = now
	if !given(s.Metadata) {
		s.Metadata = nil
	}
	message := mastra.AgentMessage{Signal: s, RunID: in.RunID, Queue: queue, IfActive: in.IfActive.Behavior, IfIdle: in.IfIdle.Behavior}
	o := in.IfIdle.StreamOptions
	if o == nil {
		o = &StreamOptions{}
	}
	if message.Call, err = o.input().settings(ctx, m, a); err != nil {
		return Sent{}, err
	}
	message.Call.ThreadID, message.Call.ResourceID = in.ThreadID, resource
	if err := owned(ctx, m, a, in.ThreadID, resource); err != nil {
		return Sent{}, err
	}
	id, err := m.Agents.Send(mastra.WithRequestContext(ctx, o.RequestContext), m, a, message)
	if err != nil {
		return Sent{}, err
	}
	return Sent{true, id, SentSignal{Contents: contents, Metadata: s.Metadata, Type: s.Type, TagName: s.TagName, ID: s.ID, AcceptedAt: now, CreatedAt: now, Created: true}}, nil
}

// owned refuses a thread of another resource.
func owned(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, threadID, resource string) error {
	if a.Memory == nil || m.Storage == nil || threadID == "" || resource == "" {
		return nil
	}
	t, err := m.Storage.Thread(ctx, threadID)
	switch {
	case mastra.CodeOf(err) == mastra.CodeNotFound:
		return nil
	case err != nil:
		return err
	case t.ResourceID != resource:
		return mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
	}
	return nil
}

// ThreadInput names a thread.
type ThreadInput struct {
	AgentID       string `path:"agentId" json:"-"`
	ResourceID    string `json:"resourceId,omitempty" maxLength:"256"`
	ThreadID      string `json:"threadId" minLength:"1" maxLength:"256"`
	ExpectedRunID string `json:"expectedRunId,omitempty" maxLength:"256"` // of abort: another one is left alone
}

// Aborted says whether there was a run to end.
type Aborted struct {
	Aborted bool `json:"aborted"`
}

// AbortThread ends the run that a thread has under way. One that goes on in another process ends within its next heartbeat.
func AbortThread(ctx context.Context, m *mastra.Mastra, in ThreadInput) (Aborted, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return Aborted{}, err
	}
	if err := owned(ctx, m, a, in.ThreadID, mastra.Resource(ctx, in.ResourceID)); err != nil {
		return Aborted{}, err
	}
	ended, err := m.Agents.Abort(ctx, m, in.ThreadID, in.ExpectedRunID)
	return Aborted{ended}, err
}

// SubscribeThread yields the chunks of a thread's runs, from the one under way on, until the client leaves.
func SubscribeThread(ctx context.Context, m *mastra.Mastra, in ThreadInput) (iter.Seq2[mastra.Chunk, error], error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return nil, err
	}
	if err := owned(ctx, m, a, in.ThreadID, mastra.Resource(ctx, in.ResourceID)); err != nil {
		return nil, err
	}
	return m.Agents.Subscribe(ctx, m, in.ThreadID)
}
