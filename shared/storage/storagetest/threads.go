package storagetest

import (
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

func threadID(t mastra.Thread) string   { return t.ID }
func messageID(m mastra.Message) string { return m.ID }

var threadTests = []test{
	{"threads/kept", func(e *env) {
		want := thread("t", "me")
		e.commit(mastra.Batch{Threads: []mastra.Thread{want}})
		got, err := e.s.Thread(e.ctx, "t")
		e.ok(err)
		e.equal(*got, want)
		_, err = e.s.Thread(e.ctx, "none")
		e.shows(mastra.CodeNotFound, "Thread not found", err)
	}},
	{"threads/update", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
		e.commit(mastra.Batch{Threads: []mastra.Thread{{ID: "t", ResourceID: "me", Title: "new", Metadata: mastra.JSON(`{"b":2}`), CreatedAt: base + 5, UpdatedAt: base + 5}}})
		got, err := e.s.Thread(e.ctx, "t")
		e.ok(err)
		e.equal(*got, mastra.Thread{ID: "t", ResourceID: "me", Title: "new", Metadata: mastra.JSON(`{"b":2}`), CreatedAt: base, UpdatedAt: base + 5})
	}},
	{"threads/owner", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me"), thread("free", "")}})
		err := e.s.Commit(e.ctx, &mastra.Batch{Threads: []mastra.Thread{thread("t", "you")}})
		e.shows(mastra.CodeForbidden, "Access denied: thread belongs to a different resource", err)
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("free", "you")}})
		got, err := e.s.Thread(e.ctx, "free")
		e.ok(err)
		e.equal(got.ResourceID, "") // a thread keeps the owner it was made with, even none
	}},
	{"threads/first owner wins", func(e *env) {
		owners := make([]string, 20)
		won := make([]bool, 20)
		for i := range owners {
			owners[i] = fmt.Sprint("owner-", i)
		}
		done := make(chan error, len(owners))
		for i, owner := range owners {
			go func() {
				err := e.s.Commit(e.ctx, &mastra.Batch{Threads: []mastra.Thread{thread("t", owner)}})
				won[i] = err == nil
				done <- err
			}()
		}
		for range owners {
			if err := <-done; err != nil {
				e.refuses(mastra.CodeForbidden, err)
			}
		}
		got, err := e.s.Thread(e.ctx, "t")
		e.ok(err)
		for i, w := range won {
			e.equal(w, owners[i] == got.ResourceID)
		}
	}},
	{"threads/list", func(e *env) {
		for i := range 25 {
			t := thread(fmt.Sprintf("t%02d", i), []string{"me", "you"}[i%2])
			t.CreatedAt, t.UpdatedAt = base+mastra.Time(i), base+mastra.Time(100-i)
			e.commit(mastra.Batch{Threads: []mastra.Thread{t}})
		}
		byAge := func(step int) (ids []string) {
			for i := 0; i < 25; i += step {
				ids = append(ids, fmt.Sprintf("t%02d", i))
			}
			return ids
		}
		reversed := func(ids []string) []string { slices.Reverse(ids); return ids }
		for _, c := range []struct {
			q    mastra.ThreadQuery
			want []string
		}{
			{mastra.ThreadQuery{}, byAge(1)},
			{mastra.ThreadQuery{Ascending: true}, reversed(byAge(1))},
			{mastra.ThreadQuery{OrderBy: "createdAt"}, reversed(byAge(1))},
			{mastra.ThreadQuery{OrderBy: "createdAt", Ascending: true}, byAge(1)},
			{mastra.ThreadQuery{OrderBy: "updatedAt", ResourceID: "me"}, byAge(2)},
			{mastra.ThreadQuery{ResourceID: "nobody"}, []string{}},
		} {
			for _, perPage := range []int{1, 7, 25, 100} {
				e.equal(pages(e, perPage, threadID, func(p mastra.Paging) (*mastra.Page[mastra.Thread], error) {
					c.q.Paging = p
					return e.s.Threads(e.ctx, c.q)
				}), c.want)
			}
		}
		for _, p := range []mastra.Paging{{Page: 99, PerPage: 10}, {Page: 1 << 62, PerPage: 1 << 62}, {PerPage: 0}} {
			got, err := e.s.Threads(e.ctx, mastra.ThreadQuery{Paging: p})
			e.ok(err)
			e.equal([]any{len(got.Items), got.Total, got.HasMore}, []any{0, 25, false})
		}
	}},
	{"threads/equal times", func(e *env) {
		for i := range 10 {
			e.commit(mastra.Batch{Threads: []mastra.Thread{thread(fmt.Sprint("t", i), "me")}})
		}
		ids := pages(e, 3, threadID, func(p mastra.Paging) (*mastra.Page[mastra.Thread], error) {
			return e.s.Threads(e.ctx, mastra.ThreadQuery{Paging: p})
		})
		slices.Sort(ids)
		e.equal(len(slices.Compact(ids)), 10)
	}},
	{"threads/delete", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me"), thread("other", "me")}, Messages: []mastra.Message{message("a", "t", base), message("b", "other", base)}})
		e.ok(e.s.DeleteThread(e.ctx, "t"))
		_, err := e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
		e.shows(mastra.CodeNotFound, "Thread not found", err)
		e.shows(mastra.CodeNotFound, "Thread not found", e.s.DeleteThread(e.ctx, "t"))
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "you")}}) // with another owner, and empty
		_, messages, err := e.s.Recall(e.ctx, "t", 10)
		e.ok(err)
		e.equal(len(messages), 0)
		e.commit(mastra.Batch{Messages: []mastra.Message{message("a", "other", base+1)}}) // the id is free again
		_, messages, err = e.s.Recall(e.ctx, "other", 10)
		e.ok(err)
		e.equal(len(messages), 2)
	}},
}

