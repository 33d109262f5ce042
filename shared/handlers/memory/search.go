package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/recall"
	"mastralambda/shared/schema"
)

// SearchInput looks for messages of a resource, or of one of its threads.
type SearchInput struct {
	AgentID    string  `query:"agentId" json:"-" required:"true"`
	Query      string  `query:"searchQuery" json:"-" required:"true"`
	ResourceID string  `query:"resourceId" json:"-" required:"true"`
	ThreadID   string  `query:"threadId" json:"-"`
	Limit      float64 `query:"limit" json:"-"`
}

// Search is what was found, the newest first.
type Search struct {
	Results []Found `json:"results"`
	Count   int     `json:"count"`
	Query   string  `json:"query"`
	Scope   string  `json:"searchScope"` // resource or thread
	Type    string  `json:"searchType"`  // semantic, or text where the agent has no semantic recall
}

// Found is a message with those around it.
type Found struct {
	Said
	ThreadID    string      `json:"threadId"`
	ThreadTitle string      `json:"threadTitle"` // its id where it has none
	Score       float64     `json:"score,omitzero"`
	Context     *Neighbours `json:"context,omitempty"`
}

// Said is what a message says.
type Said struct {
	ID        string      `json:"id"`
	Role      string      `json:"role"`
	Content   string      `json:"content"`
	CreatedAt mastra.Time `json:"createdAt"`
}

// Neighbours are the messages around one.
type Neighbours struct {
	Before []Said `json:"before"`
	After  []Said `json:"after"`
}

const (
	searchLimit    = 20
	searchMost     = 100
	searchThreads  = 20  // the last updated threads that a search by words looks into
	searchMessages = 200 // the newest messages of each
)

// SearchMemory finds messages by their meaning; by their words where the agent has no semantic recall.
func SearchMemory(ctx context.Context, m *mastra.Mastra, in SearchInput) (Search, error) {
	memory, err := remembering(m, in.AgentID)
	if err != nil {
		return Search{}, err
	}
	resource := mastra.Resource(ctx, in.ResourceID)
	out := Search{Results: []Found{}, Query: in.Query, Scope: "resource", Type: "semantic"}
	limit := searchLimit
	if in.Limit != 0 {
		limit = int(max(0, min(in.Limit, searchMost)))
	}
	threads := map[string]*mastra.Thread{}
	if in.ThreadID != "" {
		out.Scope = "thread"
		t, err := owned(ctx, m, in.ThreadID, resource)
		if mastra.CodeOf(err) == mastra.CodeNotFound {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		threads[t.ID] = t
	}
	if limit == 0 || strings.TrimSpace(in.Query) == "" {
		return out, nil
	}
	var hits []recall.Hit
	if s := memory.SemanticRecall; s != nil {
		around := *s
		around.TopK = limit
		around.Scope = mastra.Scope(out.Scope)
		hits, err = recall.Find(ctx, m, recall.Query{Text: in.Query, ThreadID: in.ThreadID, ResourceID: resource, SemanticRecall: around}, nil)
	} else {
		out.Type = "text"
		hits, err = byWords(ctx, m, in.Query, resource, threads, limit)
	}
	if err != nil {
		return out, err
	}
	for _, hit := range hits {
		id := hit.Message.ThreadID
		if threads[id] == nil {
			if threads[id], err = m.Storage.Thread(ctx, id); err != nil {
				if mastra.CodeOf(err) == mastra.CodeNotFound { // deleted meanwhile
					continue
				}
				return out, err
			}
		}
		out.Results = append(out.Results, Found{said(&hit.Message), id, cmp.Or(threads[id].Title, id), hit.Score, &Neighbours{saidAll(hit.Before), saidAll(hit.After)}})
	}
	slices.SortStableFunc(out.Results, func(a, b Found) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	out.Count = len(out.Results)
	return out, nil
}

func said(m *mastra.Message) Said { return Said{m.ID, m.Role, recall.Text(m), m.CreatedAt} }

func saidAll(all []mastra.Message) []Said {
	out := make([]Said, len(all))
	for i := range all {
		out[i] = said(&all[i])
	}
	return out
}

// byWords finds the newest messages that hold every word of the query. It looks at a bounded number of them.
func byWords(ctx context.Context, m *mastra.Mastra, query, resource string, threads map[string]*mastra.Thread, limit int) (hits []recall.Hit, err error) {
	if len(threads) == 0 {
		page, err := m.Storage.Threads(ctx, mastra.ThreadQuery{ResourceID: resource, Paging: mastra.Paging{PerPage: searchThreads}})
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			threads[page.Items[i].ID] = &page.Items[i]
		}
	}
	words := strings.Fields(strings.ToLower(query))
	for id := range threads {
		page, err := m.Storage.Messages(ctx, mastra.MessageQuery{ThreadID: id, Descending: true, Paging: mastra.Paging{PerPage: searchMessages}})
		if mastra.CodeOf(err) == mastra.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		all := page.Items
		slices.Reverse(all)
		for i := range all {
			text := strings.ToLower(recall.Text(&all[i]))
			if text != "" && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
				hits = append(hits, recall.Hit{Surrounding: mastra.Surrounding{Before: all[max(0, i-1):i], Message: all[i], After: all[i+1 : min(i+2, len(all))]}})
			}
		}
	}
	slices.SortFunc(hits, func(a, b recall.Hit) int {
		return cmp.Or(cmp.Compare(b.Message.CreatedAt, a.Message.CreatedAt), strings.Compare(a.Message.ID, b.Message.ID))
	})
	return hits[:min(limit, len(hits))], nil
}

