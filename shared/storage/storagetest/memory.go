package storagetest

import (
	"fmt"
	"strings"

	"mastralambda/shared/mastra"
)

var memoryTests = []test{
	{"memory/around", func(e *env) {
		b := mastra.Batch{Threads: []mastra.Thread{thread("t", "me"), thread("other", "me")}, Messages: []mastra.Message{message("x", "other", base+4)}}
		for i := range 9 {
			b.Messages = append(b.Messages, message(fmt.Sprint("m", i), "t", base+mastra.Time(i/3))) // three at a time
		}
		e.commit(b)
		ids := func(all []mastra.Message) string {
			var out []string
			for _, m := range all {
				out = append(out, m.ID)
			}
			return strings.Join(out, " ")
		}
		found, err := e.s.MessagesAround(e.ctx, []mastra.MessageRef{{ID: "m4", Before: 2, After: 3}, {ID: "none", Before: 1}, {ID: "x", Before: 5, After: 5}, {ID: "m0", Before: 3, After: 1}, {ID: "m8", After: 2}, {ID: "m4"}})
		e.ok(err)
		var got []string
		for _, f := range found {
			got = append(got, f.Message.ThreadID+": "+ids(f.Before)+" ["+f.Message.ID+"] "+ids(f.After))
		}
		e.equal(got, []string{"t: m2 m3 [m4] m5 m6 m7", "other:  [x] ", "t:  [m0] m1", "t:  [m8] ", "t:  [m4] "})
		e.equal(found[0].Message, message("m4", "t", base+1))
		_, err = e.s.DeleteMessages(e.ctx, []string{"m4"})
		e.ok(err)
		found, err = e.s.MessagesAround(e.ctx, []mastra.MessageRef{{ID: "m4", Before: 2}})
		e.ok(err)
		e.equal(len(found), 0)
		found, err = e.s.MessagesAround(newTenant(e.ctx), []mastra.MessageRef{{ID: "m3"}})
		e.ok(err)
		e.equal(len(found), 0)
	}},
	{"memory/transfer", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me"), thread("stays", "me")}, Messages: []mastra.Message{message("m", "t", base)}})
		e.ok(e.s.TransferThread(e.ctx, "t", "me", "you"))
		got, err := e.s.Thread(e.ctx, "t")
		e.ok(err)
		e.equal(got.ResourceID, "you")
		e.equal(got.UpdatedAt > base, true)
		for resource, want := range map[string][]string{"me": {"stays"}, "you": {"t"}} {
			page, err := e.s.Threads(e.ctx, mastra.ThreadQuery{ResourceID: resource, Paging: mastra.Paging{PerPage: 5}})
			e.ok(err)
			e.equal([]any{page.Total, len(page.Items)}, []any{1, 1})
			e.equal(page.Items[0].ID, want[0])
		}
		_, messages, err := e.s.Recall(e.ctx, "t", 5)
		e.ok(err)
		e.equal(messages[0].ResourceID, "you")
		found, err := e.s.MessagesAround(e.ctx, []mastra.MessageRef{{ID: "m"}})
		e.ok(err)
		e.equal(found[0].Message.ResourceID, "you")
		e.refuses(mastra.CodeConflict, e.s.TransferThread(e.ctx, "t", "me", "third"))
		e.shows(mastra.CodeNotFound, "Thread not found", e.s.TransferThread(e.ctx, "none", "me", "third"))
		e.shows(mastra.CodeForbidden, "Access denied: thread belongs to a different resource", e.s.Commit(e.ctx, &mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}}))
		e.equal(e.race(8, func(i int) error { return e.s.TransferThread(e.ctx, "stays", "me", fmt.Sprint("r", i)) }), 1)
	}},
	{"memory/notes", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("a", "me")}})
		for _, of := range []mastra.NotesOf{{ThreadID: "a"}, {ResourceID: "a"}, {ThreadID: "a", Observed: true}} { // one id, three things
			n, err := e.s.WorkingMemory(e.ctx, of)
			e.ok(err)
			e.equal(*n, mastra.Notes{Of: of})
			e.ok(e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: fmt.Sprint("first of ", of)}))
			e.refuses(mastra.CodeConflict, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: "stale"}))
			e.refuses(mastra.CodeConflict, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: "too new", Version: 7}))
			n, err = e.s.WorkingMemory(e.ctx, of)
			e.ok(err)
			e.equal(*n, mastra.Notes{Of: of, Data: fmt.Sprint("first of ", of), Version: 1})
			n.Data = strings.Repeat("ä\n", mastra.MaxNotes/3)
			e.ok(e.s.SaveWorkingMemory(e.ctx, *n))
			again, err := e.s.WorkingMemory(e.ctx, of)
			e.ok(err)
			e.equal(again.Version, 2)
			e.equal(again.Data == n.Data, true)
			n, err = e.s.WorkingMemory(newTenant(e.ctx), of)
			e.ok(err)
			e.equal(n.Version, 0)
		}
		e.refuses(mastra.CodeConflict, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: mastra.NotesOf{ResourceID: "new"}, Data: "x", Version: 3}))
		e.refuses(mastra.CodeTooLarge, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: mastra.NotesOf{ResourceID: "a"}, Data: strings.Repeat("x", mastra.MaxNotes+1), Version: 2}))
		e.refuses(mastra.CodeInvalid, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: mastra.NotesOf{ResourceID: "a", ThreadID: "a"}}))
		e.refuses(mastra.CodeInvalid, e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: mastra.NotesOf{ResourceID: "a", Observed: true}}))
		_, err := e.s.WorkingMemory(e.ctx, mastra.NotesOf{})
		e.refuses(mastra.CodeInvalid, err)
	}},
	{"memory/notes die with their thread", func(e *env) {
		for _, of := range []mastra.NotesOf{{ThreadID: "t"}, {ThreadID: "t", Observed: true}} {
			e.shows(mastra.CodeNotFound, "Thread not found", e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: "x"}))
			e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{message("m1", "t", base), message("m2", "t", base+1)}})
			e.ok(e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: "x"}))
			for last := range 4 { // notes are no message
				_, messages, err := e.s.Recall(e.ctx, "t", last)
				e.ok(err)
				e.equal(len(messages), min(last, 2))
			}
			e.ok(e.s.DeleteThread(e.ctx, "t"))
			e.shows(mastra.CodeNotFound, "Thread not found", e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: "y", Version: 1}))
			e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
			n, err := e.s.WorkingMemory(e.ctx, of)
			e.ok(err)
			e.equal(*n, mastra.Notes{Of: of})
			e.ok(e.s.DeleteThread(e.ctx, "t"))
		}
	}},
	{"memory/notes at once", func(e *env) {
		for _, of := range []mastra.NotesOf{{ThreadID: "t"}, {ResourceID: "r"}, {ThreadID: "t", Observed: true}} {
			e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
			e.equal(e.race(12, func(i int) error { return e.s.SaveWorkingMemory(e.ctx, mastra.Notes{Of: of, Data: fmt.Sprint(i)}) }), 1)
		}
	}},
}
