package dynamodb

import (
	"context"

	"mastralambda/shared/mastra"
)

// Runs are not counted when they are made: that would be a request more for each. How many a workflow has is kept up to a
// moment, the edge, and those behind it are counted when somebody asks. Where they are many the edge moves on, so that each
// run is counted once.
const (
	tallyLag  = 300_000 // ms between the edge and now: no run is made before it any more, and no index lags so far behind
	tallyMany = 1000
)

func tallyKey(tenant, workflow string) (pk, sk string) {
	return counters(tenant, "tally"), short(workflow, 512)
}

// tallied is the number of a workflow's runs; l is the list of all of them.
func (s *Store) tallied(ctx context.Context, l list, tenant, workflow string) (int, error) {
	pk, sk := tallyKey(tenant, workflow)
	kept, err := s.get(ctx, l.table, pk, sk)
	if err != nil {
		return 0, err
	}
	if kept["edge"] != nil {
		l.from = moment(timeOf(kept["edge"]))
	}
	fresh, err := s.counted(l)(ctx)
	if err != nil {
		return 0, err
	}
	n := int(numberOf(kept["n"]))
	edge := s.time() - tallyLag
	if fresh < tallyMany || timeOf(kept["gone"]) > edge { // one that was deleted may still be in the index
		return max(0, n+fresh), nil
	}
	l.to = moment(edge-1) + after
	passed, err := s.counted(l)(ctx)
	if err != nil {
		return 0, err
	}
	unchanged := "attribute_not_exists(#v)"
	if kept["v"] != nil {
		unchanged = "#v = :v"
	}
	values := item{":edge": number(edge), ":n": number(n + passed), ":next": number(numberOf(kept["v"]) + 1)}
	if kept["v"] != nil {
		values[":v"] = kept["v"]
	}
	if _, err = s.write(ctx, update(l.table, pk, sk, "SET #edge = :edge, #n = :n, #v = :next", unchanged, values), ""); refused(err) { // somebody else moved it
		err = nil
	}
	return max(0, n+fresh), err
}

// untally takes a deleted run out of the number, where it is in it. Whoever moves the edge meanwhile counts again.
func (s *Store) untally(ctx context.Context, table, tenant, workflow string, created mastra.Time) error {
	pk, sk := tallyKey(tenant, workflow)
	token := mastra.NewID()
	set, unless := once(token, 32)
	values := item{":mark": text(mark(token)), ":one": number(1), ":less": number(-1), ":created": number(created), ":gone": number(s.time())}
	_, err := s.write(ctx, update(table, pk, sk, set+", #gone = :gone ADD #n :less, #v :one", "#edge > :created AND "+unless, values), token)
	if refused(err) {
		delete(values, ":mark")
		delete(values, ":less")
		delete(values, ":created")
		_, err = s.write(ctx, update(table, pk, sk, "SET #gone = :gone ADD #v :one", "", values), "")
	}
	return err
}
