package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
)

func resourcePK(tenant, resource string) string {
	return tenantPart(tenant) + "#R#" + short(resource, maxID)
}

// threadOf puts a thread together.
func (s *Store) threadOf(ctx context.Context, id string, head, act item) (*mastra.Thread, error) {
	pk := pkOf(head)
	title, err := s.load(ctx, head["title"], s.tables.Threads, pk, nil)
	if err != nil {
		return nil, err
	}
	md, err := s.load(ctx, head["md"], s.tables.Threads, pk, nil)
	if err != nil {
		return nil, err
	}
	return &mastra.Thread{ID: id, ResourceID: textOf(head["resource"]), Title: string(title), Metadata: md, CreatedAt: timeOf(head["created"]), UpdatedAt: timeOf(act["upd"])}, nil
}

func (s *Store) Thread(ctx context.Context, id string) (*mastra.Thread, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(id) {
		return nil, errNoThread()
	}
	items, err := s.query(ctx, query{table: s.tables.Threads, pk: threadPK(mastra.Tenant(ctx), id), from: activityKey, to: metaKey, consistent: true})
	if err != nil {
		return nil, err
	}
	t, _, err := s.recalled(ctx, id, items)
	if err == nil && t == nil {
		err = errNoThread()
	}
	return t, err
}

// recalled is the thread among items of its partition, nil where there is none, and the item of its activity.
func (s *Store) recalled(ctx context.Context, id string, items []item) (t *mastra.Thread, act item, err error) {
	pk := threadPK(mastra.Tenant(ctx), id)
	var meta item // of a former version
	for _, it := range items {
		switch skOf(it) {
		case metaKey:
			meta = it
		case activityKey:
			act = it
		}
	}
	head := described(meta, act)
	if head["dead"] != nil { // whoever makes it anew looks first
		s.hints.set(pk, hint{dead: true})
		return nil, nil, nil
	}
	s.hints.set(pk, hintOf(act))
	if head == nil || act == nil {
		return nil, nil, nil
	}
	t, err = s.threadOf(ctx, id, head, act)
	return t, act, err
}

// described is the one of a thread's items that says what it is: a former version had one for that alone.
func described(meta, act item) item {
	if act["created"] != nil {
		return act
	}
	return meta
}

func hintOf(act item) hint {
	return hint{exists: act != nil, former: act != nil && act["created"] == nil, updated: timeOf(act["upd"]), mark: timeOf(act["mark"])}
}

// activity reads a thread's item, nil where there is no such thread.
func (s *Store) activity(ctx context.Context, pk string) (item, error) {
	act, err := s.get(ctx, s.tables.Threads, pk, activityKey)
	if act["dead"] != nil {
		act = nil
	}
	return act, err
}

// heads are the items in which a thread may be described.
func (s *Store) heads(ctx context.Context, pk string) (head item, err error) {
	found, err := s.query(ctx, query{table: s.tables.Threads, pk: pk, from: activityKey, to: metaKey, consistent: true})
	for _, it := range found {
		if head = it; it["created"] != nil {
			break
		}
	}
	if head["created"] == nil || head["dead"] != nil {
		head = nil
	}
	return head, err
}

// DeleteThread takes the thread away first and then its messages: a deletion that stops in between is ended by whoever
// creates the thread again.
func (s *Store) DeleteThread(ctx context.Context, id string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if !keepable(id) {
		return errNoThread()
	}
	tenant := mastra.Tenant(ctx)
	pk, table := threadPK(tenant, id), s.tables.Threads
	ctx = context.WithoutCancel(ctx)
	defer s.hints.drop(pk)
	head, err := s.heads(ctx, pk)
	if err != nil {
		return err
	}
	if head == nil {
		return errNoThread()
	}
	token := mastra.NewID()
	const die, alive = "SET #dead = :tok, #tok = :tok", "attribute_exists(#PK) AND attribute_not_exists(#dead)"
	if mine := (item{":tok": text(token)}); skOf(head) == activityKey {
		_, err = s.write(ctx, update(table, pk, activityKey, die+" REMOVE #PK1, #SK1, #PK2, #SK2", alive, mine), token)
	} else {
		err = s.transact(ctx, []op{update(table, pk, metaKey, die, alive, mine), remove(table, pk, activityKey, "attribute_exists(#PK)", nil)}, token)
	}
	if errors.Is(err, errRefused) {
		return errNoThread()
	}
	if err != nil {
		return err
	}
	resource := textOf(head["resource"])
	return parallel(
		func() error { return s.count(ctx, table, tenant, "threads", "", id, token, -1) },
		func() error { return s.count(ctx, table, tenant, "resource", resource, id, token, -1) },
		func() error { return s.purge(ctx, tenant, pk) },
	)
}

