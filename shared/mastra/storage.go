package mastra

import (
	"context"
	"slices"
	"time"
	"unicode/utf8"
)

// Thread is a conversation. It keeps the owner it was made with.
type Thread struct {
	ID         string `json:"id"`
	ResourceID string `json:"resourceId"`
	Title      string `json:"title"`
	Metadata   JSON   `json:"metadata"`
	CreatedAt  Time   `json:"createdAt"`
	UpdatedAt  Time   `json:"updatedAt"`
}

// Paging asks for a page. Page counts from 0.
type Paging struct{ Page, PerPage int }

// Page is one page of a list. Total counts all pages.
type Page[T any] struct {
	Items   []T
	Total   int
	HasMore bool
}

// ThreadQuery lists threads, the last updated first unless OrderBy ("createdAt", "updatedAt") and Ascending say else.
type ThreadQuery struct {
	ResourceID string // "": of all
	OrderBy    string
	Ascending  bool
	Paging
}

// MessageQuery lists the messages of a thread, oldest first unless Descending. A page of a descending query is
// in descending order too.
type MessageQuery struct {
	ThreadID   string
	Descending bool
	From, To   Time // by CreatedAt, inclusive; 0 is open
	Paging
}

// MessageRef names a message and how many of its thread before and after it.
type MessageRef struct {
	ID            string
	Before, After int
}

// Surrounding is a message among its neighbours, oldest first.
type Surrounding struct {
	Before  []Message
	Message Message
	After   []Message
}

// NotesOf names a thread or a resource, never both.
type NotesOf struct {
	ThreadID, ResourceID string
	Observed             bool // what was observed of a thread, instead of its working memory
}

// Notes are a working memory as it is kept, or what was observed of a thread.
type Notes struct {
	Of      NotesOf
	Data    string
	Version int
}

// MaxNotes is how many bytes notes may have: they are a part of every prompt.
const MaxNotes = 256 << 10

// Check refuses notes that nobody owns, or both, and those that are too long.
func (n *Notes) Check() error {
	owner := n.Of.ThreadID + n.Of.ResourceID
	switch {
	case (n.Of.ThreadID == "") == (n.Of.ResourceID == ""), len(owner) > 1024, !utf8.ValidString(owner):
		return Errorf(CodeInvalid, "Working memory is of a thread or of a resource, whose id has up to 1024 bytes")
	case n.Of.Observed && n.Of.ThreadID == "":
		return Errorf(CodeInvalid, "What is observed is of a thread")
	case len(n.Data) > MaxNotes:
		return Errorf(CodeTooLarge, "The working memory is longer than %d bytes", MaxNotes)
	}
	return nil
}

// RunQuery lists the runs of a workflow, newest first.
type RunQuery struct {
	WorkflowID string // required
	ResourceID string
	Status     RunStatus
	From, To   Time
	Paging
}

// TraceQuery lists the root spans of traces, last started first unless Ascending. Zero fields match all.
type TraceQuery struct {
	EntityType, EntityID, EntityName string
	SpanType, Name, Status           string
	RunID, ThreadID, ResourceID      string
	From, To                         Time     // by StartedAt, inclusive
	Tags                             []string // all of them
	OrderByEnd                       bool
	Ascending                        bool
	// Types, where not nil, lists the spans of these types wherever they stand in their traces, instead of roots: each once, as it
	// was committed last. Then all that is said of a root here is said of such a span.
	Types []string
	// ChildError asks, where Types is nil, for the traces that have, or have not, a failed span below their root.
	ChildError *bool
	// Having, where not nil, is what a span of each trace that is wanted is like: a storage that knows the others soon may leave them
	// out, or leave them to its caller.
	Having *SpanMatch
	// Match is a further condition. It sees the root without input, output, attributes and metadata, unless Whole is set.
	Match func(root *Span) bool
	Whole bool
	// Uncounted asks for no total: Total is what was seen until the page was full.
	Uncounted bool
	Paging
}

