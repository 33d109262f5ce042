package memory

import (
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
}

// Status says whether an agent remembers.
func Status(_ context.Context, m *mastra.Mastra, in AgentInput) (StatusOutput, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return StatusOutput{}, mastra.Errorf(mastra.CodeNotFound, "Agent not found")
	}
	if a.Memory == nil {
		return StatusOutput{}, nil
	}
	return StatusOutput{true, "local"}, nil
}

// ConfigOutput is what an agent remembers; nil where it remembers nothing.
type ConfigOutput struct {
	Config *Options `json:"config"`
}

// Options are an agent's memory options in the reference server's form.
type Options struct {
	LastMessages   int                    `json:"lastMessages"`
	SemanticRecall bool                   `json:"semanticRecall"`
	GenerateTitle  bool                   `json:"generateTitle"`
	WorkingMemory  map[string]mastra.JSON `json:"workingMemory"`
	Observational  map[string]mastra.JSON `json:"observationalMemory"`
}

// Config says what an agent remembers.
func Config(_ context.Context, m *mastra.Mastra, in AgentInput) (ConfigOutput, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return ConfigOutput{}, mastra.Errorf(mastra.CodeNotFound, "Agent not found")
	}
	if a.Memory == nil {
		return ConfigOutput{}, nil
	}
	off := map[string]mastra.JSON{"enabled": mastra.JSON("false")}
	return ConfigOutput{&Options{LastMessages: a.Memory.LastMessages, WorkingMemory: off, Observational: off}}, nil
}

// ThreadsInput asks for a page of threads, the last updated first.
type ThreadsInput struct {
	AgentID    string   `query:"agentId" json:"-"`
	ResourceID string   `query:"resourceId" json:"-"`
	Page       int      `query:"page" json:"-" minimum:"0"`
	PerPage    *int     `query:"perPage" json:"-" minimum:"0" maximum:"1000"`
	OrderBy    *OrderBy `query:"orderBy" json:"-"`
	Metadata   string   `query:"metadata" json:"-"` // not served yet: refused rather than overlooked
}

// ThreadPage is a page of threads.
type ThreadPage struct {
	Threads []mastra.Thread `json:"threads"`
	Total   int             `json:"total"`
	Page    int             `json:"page"`
	PerPage int             `json:"perPage"`
	HasMore bool            `json:"hasMore"`
}

// Threads lists threads: those of a resource, or all that the caller may see.
func Threads(ctx context.Context, m *mastra.Mastra, in ThreadsInput) (ThreadPage, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return ThreadPage{}, err
	}
	if in.Metadata != "" {
		return ThreadPage{}, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters",
			Issues: []mastra.Issue{{Field: "metadata", Message: "Not supported by this server yet"}}}
	}
	q := mastra.ThreadQuery{ResourceID: mastra.Resource(ctx, in.ResourceID), Paging: mastra.Paging{Page: in.Page, PerPage: 100}}
	if in.PerPage != nil {
		q.PerPage = *in.PerPage
	}
	if in.OrderBy != nil {
		q.OrderBy, q.Ascending = in.OrderBy.Field, in.OrderBy.Direction == "ASC"
	}
	page, err := m.Storage.Threads(ctx, q)
	if err != nil {
		return ThreadPage{}, err
	}
	return ThreadPage{page.Items, page.Total, in.Page, q.PerPage, page.HasMore}, nil
}

// ThreadInput names a thread.
type ThreadInput struct {
	ThreadID   string `path:"threadId" json:"-"`
	AgentID    string `query:"agentId" json:"-"`
	ResourceID string `query:"resourceId" json:"-"`
}

// Thread is one thread without its messages.
func Thread(ctx context.Context, m *mastra.Mastra, in ThreadInput) (*mastra.Thread, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return nil, err
	}
	return owned(ctx, m, in.ThreadID, in.ResourceID)
}

// CreateThreadInput makes a thread. One of the same id and owner is answered as it is after the update.
type CreateThreadInput struct {
	AgentID    string                 `query:"agentId" json:"-" required:"true"`
	ThreadID   string                 `json:"threadId,omitempty" maxLength:"256"`
	ResourceID string                 `json:"resourceId" minLength:"1" maxLength:"256"`
	Title      string                 `json:"title,omitempty" maxLength:"4096"`
	Metadata   map[string]mastra.JSON `json:"metadata,omitempty"`
}

// CreateThread makes a thread.
func CreateThread(ctx context.Context, m *mastra.Mastra, in CreateThreadInput) (*mastra.Thread, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return nil, err
	}
	now := mastra.TimeOf(m.Now())
	t := mastra.Thread{ID: in.ThreadID, ResourceID: mastra.Resource(ctx, in.ResourceID), Title: in.Title, CreatedAt: now, UpdatedAt: now}
	if t.ID == "" {
		t.ID = mastra.NewID()
	}
	if err := setMetadata(&t, in.Metadata); err != nil {
		return nil, err
	}
	if err := m.Storage.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{t}}); err != nil {
		return nil, err
	}
	return m.Storage.Thread(ctx, t.ID)
}

// UpdateThreadInput changes a thread; what is absent stays. Its owner never changes.
type UpdateThreadInput struct {
	ThreadID string                 `path:"threadId" json:"-"`
	AgentID  string                 `query:"agentId" json:"-"`
	Title    *string                `json:"title,omitempty" maxLength:"4096"`
	Metadata map[string]mastra.JSON `json:"metadata,omitempty"`
}

// UpdateThread changes a thread's title and metadata.
func UpdateThread(ctx context.Context, m *mastra.Mastra, in UpdateThreadInput) (*mastra.Thread, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return nil, err
	}
	t, err := owned(ctx, m, in.ThreadID, "")
	if err != nil {
		return nil, err
	}
	if in.Title != nil {
		t.Title = *in.Title
	}
	if err := setMetadata(t, in.Metadata); err != nil {
		return nil, err
	}
	t.UpdatedAt = mastra.TimeOf(m.Now())
	return t, m.Storage.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{*t}})
}

// DeleteThreadInput names a thread to delete.
type DeleteThreadInput struct {
	ThreadID   string `path:"threadId" json:"-"`
	AgentID    string `query:"agentId" json:"-"`
	ResourceID string `query:"resourceId" json:"-"`
}

// Result is the answer of a deletion.
type Result struct {
	Result string `json:"result"`
}

// DeleteThread deletes a thread with its messages.
func DeleteThread(ctx context.Context, m *mastra.Mastra, in DeleteThreadInput) (Result, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return Result{}, err
	}
	if _, err := owned(ctx, m, in.ThreadID, in.ResourceID); err != nil {
		return Result{}, err
	}
	return Result{"Thread deleted"}, m.Storage.DeleteThread(ctx, in.ThreadID)
}
