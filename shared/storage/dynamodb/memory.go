package dynamodb

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
)

const (
	notesKey    = "~wm" // of working memory, in the partition of its thread or resource
	observedKey = "!om" // of what was observed of a thread, before its messages: whoever reads those is not to meet it
)

func notesSK(of mastra.NotesOf) string {
	if of.Observed {
		return observedKey
	}
	return notesKey
}

// MessagesAround looks up where the messages are, then reads each with its neighbours: two round trips.
func (s *Store) MessagesAround(ctx context.Context, refs []mastra.MessageRef) ([]mastra.Surrounding, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Threads
	var places []place
	for _, ref := range refs {
		if p := (place{partition(tenant, "I", ref.ID), only}); keepable(ref.ID) && !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	pointers, err := s.batchGet(ctx, table, places, true)
	if err != nil {
		return nil, err
	}
	found := make([]*mastra.Surrounding, len(refs))
	var reads []func() error
	for i, ref := range refs {
		pointer := pointers[place{partition(tenant, "I", ref.ID), only}]
		if pointer == nil {
			continue
		}
		reads = append(reads, func() (err error) {
			found[i], err = s.amongNeighbours(ctx, ref, textOf(pointer["th"]), textOf(pointer["sk"]))
			return err
		})
	}
	for some := range slices.Chunk(reads, maxParallel) {
		if err := parallel(some...); err != nil {
			return nil, err
		}
	}
	out := make([]mastra.Surrounding, 0, len(refs))
	for _, f := range found {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, nil
}

// amongNeighbours reads a message of a thread by its sort key, nil where it is no more.
func (s *Store) amongNeighbours(ctx context.Context, ref mastra.MessageRef, thread, sk string) (*mastra.Surrounding, error) {
	pk, table := threadPK(mastra.Tenant(ctx), thread), s.tables.Threads
	var before, after []item
	var act item
	err := parallel(
		func() (err error) { act, err = s.activity(ctx, pk); return err },
		func() (err error) {
			before, err = s.query(ctx, query{table: table, pk: pk, from: messages, to: sk, descending: true, consistent: true, most: ref.Before + 1})
			return err
		},
		func() (err error) {
			if ref.After > 0 {
				after, err = s.query(ctx, query{table: table, pk: pk, from: sk, to: messages + "~", consistent: true, most: ref.After + 1})
			}
			return err
		})
	if err != nil || act == nil || len(before) == 0 || skOf(before[0]) != sk {
		return nil, err
	}
	if len(after) > 0 && skOf(after[0]) == sk {
		after = after[1:]
	}
	slices.Reverse(before)
	all, err := s.messagesOf(ctx, thread, textOf(act["owner"]), append(before, after...))
	if err != nil {
		return nil, err
	}
	n := len(before) - 1
	return &mastra.Surrounding{Before: all[:n], Message: all[n], After: all[n+1:]}, nil
}

// TransferThread leaves the messages alone: whose they are is said by the thread's activity, which every reader of them reads.
func (s *Store) TransferThread(ctx context.Context, id, from, to string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if !keepable(id) {
		return errNoThread()
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Threads
	pk := threadPK(tenant, id)
	defer s.hints.drop(pk)
	token, now := mastra.NewID(), mastra.TimeOf(s.now())
	values := item{":from": text(from), ":to": text(to), ":pk": text(resourcePK(tenant, to)), ":upd": number(now), ":sk": text(placed(now, id)), ":tok": text(token)}
	ctx = context.WithoutCancel(ctx)
	const given, goes = "#resource = :to, #tok = :tok", "#owner = :to, #PK1 = :pk, #upd = :upd, #mark = :upd, #SK1 = :sk, #SK2 = :sk"
	head, err := s.heads(ctx, pk)
	if err != nil {
		return err
	}
	if head == nil {
		return errNoThread()
	}
	leaves := ""
	if from != "" && from != to && textOf(head["resource"]) == from { // its traces stay those of from
		left := key(resourcePK(tenant, from), threadLeft+short(id, 512))
		left["thread"] = text(id)
		if _, err := s.write(ctx, put(table, left, "", nil), ""); err != nil {
			return err
		}
		leaves, values[":was"] = " ADD #was :was", &types.AttributeValueMemberSS{Value: []string{from}}
	}
	const free = "attribute_exists(#PK) AND attribute_not_exists(#dead) AND #resource = :from"
	if skOf(head) == activityKey {
		_, err = s.write(ctx, update(table, pk, activityKey, "SET "+given+", "+goes+leaves, free, values), token)
	} else {
		err = s.transact(ctx, []op{update(table, pk, metaKey, "SET "+given, free, values), update(table, pk, activityKey, "SET "+goes+", #tok = :tok"+leaves, "attribute_exists(#PK)", values)}, token)
	}
	if errors.Is(err, errRefused) {
		if head, err := s.heads(ctx, pk); err != nil {
			return err
		} else if head == nil {
			return errNoThread()
		}
		return mastra.Errorf(mastra.CodeConflict, "The thread has another owner by now")
	}
	if err != nil || from == to {
		return err
	}
	return parallel(
		func() error { return s.count(ctx, table, tenant, "resource", from, id, token, -1) },
		func() error { return s.count(ctx, table, tenant, "resource", to, id, token, 1) })
}

// notesPK is the partition of notes.
func notesPK(tenant string, of mastra.NotesOf) string {
	if of.ThreadID != "" {
		return threadPK(tenant, of.ThreadID)
	}
	return resourcePK(tenant, of.ResourceID)
}

func (s *Store) WorkingMemory(ctx context.Context, of mastra.NotesOf) (*mastra.Notes, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	n := &mastra.Notes{Of: of}
	if err := n.Check(); err != nil {
		return nil, err
	}
	it, err := s.get(ctx, s.tables.Threads, notesPK(mastra.Tenant(ctx), of), notesSK(of))
	if err != nil || it == nil {
		return n, err
	}
	data, err := unpack(blobOf(it["d"]))
	n.Data, n.Version = string(data), int(numberOf(it["v"]))
	return n, err
}

// SaveWorkingMemory checks that a thread is there in the same transaction: its notes must not outlive it.
func (s *Store) SaveWorkingMemory(ctx context.Context, n mastra.Notes) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := n.Check(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	pk, table, token := notesPK(mastra.Tenant(ctx), n.Of), s.tables.Threads, newToken()
	it := key(pk, notesSK(n.Of))
	it["v"], it["tok"], it["d"] = number(n.Version+1), text(token), blob(pack([]byte(n.Data)))
	condition := "#v = :v"
	if n.Version == 0 {
		condition = "attribute_not_exists(#PK)"
	}
	write := put(table, it, condition, item{":v": number(n.Version)})
	var err error
	if n.Of.ThreadID == "" {
		_, err = s.write(ctx, write, token)
	} else {
		for _, sk := range []string{activityKey, metaKey} {
			err = s.transact(ctx, []op{write, update(table, pk, sk, "SET #noted = :tok", "attribute_exists(#created) AND attribute_not_exists(#dead)", item{":tok": text(token)})}, token+sk[1:2])
			if !errors.Is(err, errRefused) {
				break
			}
		}
	}
	if !errors.Is(err, errRefused) {
		return err
	}
	if n.Of.ThreadID != "" {
		if head, err := s.heads(ctx, pk); err != nil {
			return err
		} else if head == nil {
			return errNoThread()
		}
	}
	return mastra.Errorf(mastra.CodeConflict, "The working memory was changed meanwhile")
}
