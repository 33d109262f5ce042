package dynamodb

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mastralambda/shared/mastra"
)

// heldUntil is the end of a run's lease: what the last write to the head said, or a heartbeat since then.
func heldUntil(head, lease item) mastra.Time {
	if lease != nil && numberOf(lease["hv"]) == numberOf(head["v"]) {
		return timeOf(lease["until"])
	}
	return timeOf(head["lease"])
}

// Lease lengthens a lease on an item of its own, which costs one unit however large the run is. Where the holder changes,
// the head changes with it, in one transaction.
func (s *Store) Lease(ctx context.Context, id, owner string, until mastra.Time) (*mastra.Run, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if owner == "" {
		return nil, mastra.Errorf(mastra.CodeInvalid, "A lease has no owner")
	}
	if !keepable(id) {
		return nil, errNoRun()
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Runs
	pk := runPK(tenant, id)
	for try := 0; ; try++ {
		head, lease, all, err := s.readRun(ctx, tenant, id)
		if err != nil {
			return nil, err
		}
		if head == nil {
			return nil, errNoRun()
		}
		holder, v := textOf(head["owner"]), numberOf(head["v"])
		if holder != owner && holder != "" && heldUntil(head, lease) >= s.time() {
			return nil, mastra.Errorf(mastra.CodeConflict, "This workflow run is being worked on by another process")
		}
		token := mastra.NewID()
		beat := key(pk, leaseKey)
		beat["until"], beat["hv"], beat["tok"] = number(until), number(v), text(token)
		if head[TTLAttribute] != nil {
			beat[TTLAttribute] = head[TTLAttribute]
		}
		if holder == owner {
			_, err = s.write(ctx, put(table, beat, "attribute_not_exists(#PK) OR #hv <= :hv", item{":hv": number(v)}), token)
		} else {
			beat["hv"] = number(v + 1)
			unchanged, values := "attribute_not_exists(#PK)", item{}
			if lease != nil {
				unchanged, values = "#tok = :was", item{":was": lease["tok"]}
			}
			err = s.transact(ctx, []op{
				update(table, pk, headKey, "SET #owner = :owner, #lease = :lease ADD #fence :one, #v :one", "#v = :v", item{":owner": text(owner), ":lease": number(until), ":one": number(1), ":v": number(v)}),
				put(table, beat, unchanged, values),
			}, token)
			head["fence"] = number(numberOf(head["fence"]) + 1)
		}
		switch {
		case err == nil:
			head["owner"], head["lease"] = text(owner), number(until)
			return s.wholeRun(ctx, head, nil, all)
		case !refused(err):
			return nil, err
		case try+1 == maxTries:
			return nil, mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
		}
		if err := pause(ctx, min(try, 5)); err != nil {
			return nil, err
		}
	}
}

// Expired walks through the index of unfinished runs, of all tenants. What it costs grows with their number.
func (s *Store) Expired(ctx context.Context, now mastra.Time, limit int) (refs []mastra.RunRef, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	in := &ddb.ScanInput{TableName: &s.tables.Runs, IndexName: aws.String(index2)}
	for limit > 0 {
		var out *ddb.ScanOutput
		if err := try(ctx, func() (err error) { out, err = s.client.Scan(ctx, in); return err }); err != nil {
			return nil, err
		}
		var places []place
		for _, it := range out.Items {
			if pk2 := textOf(it[attrPK2]); skOf(it) == headKey && activePK(pk2) {
				places = append(places, place{pkOf(it), headKey}, place{pkOf(it), leaseKey})
			}
		}
		for len(places) > 0 && len(refs) < limit {
			some := places[:min(len(places), 200)]
			places = places[len(some):]
			found, err := s.batchGet(ctx, s.tables.Runs, some, true)
			if err != nil {
				return nil, err
			}
			for i := 0; i < len(some) && len(refs) < limit; i += 2 {
				head := found[some[i]]
				if head == nil || !mastra.RunStatus(textOf(head["status"])).Active() || heldUntil(head, found[some[i+1]]) >= now {
					continue
				}
				tenant, rest, _ := strings.Cut(some[i].pk, "#")
				refs = append(refs, mastra.RunRef{Tenant: unescape(tenant), RunID: strings.TrimPrefix(rest, "W#")})
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	return refs, nil
}

// activePK says that a partition of the index of unfinished runs is one of active runs.
func activePK(pk string) bool {
	parts := strings.Split(pk, "#")
	return len(parts) > 2 && mastra.RunStatus(parts[len(parts)-2]).Active()
}
