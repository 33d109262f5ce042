package memory

import (
	"context"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
)

// ObservedInput names what an agent observed.
type ObservedInput struct {
	AgentID    string      `query:"agentId" json:"-" required:"true"`
	ResourceID string      `query:"resourceId" json:"-"`
	ThreadID   string      `query:"threadId" json:"-"`
	From       mastra.Time `query:"from" json:"-"`
	To         mastra.Time `query:"to" json:"-"`
	Offset     int         `query:"offset" json:"-" minimum:"0"`
	Limit      int         `query:"limit" json:"-" minimum:"1"`
}

// BufferInput is the same in a body.
type BufferInput struct {
	AgentID    string `json:"agentId"`
	ResourceID string `json:"resourceId,omitempty"`
	ThreadID   string `json:"threadId,omitempty"`
}

// ObservedOutput is what was observed; a nil record where nothing was. History is what was condensed, the newest first.
type ObservedOutput struct {
	Record  *ObservedRecord  `json:"record"`
	History []ObservedRecord `json:"history,omitempty"`
}

// ObservedRecord is what was observed of a thread, in the reference server's form.
type ObservedRecord struct {
	ID         string       `json:"id"`
	Scope      mastra.Scope `json:"scope"`
	ResourceID string       `json:"resourceId"`
	ThreadID   string       `json:"threadId"`
	Text       string       `json:"activeObservations"`
	Origin     string       `json:"originType"`
	Generation int          `json:"generationCount"`
	LastAt     mastra.Time  `json:"lastObservedAt,omitzero"`
	Total      int          `json:"totalTokensObserved"`
	Tokens     int          `json:"observationTokenCount"`
	Pending    int          `json:"pendingMessageTokens"`
	Observing  bool         `json:"isObserving"`
	Reflecting bool         `json:"isReflecting"`
	Config     Observing    `json:"config"`
	CreatedAt  mastra.Time  `json:"createdAt"`
	UpdatedAt  mastra.Time  `json:"updatedAt"`
}

// ObservedStatus says how far a thread is observed.
type ObservedStatus struct {
	Enabled    bool         `json:"enabled"`
	HasRecord  bool         `json:"hasRecord"`
	Origin     string       `json:"originType,omitempty"`
	LastAt     *mastra.Time `json:"lastObservedAt,omitempty"`
	Total      int          `json:"tokenCount,omitzero"`
	Tokens     int          `json:"observationTokenCount,omitzero"`
	Observing  bool         `json:"isObserving,omitzero"`
	Reflecting bool         `json:"isReflecting,omitzero"`
}

const historyLimit = 5

// observedOf reads what was observed of a thread that ctx may see, nil where there is none.
func observedOf(ctx context.Context, m *mastra.Mastra, resource, threadID string) (*recall.Observed, error) {
	if threadID == "" || m.Storage == nil {
		return nil, nil
	}
	if _, err := owned(ctx, m, threadID, resource); mastra.CodeOf(err) == mastra.CodeNotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o, err := recall.ReadObserved(ctx, m.Storage, threadID)
	if err != nil || o.ID == "" {
		return nil, err
	}
	return o, nil
}

func observedStatus(ctx context.Context, m *mastra.Mastra, in AgentInput) (*ObservedStatus, error) {
	out := &ObservedStatus{Enabled: true}
	o, err := observedOf(ctx, m, in.ResourceID, in.ThreadID)
	if err != nil || o == nil {
		return out, err
	}
	out.HasRecord, out.Origin, out.Total, out.Tokens = true, o.Origin, o.Total, o.Tokens()
	out.Observing, out.Reflecting = o.Until > mastra.TimeOf(m.Now()), o.Reflecting
	if o.LastAt != 0 {
		out.LastAt = &o.LastAt
	}
	return out, nil
}

// observing refuses an agent that observes nothing, and a call that does not say whose observations are meant.
func observing(ctx context.Context, m *mastra.Mastra, agent, resource string) error {
	memory, err := memoryOf(m, agent)
	switch {
	case err != nil:
		return err
	case memory == nil || memory.Observational == nil:
		return mastra.Errorf(mastra.CodeInvalid, "Observational Memory is not enabled for this agent")
	case mastra.Resource(ctx, resource) == "":
		return mastra.Errorf(mastra.CodeInvalid, "resourceId is required for observational memory lookup")
	}
	return nil
}

func record(m *mastra.Mastra, agent, resource, thread string, o *recall.Observed) *ObservedRecord {
	memory, _ := memoryOf(m, agent)
	c := memory.Observational
	return &ObservedRecord{ID: o.ID, Scope: mastra.ScopeThread, ResourceID: resource, ThreadID: thread, Text: o.Text, Origin: o.Origin, Generation: o.Generation, LastAt: o.LastAt,
		Total: o.Total, Tokens: o.Tokens(), Observing: o.Until > mastra.TimeOf(m.Now()), Reflecting: o.Reflecting, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt,
		Config: Observing{true, mastra.ScopeThread, c.Messages(), c.Observations(), c.Model, c.Model}}
}

// Observations are what an agent has observed of a thread.
func Observations(ctx context.Context, m *mastra.Mastra, in ObservedInput) (ObservedOutput, error) {
	if err := observing(ctx, m, in.AgentID, in.ResourceID); err != nil {
		return ObservedOutput{}, err
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	o, err := observedOf(ctx, m, resource, in.ThreadID)
	if err != nil || o == nil {
		return ObservedOutput{}, err
	}
	out := ObservedOutput{Record: record(m, in.AgentID, resource, in.ThreadID, o)}
	if in.Limit == 0 {
		in.Limit = historyLimit
	}
	for _, f := range o.Former {
		switch {
		case in.From != 0 && f.CreatedAt < in.From, in.To != 0 && f.CreatedAt > in.To:
		case in.Offset > 0:
			in.Offset--
		case len(out.History) < in.Limit:
			old := recall.Observed{ID: f.ID, CreatedAt: f.CreatedAt, UpdatedAt: f.LastAt, LastAt: f.LastAt, Origin: "observation", Generation: f.Number, Text: f.Text, Total: f.Total}
			if f.Number > 0 {
				old.Origin = "reflection"
			}
			out.History = append(out.History, *record(m, in.AgentID, resource, in.ThreadID, &old))
		}
	}
	return out, nil
}

// How long BufferStatus waits for somebody who observes, and how often it looks.
const (
	bufferWait = 20 * time.Second
	bufferLook = 250 * time.Millisecond
)

// BufferStatus waits until nobody observes a thread, and returns what was observed.
func BufferStatus(ctx context.Context, m *mastra.Mastra, in BufferInput) (ObservedOutput, error) {
	if err := observing(ctx, m, in.AgentID, in.ResourceID); err != nil {
		return ObservedOutput{}, err
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	for end := m.Now().Add(bufferWait); ; {
		o, err := observedOf(ctx, m, resource, in.ThreadID)
		if err != nil || o == nil {
			return ObservedOutput{}, err
		}
		if o.Until <= mastra.TimeOf(m.Now()) || m.Now().After(end) {
			return ObservedOutput{Record: record(m, in.AgentID, resource, in.ThreadID, o)}, nil
		}
		select {
		case <-time.After(bufferLook):
		case <-ctx.Done():
			return ObservedOutput{}, ctx.Err()
		}
	}
}