// purge deletes what is left of a dead thread: its traces, its messages with their pointers, then the thread itself.
func (s *Store) purge(ctx context.Context, tenant, pk string) error {
	table := s.tables.Threads
	items, err := s.query(ctx, query{table: table, pk: pk, to: messages + "~", keysOnly: true, consistent: true})
	if err != nil {
		return err
	}
	keys := []item{key(pk, notesKey)}
	act, err := s.get(ctx, table, pk, activityKey)
	if err != nil {
		return err
	}
	if was, _ := act["was"].(*types.AttributeValueMemberSS); was != nil {
		for _, resource := range was.Value {
			keys = append(keys, key(resourcePK(tenant, resource), threadLeft+short(strings.TrimPrefix(pk, threadPK(tenant, "")), 512)))
		}
	}
	var traces []string
	for _, it := range items {
		keys = append(keys, key(pkOf(it), skOf(it)))
		if id := textOf(it["id"]); id != "" {
			keys = append(keys, key(partition(tenant, "I", id), only))
		}
		if trace := textOf(it["trace"]); trace != "" {
			traces = append(traces, trace)
		}
	}
	if err := s.deleteTraces(ctx, tenant, distinct(traces)); err != nil {
		return err
	}
	if err := s.batchWrite(ctx, table, nil, keys); err != nil {
		return err
	}
	for _, sk := range []string{activityKey, metaKey} {
		_, err := s.write(ctx, remove(table, pk, sk, "attribute_exists(#dead)", nil), "")
		if err != nil && !errors.Is(err, errRefused) { // where somebody else ended it, and began it anew
			return err
		}
	}
	return nil
}

// Threads keeps the exact order of UpdatedAt, though a thread's place in the index may lag by the slack.
func (s *Store) Threads(ctx context.Context, q mastra.ThreadQuery) (*mastra.Page[mastra.Thread], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	switch q.OrderBy {
	case "createdAt", "", "updatedAt":
	default:
		return nil, mastra.Errorf(mastra.CodeInvalid, "Threads cannot be ordered by %s", q.OrderBy)
	}
	tenant := mastra.Tenant(ctx)
	l := list{table: s.tables.Threads, index: index2, pks: allShards(tenant, "T#all"), descending: !q.Ascending, Paging: q.Paging}
	l.total = func(ctx context.Context) (int, error) {
		n, _, err := s.total(ctx, s.tables.Threads, tenant, "threads", nil)
		return n, err
	}
	if q.ResourceID != "" {
		l.index, l.pks = index1, []string{resourcePK(tenant, q.ResourceID)}
		l.total = func(ctx context.Context) (int, error) {
			n, _, err := s.total(ctx, s.tables.Threads, tenant, "resource", &q.ResourceID)
			return n, err
		}
	}
	load := func(ctx context.Context, entries []entry) ([]mastra.Thread, error) {
		return s.loadThreads(ctx, tenant, entries)
	}
	if q.OrderBy == "createdAt" {
		return sortedPage(ctx, s, l, load, func(t *mastra.Thread) string { return placed(t.CreatedAt, t.ID) })
	}
	return laggingPage(ctx, s, l, load, func(t *mastra.Thread) string { return placed(t.UpdatedAt, t.ID) })
}

// loadThreads reads the threads of entries; those that were deleted meanwhile are left out.
func (s *Store) loadThreads(ctx context.Context, tenant string, entries []entry) ([]mastra.Thread, error) {
	places := make([]place, 0, len(entries))
	for _, e := range entries {
		places = append(places, place{e.pk, activityKey})
	}
	items, err := s.batchGet(ctx, s.tables.Threads, places, true)
	if err != nil {
		return nil, err
	}
	var former []place
	for _, p := range places {
		if act := items[p]; act != nil && act["created"] == nil {
			former = append(former, place{p.pk, metaKey})
		}
	}
	metas, err := s.batchGet(ctx, s.tables.Threads, former, true)
	if err != nil {
		return nil, err
	}
	prefix := threadPK(tenant, "")
	threads := make([]mastra.Thread, 0, len(entries))
	for _, e := range entries {
		act := items[place{e.pk, activityKey}]
		head := described(metas[place{e.pk, metaKey}], act)
		if head == nil || head["dead"] != nil || act == nil || !strings.HasPrefix(e.pk, prefix) {
			continue
		}
		t, err := s.threadOf(ctx, e.pk[len(prefix):], head, act)
		if err != nil {
			return nil, fmt.Errorf("thread %s: %w", e.pk, err)
		}
		threads = append(threads, *t)
	}
	return threads, nil
}
