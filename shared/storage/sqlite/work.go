package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

var _ mastra.WorkStore = (*Store)(nil)

func (s *Store) AddWork(ctx context.Context, id string, w mastra.Work) error {
	body, err := schema.Marshal(w)
	if err != nil {
		return err
	}
	return s.submit(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO work (id, due, receipt, attempts, dead, reason, body) VALUES (?, ?, '', 0, 0, '', ?)", id, int64(w.At), []byte(body))
		return err
	})
}

func (s *Store) TakeWork(ctx context.Context, receipt string, now, until mastra.Time) (*mastra.KeptWork, mastra.Time, error) {
	next, err := s.nextWork(ctx)
	if err != nil || next == 0 || next > now { // most looks find nothing: they write nothing
		return nil, next, err
	}
	var got *mastra.KeptWork
	err = s.submit(ctx, func(t *tx) error {
		r, err := t.first("SELECT n, id, due, attempts, body FROM work WHERE dead = 0 ORDER BY due LIMIT 1")
		if err != nil || r == nil {
			next = 0
			return err
		}
		if next = r.time(2); next > now {
			return nil
		}
		got = &mastra.KeptWork{ID: r.text(1), Attempts: int(r.int(3)) + 1}
		n, body := r.int(0), r.json(4)
		if _, err := t.exec("UPDATE work SET due = ?, receipt = ?, attempts = attempts + 1 WHERE n = ?", int64(until), receipt, n); err != nil {
			return err
		}
		return schema.Unmarshal(body, &got.Work)
	})
	if err != nil {
		return nil, 0, err
	}
	return got, next, nil
}

// nextWork is when some is due, 0 where there is none. Work without a time is due since the beginning of time.
func (s *Store) nextWork(ctx context.Context) (at mastra.Time, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		r, err := c.first("SELECT due FROM work WHERE dead = 0 ORDER BY due LIMIT 1")
		if err == nil && r != nil {
			at = max(1, r.time(0))
		}
		return err
	})
	return at, err
}

func (s *Store) HideWork(ctx context.Context, id, receipt string, until mastra.Time) error {
	return s.changeWork(ctx, id, receipt, "UPDATE work SET due = ? WHERE n = ?", int64(until))
}

func (s *Store) EndWork(ctx context.Context, id, receipt string) error {
	return s.changeWork(ctx, id, receipt, "DELETE FROM work WHERE n = ?")
}

func (s *Store) BuryWork(ctx context.Context, id, receipt, reason string) error {
	return s.changeWork(ctx, id, receipt, "UPDATE work SET dead = 1, reason = ? WHERE n = ?", reason)
}

func (s *Store) changeWork(ctx context.Context, id, receipt, sql string, args ...any) error {
	return s.submit(ctx, func(t *tx) error {
		r, err := t.first("SELECT n FROM work WHERE id = ? AND receipt = ? AND dead = 0", id, receipt)
		if err != nil {
			return err
		}
		if r == nil {
			return mastra.Errorf(mastra.CodeConflict, "Another one has this work")
		}
		_, err = t.exec(sql, append(args, r.int(0))...)
		return err
	})
}

func (s *Store) DeadWork(ctx context.Context, limit int) (list []mastra.DeadWork, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT id, attempts, reason, body FROM work WHERE dead = 1 ORDER BY n LIMIT ?", int64(limit)) {
			if err != nil {
				return err
			}
			d := mastra.DeadWork{ID: r.text(0), Attempts: int(r.int(1)), Reason: r.text(2)}
			if err := schema.Unmarshal(r.json(3), &d.Work); err != nil {
				return err
			}
			list = append(list, d)
		}
		return nil
	})
	return list, err
}

func (s *Store) ReviveWork(ctx context.Context, id string) error {
	return s.submit(ctx, func(t *tx) error {
		r, err := t.first("SELECT n FROM work WHERE id = ? AND dead = 1", id)
		if err != nil {
			return err
		}
		if r == nil {
			return mastra.Errorf(mastra.CodeNotFound, "There is no dead work %q", id)
		}
		_, err = t.exec("UPDATE work SET dead = 0, due = 0, attempts = 0, receipt = '', reason = '' WHERE n = ?", r.int(0))
		return err
	})
}
