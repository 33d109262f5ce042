package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"mastralambda/shared/schema"
)

const (
	dimensions = 1536
	clusters   = 100
	noise      = 0.5 // length of what is added to a cluster's centre of length 1
	neighbours = 10
	batchSize  = 100 // vectors of one upsert: 1.3 MB of JSON
	queryCount = 50
)

// vectorSet is seeded data as embeddings of documents are: near each other in clusters.
type vectorSet struct {
	stored  [][]float32
	queries [][]float32
}

func newVectorSet(count int) *vectorSet {
	r := rand.New(rand.NewPCG(1, 2))
	centres := make([][]float32, clusters)
	for i := range centres {
		centres[i] = direction(r, nil)
	}
	some := func(n int) [][]float32 {
		out := make([][]float32, n)
		for i := range out {
			out[i] = direction(r, centres[r.IntN(clusters)])
		}
		return out
	}
	return &vectorSet{some(count), some(queryCount)}
}

// direction is a vector of length 1: near centre, or anywhere where that is nil. Five decimals, as the JSON holds.
func direction(r *rand.Rand, centre []float32) []float32 {
	v := make([]float32, dimensions)
	spread, sum := noise/math.Sqrt(dimensions), 0.0
	for i := range v {
		x := r.NormFloat64()
		if centre != nil {
			x = float64(centre[i]) + x*spread
		}
		v[i] = float32(x)
		sum += x * x
	}
	scale := 1e5 / math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(math.Round(float64(x)*scale) / 1e5)
	}
	return v
}

// nearest is the numbers of the first count stored vectors that are nearest to q by cosine, found by looking at all.
func (s *vectorSet) nearest(q []float32, count int) []int {
	type scored struct {
		i     int
		score float64
	}
	all := make([]scored, count)
	for i, v := range s.stored[:count] {
		var dot, square float32
		for j, x := range v {
			dot += x * q[j]
			square += x * x
		}
		all[i] = scored{i, float64(dot) / math.Sqrt(float64(square))}
	}
	slices.SortFunc(all, func(a, b scored) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	out := make([]int, min(neighbours, count))
	for i := range out {
		out[i] = all[i].i
	}
	return out
}

func appendVector(b []byte, v []float32) []byte {
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, float64(x), 'f', -1, 32)
	}
	return append(b, ']')
}

const (
	vectorStore = "/api/vector/libsqlVector"
	vectorIndex = "bench"
)

// upsert stores as many vectors as it can in the given time, and returns how many.
func (s *vectorSet) upsert(ctx context.Context, address string, limit time.Duration) (count int, err error) {
	c := dial(address)
	defer c.close()
	send := func(method, path, body, want string) error {
		status, answer, err := c.do(ctx, request(method, path, body))
		if err != nil {
			return err
		}
		if status != 200 {
			return fmt.Errorf("%s: status %d: %.300s", path, status, answer)
		}
		return contains(want)(answer)
	}
	if err := send("POST", vectorStore+"/create-index", fmt.Sprintf(`{"indexName":%q,"dimension":%d,"metric":"cosine"}`, vectorIndex, dimensions), "{"); err != nil {
		return 0, err
	}
	start := time.Now()
	for count < len(s.stored) && time.Since(start) < limit && ctx.Err() == nil {
		n := min(batchSize, len(s.stored)-count)
		body, ids := []byte(`{"indexName":"`+vectorIndex+`","vectors":[`), []byte(`],"ids":[`)
		for i := range n {
			if i > 0 {
				body, ids = append(body, ','), append(ids, ',')
			}
			body = appendVector(body, s.stored[count+i])
			ids = fmt.Appendf(ids, `"v%d"`, count+i)
		}
		body = append(append(body, ids...), "]}"...)
		if err := send("POST", vectorStore+"/upsert", string(body), fmt.Sprintf(`"v%d"`, count)); err != nil {
			return count, err
		}
		count += n
	}
	return count, ctx.Err()
}

// remove deletes the index, so that a server that is not ours is left as it was.
func (s *vectorSet) remove(ctx context.Context, address string) error {
	c := dial(address)
	defer c.close()
	status, answer, err := c.do(ctx, request("DELETE", vectorStore+"/indexes/"+vectorIndex, ""))
	if err == nil && status != 200 {
		err = fmt.Errorf("deleting the index: status %d: %.300s", status, answer)
	}
	return err
}

// load asks for the neighbours of each query in turn.
func (s *vectorSet) load() load {
	requests := make([][]byte, len(s.queries))
	for i, q := range s.queries {
		body := appendVector([]byte(fmt.Sprintf(`{"indexName":%q,"topK":%d,"queryVector":`, vectorIndex, neighbours)), q)
		requests[i] = request("POST", vectorStore+"/query", string(append(body, '}')))
	}
	return load{requests: func(worker int) [][]byte {
		return slices.Concat(requests[worker%len(requests):], requests[:worker%len(requests)])
	}, check: contains(`[{"id":"v`)}
}

// recall is the share of the true neighbours among count stored vectors that the answers hold.
func (s *vectorSet) recall(ctx context.Context, address string, count int) (float64, error) {
	c := dial(address)
	defer c.close()
	found, wanted := 0, 0
	for i, r := range s.load().requests(0) {
		status, body, err := c.do(ctx, r)
		if err != nil {
			return 0, err
		}
		var matches []struct {
			ID string `json:"id"`
		}
		if err := schema.Unmarshal(body, &matches); err != nil || status != 200 {
			return 0, fmt.Errorf("status %d: %.300s", status, body)
		}
		for _, n := range s.nearest(s.queries[i], count) {
			wanted++
			for _, m := range matches[:min(len(matches), neighbours)] {
				if m.ID == "v"+strconv.Itoa(n) {
					found++
				}
			}
		}
	}
	return float64(found) / float64(wanted), nil
}