// DeleteMessagesInput names messages.
type DeleteMessagesInput struct {
	AgentID    string     `query:"agentId" json:"-" required:"true"`
	ResourceID string     `query:"resourceId" json:"-"`
	MessageIDs MessageIDs `json:"messageIds"`
}

// MessageIDs are ids of messages: one or a list, as texts or as {id}.
type MessageIDs []string

func (ids *MessageIDs) UnmarshalJSON(data []byte) error {
	type ref struct {
		ID string `json:"id"`
	}
	var one string
	if schema.Unmarshal(data, &one) == nil {
		*ids = MessageIDs{one}
		return nil
	}
	var object ref
	if schema.Unmarshal(data, &object) == nil {
		*ids = MessageIDs{object.ID}
		return nil
	}
	if schema.Unmarshal(data, (*[]string)(ids)) == nil {
		return nil
	}
	var objects []ref
	err := schema.Unmarshal(data, &objects)
	*ids = make(MessageIDs, len(objects))
	for i, o := range objects {
		(*ids)[i] = o.ID
	}
	return err
}

func (MessageIDs) JSONSchema() *schema.Doc {
	id := &schema.Doc{Type: "string"}
	object := &schema.Doc{Type: "object", Required: []string{"id"}, Properties: map[string]*schema.Doc{"id": id}}
	most := 1000
	return &schema.Doc{AnyOf: []*schema.Doc{id, {Type: "array", Items: id, MaxItems: &most}, object, {Type: "array", Items: object, MaxItems: &most}}}
}

// Deleted says how many messages there were.
type Deleted struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// DeleteMessages deletes messages: all of them or, where one is another's, none. Where none is there it is a CodeNotFound.
func DeleteMessages(ctx context.Context, m *mastra.Mastra, in DeleteMessagesInput) (Deleted, error) {
	if err := checkAgent(m, in.AgentID); err != nil {
		return Deleted{}, err
	}
	if len(in.MessageIDs) == 0 {
		return Deleted{true, "0 messages deleted successfully"}, nil
	}
	if resource := mastra.Resource(ctx, in.ResourceID); resource != "" {
		refs := make([]mastra.MessageRef, len(in.MessageIDs))
		for i, id := range in.MessageIDs {
			refs[i].ID = id
		}
		there, err := m.Storage.MessagesAround(ctx, refs)
		if err != nil {
			return Deleted{}, err
		}
		seen := map[string]bool{}
		for _, f := range there {
			if id := f.Message.ThreadID; !seen[id] {
				seen[id] = true
				if _, err := owned(ctx, m, id, resource); err != nil {
					return Deleted{}, err
				}
			}
		}
	}
	n, err := m.Storage.DeleteMessages(ctx, in.MessageIDs)
	if err == nil && n == 0 {
		err = mastra.Errorf(mastra.CodeNotFound, "Message not found")
	}
	if err != nil {
		return Deleted{}, err
	}
	unfindable(ctx, m, recall.ForgetMessages(context.WithoutCancel(ctx), m, in.MessageIDs))
	noun := "messages"
	if n == 1 {
		noun = "message"
	}
	return Deleted{true, fmt.Sprintf("%d %s deleted successfully", n, noun)}, nil
}
