// Package recall finds messages by what they mean: it embeds their texts, keeps the vectors in the application's first
// vector store, and reads the messages that a query finds from the storage. The vectors point to messages and hold nothing
// of them; what is no longer stored is not found.
package recall

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const (
	chunkBytes  = 16 << 10 // of a text that is embedded in one piece: some 4000 tokens
	queryChunks = 4        // pieces of a query that are searched with
	upsertAt    = 256      // vectors of one upsert
)

// Vectors are the vectors of texts that were embedded already, by text. A nil one remembers none.
type Vectors map[string][]float32

// Check says whether the application has what is needed: CodeUnavailable where it has not.
func Check(m *mastra.Mastra) error {
	if m.Embed == nil || len(m.Vectors) == 0 {
		return mastra.Errorf(mastra.CodeUnavailable, "Semantic recall needs an embedder and a vector store: this server has none")
	}
	return nil
}

// index is the name of the vectors' index; as in the reference server the common dimension is not in it.
func index(dimension int) string {
	if dimension == 1536 {
		return "memory_messages"
	}
	return fmt.Sprintf("memory_messages_%d", dimension)
}

// pointer is what a vector knows of its message.
type pointer struct {
	MessageID  string      `json:"message_id"`
	ThreadID   string      `json:"thread_id"`
	ResourceID string      `json:"resource_id"`
	Role       string      `json:"role"`
	CreatedAt  mastra.Time `json:"created_at"`
}

// About is the metadata of threads, by their ids: filters of a recall ask for it.
type About map[string]mastra.JSON

// metadata is what a vector knows: its thread's metadata, below what points to the message.
func (a About) metadata(ctx context.Context, m *mastra.Mastra, msg *mastra.Message) (mastra.JSON, error) {
	about, known := a[msg.ThreadID]
	if !known {
		t, err := m.Storage.Thread(ctx, msg.ThreadID)
		if err != nil && mastra.CodeOf(err) != mastra.CodeNotFound {
			return nil, err
		}
		if t != nil {
			about = t.Metadata
		}
		a[msg.ThreadID] = about
	}
	own, err := schema.Marshal(pointer{msg.ID, msg.ThreadID, msg.ResourceID, msg.Role, msg.CreatedAt})
	if err != nil || len(about) == 0 || about.Kind() != '{' {
		return own, err
	}
	var all mastra.Object[mastra.JSON]
	for _, data := range []mastra.JSON{about, own} {
		var some mastra.Object[mastra.JSON]
		if err := schema.Unmarshal(data, &some); err != nil {
			return nil, err
		}
		for _, member := range some {
			all.Set(member.Key, member.Value)
		}
	}
	return schema.Marshal(all)
}

