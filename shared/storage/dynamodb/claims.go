package dynamodb

import (
	"context"
	"slices"
	"strings"

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
	return &c, s.stateOf(ctx, &c, it)
}

// ClaimsFirst says that a claim is to be committed before what it protects.
func (s *Store) ClaimsFirst() {}

// maxOutcome is how many bytes of an outcome are kept with the message that it comes with.
const maxOutcome = 64 << 10

// stateOf fills in a claim's state: that of its item, or the outcome that came with the answer.
func (s *Store) stateOf(ctx context.Context, c *mastra.Claim, it item) (err error) {
	if answer := textOf(it["ans"]); answer != "" && c.Status == mastra.StatusRunning {
		tenant, _, _ := strings.Cut(pkOf(it), "#")
		outcome, err := s.outcomeWith(ctx, tenant, answer)
		if err != nil {
			return err
		}
		if outcome != nil {
			c.Status, c.State = mastra.StatusSuccess, outcome
			return nil
		}
	}
	c.State, err = s.load(ctx, it["st"], s.tables.Runs, pkOf(it), nil)
	return err
}

// outcomeWith reads the outcome that came with a message, nil where the commit of both did not end: then the request goes on from its claim.
func (s *Store) outcomeWith(ctx context.Context, tenant, message string) (mastra.JSON, error) {
	table := s.tables.Threads
	pointer, err := s.get(ctx, table, tenant+"#I#"+short(message, maxID), only)
	if err != nil || pointer["out"] == nil {
		return nil, err
	}
	pk, sk := tenant+"#T#"+short(textOf(pointer["th"]), maxID), textOf(pointer["sk"])
	found, err := s.batchGet(ctx, table, []place{{pk, sk}, {pk, activityKey}}, true)
	if err != nil {
		return nil, err
	}
	it, act := found[place{pk, sk}], found[place{pk, activityKey}]
	if it == nil || timeOf(act["upd"]) < timeOf(it["created"]) {
		return nil, nil
	}
	return unpack(blobOf(pointer["out"]))
}

// outcome is how a request has ended whose answer is this message, nil where its claim is to say so itself. It costs no write of its own:
// a claim is mostly given up right behind it.
func (c *commit) outcome(message string) attribute {
	for i := range c.claims {
		if u := &c.claims[i]; c.withAnswer(u) && u.Answer == message {
			return blob(packShort(u.Claim.State))
		}
	}
	return nil
}

func (c *commit) withAnswer(u *mastra.ClaimUpdate) bool {
	return c.known == nil && c.plain() && u.Answer != "" && !u.Create && !u.Delete && u.Claim.Status == mastra.StatusSuccess && len(u.Claim.State) <= maxOutcome &&
		slices.ContainsFunc(c.messages, func(m *messageWrite) bool { return m.ID == u.Answer })
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
		if err := c.s.stateOf(ctx, &e.Existing, it); err != nil {
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
		if c.withAnswer(u) {
			continue
		}
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
		if u.Answer != "" && k.Status == mastra.StatusRunning {
			it["ans"] = text(u.Answer)
		}
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
