// Package memory is the memory group: threads and their messages.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// Routes is the group's table: the document's paths and the reference server's, which has some of them for networks of agents
// as well.
func Routes() []server.Route {
	read, write := server.Permission("memory:read"), server.Permission("memory:write")
	return []server.Route{
		server.JSON("GET /memory/network/status", Status, read, server.Summary("Whether an agent remembers")),
		server.JSON("GET /memory/network/threads", Threads, read, server.Summary("List threads")),
		server.JSON("POST /memory/network/threads", CreateThread, write, server.Summary("Create a thread")),
		server.JSON("GET /memory/network/threads/:threadId", Thread, read, server.Summary("Get a thread")),
		server.JSON("PATCH /memory/network/threads/:threadId", UpdateThread, write, server.Summary("Update a thread")),
		server.JSON("DELETE /memory/network/threads/:threadId", DeleteThread, write, server.Summary("Delete a thread")),
		server.JSON("GET /memory/network/threads/:threadId/messages", Messages, read, server.Summary("Get thread messages")),
		server.JSON("POST /memory/network/save-messages", SaveMessages, write, server.Summary("Save messages of any thread")),
		server.JSON("POST /memory/network/messages/delete", DeleteMessages, write, server.Summary("Delete messages")),
		server.JSON("GET /memory/:threadId", Messages, read, server.Summary("Get thread messages")),
		server.JSON("POST /memory/:threadId/save", Save, write, server.Summary("Save messages to thread")),
		server.JSON("DELETE /memory/:threadId", DeleteThread, write, server.Summary("Delete thread")),
		server.JSON("GET /memory/status", Status, read, server.Summary("Whether an agent remembers")),
		server.JSON("GET /memory/config", Config, read, server.Summary("What an agent remembers")),
		server.JSON("GET /memory/search", SearchMemory, read, server.Summary("Search messages")),
		server.JSON("GET /memory/observational-memory", Observations, read, server.Summary("Get observational memory")),
		server.JSON("POST /memory/observational-memory/buffer-status", BufferStatus, read, server.Summary("Wait for observational memory")),
		server.JSON("GET /memory/threads", Threads, read, server.Summary("List threads")),
		server.JSON("POST /memory/threads", CreateThread, write, server.Summary("Create a thread")),
		server.JSON("GET /memory/threads/:threadId", Thread, read, server.Summary("Get a thread")),
		server.JSON("PATCH /memory/threads/:threadId", UpdateThread, write, server.Summary("Update a thread")),
		server.JSON("DELETE /memory/threads/:threadId", DeleteThread, write, server.Summary("Delete a thread")),
		server.JSON("GET /memory/threads/:threadId/messages", Messages, read, server.Summary("Get thread messages")),
		server.JSON("GET /memory/threads/:threadId/working-memory", WorkingMemory, read, server.Summary("Get working memory")),
		server.JSON("POST /memory/threads/:threadId/working-memory", SetWorkingMemory, write, server.Summary("Update working memory")),
		server.JSON("POST /memory/threads/:threadId/clone", CloneThread, write, server.Summary("Clone a thread")),
		server.JSON("POST /memory/threads/:threadId/transfer", TransferThread, write, server.Summary("Give a thread to another resource")),
		server.JSON("DELETE /memory/resources/:resourceId", Forget, write, server.Summary("Delete what is remembered and recorded of a resource")),
		server.JSON("POST /memory/messages/delete", DeleteMessages, write, server.Summary("Delete messages")),
		server.JSON("POST /memory/save-messages", SaveMessages, write, server.Summary("Save messages of any thread")),
	}
}

// owned reads a thread that the caller may see. resource, where set, must be its owner's too.
func owned(ctx context.Context, m *mastra.Mastra, id, resource string) (*mastra.Thread, error) {
	t, err := m.Storage.Thread(ctx, id)
	if err != nil {
		return nil, err
	}
	if r := mastra.Resource(ctx, resource); r != "" && t.ResourceID != "" && t.ResourceID != r {
		return nil, mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
	}
	return t, nil
}

// checkAgent refuses an agent that does not exist; the reference server wants one named, all agents here share one storage.
func checkAgent(m *mastra.Mastra, id string) error {
	if id == "" {
		return nil
	}
	if _, err := m.Agent(id); err != nil {
		return mastra.Errorf(mastra.CodeNotFound, "Agent not found")
	}
	return nil
}

// OrderBy orders a list.
type OrderBy struct {
	Field     string `json:"field,omitempty" enum:"createdAt,updatedAt"`
	Direction string `json:"direction,omitempty" enum:"ASC,DESC"`
}

