package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
)

const claimColumns = "key, fingerprint, run, status, owner, lease, state, expires"

func scanClaim(r row) mastra.Claim {
	return mastra.Claim{Key: r.text(0), Fingerprint: r.text(1), RunID: r.text(2), Status: mastra.RunStatus(r.text(3)), Owner: r.text(4),
		LeaseUntil: r.time(5), State: r.json(6), ExpiresAt: r.time(7)}
}

// claim reads a claim that has not expired, nil if there is none.
func (c *conn) claim(tenant, key string, now mastra.Time) (*mastra.Claim, error) {
	r, err := c.first("SELECT "+claimColumns+" FROM claims WHERE tenant = ? AND key = ? AND expires >= ?", tenant, key, int64(now))
	if err != nil || r == nil {
		return nil, err
	}
	claim := scanClaim(r)
	return &claim, nil
}

func (s *Store) Claim(ctx context.Context, key string) (claim *mastra.Claim, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		claim, err = c.claim(mastra.Tenant(ctx), key, mastra.TimeOf(s.now()))
		return err
	})
	return claim, err
}

func (t *tx) writeClaim(tenant string, u *mastra.ClaimUpdate) error {
	c := &u.Claim
	if u.Delete {
		_, err := t.exec("DELETE FROM claims WHERE tenant = ? AND key = ? AND owner = ?", tenant, c.Key, c.Owner)
		return err
	}
	t.claims++
	if u.Create {
		changed, err := t.exec(`INSERT INTO claims (tenant, key, expires, lease, owner, status, run, fingerprint, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
			ON CONFLICT DO UPDATE SET expires = ?3, lease = ?4, owner = ?5, status = ?6, run = ?7, fingerprint = ?8, state = ?9 WHERE expires < ?10`,
			tenant, c.Key, int64(c.ExpiresAt), int64(c.LeaseUntil), c.Owner, string(c.Status), c.RunID, c.Fingerprint, []byte(c.State), int64(t.now))
		if err != nil || changed > 0 {
			return err
		}
		existing, err := t.claim(tenant, c.Key, t.now)
		if err != nil {
			return err
		}
		return &mastra.ClaimedError{Existing: *existing}
	}
	from := u.From
	if from == "" {
		from = c.Owner
	}
	changed, err := t.exec(`UPDATE claims SET expires = ?3, lease = ?4, owner = ?5, status = ?6, run = ?7, fingerprint = ?8, state = ?9
		WHERE tenant = ?1 AND key = ?2 AND expires >= ?10 AND owner IN (?5, ?11)`,
		tenant, c.Key, int64(c.ExpiresAt), int64(c.LeaseUntil), c.Owner, string(c.Status), c.RunID, c.Fingerprint, []byte(c.State), int64(t.now), from)
	if err == nil && changed == 0 {
		err = mastra.Errorf(mastra.CodeConflict, "Another process holds this request")
	}
	return err
}

// sweep deletes expired claims. It walks through all of them in the order of their key, a few at each transaction that
// wrote some: two steps a written claim, so that at most as many expired ones are kept as live ones.
type sweep struct {
	pending     int    // steps to go
	tenant, key string // where it stands
}

const sweepBatch = 128

func (s *sweep) run(t *tx) error {
	if s.pending += 2 * t.claims; s.pending < sweepBatch {
		return nil
	}
	s.pending = 0
	var expired [][2]string
	seen := 0
	for r, err := range t.query(context.Background(), "SELECT tenant, key, expires FROM claims WHERE (tenant, key) > (?, ?) ORDER BY tenant, key LIMIT ?",
		s.tenant, s.key, int64(sweepBatch)) {
		if err != nil {
			return err
		}
		seen++
		s.tenant, s.key = r.text(0), r.text(1)
		if r.time(2) < t.now {
			expired = append(expired, [2]string{s.tenant, s.key})
		}
	}
	if seen < sweepBatch {
		s.tenant, s.key = "", ""
	}
	for _, e := range expired {
		if _, err := t.exec("DELETE FROM claims WHERE tenant = ? AND key = ?", e[0], e[1]); err != nil {
			return err
		}
	}
	return nil
}
