package memory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
	"mastralambda/shared/schema"
)

// CloneInput copies a thread. What is absent is as in the source.
type CloneInput struct {
	ThreadID    string                 `path:"threadId" json:"-"`
	AgentID     string                 `query:"agentId" json:"-" required:"true"`
	NewThreadID string                 `json:"newThreadId,omitempty" maxLength:"256"`
	ResourceID  string                 `json:"resourceId,omitempty" maxLength:"256"`
	Title       string                 `json:"title,omitempty" maxLength:"4096"`
	Metadata    map[string]mastra.JSON `json:"metadata,omitempty"`
	Options     CloneOptions           `json:"options,omitzero"`
}

// CloneOptions say which messages are copied.
type CloneOptions struct {
	MessageLimit  int           `json:"messageLimit,omitzero" minimum:"1"` // the newest ones
	MessageFilter MessageFilter `json:"messageFilter,omitzero"`
}

// MessageFilter keeps messages by time and id.
type MessageFilter struct {
	StartDate  mastra.Time `json:"startDate,omitzero"`
	EndDate    mastra.Time `json:"endDate,omitzero"`
	MessageIDs []string    `json:"messageIds,omitempty" maxItems:"1000"`
}

// Clone is a copy of a thread.
type Clone struct {
	Thread         *mastra.Thread    `json:"thread"`
	MessageIDMap   map[string]string `json:"messageIdMap"`
	ClonedMessages []mastra.Message  `json:"clonedMessages"`
	HasMore        bool              `json:"hasMore,omitzero"` // messages were copied that are not in the answer: it would be too long
}

const (
	cloneAtOnce = 500   // messages of one commit
	cloneMost   = 10000 // messages of a thread that is copied
)

// CloneThread copies a thread with its messages. The copies keep their times; their ids come of those they are copied from, so
// that a repeat of the request copies nothing twice. A copy that fails leaves nothing.
func CloneThread(ctx context.Context, m *mastra.Mastra, in CloneInput) (Clone, error) {
	memory, err := remembering(m, in.AgentID)
	if err != nil {
		return Clone{}, err
	}
	source, err := owned(ctx, m, in.ThreadID, "")
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		err = mastra.Errorf(mastra.CodeNotFound, "Source thread not found")
	}
	if err != nil {
		return Clone{}, err
	}
	now := mastra.TimeOf(m.Now())
	t := mastra.Thread{ID: in.NewThreadID, ResourceID: mastra.Resource(ctx, in.ResourceID), Title: in.Title, CreatedAt: now, UpdatedAt: now}
	if t.ResourceID == "" {
		t.ResourceID = source.ResourceID
	}
	if t.ID == "" {
		t.ID = mastra.NewID()
	} else if _, err := m.Storage.Thread(ctx, t.ID); mastra.CodeOf(err) != mastra.CodeNotFound {
		if err == nil {
			err = mastra.Errorf(mastra.CodeConflict, "Thread with id %s already exists", t.ID)
		}
		return Clone{}, err
	}
	if t.Title == "" && source.Title != "" {
		t.Title = "Clone of " + source.Title
	}
	messages, err := cloned(ctx, m, in)
	if err != nil {
		return Clone{}, err
	}
	out := Clone{Thread: &t, MessageIDMap: make(map[string]string, len(messages))}
	last := ""
	for i := range messages {
		msg := &messages[i]
		last = msg.ID
		id := copyID(t.ID, msg.ID)
		out.MessageIDMap[msg.ID] = id
		msg.ID, msg.ThreadID, msg.ResourceID = id, t.ID, t.ResourceID
	}
	if err := setMetadata(&t, cloneMetadata(in.Metadata, source.ID, now, last)); err != nil {
		return Clone{}, err
	}
	batch := mastra.Batch{Threads: []mastra.Thread{t}}
	for some := range slices.Chunk(messages, cloneAtOnce) {
		batch.Messages = some
		if err := m.Storage.Commit(ctx, &batch); err != nil {
			if batch.Threads == nil { // a part is there
				_ = m.Storage.DeleteThread(context.WithoutCancel(ctx), t.ID)
			}
			return Clone{}, err
		}
		batch.Threads = nil
	}
	if batch.Threads != nil { // it has no messages
		if err := m.Storage.Commit(ctx, &batch); err != nil {
			return Clone{}, err
		}
	}
	makeFindable(ctx, m, memory, messages)
	if out.Thread, err = m.Storage.Thread(ctx, t.ID); err != nil {
		return Clone{}, err
	}
	out.ClonedMessages, out.HasMore = fitting(messages)
	return out, nil
}

