package recall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Observed is what an agent's observer has noted of a thread: it stands in the prompt for the messages that it tells of.
type Observed struct {
	ID         string       `json:"id"`
	CreatedAt  mastra.Time  `json:"createdAt"`
	UpdatedAt  mastra.Time  `json:"updatedAt"`
	LastAt     mastra.Time  `json:"lastObservedAt,omitzero"` // of the last message that it tells of
	Origin     string       `json:"originType"`              // "initial", "observation", "reflection"
	Generation int          `json:"generationCount"`         // how often it was condensed
	Text       string       `json:"activeObservations"`
	Task       string       `json:"currentTask,omitempty"`
	Next       string       `json:"suggestedResponse,omitempty"`
	Total      int          `json:"totalTokensObserved"`
	Until      mastra.Time  `json:"until,omitzero"` // somebody observes, at most until then
	Reflecting bool         `json:"isReflecting,omitzero"`
	Former     []Generation `json:"former,omitempty"` // what was condensed, the newest first
	Seen       []Seen       `json:"seen,omitempty"`   // the latest messages that it tells of: others may yet come in between

	version int
}

// Generation is what was noted before it was condensed.
type Generation struct {
	ID        string      `json:"id"`
	Number    int         `json:"generationCount"`
	CreatedAt mastra.Time `json:"createdAt"`
	LastAt    mastra.Time `json:"lastObservedAt"`
	Text      string      `json:"activeObservations"`
	Total     int         `json:"totalTokensObserved"`
}

// Seen is a message that was observed.
type Seen struct {
	ID string      `json:"i"`
	At mastra.Time `json:"t"`
}

// A run stores its answer under the time at which the model began to write: a message may come in so late behind others.
const lateBy = mastra.Time(20 * 60 * 1000)

const maxSeen = 1000

// Tells says whether a message was observed.
func (o *Observed) Tells(m *mastra.Message) bool {
	return o.LastAt != 0 && (m.CreatedAt <= o.LastAt-lateBy || slices.ContainsFunc(o.Seen, func(s Seen) bool { return s.ID == m.ID }))
}

// See notes that messages were observed.
func (o *Observed) See(messages []mastra.Message) {
	for i := range messages {
		o.LastAt = max(o.LastAt, messages[i].CreatedAt)
		o.Seen = append(o.Seen, Seen{messages[i].ID, messages[i].CreatedAt})
	}
	o.Seen = slices.DeleteFunc(o.Seen, func(s Seen) bool { return s.At <= o.LastAt-lateBy })
	o.Seen = o.Seen[max(0, len(o.Seen)-maxSeen):]
}

// maxObserved is how many bytes of observations are kept, keptFormer how many with those that were condensed.
const (
	maxObserved = 120 << 10
	keptFormer  = 240 << 10
)

// ReadObserved reads what was observed of a thread. Of one that nothing was observed of the ID is empty.
func ReadObserved(ctx context.Context, s mastra.Storage, threadID string) (*Observed, error) {
	n, err := s.WorkingMemory(ctx, mastra.NotesOf{ThreadID: threadID, Observed: true})
	if err != nil {
		return nil, err
	}
	o := &Observed{Origin: "initial", version: n.Version}
	if n.Data != "" {
		if err := schema.Unmarshal([]byte(n.Data), o); err != nil {
			return nil, fmt.Errorf("what was observed of thread %s: %w", threadID, err)
		}
	}
	return o, nil
}

// Save writes it where nobody has since it was read: else it is a CodeConflict. What is too long loses its oldest part.
func (o *Observed) Save(ctx context.Context, s mastra.Storage, threadID string, now mastra.Time) error {
	if o.ID == "" {
		o.ID, o.CreatedAt = mastra.NewID(), now
	}
	o.UpdatedAt = now
	if extra := len(o.Text) - maxObserved; extra > 0 {
		_, o.Text, _ = strings.Cut(strings.ToValidUTF8(o.Text[extra:], ""), "\n")
	}
	for {
		data, err := schema.Marshal(o)
		if err != nil {
			return err
		}
		if n := len(o.Former); n > 0 && len(data) > keptFormer {
			o.Former = o.Former[:n-1]
			continue
		}
		if len(data) > mastra.MaxNotes { // much of it is escaped
			o.Text, o.Seen = strings.ToValidUTF8(o.Text[len(o.Text)/4:], ""), o.Seen[len(o.Seen)/4:]
			continue
		}
		err = s.SaveWorkingMemory(ctx, mastra.Notes{Of: mastra.NotesOf{ThreadID: threadID, Observed: true}, Data: string(data), Version: o.version})
		if err == nil {
			o.version++
		}
		return err
	}
}

// Tokens are about how many the observations have.
func (o *Observed) Tokens() int { return len(o.Text) / 4 }

// Unobserved reads the messages of a thread that were not observed, oldest first, at most the newest limit.
func (o *Observed) Unobserved(ctx context.Context, s mastra.Storage, threadID string, limit int) ([]mastra.Message, error) {
	q := mastra.MessageQuery{ThreadID: threadID, Descending: true, Paging: mastra.Paging{PerPage: limit + len(o.Seen)}}
	if o.LastAt != 0 {
		q.From = max(1, o.LastAt-lateBy+1)
	}
	page, err := s.Messages(ctx, q)
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(page.Items, func(m mastra.Message) bool { return o.Tells(&m) })
	out = out[:min(limit, len(out))]
	slices.Reverse(out)
	return out, nil
}
