package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// runUpdate is a mastra.RunUpdate whose parts are encoded.
type runUpdate struct {
	*mastra.RunUpdate
	head    []byte // without input, graph and context
	context []byte
	steps   [][]byte // of Run.Steps
}

func encodeRuns(updates []mastra.RunUpdate) ([]runUpdate, error) {
	if len(updates) == 0 {
		return nil, nil
	}
	encoded := make([]runUpdate, len(updates))
	for i := range updates {
		e := &encoded[i]
		e.RunUpdate = &updates[i]
		if err := checkID("run", e.Run.ID); err != nil {
			return nil, err
		}
		head := e.Run
		head.Input, head.Graph, head.Context = nil, nil, nil
		var err error
		if e.head, err = schema.Marshal(&head); err != nil {
			return nil, err
		}
		if e.Run.Context != nil {
			if e.context, err = schema.Marshal(e.Run.Context); err != nil {
				return nil, err
			}
		}
		e.steps = make([][]byte, len(e.Run.Steps))
		for j := range e.Run.Steps {
			if e.steps[j], err = schema.Marshal(&e.Run.Steps[j].Value); err != nil {
				return nil, err
			}
		}
	}
	return encoded, nil
}

func (t *tx) writeRun(tenant string, u *runUpdate) error {
	if u.Run.ExpiresAt != 0 {
		t.runs++
	}
	var err error
	if u.Create {
		err = t.createRun(tenant, u)
	} else {
		err = t.updateRun(tenant, u)
	}
	if err != nil {
		return err
	}
	if u.Reset {
		if _, err := t.exec("DELETE FROM steps WHERE tenant = ? AND run = ?", tenant, u.Run.ID); err != nil {
			return err
		}
	}
	for i, m := range u.Run.Steps {
		if _, err := t.exec(`INSERT INTO steps (tenant, run, key, result) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET result = excluded.result`,
			tenant, u.Run.ID, m.Key, u.steps[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) createRun(tenant string, u *runUpdate) error {
	r := &u.Run
	existing, err := t.first("SELECT n, status, lease FROM runs WHERE tenant = ? AND id = ?", tenant, r.ID)
	switch {
	case err != nil:
		return err
	case existing == nil:
	case mastra.RunStatus(existing.text(1)).Ended() && existing.int(2) > 0 && existing.time(2) < t.now:
		if err := t.deleteRun(tenant, r.ID, existing.int(0), r.WorkflowID); err != nil {
			return err
		}
	default:
		return mastra.Errorf(mastra.CodeConflict, "Workflow run %s exists already", r.ID)
	}
	n, err := t.insert(`INSERT INTO runs (tenant, id, workflow, resource, status, created, fence, owner, lease, head) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		tenant, r.ID, r.WorkflowID, r.ResourceID, string(r.Status), int64(r.CreatedAt), r.Fence, r.Owner, leaseOf(r), u.head)
	if err != nil {
		return err
	}
	t.count(tenant, "runs", r.WorkflowID, 1)
	_, err = t.exec("INSERT INTO run_inputs (n, tenant, context, input, graph) VALUES (?, ?, ?, ?, ?)", n, tenant, u.context, []byte(r.Input), []byte(r.Graph))
	return err
}

func (t *tx) updateRun(tenant string, u *runUpdate) error {
	r := &u.Run
	stored, err := t.first("SELECT n, fence, status FROM runs WHERE tenant = ? AND id = ?", tenant, r.ID)
	if err != nil {
		return err
	}
	if stored == nil {
		return errNoRun()
	}
	n, fence, status := stored.int(0), stored.int(1), mastra.RunStatus(stored.text(2))
	switch {
	case status.Ended() && (!u.Reset || u.From != status):
		return mastra.Errorf(mastra.CodeConflict, "This workflow run has ended: it is %s", status)
	case u.From != "" && u.From != status:
		return mastra.Errorf(mastra.CodeConflict, "This workflow run was not %s", u.From)
	case fence != r.Fence:
		return mastra.Errorf(mastra.CodeConflict, "This workflow run has been taken over by another process")
	}
	// A status that is written costs an update of the index of active runs, changed or not.
	if status == r.Status {
		_, err = t.exec("UPDATE runs SET owner = ?, lease = ?, head = ? WHERE n = ?", r.Owner, leaseOf(r), u.head, n)
	} else {
		_, err = t.exec("UPDATE runs SET status = ?, owner = ?, lease = ?, head = ? WHERE n = ?", string(r.Status), r.Owner, leaseOf(r), u.head, n)
	}
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE run_inputs SET context = ?1, input = ?2, graph = ?3 WHERE n = ?4 AND (context IS NOT ?1 OR input IS NOT ?2 OR graph IS NOT ?3)`,
		u.context, []byte(r.Input), []byte(r.Graph), n)
	return err
}

func errNoRun() error { return mastra.Errorf(mastra.CodeNotFound, "Workflow run not found") }

const runColumns = "runs.id, status, fence, owner, lease, head, context, input, graph"

// storedRun is a run as it was read, not decoded yet.
type storedRun struct {
	run           mastra.Run
	head, context mastra.JSON
	steps         mastra.Object[mastra.JSON]
}

func scanRun(r row) *storedRun {
	return &storedRun{
		run:  mastra.Run{Fence: r.int(2), Owner: r.text(3), LeaseUntil: r.time(4), Input: r.json(7), Graph: r.json(8)},
		head: r.json(5), context: r.json(6),
	}
}

// run reads a run with its steps, nil if there is none.
func (c *conn) run(tenant, id string) (*storedRun, error) {
	r, err := c.first("SELECT "+runColumns+" FROM runs JOIN run_inputs USING (n) WHERE runs.tenant = ? AND id = ?", tenant, id)
	if err != nil || r == nil {
		return nil, err
	}
	run := scanRun(r)
	for r, err := range c.query(context.Background(), "SELECT key, result FROM steps WHERE tenant = ? AND run = ? ORDER BY n", tenant, id) {
		if err != nil {
			return nil, err
		}
		run.steps = append(run.steps, mastra.Member[mastra.JSON]{Key: r.text(0), Value: r.json(1)})
	}
	return run, nil
}

func (s *storedRun) decode() (*mastra.Run, error) {
	if err := schema.Unmarshal(s.head, &s.run); err != nil {
		return nil, err
	}
	if s.run.Status.Ended() { // see leaseOf
		s.run.LeaseUntil = 0
	}
	if s.context != nil {
		if err := schema.Unmarshal(s.context, &s.run.Context); err != nil {
			return nil, err
		}
	}
	if len(s.steps) > 0 {
		s.run.Steps = make(mastra.Object[mastra.StepResult], len(s.steps))
	}
	for i, m := range s.steps {
		s.run.Steps[i].Key = m.Key
		if err := schema.Unmarshal(m.Value, &s.run.Steps[i].Value); err != nil {
			return nil, err
		}
	}
	return &s.run, nil
}

func (s *Store) Run(ctx context.Context, id string) (*mastra.Run, error) {
	var run *storedRun
	err := s.readers.read(ctx, func(c *conn) (err error) {
		if run, err = c.run(mastra.Tenant(ctx), id); err == nil && run == nil {
			err = errNoRun()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	decoded, err := run.decode()
	if err == nil && decoded.ExpiresAt != 0 && decoded.ExpiresAt < mastra.TimeOf(s.now()) {
		return nil, errNoRun()
	}
	return decoded, err
}

func (s *Store) Runs(ctx context.Context, q mastra.RunQuery) (*mastra.Page[mastra.Run], error) {
	if q.WorkflowID == "" {
		return nil, mastra.Invalid("workflowId", "Required")
	}
	tenant := mastra.Tenant(ctx)
	l := list{columns: runColumns, table: "runs", join: " JOIN run_inputs USING (n)", order: "created", tie: "n", descending: true, Paging: q.Paging}
	l.equal("runs.tenant", tenant)
	l.equal("workflow", q.WorkflowID)
	filtered := l.match("resource", q.ResourceID)
	filtered = l.match("status", string(q.Status)) || filtered
	filtered = l.between("created", q.From, q.To) || filtered
	if !filtered {
		l.total = func(c *conn) (int, error) { return c.kept(tenant, "runs", q.WorkflowID) }
	}
	return readPage(ctx, s, l, func(_ *conn, r row) (mastra.Run, error) {
		run, err := scanRun(r).decode()
		if err != nil {
			return mastra.Run{}, err
		}
		return *run, nil
	})
}

// kept reads a counter; without a name all of a kind.
func (c *conn) kept(tenant, kind, name string) (int, error) {
	sql, args := "SELECT sum(total) FROM counters WHERE tenant = ? AND kind = ?", []any{tenant, kind}
	if name != "" {
		sql, args = sql+" AND name = ?", append(args, name)
	}
	r, err := c.first(sql, args...)
	if err != nil {
		return 0, err
	}
	return int(r.int(0)), nil
}

func (s *Store) DeleteRun(ctx context.Context, id string) error {
	tenant := mastra.Tenant(ctx)
	return s.submit(ctx, func(t *tx) error {
		r, err := t.first("SELECT n, workflow FROM runs WHERE tenant = ? AND id = ?", tenant, id)
		if err != nil {
			return err
		}
		if r == nil {
			return errNoRun()
		}
		return t.deleteRun(tenant, id, r.int(0), r.text(1))
	})
}

func (t *tx) deleteRun(tenant, id string, n int64, workflow string) error {
	t.count(tenant, "runs", workflow, -1)
	_, err := t.exec("DELETE FROM runs WHERE n = ?", n)
	if err == nil {
		_, err = t.exec("DELETE FROM run_inputs WHERE n = ?", n)
	}
	if err == nil {
		_, err = t.exec("DELETE FROM steps WHERE tenant = ? AND run = ?", tenant, id)
	}
	if err == nil {
		_, err = t.exec("DELETE FROM chunks WHERE tenant = ? AND run = ?", tenant, id)
	}
	return err
}

// leaseOf is what the column lease holds: of a run that has ended, until when it is kept.
func leaseOf(r *mastra.Run) int64 {
	if r.Status.Ended() {
		return int64(r.ExpiresAt)
	}
	return int64(r.LeaseUntil)
}

// forgetRuns deletes runs that have expired. It walks through all of them in the order in which they were made, two steps a
// written one.
func (s *Store) forgetRuns(t *tx) error {
	if s.pastRuns.pending += 2 * int64(t.runs); s.pastRuns.pending < sweepBatch {
		return nil
	}
	s.pastRuns.pending = 0
	type place struct {
		n                    int64
		tenant, id, workflow string
	}
	var expired []place
	seen := 0
	for r, err := range t.query(context.Background(), "SELECT n, tenant, id, workflow, status, lease FROM runs WHERE n > ? ORDER BY n LIMIT ?", s.pastRuns.at, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		s.pastRuns.at = r.int(0)
		if mastra.RunStatus(r.text(4)).Ended() && r.int(5) > 0 && r.time(5) < t.now {
			expired = append(expired, place{r.int(0), r.text(1), r.text(2), r.text(3)})
		}
	}
	if seen < sweepBatch {
		s.pastRuns.at = 0
	}
	for _, e := range expired {
		if err := t.deleteRun(e.tenant, e.id, e.n, e.workflow); err != nil {
			return err
		}
	}
	t.settle(true)
	return nil
}

func (s *Store) Lease(ctx context.Context, id, owner string, until mastra.Time) (*mastra.Run, error) {
	tenant := mastra.Tenant(ctx)
	if owner == "" {
		return nil, mastra.Errorf(mastra.CodeInvalid, "A lease has no owner")
	}
	var run *storedRun
	err := s.submit(ctx, func(t *tx) error {
		r, err := t.first("SELECT n, owner, lease FROM runs WHERE tenant = ? AND id = ?", tenant, id)
		if err != nil {
			return err
		}
		if r == nil {
			return errNoRun()
		}
		n, holder, lease := r.int(0), r.text(1), r.time(2)
		if holder != owner && holder != "" && lease >= t.now {
			return mastra.Errorf(mastra.CodeConflict, "This workflow run is being worked on by another process")
		}
		raise := int64(0)
		if holder != owner {
			raise = 1
		}
		if _, err := t.exec("UPDATE runs SET fence = fence + ?, owner = ?, lease = ? WHERE n = ?", raise, owner, int64(until), n); err != nil {
			return err
		}
		run, err = t.run(tenant, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return run.decode()
}

func (s *Store) Expired(ctx context.Context, now mastra.Time, limit int) (refs []mastra.RunRef, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT tenant, id FROM runs INDEXED BY runs_active WHERE status IN ('running', 'waiting') AND lease < ? LIMIT ?", int64(now), int64(max(0, limit))) {
			if err != nil {
				return err
			}
			refs = append(refs, mastra.RunRef{Tenant: r.text(0), RunID: r.text(1)})
		}
		return nil
	})
	return refs, err
}
