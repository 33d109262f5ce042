package sqlite

import (
	"context"
	"slices"

	"mastralambda/shared/mastra"
)

// MessagesAround reads each message by its id, then its neighbours by its place in the thread.
func (s *Store) MessagesAround(ctx context.Context, refs []mastra.MessageRef) (found []mastra.Surrounding, err error) {
	tenant, most := mastra.Tenant(ctx), 0
	for _, ref := range refs {
		most += 1 + max(0, ref.Before) + max(0, ref.After)
	}
	err = s.readMessages(ctx, most, func(c *conn) error {
		for _, ref := range refs {
			r, err := c.first("SELECT "+messageColumns+", thread, n FROM messages WHERE tenant = ? AND id = ?", tenant, ref.ID)
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			thread, n := r.text(6), r.int(7)
			around := mastra.Surrounding{Message: scanMessage(r, thread)}
			at := int64(around.Message.CreatedAt)
			neighbours := func(beyond, order string, limit int) (all []mastra.Message, err error) {
				if limit <= 0 {
					return nil, nil
				}
				for r, err := range c.query(ctx, "SELECT "+messageColumns+" FROM messages WHERE tenant = ? AND thread = ? AND (created, n) "+beyond+" (?, ?) ORDER BY created "+order+", n "+order+" LIMIT ?",
					tenant, thread, at, n, int64(limit)) {
					if err != nil {
						return nil, err
					}
					all = append(all, scanMessage(r, thread))
				}
				return all, nil
			}
			if around.Before, err = neighbours("<", "DESC", ref.Before); err != nil {
				return err
			}
			slices.Reverse(around.Before)
			if around.After, err = neighbours(">", "ASC", ref.After); err != nil {
				return err
			}
			found = append(found, around)
		}
		return nil
	})
	return found, err
}

func (s *Store) TransferThread(ctx context.Context, id, from, to string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error {
		t.tails.drop(threadKey{tenant, id})
		changed, err := t.exec("UPDATE threads SET resource = ?, updated = max(updated, ?) WHERE tenant = ? AND id = ? AND resource = ?",
			to, s.now().UnixMilli(), tenant, id, from)
		if err != nil {
			return err
		}
		if changed > 0 {
			_, err = t.exec("UPDATE messages SET resource = ? WHERE tenant = ? AND thread = ?", to, tenant, id)
			return err
		}
		if r, err := t.first("SELECT id FROM threads WHERE tenant = ? AND id = ?", tenant, id); err != nil || r == nil {
			return otherwise(err, errNoThread())
		}
		return mastra.Errorf(mastra.CodeConflict, "The thread has another owner by now")
	})
}

// place is the key of notes.
func place(of mastra.NotesOf) (kind, id string) {
	switch {
	case of.Observed:
		return "O", of.ThreadID
	case of.ThreadID != "":
		return "T", of.ThreadID
	}
	return "R", of.ResourceID
}

func (s *Store) WorkingMemory(ctx context.Context, of mastra.NotesOf) (*mastra.Notes, error) {
	n := &mastra.Notes{Of: of}
	if err := n.Check(); err != nil {
		return nil, err
	}
	kind, id := place(of)
	err := s.readWarm(ctx, func(c *conn) error {
		r, err := c.first("SELECT version, data FROM notes WHERE tenant = ? AND kind = ? AND id = ?", mastra.Tenant(ctx), kind, id)
		if err == nil && r != nil {
			n.Version, n.Data = int(r.int(0)), r.text(1)
		}
		return err
	})
	return n, err
}

func (s *Store) SaveWorkingMemory(ctx context.Context, n mastra.Notes) error {
	if err := n.Check(); err != nil {
		return err
	}
	kind, id := place(n.Of)
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error {
		if kind != "R" {
			if r, err := t.first("SELECT id FROM threads WHERE tenant = ? AND id = ?", tenant, id); err != nil || r == nil {
				return otherwise(err, errNoThread())
			}
		}
		var changed int64
		var err error
		if n.Version == 0 {
			changed, err = t.exec("INSERT INTO notes (tenant, kind, id, version, data) VALUES (?, ?, ?, 1, ?) ON CONFLICT DO NOTHING", tenant, kind, id, n.Data)
		} else {
			changed, err = t.exec("UPDATE notes SET version = version + 1, data = ? WHERE tenant = ? AND kind = ? AND id = ? AND version = ?",
				n.Data, tenant, kind, id, int64(n.Version))
		}
		if err == nil && changed == 0 {
			err = mastra.Errorf(mastra.CodeConflict, "The working memory was changed meanwhile")
		}
		return err
	})
}

// otherwise is err, or the refusal where there is none.
func otherwise(err, refusal error) error {
	if err != nil {
		return err
	}
	return refusal
}