// Fits says whether a span is what a query asks for by its texts, its status and its tags.
func (q *TraceQuery) Fits(s *Span) bool {
	for _, f := range [...][2]string{{q.EntityType, s.EntityType}, {q.EntityID, s.EntityID}, {q.EntityName, s.EntityName}, {q.SpanType, s.Type}, {q.Name, s.Name},
		{q.Status, s.Status()}, {q.RunID, s.RunID}, {q.ThreadID, s.ThreadID}, {q.ResourceID, s.ResourceID}} {
		if f[0] != "" && f[0] != f[1] {
			return false
		}
	}
	return !slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}

// Finds says whether a span Fits, started within the query's time, and meets its Match.
func (q *TraceQuery) Finds(s *Span) bool {
	return q.Fits(s) && (q.From == 0 || s.StartedAt >= q.From) && (q.To == 0 || s.StartedAt <= q.To) && (q.Match == nil || q.Match(s))
}

// SpanMatch is what a span is like. Empty fields match all.
type SpanMatch struct {
	SpanType, Name, Status           string
	EntityType, EntityID, EntityName string
}

// ScoreQuery lists scores or feedback, newest first unless Ascending. Zero fields match all. Of what it asks of entities
// and scorers feedback knows nothing.
type ScoreQuery struct {
	ID                               string
	TraceID, SpanID, ScorerID, RunID string
	EntityType, EntityID             string
	TraceIDs                         []string          // of any of these, where not nil
	From, To                         Time              // by CreatedAt, inclusive
	Match                            func(Signal) bool // a further condition
	Ascending                        bool
	Paging
}

// SpanQuery asks for outlines of spans, the newest first unless Ascending.
type SpanQuery struct {
	From, To  Time // by the time that the first span of a commit started, inclusive
	Ascending bool
	TraceIDs  []string // where not nil, of these traces alone; then the rest is ignored
}

// Batch is what becomes durable together, or not at all.
type Batch struct {
	// Again says that a process may have died in the middle of committing the same messages, where the storage is ClaimsFirst.
	Again bool
	// Threads are created, or updated if they exist: title, metadata and UpdatedAt change, owner and CreatedAt stay.
	// A thread of another owner is a CodeForbidden error.
	Threads []Thread
	// Messages replace those of the same ID in the same thread; an ID of another thread is a CodeConflict.
	// The thread must exist or be in Threads (else CodeNotFound) and its UpdatedAt is raised to the newest CreatedAt.
	Messages []Message
	Runs     []RunUpdate
	Claims   []ClaimUpdate
	Spans    []Span // a span of the same trace and id, which started at the same time, is replaced
	Chunks   []ChunkBlock
	Scores   []Score
	Feedback []Feedback
	// Ahead lets Commit return once the batch outlives the process, while it is on its way to the disk, where a power failure
	// would still take it: for what nobody acts upon before a later Commit has returned, which brings all before it there. One of
	// an empty batch does nothing else.
	Ahead bool
}