// MessagesInput asks for a page of a thread's messages: of the newest ones, unless OrderBy says from the oldest on.
// Within a page the oldest comes first.
type MessagesInput struct {
	ThreadID   string    `path:"threadId" json:"-"`
	AgentID    string    `query:"agentId" json:"-"`
	ResourceID string    `query:"resourceId" json:"-"`
	Page       int       `query:"page" json:"-" minimum:"0"`
	PerPage    *int      `query:"perPage" json:"-" minimum:"0" maximum:"1000"`
	OrderBy    *OrderBy  `query:"orderBy" json:"-"`
	Include    []Include `query:"include" json:"-" maxItems:"100"` // these, too, whatever page or thread they are on
	Filter     *Filter   `query:"filter" json:"-"`
}

// Include names a message, and how many before and after it are wanted as well.
type Include struct {
	ID       string `json:"id"`
	Previous int    `json:"withPreviousMessages,omitzero" minimum:"0" maximum:"100"`
	Next     int    `json:"withNextMessages,omitzero" minimum:"0" maximum:"100"`
}

// Filter keeps messages of a time, of some roles, or with something in the metadata of their contents.
type Filter struct {
	DateRange struct {
		Start mastra.Time `json:"start,omitzero"`
		End   mastra.Time `json:"end,omitzero"`
	} `json:"dateRange,omitzero"`
	Roles    []string               `json:"roles,omitempty" maxItems:"10"`
	Metadata map[string]mastra.JSON `json:"metadata,omitempty"`
}

// keeps says whether the filter keeps a message; its time was looked at before.
func (f *Filter) keeps(m *mastra.Message) bool {
	if len(f.Roles) > 0 && !slices.Contains(f.Roles, m.Role) {
		return false
	}
	var c struct {
		Metadata mastra.JSON `json:"metadata"`
	}
	return len(f.Metadata) == 0 || schema.Unmarshal(m.Content, &c) == nil && has(c.Metadata, f.Metadata)
}

// MessagePage is a page of messages.
type MessagePage struct {
	Messages []mastra.Message `json:"messages"`
	Total    int              `json:"total"`
	Page     int              `json:"page"`
	PerPage  int              `json:"perPage"`
	HasMore  bool             `json:"hasMore"`
	UI       mastra.JSON      `json:"uiMessages"`
}

// answerBytes is how much of a page's content is answered at most: a buffered Lambda answer stays below 6 MB.
const answerBytes = 5 << 20

// Messages is a page of a thread, cut by bytes too.
func Messages(ctx context.Context, m *mastra.Mastra, in MessagesInput) (MessagePage, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return MessagePage{}, err
	}
	if _, err := owned(ctx, m, in.ThreadID, in.ResourceID); err != nil {
		return MessagePage{}, err
	}
	perPage := 40
	if in.PerPage != nil {
		perPage = *in.PerPage
	}
	newest := in.OrderBy == nil || in.OrderBy.Direction == "DESC"
	q := mastra.MessageQuery{ThreadID: in.ThreadID, Paging: mastra.Paging{Page: in.Page, PerPage: perPage}, Descending: newest}
	if f := in.Filter; f != nil {
		q.From, q.To = f.DateRange.Start, f.DateRange.End
	}
	read := func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
		q.Paging = p
		return m.Storage.Messages(ctx, q)
	}
	var page *mastra.Page[mastra.Message]
	var err error
	if f := in.Filter; f != nil && len(f.Roles)+len(f.Metadata) > 0 {
		page, err = filtered(q.Paging, read, f.keeps, mastra.Issue{Field: "filter", Message: fmt.Sprintf("There are more than %d messages to look at: give a dateRange", filteredMost)})
	} else {
		page, err = read(q.Paging)
	}
	if err != nil {
		return MessagePage{}, err
	}
	out := MessagePage{Messages: page.Items, Total: page.Total, Page: in.Page, PerPage: perPage, HasMore: page.HasMore}
	if some, cut := fitting(page.Items); cut {
		out.Messages, out.HasMore = some, true
	}
	if newest {
		slices.Reverse(out.Messages)
	}
	if len(in.Include) > 0 {
		err = out.include(ctx, m, in)
	}
	return out, err
}

