package memory

import (
	"context"
	"fmt"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
	"mastralambda/shared/schema"
)

// ThreadsInput asks for a page of threads, the last updated first.
type ThreadsInput struct {
	AgentID    string                 `query:"agentId" json:"-"`
	ResourceID string                 `query:"resourceId" json:"-"`
	Page       int                    `query:"page" json:"-" minimum:"0"`
	PerPage    *int                   `query:"perPage" json:"-" minimum:"0" maximum:"1000"`
	OrderBy    *OrderBy               `query:"orderBy" json:"-"`
	Metadata   map[string]mastra.JSON `query:"metadata" json:"-"` // threads whose metadata has these values
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
	q := mastra.ThreadQuery{ResourceID: mastra.Resource(ctx, in.ResourceID), Paging: mastra.Paging{Page: in.Page, PerPage: 100}}
	if in.PerPage != nil {
		q.PerPage = *in.PerPage
	}
	if in.OrderBy != nil {
		q.OrderBy, q.Ascending = in.OrderBy.Field, in.OrderBy.Direction == "ASC"
	}
	var page *mastra.Page[mastra.Thread]
	var err error
	if len(in.Metadata) > 0 {
		page, err = threadsWith(ctx, m, q, in.Metadata)
	} else {
		page, err = m.Storage.Threads(ctx, q)
	}
	if err != nil {
		return ThreadPage{}, err
	}
	return ThreadPage{page.Items, page.Total, in.Page, q.PerPage, page.HasMore}, nil
}

const (
	filteredAtOnce = 250
	filteredMost   = 5000 // things that a filter looks at
)

// threadsWith are the threads that have what is wanted in their metadata.
func threadsWith(ctx context.Context, m *mastra.Mastra, q mastra.ThreadQuery, want map[string]mastra.JSON) (*mastra.Page[mastra.Thread], error) {
	return filtered(q.Paging, func(p mastra.Paging) (*mastra.Page[mastra.Thread], error) {
		q.Paging = p
		return m.Storage.Threads(ctx, q)
	},
		func(t *mastra.Thread) bool { return has(t.Metadata, want) },
		mastra.Issue{Field: "metadata", Message: fmt.Sprintf("There are more than %d threads to look at: name a resourceId", filteredMost)})
}

// filtered is a page of what keep keeps. It looks at a bounded number of things, and asks for a narrower list where there are more.
func filtered[T any](wanted mastra.Paging, read func(mastra.Paging) (*mastra.Page[T], error), keep func(*T) bool, tooMany mastra.Issue) (*mastra.Page[T], error) {
	matching := []T{}
	for p := (mastra.Paging{PerPage: filteredAtOnce}); ; p.Page++ {
		page, err := read(p)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			if keep(&page.Items[i]) {
				matching = append(matching, page.Items[i])
			}
		}
		if !page.HasMore {
			break
		}
		if (p.Page+1)*filteredAtOnce >= filteredMost {
			return nil, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{tooMany}}
		}
	}
	first := min(len(matching), min(wanted.Page, len(matching))*wanted.PerPage)
	last := min(len(matching), first+wanted.PerPage)
	return &mastra.Page[T]{Items: matching[first:last], Total: len(matching), HasMore: last < len(matching)}, nil
}

// has says whether metadata has the values that are wanted.
func has(metadata mastra.JSON, want map[string]mastra.JSON) bool {
	var fields map[string]mastra.JSON
	if metadata == nil || schema.Unmarshal(metadata, &fields) != nil {
		return false
	}
	for k, v := range want {
		got := fields[k].Clone()
		v = v.Clone()
		if got == nil || got.Canonicalize() != nil || v.Canonicalize() != nil || string(got) != string(v) {
			return false
		}
	}
	return true
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
	if err := m.Storage.DeleteThread(ctx, in.ThreadID); err != nil {
		return Result{}, err
	}
	unfindable(ctx, m, recall.ForgetThread(context.WithoutCancel(ctx), m, in.ThreadID))
	return Result{"Thread deleted"}, nil
}

// unfindable logs what kept deleted messages in the vector store: they are not shown, since they are stored no more.
func unfindable(ctx context.Context, m *mastra.Mastra, err error) {
	if err != nil {
		m.Logger.WarnContext(ctx, "vectors of deleted messages were not deleted", "error", err)
	}
}