// Storage keeps threads, runs and traces of every tenant apart: each call works on that of Tenant(ctx).
// It is safe for concurrent use, also by several processes. What a call returned without an error is durable.
// What is not there is an Error of CodeNotFound; a lost race is one of CodeConflict.
type Storage interface {
	// Commit writes a batch in one transaction. Many commits at once share the cost of one.
	Commit(ctx context.Context, b *Batch) error

	Thread(ctx context.Context, id string) (*Thread, error)
	Threads(ctx context.Context, q ThreadQuery) (*Page[Thread], error)
	DeleteThread(ctx context.Context, id string) error // with its messages and traces
	Messages(ctx context.Context, q MessageQuery) (*Page[Message], error)
	DeleteMessages(ctx context.Context, ids []string) (deleted int, err error)
	// MessagesAround reads messages wherever they are, each with its neighbours in its thread, in the order of refs. Those that
	// are not there are left out.
	MessagesAround(ctx context.Context, refs []MessageRef) ([]Surrounding, error)
	// TransferThread gives a thread and its messages to another resource. Where it is from's no more, it is a CodeConflict.
	TransferThread(ctx context.Context, id, from, to string) error
	// WorkingMemory reads what is noted of a thread or a resource; of one without notes Version is 0.
	WorkingMemory(ctx context.Context, of NotesOf) (*Notes, error)
	// SaveWorkingMemory replaces notes where their Version is still n.Version, and raises it; else it is a CodeConflict.
	// Those of a thread that is not there are a CodeNotFound. They are deleted with the thread.
	SaveWorkingMemory(ctx context.Context, n Notes) error
	// Recall reads what a run begins with in one go: the thread (nil if there is none) and its last messages, oldest first.
	Recall(ctx context.Context, threadID string, last int) (*Thread, []Message, error)

	Run(ctx context.Context, id string) (*Run, error)
	Runs(ctx context.Context, q RunQuery) (*Page[Run], error) // without Steps
	DeleteRun(ctx context.Context, id string) error           // with its chunks
	// Lease takes a run for owner until the given time where nobody holds it or owner does, raises its Fence if the
	// holder changes, and returns the run. A run that another one holds is a CodeConflict.
	Lease(ctx context.Context, id, owner string, until Time) (*Run, error)
	// Expired lists up to limit active runs of all tenants whose lease ended before now.
	Expired(ctx context.Context, now Time, limit int) ([]RunRef, error)
	// Chunks reads up to limit blocks of a run's stream, in order, from the first that has a chunk behind after on.
	// A run that there is nothing of has none.
	Chunks(ctx context.Context, runID string, after Position, limit int) ([]ChunkBlock, error)
	// Claim reads the record of an idempotency key, nil if there is none or it has expired.
	Claim(ctx context.Context, key string) (*Claim, error)

	Trace(ctx context.Context, traceID string) ([]Span, error) // in order of StartedAt, the root first among equals
	Traces(ctx context.Context, q TraceQuery) (*Page[Span], error)
	Scores(ctx context.Context, q ScoreQuery) (*Page[Score], error)
	Feedback(ctx context.Context, q ScoreQuery) (*Page[Feedback], error)
	// Outlines calls yield with the spans of one commit and trace after the other, without input, output, attributes and
	// metadata, with Model set and Error no more than {}. It ends where yield says false; where there are too many to look
	// through it is a CodeInvalid.
	Outlines(ctx context.Context, q SpanQuery, yield func(spans []Span) bool) error
	// DeleteTraces deletes traces with the scores and feedback that were given to them, and DeleteScores and DeleteFeedback
	// those of the ids. What is not there is passed over.
	DeleteTraces(ctx context.Context, traceIDs []string) error
	DeleteScores(ctx context.Context, ids []string) error
	DeleteFeedback(ctx context.Context, ids []string) error
	// Names are those that spans have had, sorted: of a kind ("entity", "tag"), below a type of entity.
	Names(ctx context.Context) ([]Name, error)

	Close() error
}

// ClaimsFirst is a Storage whose commits a process that dies may leave half done, unless they are conditional in one place: a claim
// is committed first, and what it protects once it is made.
type ClaimsFirst interface{ ClaimsFirst() }

// Name is an entity's name or a tag, as spans of a type of entity have it.
type Name struct{ Kind, EntityType, Text string }

// Kinds of names.
const (
	NameEntity = "entity"
	NameTag    = "tag"
)

// RunRef names a run of any tenant.
type RunRef struct{ Tenant, RunID string }

// APIKey is a key as it is kept: the secret itself is not.
type APIKey struct {
	Hash      string    `json:"hash"` // hexadecimal SHA-256 of the secret
	ID        string    `json:"id"`   // shown in lists, names it for revoking
	Name      string    `json:"name"`
	Principal Principal `json:"principal"`
	CreatedAt Time      `json:"createdAt"`
}

// KeyStore keeps API keys.
type KeyStore interface {
	APIKey(ctx context.Context, hash string) (*APIKey, error) // CodeNotFound where there is none
	APIKeys(ctx context.Context) ([]APIKey, error)
	AddAPIKey(ctx context.Context, k APIKey) error
	RevokeAPIKey(ctx context.Context, id string) error
}

// Retention says how long a storage keeps what was recorded; 0 is for ever.
type Retention struct{ Traces, Scores, Feedback time.Duration }