var messageTests = []test{
	{"messages/kept", func(e *env) {
		want := message("m", "t", base+3)
		want.Content = mastra.JSON("{ \"b\" : 1,\n\"a\":\"<&\\u2028>\" }")
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{want}})
		p, err := e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
		e.ok(err)
		e.equal(p.Items[0], want) // byte for byte
		_, messages, err := e.s.Recall(e.ctx, "t", 5)
		e.ok(err)
		e.equal(messages, []mastra.Message{want})
	}},
	{"messages/thread", func(e *env) {
		e.shows(mastra.CodeNotFound, "Thread not found", e.s.Commit(e.ctx, &mastra.Batch{Messages: []mastra.Message{message("m", "t", base)}}))
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{message("m", "t", base+50)}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("old", "t", base+20)}})
		t, err := e.s.Thread(e.ctx, "t")
		e.ok(err)
		e.equal(t.UpdatedAt, base+50) // raised, not lowered
		e.equal(t.CreatedAt, base)
	}},
	{"messages/order", func(e *env) {
		// By time, then by insertion; across commits and within one.
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{message("z", "t", base+5), message("c", "t", base), message("b", "t", base)}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("a", "t", base), message("y", "t", base+5), message("x", "t", base-5)}})
		want := []string{"x", "c", "b", "a", "z", "y"}
		for _, perPage := range []int{1, 2, 4, 6, 10} {
			for _, descending := range []bool{false, true} {
				ids := pages(e, perPage, messageID, func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
					return e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Descending: descending, Paging: p})
				})
				if descending {
					slices.Reverse(ids)
				}
				e.equal(ids, want)
			}
		}
		for last := range 8 {
			_, messages, err := e.s.Recall(e.ctx, "t", last)
			e.ok(err)
			ids := []string{}
			for _, m := range messages {
				ids = append(ids, m.ID)
			}
			e.equal(ids, want[max(0, 6-last):])
		}
	}},
	{"messages/range", func(e *env) {
		b := mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}}
		for i := range 20 {
			b.Messages = append(b.Messages, message(fmt.Sprintf("m%02d", i), "t", base+mastra.Time(i)))
		}
		e.commit(b)
		for _, c := range []struct {
			from, to    mastra.Time
			first, last int
		}{{0, 0, 0, 19}, {base + 5, 0, 5, 19}, {0, base + 5, 0, 5}, {base + 3, base + 12, 3, 12}, {base + 50, 0, 0, -1}} {
			ids := pages(e, 4, messageID, func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
				return e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", From: c.from, To: c.to, Paging: p})
			})
			want := []string{}
			for i := c.first; i <= c.last; i++ {
				want = append(want, fmt.Sprintf("m%02d", i))
			}
			e.equal(ids, want)
		}
	}},
	{"messages/replaced in place", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me"), thread("other", "me")},
			Messages: []mastra.Message{message("a", "t", base), message("b", "t", base), message("c", "t", base)}})
		changed := message("b", "t", base)
		changed.Role, changed.Content = "assistant", text("changed")
		e.commit(mastra.Batch{Messages: []mastra.Message{changed}})
		p, err := e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
		e.ok(err)
		e.equal(p.Total, 3)
		e.equal(p.Items[1], changed)
		e.refuses(mastra.CodeConflict, e.s.Commit(e.ctx, &mastra.Batch{Messages: []mastra.Message{message("b", "other", base)}}))
		p, err = e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
		e.ok(err)
		e.equal(p.Items[1], changed)
	}},
	{"messages/delete", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{message("a", "t", base), message("b", "t", base), message("c", "t", base)}})
		deleted, err := e.s.DeleteMessages(e.ctx, []string{"a", "none", "c", "a"})
		e.ok(err)
		e.equal(deleted, 2)
		e.equal(pages(e, 5, messageID, func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
			return e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: p})
		}), []string{"b"})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("d", "t", base), message("a", "t", base)}})
		e.equal(pages(e, 5, messageID, func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
			return e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: p})
		}), []string{"b", "d", "a"})
	}},
	{"messages/one megabyte", func(e *env) {
		big := message("m", "t", base)
		big.Content = mastra.JSON(`{"format":2,"content":"` + strings.Repeat("0123456789abcdef", 1<<16) + `"}`)
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}, Messages: []mastra.Message{big, message("n", "t", base+1)}})
		_, messages, err := e.s.Recall(e.ctx, "t", 2)
		e.ok(err)
		e.equal(string(messages[0].Content) == string(big.Content), true)
		e.equal(messages[1].ID, "n")
	}},
	{"messages/at once", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("t", "me")}})
		e.equal(e.race(50, func(i int) error {
			return e.s.Commit(e.ctx, &mastra.Batch{Messages: []mastra.Message{message(fmt.Sprint("m", i), "t", base)}})
		}), 50)
		p, err := e.s.Messages(e.ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 100}})
		e.ok(err)
		e.equal([]int{p.Total, len(p.Items)}, []int{50, 50})
	}},
}