// cloned reads the messages to be copied, oldest first.
func cloned(ctx context.Context, m *mastra.Mastra, in CloneInput) (all []mastra.Message, err error) {
	f := in.Options.MessageFilter
	for page := 0; ; page++ {
		p, err := m.Storage.Messages(ctx, mastra.MessageQuery{ThreadID: in.ThreadID, Descending: true, From: f.StartDate, To: f.EndDate,
			Paging: mastra.Paging{Page: page, PerPage: cloneAtOnce}})
		if err != nil {
			return nil, err
		}
		for _, msg := range p.Items {
			if f.MessageIDs == nil || slices.Contains(f.MessageIDs, msg.ID) {
				all = append(all, msg)
			}
		}
		limit := in.Options.MessageLimit
		if limit > 0 && len(all) >= limit {
			all = all[:limit]
			break
		}
		if !p.HasMore {
			break
		}
		if len(all) >= cloneMost {
			return nil, mastra.Invalid("options.messageLimit", "The thread has more than %d messages: say how many of the newest are copied", cloneMost)
		}
	}
	slices.Reverse(all)
	return all, nil
}

// copyID is the id of a copy, in the form of a UUID.
func copyID(thread, message string) string {
	sum := sha256.Sum256([]byte(thread + "\x00" + message))
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-8" + h[13:16] + "-8" + h[17:20] + "-" + h[20:32]
}

func cloneMetadata(given map[string]mastra.JSON, source string, at mastra.Time, last string) map[string]mastra.JSON {
	out := map[string]mastra.JSON{}
	for k, v := range given {
		out[k] = v
	}
	origin, err := schema.Marshal(struct {
		SourceThreadID string      `json:"sourceThreadId"`
		ClonedAt       mastra.Time `json:"clonedAt"`
		LastMessageID  string      `json:"lastMessageId,omitempty"`
	}{source, at, last})
	if err == nil {
		out["clone"] = origin
	}
	return out
}

// fitting are as many messages as an answer may hold.
func fitting(all []mastra.Message) ([]mastra.Message, bool) {
	size := 0
	for i := range all {
		if size += len(all[i].Content); size > answerBytes && i > 0 {
			return all[:i], true
		}
		all[i].Type = "" // lists do not show it
	}
	return all, false
}

// makeFindable indexes messages for semantic recall, where the agent has it. They are stored already: what fails is logged.
func makeFindable(ctx context.Context, m *mastra.Mastra, memory *mastra.Memory, messages []mastra.Message) {
	if memory == nil || memory.SemanticRecall == nil || len(messages) == 0 {
		return
	}
	if err := recall.Index(context.WithoutCancel(ctx), m, messages, nil, nil); err != nil {
		m.Logger.WarnContext(ctx, "messages were not indexed for semantic recall", "threadId", messages[0].ThreadID, "error", err)
	}
}

// recalling is the memory of an agent that has semantic recall, nil where none has. All agents share one index.
func recalling(m *mastra.Mastra) *mastra.Memory {
	for _, a := range m.AllAgents() {
		if a.Memory != nil && a.Memory.SemanticRecall != nil {
			return a.Memory
		}
	}
	return nil
}

// TransferInput gives a thread to another resource.
type TransferInput struct {
	ThreadID   string `path:"threadId" json:"-"`
	AgentID    string `query:"agentId" json:"-"`
	ResourceID string `json:"resourceId" minLength:"1" maxLength:"256"`
}

// findableMost is how many of a transferred thread's newest messages are made findable for its new owner at once.
const findableMost = 1000

// TransferThread gives a thread with its messages to another resource. A caller who is bound to a resource may not.
func TransferThread(ctx context.Context, m *mastra.Mastra, in TransferInput) (*mastra.Thread, error) {
	if mastra.Resource(ctx, "") != "" {
		return nil, mastra.Errorf(mastra.CodeForbidden, "Thread transfer requires a caller that is not bound to a resource")
	}
	if err := checkAgent(m, in.AgentID); err != nil {
		return nil, err
	}
	t, err := m.Storage.Thread(ctx, in.ThreadID)
	if err != nil {
		return nil, err
	}
	if err := m.Storage.TransferThread(ctx, t.ID, t.ResourceID, in.ResourceID); err != nil {
		return nil, err
	}
	if memory := recalling(m); memory != nil {
		page, err := m.Storage.Messages(ctx, mastra.MessageQuery{ThreadID: t.ID, Descending: true, Paging: mastra.Paging{PerPage: findableMost}})
		if err != nil {
			return nil, err
		}
		makeFindable(ctx, m, memory, page.Items)
	}
	return m.Storage.Thread(ctx, t.ID)
}
