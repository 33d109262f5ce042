package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// messagesOf decodes items of messages. owner is whose they are by now, where their thread was given to another one.
func (s *Store) messagesOf(ctx context.Context, thread, owner string, items []item) ([]mastra.Message, error) {
	out := make([]mastra.Message, 0, len(items))
	for _, it := range items {
		content, err := s.load(ctx, it["c"], s.tables.Threads, pkOf(it), nil)
		if err != nil {
			return nil, err
		}
		out = append(out, mastra.Message{ID: textOf(it["id"]), Role: textOf(it["role"]), CreatedAt: timeOf(it["created"]), ThreadID: thread,
			ResourceID: cmp.Or(owner, textOf(it["resource"])), Type: textOf(it["type"]), Content: content})
	}
	return out, nil
}

func onlyMessages(items []item) []item {
	return slices.DeleteFunc(items, func(it item) bool { return !strings.HasPrefix(skOf(it), messages) })
}

// newest reads a thread and its newest messages, newest first, in one query.
func (s *Store) newest(ctx context.Context, id string, n int) (t *mastra.Thread, act item, newest []item, err error) {
	items, err := s.query(ctx, query{table: s.tables.Threads, pk: threadPK(mastra.Tenant(ctx), id), from: messages, descending: true, consistent: true, most: n + 3})
	if err != nil {
		return nil, nil, nil, err
	}
	if t, act, err = s.recalled(ctx, id, items); err != nil || t == nil {
		return nil, nil, nil, err
	}
	newest = onlyMessages(items)
	return t, act, newest[:min(n, len(newest))], nil
}

func (s *Store) Recall(ctx context.Context, threadID string, last int) (*mastra.Thread, []mastra.Message, error) {
	if err := s.begin(ctx); err != nil {
		return nil, nil, err
	}
	if !keepable(threadID) {
		return nil, nil, nil
	}
	t, act, items, err := s.newest(ctx, threadID, max(0, last))
	if err != nil || t == nil || last <= 0 {
		return t, nil, err
	}
	slices.Reverse(items)
	found, err := s.messagesOf(ctx, threadID, textOf(act["owner"]), items)
	if err != nil {
		return nil, nil, err
	}
	return t, found, nil
}