// Index makes messages findable. Those without a text are left out; one that is indexed again replaces itself. What about
// does not know of threads is read.
func Index(ctx context.Context, m *mastra.Mastra, messages []mastra.Message, known Vectors, about About) error {
	if err := Check(m); err != nil {
		return err
	}
	if about == nil {
		about = About{}
	}
	var vectors []mastra.Vector
	var texts []string
	flush := func() error {
		made, err := embed(ctx, m, texts, known)
		if err != nil {
			return err
		}
		for i := range vectors {
			vectors[i].Values = made[i]
		}
		err = upsert(ctx, m, vectors)
		vectors, texts = vectors[:0], texts[:0]
		return err
	}
	for i := range messages {
		msg := &messages[i]
		if msg.Role == "system" {
			continue
		}
		metadata, err := about.metadata(ctx, m, msg)
		if err != nil {
			return err
		}
		for n, text := range chunks(Text(msg)) {
			vectors = append(vectors, mastra.Vector{ID: fmt.Sprintf("%s#%d", msg.ID, n), Metadata: metadata})
			texts = append(texts, text)
			if len(texts) == upsertAt {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return flush()
}

func upsert(ctx context.Context, m *mastra.Mastra, vectors []mastra.Vector) error {
	store, name := m.Vectors[0].Store, index(m.Embed.Dimension())
	err := store.Upsert(ctx, name, vectors)
	if mastra.CodeOf(err) != mastra.CodeNotFound {
		return err
	}
	if err := store.CreateIndex(ctx, mastra.VectorIndex{Name: name, Dimension: m.Embed.Dimension(), Metric: mastra.Cosine}); err != nil {
		return err
	}
	return store.Upsert(ctx, name, vectors)
}

// embed makes a vector of each text, and remembers it.
func embed(ctx context.Context, m *mastra.Mastra, texts []string, known Vectors) ([][]float32, error) {
	out := make([][]float32, len(texts))
	var missing []string
	var at []int
	for i, t := range texts {
		if out[i] = known[t]; out[i] == nil {
			missing, at = append(missing, t), append(at, i)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	made, err := m.Embed.Embed(ctx, missing)
	if err != nil {
		return nil, err
	}
	if len(made) != len(missing) {
		return nil, mastra.Errorf(mastra.CodeUpstream, "The embedding model made %d vectors of %d texts", len(made), len(missing))
	}
	for i, v := range made {
		out[at[i]] = v
		if known != nil {
			known[missing[i]] = v
		}
	}
	return out, nil
}

// Query asks for messages.
type Query struct {
	Text       string
	ThreadID   string // those of the thread where Scope is mastra.ScopeThread
	ResourceID string // those of the resource; at any rate no other's are found
	mastra.SemanticRecall
}

// Hit is a message that was found, among its neighbours.
type Hit struct {
	mastra.Surrounding
	Score float64
}

// Find returns the TopK messages nearest to the query, the nearest first.
func Find(ctx context.Context, m *mastra.Mastra, q Query, known Vectors) ([]Hit, error) {
	if err := Check(m); err != nil {
		return nil, err
	}
	texts := chunks(q.Text)
	if len(texts) == 0 {
		return nil, nil
	}
	vectors, err := embed(ctx, m, texts[:min(len(texts), queryChunks)], known)
	if err != nil {
		return nil, err
	}
	where := map[string]string{"resource_id": q.ResourceID}
	if q.Scope == mastra.ScopeThread {
		where = map[string]string{"thread_id": q.ThreadID}
	}
	filter, err := schema.Marshal(where)
	if err == nil && len(q.Filter) > 0 {
		filter, err = schema.Marshal(map[string][]mastra.JSON{"$and": {filter, q.Filter}})
	}
	if err != nil {
		return nil, err
	}
	topK := cmp.Or(q.TopK, mastra.DefaultTopK)
	scores := map[string]float64{} // the best one of each message's pieces
	for _, v := range vectors {
		asked := mastra.VectorQuery{Vector: v, TopK: topK, Filter: filter, MinScore: q.Threshold}
		name, began := index(m.Embed.Dimension()), m.Now()
		matches, err := m.Vectors[0].Store.Query(ctx, name, asked)
		switch {
		case mastra.CodeOf(err) == mastra.CodeNotFound: // nothing was ever indexed
			return nil, nil
		case err != nil:
			return nil, err
		}
		m.QueryTraced(ctx, name, began, asked, matches)
		for _, match := range matches {
			var p pointer
			if schema.Unmarshal(match.Metadata, &p) != nil || p.MessageID == "" {
				continue
			}
			if s, ok := scores[p.MessageID]; !ok || match.Score > s {
				scores[p.MessageID] = match.Score
			}
		}
	}
	refs := make([]mastra.MessageRef, 0, len(scores))
	for id := range scores {
		refs = append(refs, mastra.MessageRef{ID: id, Before: q.Range.Before, After: q.Range.After})
	}
	slices.SortFunc(refs, func(a, b mastra.MessageRef) int {
		return cmp.Or(cmp.Compare(scores[b.ID], scores[a.ID]), strings.Compare(a.ID, b.ID))
	})
	found, err := m.Storage.MessagesAround(ctx, refs[:min(topK, len(refs))])
	if err != nil {
		return nil, err
	}
	hits := make([]Hit, 0, len(found))
	for _, f := range found {
		// What the storage says counts: the vectors may be older than a change of owner.
		if f.Message.ResourceID == q.ResourceID && (q.Scope != mastra.ScopeThread || f.Message.ThreadID == q.ThreadID) {
			hits = append(hits, Hit{f, scores[f.Message.ID]})
		}
	}
	return hits, nil
}

// ForgetThread makes a thread's messages unfindable, ForgetMessages those of the ids. Where nothing was ever indexed there is
// nothing to do.
func ForgetThread(ctx context.Context, m *mastra.Mastra, threadID string) error {
	return forget(ctx, m, map[string]any{"thread_id": threadID})
}

// ForgetMessages makes messages unfindable.
func ForgetMessages(ctx context.Context, m *mastra.Mastra, ids []string) error {
	return forget(ctx, m, map[string]any{"message_id": map[string]any{"$in": ids}})
}

func forget(ctx context.Context, m *mastra.Mastra, which map[string]any) error {
	if m.Embed == nil || len(m.Vectors) == 0 {
		return nil
	}
	filter, err := schema.Marshal(which)
	if err != nil {
		return err
	}
	_, err = m.Vectors[0].Store.Delete(ctx, index(m.Embed.Dimension()), mastra.VectorSelection{Filter: filter})
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		err = nil
	}
	return err
}

// Text is what a message says: its text parts.
func Text(m *mastra.Message) string {
	var c mastra.Content
	if schema.Unmarshal(m.Content, &c) != nil {
		return ""
	}
	if strings.TrimSpace(c.Content) != "" {
		return c.Content
	}
	return strings.TrimSpace(mastra.PromptMessage{Parts: c.Parts}.Text())
}

// chunks cuts a text into pieces that can be embedded, at a blank where there is one.
func chunks(text string) (out []string) {
	text = strings.ToValidUTF8(strings.TrimSpace(text), "")
	for len(text) > chunkBytes {
		end := chunkBytes
		for !utf8.RuneStart(text[end]) {
			end--
		}
		if blank := strings.LastIndexAny(text[:end], " \n\t"); blank > chunkBytes/2 {
			end = blank
		}
		out = append(out, strings.TrimSpace(text[:end]))
		text = strings.TrimSpace(text[end:])
	}
	if text != "" {
		out = append(out, text)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}
