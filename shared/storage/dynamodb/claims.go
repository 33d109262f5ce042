package dynamodb

import (
	"context"

	"mastralambda/shared/mastra"
)

// A claim stays in the table for a while after it has expired, so that clocks may differ; nobody sees it.
const keepExpired = 60 * 1000 // milliseconds

// ttl is when DynamoDB deletes what expires at that time.
func ttl(at mastra.Time) attribute { return number((int64(at) + keepExpired) / 1000) }

func claimPK(tenant, key string) string { return partition(tenant, "K", key) }

func (s *Store) Claim(ctx context.Context, key string) (*mastra.Claim, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(key) {
		return nil, nil
	}
	pk := claimPK(mastra.Tenant(ctx), key)
	it, err := s.get(ctx, s.tables.Runs, pk, only)
	if err != nil || it == nil || timeOf(it["exp"]) < s.time() {
		return nil, err
	}
	c := claimOf(key, it)
	c.State, err = s.load(ctx, it["st"], s.tables.Runs, pk, nil)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// claimOf is the claim of an item without its state.
func claimOf(key string, it item) mastra.Claim {
	return mastra.Claim{Key: key, Fingerprint: textOf(it["fp"]), RunID: textOf(it["run"]), Status: mastra.RunStatus(textOf(it["status"])), Owner: textOf(it["owner"]),
		LeaseUntil: timeOf(it["lease"]), ExpiresAt: timeOf(it["exp"])}
}

func (c *commit) checkClaim(ctx context.Context, u *mastra.ClaimUpdate) error {
	it := c.known.runs[place{claimPK(c.tenant, u.Claim.Key), only}]
	live := it != nil && timeOf(it["exp"]) >= c.now
	switch {
	case u.Delete:
		return nil
	case live && textOf(it["tok"]) == c.token: // our own, whose answer was lost
		return nil
	case u.Create && live:
		e := &mastra.ClaimedError{Existing: claimOf(u.Claim.Key, it)}
		var err error
		e.Existing.State, err = c.s.load(ctx, it["st"], c.s.tables.Runs, pkOf(it), nil)
		if err != nil {
			return err
		}
		return e
	case u.Create:
		return nil
	case !live, textOf(it["owner"]) != u.Claim.Owner && (u.From == "" || textOf(it["owner"]) != u.From):
		return mastra.Errorf(mastra.CodeConflict, "Another process holds this request")
	}
	return nil
}

func (c *commit) planClaims(p *plan) error {
	table := c.s.tables.Runs
	for i := range c.claims {
		u := &c.claims[i]
		k := &u.Claim
		pk := claimPK(c.tenant, k.Key)
		from := u.From
		if from == "" {
			from = k.Owner
		}
		values := item{":now": number(c.now), ":owner": text(k.Owner), ":from": text(from), ":tok": text(c.token)}
		if u.Delete {
			o := remove(table, pk, only, "#owner = :owner", values)
			if c.known != nil {
				if textOf(c.known.runs[place{pk, only}]["owner"]) != k.Owner {
					continue // not its own any more: it stays
				}
				p.core = append(p.core, o)
				continue
			}
			p.beside = append(p.beside, func(ctx context.Context) (undo, error) {
				back, err := c.side(ctx, o)
				if refused(err) {
					return nil, nil
				}
				return back, err
			})
			continue
		}
		it := key(pk, only)
		it["fp"], it["run"], it["status"], it["owner"] = text(k.Fingerprint), text(k.RunID), text(string(k.Status)), text(k.Owner)
		it["lease"], it["exp"], it["tok"] = number(k.LeaseUntil), number(k.ExpiresAt), text(c.token)
		it[TTLAttribute] = ttl(k.ExpiresAt)
		if k.State != nil {
			it["st"] = c.s.value(k.State, table, pk, &p.before)
			for _, l := range p.before { // pieces go when the claim goes
				for _, piece := range l.items {
					if pkOf(piece) == pk {
						piece[TTLAttribute] = it[TTLAttribute]
					}
				}
			}
		}
		condition := "attribute_not_exists(#PK) OR #exp < :now OR #tok = :tok"
		if !u.Create {
			condition = "#exp >= :now AND (#owner = :owner OR #owner = :from OR #tok = :tok)"
		}
		o := put(table, it, condition, values)
		if c.known == nil && c.plain() {
			p.beside = append(p.beside, func(ctx context.Context) (undo, error) { return c.side(ctx, o) })
			continue
		}
		p.core = append(p.core, o)
	}
	return nil
}