// include adds messages to a page, in the order of their times: those that the caller may see, as far as the answer has room.
func (p *MessagePage) include(ctx context.Context, m *mastra.Mastra, in MessagesInput) error {
	refs := make([]mastra.MessageRef, len(in.Include))
	for i, r := range in.Include {
		refs[i] = mastra.MessageRef{ID: r.ID, Before: r.Previous, After: r.Next}
	}
	found, err := m.Storage.MessagesAround(ctx, refs)
	if err != nil {
		return err
	}
	var more []mastra.Message
	size, there, threads := 0, map[string]bool{}, map[string]bool{in.ThreadID: true}
	for i := range p.Messages {
		size += len(p.Messages[i].Content)
		there[p.Messages[i].ID] = true
	}
	for _, f := range found {
		id := f.Message.ThreadID
		if _, known := threads[id]; !known {
			_, err := owned(ctx, m, id, in.ResourceID)
			if code := mastra.CodeOf(err); err != nil && code != mastra.CodeForbidden && code != mastra.CodeNotFound {
				return err
			}
			threads[id] = err == nil
		}
		if !threads[id] {
			continue
		}
		for _, msg := range slices.Concat(f.Before, []mastra.Message{f.Message}, f.After) {
			if size += len(msg.Content); there[msg.ID] || size > answerBytes {
				continue
			}
			there[msg.ID], msg.Type = true, ""
			more = append(more, msg)
		}
	}
	p.Messages = append(more, p.Messages...) // of equal times: most of what is included is from before
	slices.SortStableFunc(p.Messages, func(a, b mastra.Message) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	return nil
}

// SaveInput adds messages to a thread, which is made if it is not there.
type SaveInput struct {
	ThreadID   string         `path:"threadId" json:"-"`
	ResourceID string         `json:"resourceId,omitempty" maxLength:"256"`
	Messages   []SavedMessage `json:"messages" maxItems:"1000"`
}

// Saved is what was stored.
type Saved struct {
	Messages []mastra.Message `json:"messages"`
	Usage    SaveUsage        `json:"usage"`
}

// SaveUsage counts what the embedder was given: the reference server counts one token a message text.
type SaveUsage struct {
	Tokens int `json:"tokens"`
}

// Save stores messages in the thread of the path.
func Save(ctx context.Context, m *mastra.Mastra, in SaveInput) (Saved, error) {
	for i := range in.Messages {
		in.Messages[i].ThreadID = in.ThreadID // the path wins
		in.Messages[i].ResourceID = in.ResourceID
	}
	return save(ctx, m, recalling(m), in.Messages)
}

// SaveMessagesInput adds messages to the threads that they name.
type SaveMessagesInput struct {
	AgentID  string         `query:"agentId" json:"-"`
	Messages []SavedMessage `json:"messages" maxItems:"1000"`
}

// SaveMessages stores messages in the threads that they name.
func SaveMessages(ctx context.Context, m *mastra.Mastra, in SaveMessagesInput) (Saved, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return Saved{}, err
	}
	lost := 0
	for _, msg := range in.Messages {
		if msg.ThreadID == "" || mastra.Resource(ctx, msg.ResourceID) == "" {
			lost++
		}
	}
	if lost > 0 {
		return Saved{}, mastra.Errorf(mastra.CodeInvalid, "All messages must have threadId and resourceId fields. Found %d invalid message(s).", lost)
	}
	memory := recalling(m)
	if in.AgentID != "" {
		var err error
		if memory, err = memoryOf(m, in.AgentID); err != nil {
			return Saved{}, err
		}
	}
	return save(ctx, m, memory, in.Messages)
}

// save stores all messages or none.
func save(ctx context.Context, m *mastra.Mastra, memory *mastra.Memory, in []SavedMessage) (Saved, error) {
	out := Saved{Messages: make([]mastra.Message, len(in))}
	var batch mastra.Batch
	threads := map[string]*mastra.Thread{}
	now := mastra.TimeOf(m.Now())
	for i, s := range in {
		t := threads[s.ThreadID]
		if t == nil {
			var err error
			t, err = owned(ctx, m, s.ThreadID, s.ResourceID)
			if mastra.CodeOf(err) == mastra.CodeNotFound {
				t, err = &mastra.Thread{ID: s.ThreadID, ResourceID: mastra.Resource(ctx, s.ResourceID), CreatedAt: now, UpdatedAt: now}, nil
				batch.Threads = append(batch.Threads, *t)
			}
			if err != nil {
				return Saved{}, err
			}
			threads[s.ThreadID] = t
		}
		msg, err := s.message(now, t.ResourceID)
		if err != nil {
			return Saved{}, mastra.Invalid(fmt.Sprintf("messages.%d.content", i), "%v", err)
		}
		out.Messages[i] = msg
	}
	batch.Messages = out.Messages
	out.Usage.Tokens = len(in)
	if len(in) == 0 {
		return out, nil
	}
	if err := m.Storage.Commit(ctx, &batch); err != nil {
		return Saved{}, err
	}
	makeFindable(ctx, m, memory, batch.Messages)
	return out, nil
}
