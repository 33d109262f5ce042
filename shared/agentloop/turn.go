package agentloop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"mastralambda/shared/mastra"
)

// The run that a thread's messages go to is known by a claim, its turn: whoever begins a run with a message takes it over from
// the run before, in the commit that begins it, so that of several processes one begins a run and the others' messages join it.

const turnKey = "turn:"

// turn is a thread's claim, as it was read.
type turn struct {
	key  string
	from string // the run whose turn it was; "" where there was none
}

// opened is how a message begins a run.
type opened struct {
	turn turn
	rest []mastra.AgentMessage // that come behind it: they are in the new run's inbox from its beginning on
}

// turnOf reads whose turn it is in the thread of a call, and that run: nil where there is none that ctx may see.
func turnOf(ctx context.Context, m *mastra.Mastra, a *mastra.Agent, c mastra.AgentCall) (t turn, last *mastra.Run, err error) {
	if m.Storage == nil {
		return t, nil, nil
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{a.ID, c.ResourceID, c.ThreadID}, "\x00")))
	t.key = turnKey + hex.EncodeToString(sum[:])
	claim, err := m.Storage.Claim(ctx, t.key)
	if err != nil || claim == nil {
		return t, nil, err
	}
	t.from = claim.Owner
	last, err = m.Storage.Run(ctx, claim.RunID)
	if mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && last.ResourceID != mastra.Resource(ctx, last.ResourceID) {
		return t, nil, nil
	}
	return t, last, err
}

// taken is the write by which a run has its turn. It is refused where another one has got it meanwhile.
func (t turn) taken(x *run) mastra.ClaimUpdate {
	now := x.m.Now()
	return mastra.ClaimUpdate{Create: t.from == "", From: t.from, Claim: mastra.Claim{Key: t.key, RunID: x.RunID, Owner: x.RunID, Status: mastra.StatusRunning,
		LeaseUntil: mastra.TimeOf(now), ExpiresAt: mastra.TimeOf(now.Add(keptFor))}}
}

// lost says whether a commit with taken failed since another run has got the turn; else what it failed of.
func (t turn) lost(ctx context.Context, m *mastra.Mastra, err error) (bool, error) {
	var claimed *mastra.ClaimedError
	if errors.As(err, &claimed) {
		return claimed.Existing.Key == t.key, err
	}
	if m.Storage == nil || mastra.CodeOf(err) != mastra.CodeConflict {
		return false, err
	}
	claim, failed := m.Storage.Claim(ctx, t.key)
	if failed != nil {
		return false, failed
	}
	return (claim == nil) != (t.from == "") || claim != nil && claim.Owner != t.from, err
}
