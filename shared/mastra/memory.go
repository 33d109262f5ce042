package mastra

import (
	"cmp"
	"fmt"
	"strconv"

	"mastralambda/shared/schema"
)

// Memory is what an agent remembers of a thread, and of the resource (a user, mostly) whose thread it is.
type Memory struct {
	LastMessages   int                  // how many messages of the thread a run begins with
	MaxTokens      int                  // about how many tokens they may have: the oldest are left out; 0 is no limit
	SemanticRecall *SemanticRecall      // nil: nothing is recalled by its meaning
	WorkingMemory  *WorkingMemory       // nil: the agent keeps no notes
	GenerateTitle  *GenerateTitle       // nil: threads keep the title that they are given
	Observational  *ObservationalMemory // nil: messages are remembered as they are
	ReadOnly       bool                 // recall, but store nothing
}

// ObservationalMemory has a model note what happens in a thread. The notes take the place of the messages that they tell of, so
// that a conversation may be longer than a prompt: LastMessages and MaxTokens do not count then. Both models are asked behind an answer.
type ObservationalMemory struct {
	Model             string // "provider/model-id" of the observer; the agent's where empty
	MessageTokens     int    // at about how many tokens messages are observed; 30 000 where 0
	ObservationTokens int    // at about how many tokens the notes are condensed; 20 000 where 0
	Instructions      string // beside the standard ones
}

// Messages and Observations are the limits, with what holds where none is given.
func (o *ObservationalMemory) Messages() int     { return cmp.Or(o.MessageTokens, 30_000) }
func (o *ObservationalMemory) Observations() int { return cmp.Or(o.ObservationTokens, 20_000) }

// MaxObservationTokens is how long notes may get: they are kept in one piece.
const MaxObservationTokens = 30_000

// Scope says what is remembered together.
type Scope string

const (
	ScopeResource Scope = "resource" // all threads of a resource
	ScopeThread   Scope = "thread"
)

// SemanticRecall finds messages that mean something like what the user says. It needs an embedder and a vector store.
type SemanticRecall struct {
	TopK      int          `json:"topK" minimum:"1" maximum:"100"` // how many are found; DefaultTopK where 0
	Range     MessageRange `json:"messageRange"`
	Scope     Scope        `json:"scope,omitempty" enum:"thread,resource"` // resource where empty
	Threshold *float64     `json:"threshold,omitempty"`                    // the least score of those found
	// Filter is a condition more, in the filter language of vectors: over role, created_at, thread_id, resource_id and
	// message_id of the message, and the metadata that its thread had when it was stored.
	Filter JSON `json:"filter,omitzero"`
}

// DefaultTopK is how many messages are found where TopK is 0.
const DefaultTopK = 4

// MessageRange is how many messages around each one that is found are recalled with it.
type MessageRange struct{ Before, After int }

// EachSide is the same range before and after.
func EachSide(n int) MessageRange { return MessageRange{n, n} }

// MarshalJSON writes one number where both are the same.
func (r MessageRange) MarshalJSON() ([]byte, error) {
	if r.Before == r.After {
		return strconv.AppendInt(nil, int64(r.Before), 10), nil
	}
	return fmt.Appendf(nil, `{"before":%d,"after":%d}`, r.Before, r.After), nil
}

func (r *MessageRange) UnmarshalJSON(data []byte) error {
	if kind(data) != '{' {
		err := schema.Unmarshal(data, &r.Before)
		r.After = r.Before
		return err
	}
	var both struct {
		Before int `json:"before"`
		After  int `json:"after"`
	}
	err := schema.Unmarshal(data, &both)
	*r = MessageRange(both)
	return err
}

func (MessageRange) JSONSchema() *schema.Doc {
	zero, most := 0.0, 100.0
	n := &schema.Doc{Type: "integer", Minimum: &zero, Maximum: &most}
	return &schema.Doc{AnyOf: []*schema.Doc{n, {Type: "object", Properties: map[string]*schema.Doc{"before": n, "after": n}}}}
}

// WorkingMemory are notes that the agent keeps by a tool, updateWorkingMemory, and sees with every call.
type WorkingMemory struct {
	Scope    Scope          // resource where empty
	Template string         // Markdown: the form of the notes
	Schema   *schema.Schema `json:"-"` // instead of Template: the notes are JSON. What the agent notes is merged into them
}

// WorkingMemoryOf keeps notes in the shape of T.
func WorkingMemoryOf[T any](scope Scope) *WorkingMemory {
	return &WorkingMemory{Scope: scope, Schema: schema.For[T]()}
}

// Of names whose notes a run of that thread and resource keeps.
func (w *WorkingMemory) Of(threadID, resourceID string) NotesOf {
	if w.Scope == ScopeThread {
		return NotesOf{ThreadID: threadID}
	}
	return NotesOf{ResourceID: resourceID}
}

// DefaultTemplate is the form of notes where none is given.
const DefaultTemplate = `# About the user
- **Name**:
- **Location**:
- **Occupation**:
- **Interests**:
- **Goals**:
- **Events**:
- **Preferences**:
`

// Form is the template, DefaultTemplate where none is given.
func (w *WorkingMemory) Form() string {
	if w.Template == "" {
		return DefaultTemplate
	}
	return w.Template
}

// GenerateTitle gives a thread without a title one, after its first answer.
type GenerateTitle struct {
	Model        string // "provider/model-id" of the model that finds it; the agent's where empty
	Instructions string // instead of the standard ones
}

func (m *Memory) check(agent string) error {
	if m == nil {
		return nil
	}
	if r := m.SemanticRecall; r != nil && (r.TopK < 0 || r.Range.Before < 0 || r.Range.After < 0 || r.Scope != "" && r.Scope != ScopeThread && r.Scope != ScopeResource) {
		return fmt.Errorf("agent %s: its semantic recall makes no sense: %+v", agent, *r)
	}
	if o := m.Observational; o != nil && (o.MessageTokens < 0 || o.ObservationTokens < 0 || o.ObservationTokens > MaxObservationTokens) {
		return fmt.Errorf("agent %s: its observational memory makes no sense: notes may have %d tokens at most", agent, MaxObservationTokens)
	}
	if w := m.WorkingMemory; w != nil {
		if w.Scope != "" && w.Scope != ScopeThread && w.Scope != ScopeResource {
			return fmt.Errorf("agent %s: the scope of its working memory is %q", agent, w.Scope)
		}
		if w.Schema != nil {
			if w.Template != "" {
				return fmt.Errorf("agent %s: its working memory has either a template or a schema", agent)
			}
			if err := w.Schema.Check(); err != nil {
				return fmt.Errorf("agent %s: the schema of its working memory: %w", agent, err)
			}
		}
	}
	return nil
}
