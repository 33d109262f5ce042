package storagetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

// RunThreads checks that threads and messages, written, written again, given away and deleted, also by batches that are refused, are
// what a list of all says.
func RunThreads(t *testing.T, s mastra.Storage, rounds int) {
	w := &talked{env: &env{T: t, s: s, ctx: newTenant(t.Context())}, Rand: randomOf(t), threads: map[string]mastra.Thread{}, messages: map[string]mastra.Message{}}
	for range rounds {
		for range 12 {
			w.write()
		}
		w.change()
		w.list()
		for range 8 {
			w.read(fmt.Sprint("thread", w.IntN(9)))
		}
	}
}

type talked struct {
	*env
	*rand.Rand
	n        int // of moments: no two are the same
	threads  map[string]mastra.Thread
	messages map[string]mastra.Message
}

// moment is one that nothing else has, not far from the others.
func (w *talked) moment() mastra.Time {
	w.n++
	return base + mastra.Time(w.IntN(200)*1000+w.n%1000)*1000 + mastra.Time(w.n/1000)
}

// write commits a turn or two, to threads that may not be there, be another's, or have the message elsewhere.
func (w *talked) write() {
	var b mastra.Batch
	threads, messages := maps.Clone(w.threads), maps.Clone(w.messages)
	want := mastra.Code("")
	if w.IntN(3) == 0 {
		th := thread(fmt.Sprint("thread", w.IntN(8)), []string{"ann", "bob"}[w.IntN(2)])
		th.Title, th.CreatedAt, th.UpdatedAt = fmt.Sprint("title ", w.IntN(99)), w.moment(), w.moment()
		if before, ok := threads[th.ID]; ok {
			if w.IntN(4) > 0 {
				th.ResourceID = before.ResourceID
			}
			if th.ResourceID != before.ResourceID {
				want = mastra.CodeForbidden
			}
			th.UpdatedAt = max(th.UpdatedAt, before.UpdatedAt) // time does not go back
			kept := before
			kept.Title, kept.UpdatedAt = th.Title, th.UpdatedAt
			threads[th.ID] = kept
		} else {
			threads[th.ID] = th
		}
		b.Threads = append(b.Threads, th)
	}
	id := fmt.Sprint("thread", w.IntN(8))
	for range w.IntN(4) {
		m := message(fmt.Sprint("m", w.IntN(250)), id, w.moment())
		m.Role, m.ResourceID = []string{"user", "assistant"}[w.IntN(2)], threads[id].ResourceID
		if slices.ContainsFunc(b.Messages, func(o mastra.Message) bool { return o.ID == m.ID }) {
			continue
		}
		before, known := messages[m.ID]
		switch th, ok := threads[id]; {
		case !ok:
			want = cmp.Or(want, mastra.CodeNotFound)
		case known && before.ThreadID != id && w.IntN(3) > 0: // mostly it is not tried
			continue
		case known && before.ThreadID != id:
			want = cmp.Or(want, mastra.CodeConflict)
		default:
			th.UpdatedAt = max(th.UpdatedAt, m.CreatedAt)
			threads[id] = th
		}
		messages[m.ID] = m
		b.Messages = append(b.Messages, m)
	}
	err := w.s.Commit(w.ctx, &b)
	if want == "" {
		w.ok(err)
		w.threads, w.messages = threads, messages
	} else if err == nil {
		w.Fatalf("%+v was taken, want %s", b, want)
	}
	if th, ok := w.threads[id]; ok && want == mastra.CodeConflict { // that somebody tried may show
		now, err := w.s.Thread(w.ctx, id)
		w.ok(err)
		if latest := slices.MaxFunc(b.Messages, func(a, b mastra.Message) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) }).CreatedAt; now.UpdatedAt == latest {
			th.UpdatedAt = latest
			w.threads[id] = th
		}
	}
}