// Messages of the newest page, descending, take one request; of the oldest one two at once; others skip from the nearer end.
func (s *Store) Messages(ctx context.Context, q mastra.MessageQuery) (*mastra.Page[mastra.Message], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(q.ThreadID) {
		return nil, errNoThread()
	}
	pk, table := threadPK(mastra.Tenant(ctx), q.ThreadID), s.tables.Threads
	var act item
	page := func(items []item, total int) (*mastra.Page[mastra.Message], error) {
		found, err := s.messagesOf(ctx, q.ThreadID, textOf(act["owner"]), items)
		if err != nil {
			return nil, err
		}
		return &mastra.Page[mastra.Message]{Items: found, Total: total, HasMore: len(items) > 0 && q.Page*q.PerPage+len(items) < total}, nil
	}
	if q.From != 0 || q.To != 0 {
		return s.messagesBetween(ctx, pk, q, &act, page)
	}
	if q.Descending && q.Page == 0 && q.PerPage > 0 && q.PerPage < maxSkipped {
		t, head, items, err := s.newest(ctx, q.ThreadID, q.PerPage)
		if err != nil {
			return nil, err
		}
		if act = head; t == nil {
			return nil, errNoThread()
		}
		return page(items, int(numberOf(act["n"])))
	}
	oldest := query{table: table, pk: pk, from: messages, to: messages + "~", consistent: true}
	var first []item
	isFirst := q.Page == 0 && q.PerPage > 0 && q.PerPage < maxSkipped && !q.Descending
	err := parallel(
		func() (err error) { act, err = s.activity(ctx, pk); return err },
		func() (err error) {
			if isFirst {
				o := oldest
				o.most = q.PerPage
				first, err = s.query(ctx, o)
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	if act == nil {
		return nil, errNoThread()
	}
	total := int(numberOf(act["n"]))
	offset, n := window(q.Paging, total)
	if isFirst || n == 0 {
		return page(first, total)
	}
	behind := total - offset - n
	oldest.descending, oldest.most = q.Descending, offset+n
	if behind < offset {
		oldest.descending, oldest.most = !q.Descending, behind+n
	}
	items, err := s.query(ctx, oldest)
	if err != nil {
		return nil, err
	}
	if behind < offset {
		slices.Reverse(items)
		items = items[:min(n, len(items))]
	} else {
		items = items[min(offset, len(items)):]
	}
	return page(items, total)
}

// messagesBetween counts what lies in the range by its keys.
func (s *Store) messagesBetween(ctx context.Context, pk string, q mastra.MessageQuery, act *item, page func([]item, int) (*mastra.Page[mastra.Message], error)) (*mastra.Page[mastra.Message], error) {
	l := list{table: s.tables.Threads, pks: []string{pk}, from: messages, to: messages + "~", descending: q.Descending}
	if q.From != 0 {
		l.from = messages + moment(q.From)
	}
	if q.To != 0 {
		l.to = messages + moment(q.To) + after
	}
	var all []entry
	err := parallel(
		func() (err error) { *act, err = s.activity(ctx, pk); return err },
		func() (err error) { all, err = s.matching(ctx, &l); return err })
	if err != nil {
		return nil, err
	}
	if *act == nil {
		return nil, errNoThread()
	}
	offset, n := window(q.Paging, len(all))
	var items []item
	for _, e := range all[offset : offset+n] {
		items = append(items, e.item)
	}
	return page(items, len(all))
}

// maxDeletions is how many messages one transaction deletes: each is two items.
const maxDeletions = 40

// DeleteMessages deletes the messages of each thread, forty at a time, with their pointers.
func (s *Store) DeleteMessages(ctx context.Context, ids []string) (deleted int, err error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx)
	tenant, table := mastra.Tenant(ctx), s.tables.Threads
	for try := 0; ; try++ {
		var places []place
		for _, id := range distinct(ids) {
			if keepable(id) {
				places = append(places, place{partition(tenant, "I", id), only})
			}
		}
		pointers, err := s.batchGet(ctx, table, places, true)
		if err != nil {
			return deleted, err
		}
		byThread := map[string][]item{}
		for _, p := range pointers {
			byThread[textOf(p["th"])] = append(byThread[textOf(p["th"])], p)
		}
		again := false
		for thread, all := range byThread {
			for some := range slices.Chunk(all, maxDeletions) {
				switch err := s.deleteSome(ctx, threadPK(tenant, thread), some); {
				case errors.Is(err, errRefused):
					again = true
				case err != nil:
					return deleted, err
				default:
					deleted += len(some)
				}
			}
		}
		if !again || try+1 == maxTries {
			return deleted, nil
		}
		if err := pause(ctx, min(try, 5)); err != nil {
			return deleted, err
		}
	}
}

func (s *Store) deleteSome(ctx context.Context, pk string, pointers []item) error {
	table := s.tables.Threads
	var ops []op
	for _, p := range pointers {
		sk := textOf(p["sk"])
		ops = append(ops, remove(table, pkOf(p), only, "#sk = :sk", item{":sk": text(sk)}), remove(table, pk, sk, "", nil))
	}
	ops = append(ops, update(table, pk, activityKey, "ADD #n :n", "attribute_exists(#PK)", item{":n": number(-len(pointers))}))
	if err := s.transact(ctx, ops, mastra.NewID()); err != nil {
		return err
	}
	var keys, links []item
	for _, p := range pointers {
		if trace := textOf(p["trace"]); trace != "" { // the thread's deletion still has to find it
			links = append(links, traceLink(pk, trace))
		}
		ref := textOf(p["c"])
		if ref == "" {
			continue
		}
		parts, err := s.query(ctx, query{table: table, pk: pk, from: pieces + ref, to: pieces + ref + "~", keysOnly: true, consistent: true})
		if err != nil {
			return err
		}
		for _, part := range parts {
			keys = append(keys, key(pkOf(part), skOf(part)))
		}
	}
	return s.batchWrite(ctx, table, links, keys)
}
