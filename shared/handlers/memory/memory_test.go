package memory_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/sqlite"
	"mastralambda/shared/vectorstore/embedded"
)

type profile struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
}

// open is an application with agents that remember in different ways.
func open(t *testing.T) *mastra.Mastra {
	t.Helper()
	store, err := sqlite.Open(t.TempDir() + "/memory.db")
	if err != nil {
		t.Fatal(err)
	}
	vectors, err := embedded.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vectors.Close(); store.Close() })
	m, err := mastra.New(mastra.Config{
		Agents: []*mastra.Agent{
			{ID: "semantic", Memory: &mastra.Memory{LastMessages: 5, SemanticRecall: &mastra.SemanticRecall{Range: mastra.EachSide(1)}, WorkingMemory: &mastra.WorkingMemory{Template: "# Notes\n"}}},
			{ID: "shaped", Memory: &mastra.Memory{WorkingMemory: mastra.WorkingMemoryOf[profile](mastra.ScopeThread)}},
			{ID: "plain", Memory: &mastra.Memory{}}, {ID: "forgetful"},
		},
		Backends: mastra.Backends{Storage: store, Embed: offline.Embedder{}, Logger: slog.New(slog.DiscardHandler),
			Vectors: []mastra.NamedVectorStore{{Name: "embedded", Store: vectors}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func save(t *testing.T, m *mastra.Mastra, thread, resource string, texts ...string) {
	t.Helper()
	in := memory.SaveMessagesInput{AgentID: "semantic"}
	for i, text := range texts {
		in.Messages = append(in.Messages, memory.SavedMessage{ID: fmt.Sprintf("%s-%d", thread, i), Role: "user", ThreadID: thread, ResourceID: resource,
			CreatedAt: mastra.Time(1000 + i), Content: memory.Body(fmt.Sprintf("%q", text))})
	}
	if _, err := memory.SaveMessages(t.Context(), m, in); err != nil {
		t.Fatal(err)
	}
}

func refuses(t *testing.T, what string, want mastra.Code, err error) {
	t.Helper()
	if mastra.CodeOf(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// bound is a context of a caller who may see ann's things only.
func bound(t *testing.T) context.Context {
	return mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "k", Resource: "ann"})
}

func found(t *testing.T, ctx context.Context, m *mastra.Mastra, agent, resource, thread, query string) (ids []string) {
	t.Helper()
	got, err := memory.SearchMemory(ctx, m, memory.SearchInput{AgentID: agent, ResourceID: resource, ThreadID: thread, Query: query, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Results {
		ids = append(ids, f.ID)
	}
	return ids
}

func TestSearch(t *testing.T) {
	m := open(t)
	save(t, m, "t1", "ann", "The penguin walks", "Nothing here", "Cats sleep all day")
	save(t, m, "t2", "bob", "Another penguin walks")
	save(t, m, "t3", "ann", "A penguin swims in summer")
	for _, c := range []struct {
		ctx                            context.Context
		agent, resource, thread, query string
		want                           string
	}{
		{t.Context(), "semantic", "ann", "", "penguin walks", "t1-0"},
		{t.Context(), "semantic", "bob", "", "penguin walks", "t2-0"},
		{t.Context(), "semantic", "ann", "t3", "penguin walks", "t3-0"},
		{t.Context(), "semantic", "nobody", "", "penguin walks", ""},
		{bound(t), "semantic", "bob", "", "penguin walks", "t1-0"}, // whatever it says
		{t.Context(), "plain", "ann", "", "SLEEP cats", "t1-2"},
		{t.Context(), "plain", "ann", "", "sleepless", ""},
		{t.Context(), "plain", "ann", "t3", "cats", ""},
	} {
		if got := strings.Join(found(t, c.ctx, m, c.agent, c.resource, c.thread, c.query), " "); got != c.want {
			t.Errorf("%s %s %s %q: %q, want %q", c.agent, c.resource, c.thread, c.query, got, c.want)
		}
	}
	got, err := memory.SearchMemory(t.Context(), m, memory.SearchInput{AgentID: "semantic", ResourceID: "ann", Query: "nothing here", Limit: 1})
	if err != nil || got.Count != 1 || got.Type != "semantic" || got.Results[0].Context.Before[0].ID != "t1-0" || got.Results[0].Context.After[0].ID != "t1-2" || got.Results[0].ThreadTitle != "t1" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := memory.Save(t.Context(), m, memory.SaveInput{ThreadID: "t4", ResourceID: "cem", Messages: []memory.SavedMessage{{ID: "t4-0", Role: "user", Content: memory.Body(`"a walrus"`)}}}); err != nil {
		t.Fatal(err)
	}
	if got := found(t, t.Context(), m, "semantic", "cem", "", "walrus"); strings.Join(got, " ") != "t4-0" {
		t.Errorf("saved at the document's path: %v", got)
	}
	_, err = memory.SearchMemory(t.Context(), m, memory.SearchInput{AgentID: "semantic", ResourceID: "bob", ThreadID: "t1", Query: "x"})
	refuses(t, "another's thread", mastra.CodeForbidden, err)
	_, err = memory.SearchMemory(t.Context(), m, memory.SearchInput{AgentID: "forgetful", ResourceID: "bob", Query: "x"})
	refuses(t, "an agent without memory", mastra.CodeInvalid, err)
	// What is deleted is found no more.
	if _, err := memory.DeleteMessages(t.Context(), m, memory.DeleteMessagesInput{AgentID: "semantic", MessageIDs: memory.MessageIDs{"t1-0"}}); err != nil {
		t.Fatal(err)
	}
	if got := found(t, t.Context(), m, "semantic", "ann", "", "penguin"); strings.Join(got, " ") != "t3-0" {
		t.Errorf("after the deletion: %v", got)
	}
	if _, err := memory.DeleteThread(t.Context(), m, memory.DeleteThreadInput{ThreadID: "t3"}); err != nil {
		t.Fatal(err)
	}
	index, err := m.Vectors[0].Store.DescribeIndex(t.Context(), "memory_messages_256")
	if err != nil || index.Count != 4 {
		t.Errorf("vectors left: %+v, %v", index, err)
	}
}

func TestCloneAndTransfer(t *testing.T) {
	m := open(t)
	save(t, m, "t", "ann", "zero", "one unicorn", "two", "three")
	all := memory.CloneInput{ThreadID: "t", AgentID: "semantic"}
	for _, c := range []struct {
		name string
		in   func(in *memory.CloneInput)
		want string
	}{
		{"all", func(*memory.CloneInput) {}, "0 1 2 3"},
		{"the newest", func(in *memory.CloneInput) { in.Options.MessageLimit = 2 }, "2 3"},
		{"by id", func(in *memory.CloneInput) { in.Options.MessageFilter.MessageIDs = []string{"t-3", "t-1", "none"} }, "1 3"},
		{"by time", func(in *memory.CloneInput) {
			in.Options.MessageFilter.StartDate, in.Options.MessageFilter.EndDate = 1001, 1002
		}, "1 2"},
	} {
		in := all
		c.in(&in)
		got, err := memory.CloneThread(t.Context(), m, in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var sources []string
		for _, msg := range got.ClonedMessages {
			for from, to := range got.MessageIDMap {
				if to == msg.ID {
					sources = append(sources, strings.TrimPrefix(from, "t-"))
				}
			}
			if msg.ThreadID != got.Thread.ID || msg.ResourceID != "ann" {
				t.Errorf("%s: %+v", c.name, msg)
			}
		}
		if strings.Join(sources, " ") != c.want {
			t.Errorf("%s: %v", c.name, sources)
		}
	}
	named := all
	named.NewThreadID, named.ResourceID, named.Metadata = "copy", "bob", map[string]mastra.JSON{"k": mastra.JSON(`1`)}
	got, err := memory.CloneThread(t.Context(), m, named)
	if err != nil || got.Thread.ResourceID != "bob" || !strings.HasPrefix(string(got.Thread.Metadata), `{"clone":{"sourceThreadId":"t",`) || !strings.HasSuffix(string(got.Thread.Metadata), `"lastMessageId":"t-3"},"k":1}`) {
		t.Errorf("%+v, %v", got.Thread, err)
	}
	if ids := found(t, t.Context(), m, "semantic", "bob", "", "unicorn"); len(ids) != 1 || ids[0] != got.MessageIDMap["t-1"] {
		t.Errorf("the copy is not found: %v", ids)
	}
	_, err = memory.CloneThread(t.Context(), m, named)
	refuses(t, "a second time", mastra.CodeConflict, err)
	_, err = memory.CloneThread(bound(t), m, memory.CloneInput{ThreadID: "copy", AgentID: "semantic"})
	refuses(t, "another's", mastra.CodeForbidden, err)
	mine, err := memory.CloneThread(bound(t), m, memory.CloneInput{ThreadID: "t", AgentID: "semantic", ResourceID: "bob"})
	if err != nil || mine.Thread.ResourceID != "ann" {
		t.Errorf("%+v, %v", mine.Thread, err)
	}

	_, err = memory.TransferThread(bound(t), m, memory.TransferInput{ThreadID: "t", ResourceID: "bob"})
	refuses(t, "a bound caller", mastra.CodeForbidden, err)
	th, err := memory.TransferThread(t.Context(), m, memory.TransferInput{ThreadID: "t", ResourceID: "eve"})
	if err != nil || th.ResourceID != "eve" {
		t.Errorf("%+v, %v", th, err)
	}
	if ids := found(t, t.Context(), m, "semantic", "eve", "", "unicorn"); len(ids) != 1 || ids[0] != "t-1" {
		t.Errorf("its new owner finds %v", ids)
	}
	_, err = memory.Thread(bound(t), m, memory.ThreadInput{ThreadID: "t"})
	refuses(t, "its former owner", mastra.CodeForbidden, err)
}

func TestWorkingMemory(t *testing.T) {
	m := open(t)
	save(t, m, "t", "ann", "hello")
	set := func(ctx context.Context, agent, resource, notes string) error {
		_, err := memory.SetWorkingMemory(ctx, m, memory.SetWorkingInput{ThreadID: "t", AgentID: agent, ResourceID: resource, WorkingMemory: notes})
		return err
	}
	get := func(ctx context.Context, agent, thread, resource string) memory.Working {
		w, err := memory.WorkingMemory(ctx, m, memory.WorkingInput{ThreadID: thread, AgentID: agent, ResourceID: resource})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if w := get(t.Context(), "semantic", "t", "ann"); w.WorkingMemory != nil || w.Source != "resource" || *w.Template != (memory.WorkingShape{Format: "markdown", Content: "# Notes"}) || !w.ThreadExists {
		t.Errorf("%+v", w)
	}
	for _, notes := range []string{"first", "second"} {
		if err := set(bound(t), "semantic", "bob", notes); err != nil { // whatever it says
			t.Fatal(err)
		}
	}
	if w := get(t.Context(), "semantic", "other", "ann"); w.WorkingMemory == nil || *w.WorkingMemory != "second" || w.ThreadExists {
		t.Errorf("%+v", w)
	}
	if w := get(t.Context(), "semantic", "other", "bob"); w.WorkingMemory != nil {
		t.Errorf("%+v", w)
	}
	if w := get(t.Context(), "shaped", "t", ""); w.Source != "thread" || w.Template.Content != `{"name":"","tags":[]}` {
		t.Errorf("%+v %+v", w, w.Template)
	}
	refuses(t, "no JSON", mastra.CodeInvalid, set(t.Context(), "shaped", "", "text"))
	refuses(t, "another shape", mastra.CodeInvalid, set(t.Context(), "shaped", "", `{"tags":[]}`))
	if err := set(t.Context(), "shaped", "", `{"name":"Ann"}`); err != nil {
		t.Error(err)
	}
	if w := get(t.Context(), "shaped", "t", ""); *w.WorkingMemory != `{"name":"Ann"}` {
		t.Errorf("%+v", w)
	}
	refuses(t, "another's thread", mastra.CodeForbidden, set(t.Context(), "semantic", "bob", "x"))
	refuses(t, "too long", mastra.CodeTooLarge, set(t.Context(), "semantic", "", strings.Repeat("x", mastra.MaxNotes+1)))
	refuses(t, "not enabled", mastra.CodeInvalid, set(t.Context(), "plain", "", "x"))
	refuses(t, "no memory", mastra.CodeInvalid, set(t.Context(), "forgetful", "", "x"))
}

func TestDeletionsAreTheOwners(t *testing.T) {
	m := open(t)
	save(t, m, "t", "ann", "a", "b")
	save(t, m, "u", "bob", "c")
	_, err := memory.DeleteMessages(bound(t), m, memory.DeleteMessagesInput{AgentID: "plain", ResourceID: "bob", MessageIDs: memory.MessageIDs{"t-0", "u-0"}})
	refuses(t, "one is another's", mastra.CodeForbidden, err)
	page, err := memory.Messages(t.Context(), m, memory.MessagesInput{ThreadID: "t"})
	if err != nil || page.Total != 2 {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestMessages(t *testing.T) {
	m := open(t)
	save(t, m, "t", "ann", "a", "b", "c", "d", "e")
	save(t, m, "u", "ann", "x", "y")
	save(t, m, "v", "bob", "z")
	if err := m.Storage.Commit(t.Context(), &mastra.Batch{Threads: []mastra.Thread{{ID: "w", ResourceID: "ann"}}, Messages: []mastra.Message{
		{ID: "w-0", Role: "user", ThreadID: "w", ResourceID: "ann", CreatedAt: 1, Content: mastra.JSON(`{"format":2,"parts":[],"metadata":{"kind":"odd"}}`)},
		{ID: "w-1", Role: "assistant", ThreadID: "w", ResourceID: "ann", CreatedAt: 2, Content: mastra.JSON(`{"format":2,"parts":[]}`)}}}); err != nil {
		t.Fatal(err)
	}
	one := 1
	for _, c := range []struct {
		name string
		ctx  context.Context
		in   memory.MessagesInput
		want string
	}{
		{"the newest page", t.Context(), memory.MessagesInput{PerPage: &one}, "t-4"},
		{"with others", t.Context(), memory.MessagesInput{PerPage: &one, Include: []memory.Include{{ID: "t-1", Previous: 5, Next: 1}, {ID: "t-4"}, {ID: "none"}}}, "t-0 t-1 t-2 t-4"},
		{"with another thread's", t.Context(), memory.MessagesInput{PerPage: &one, Include: []memory.Include{{ID: "u-1"}}}, "u-1 t-4"},
		{"but not another owner's", bound(t), memory.MessagesInput{PerPage: &one, Include: []memory.Include{{ID: "v-0"}, {ID: "u-0"}}}, "u-0 t-4"},
		{"of a role", t.Context(), memory.MessagesInput{Filter: &memory.Filter{Roles: []string{"assistant"}}}, "w-1"},
		{"of two", t.Context(), memory.MessagesInput{PerPage: &one, Page: 1, Filter: &memory.Filter{Roles: []string{"assistant", "user"}}}, "w-0"},
		{"of a kind", t.Context(), memory.MessagesInput{Filter: &memory.Filter{Metadata: map[string]mastra.JSON{"kind": mastra.JSON(`"odd"`)}}}, "w-0"},
		{"of none", t.Context(), memory.MessagesInput{Filter: &memory.Filter{Metadata: map[string]mastra.JSON{"kind": mastra.JSON(`"odd"`)}, Roles: []string{"assistant"}}}, ""},
		{"of a time", t.Context(), memory.MessagesInput{Filter: between(1001, 1003)}, "t-1 t-2 t-3"},
	} {
		if c.in.ThreadID = "t"; c.in.Filter != nil && len(c.in.Filter.Roles)+len(c.in.Filter.Metadata) > 0 {
			c.in.ThreadID = "w"
		}
		page, err := memory.Messages(c.ctx, m, c.in)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, msg := range page.Messages {
			ids = append(ids, msg.ID)
		}
		if strings.Join(ids, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, ids, c.want)
		}
	}
}

func between(from, to mastra.Time) *memory.Filter {
	f := &memory.Filter{}
	f.DateRange.Start, f.DateRange.End = from, to
	return f
}

func TestConfig(t *testing.T) {
	m := open(t)
	for agent, want := range map[string]string{
		"semantic":  `{"lastMessages":5,"semanticRecall":{"topK":4,"messageRange":1},"generateTitle":false,"workingMemory":{"enabled":true,"template":"# Notes\n"},"observationalMemory":{"enabled":false}}`,
		"plain":     `{"lastMessages":0,"semanticRecall":false,"generateTitle":false,"workingMemory":{"enabled":false},"observationalMemory":{"enabled":false}}`,
		"forgetful": `null`,
	} {
		got, err := memory.Config(t.Context(), m, memory.AgentInput{AgentID: agent})
		if err != nil {
			t.Fatal(err)
		}
		if encoded := encode(t, got.Config); encoded != want {
			t.Errorf("%s: %s", agent, encoded)
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	data, err := schema.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