// change deletes some messages, and a thread, or gives one away.
func (w *talked) change() {
	var gone []string
	n := 0
	for range 4 {
		id := fmt.Sprint("m", w.IntN(250))
		if _, ok := w.messages[id]; ok && !slices.Contains(gone, id) {
			n++
		}
		gone = append(gone, id)
		delete(w.messages, id)
	}
	deleted, err := w.s.DeleteMessages(w.ctx, gone)
	w.ok(err)
	w.equal(deleted, n)
	id := fmt.Sprint("thread", w.IntN(8))
	th, ok := w.threads[id]
	switch w.IntN(3) {
	case 0:
		if err = w.s.DeleteThread(w.ctx, id); ok {
			w.ok(err)
		} else {
			w.refuses(mastra.CodeNotFound, err)
		}
		delete(w.threads, id)
		maps.DeleteFunc(w.messages, func(_ string, m mastra.Message) bool { return m.ThreadID == id })
	case 1:
		if err = w.s.TransferThread(w.ctx, id, "ann", "bob"); ok && th.ResourceID == "ann" {
			w.ok(err)
			now, err := w.s.Thread(w.ctx, id)
			w.ok(err)
			th.ResourceID, th.UpdatedAt = "bob", now.UpdatedAt
			w.threads[id] = th
			for _, m := range w.messages {
				if m.ThreadID == id {
					m.ResourceID = "bob"
					w.messages[m.ID] = m
				}
			}
		} else if err == nil {
			w.Fatalf("%s was given away by another", id)
		}
	}
}

func (w *talked) list() {
	q := mastra.ThreadQuery{ResourceID: []string{"", "ann", "bob", "eve"}[w.IntN(4)], OrderBy: []string{"", "createdAt", "updatedAt"}[w.IntN(3)], Ascending: w.IntN(2) == 0}
	at := func(t mastra.Thread) mastra.Time {
		if q.OrderBy == "createdAt" {
			return t.CreatedAt
		}
		return t.UpdatedAt
	}
	want := []string{}
	for _, t := range slices.SortedFunc(maps.Values(w.threads), func(a, b mastra.Thread) int { return cmp.Compare(at(a), at(b)) }) {
		if q.ResourceID == "" || t.ResourceID == q.ResourceID {
			want = append(want, fmt.Sprintf("%+v", t))
		}
	}
	if !q.Ascending {
		slices.Reverse(want)
	}
	w.equal(pages(w.env, 1+w.IntN(5), func(t mastra.Thread) string { return fmt.Sprintf("%+v", t) }, func(p mastra.Paging) (*mastra.Page[mastra.Thread], error) {
		q.Paging = p
		return w.s.Threads(w.ctx, q)
	}), want)
}

// read reads a thread in every way.
func (w *talked) read(id string) {
	th, ok := w.threads[id]
	var all []mastra.Message
	for _, m := range w.messages {
		if m.ThreadID == id {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b mastra.Message) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	last := w.IntN(30)
	got, messages, err := w.s.Recall(w.ctx, id, last)
	w.ok(err)
	if !ok {
		w.equal(got == nil && len(messages) == 0, true)
		_, err := w.s.Messages(w.ctx, mastra.MessageQuery{ThreadID: id, Paging: mastra.Paging{PerPage: 5}})
		w.refuses(mastra.CodeNotFound, err)
		return
	}
	w.equal(*got, th)
	told := func(m mastra.Message) string { return fmt.Sprintf("%+v", m) }
	list := func(messages []mastra.Message) []string {
		out := []string{}
		for _, m := range messages {
			out = append(out, told(m))
		}
		return out
	}
	w.equal(list(messages), list(all[max(0, len(all)-last):]))
	q := mastra.MessageQuery{ThreadID: id, Descending: w.IntN(2) == 0}
	if w.IntN(3) == 0 {
		q.From = w.moment()
	}
	if w.IntN(3) == 0 {
		q.To = w.moment()
	}
	want := slices.DeleteFunc(slices.Clone(all), func(m mastra.Message) bool { return m.CreatedAt < q.From || q.To != 0 && m.CreatedAt > q.To })
	if q.Descending {
		slices.Reverse(want)
	}
	w.equal(pages(w.env, 1+w.IntN(20), told, func(p mastra.Paging) (*mastra.Page[mastra.Message], error) {
		q.Paging = p
		return w.s.Messages(w.ctx, q)
	}), list(want))
	if len(all) == 0 {
		return
	}
	i, before, after := w.IntN(len(all)), w.IntN(4), w.IntN(4)
	around, err := w.s.MessagesAround(w.ctx, []mastra.MessageRef{{ID: "none", Before: 1}, {ID: all[i].ID, Before: before, After: after}})
	w.ok(err)
	w.equal(len(around), 1)
	w.equal(list(append(append(slices.Clone(around[0].Before), around[0].Message), around[0].After...)), list(all[max(0, i-before):min(len(all), i+1+after)]))
}
