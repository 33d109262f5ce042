package embedded_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/embedded"
	"mastralambda/shared/vectorstore/vectortest"
)

// fill makes an index of all but the last 100 of a data set, which are returned as queries.
func fill(b testing.TB, s *embedded.Store, all []mastra.Vector) (stored, queries []mastra.Vector) {
	b.Helper()
	stored, queries = all[:len(all)-100], all[len(all)-100:]
	if err := s.CreateIndex(b.Context(), mastra.VectorIndex{Name: "docs", Dimension: len(all[0].Values)}); err != nil {
		b.Fatal(err)
	}
	for batch := range slices.Chunk(stored, 1000) {
		if err := s.Upsert(b.Context(), "docs", batch); err != nil {
			b.Fatal(err)
		}
	}
	return stored, queries
}

// random are vectors without any structure, the hardest to tell apart.
func random(seed uint64, n, dim int) []mastra.Vector {
	r := rand.New(rand.NewPCG(seed, 2))
	all := make([]mastra.Vector, n)
	for i := range all {
		all[i] = mastra.Vector{ID: fmt.Sprint(i), Values: make([]float32, dim), Metadata: mastra.JSON(fmt.Sprintf(`{"n":%d,"cluster":%d}`, i, i%20))}
		for j := range all[i].Values {
			all[i].Values[j] = float32(r.NormFloat64())
		}
	}
	return all
}

// BenchmarkQuery reports the median and the recall of top 10, of data that are hard for the codes: make bench-vectors has those
// that are like embeddings.
func BenchmarkQuery(b *testing.B) {
	for _, c := range []struct {
		name   string
		make   func(n, dim int) []mastra.Vector
		n, dim int
	}{
		{"many", func(n, dim int) []mastra.Vector { return vectortest.Data(1, n, dim, 100) }, 100_000, 384},
		{"few-clusters", func(n, dim int) []mastra.Vector { return vectortest.Data(1, n, dim, 10) }, 20_000, 1536},
		{"random", func(n, dim int) []mastra.Vector { return random(1, n, dim) }, 20_000, 1536},
		{"short", func(n, dim int) []mastra.Vector { return random(1, n, dim) }, 20_000, 64},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := open(b, b.TempDir())
			stored, queries := fill(b, s, c.make(c.n+100, c.dim))
			recall := 0.0
			for _, q := range queries[:20] {
				got, err := s.Query(b.Context(), "docs", mastra.VectorQuery{Vector: q.Values, TopK: 10})
				if err != nil {
					b.Fatal(err)
				}
				recall += vectortest.Recall(got, vectortest.BruteForce(mastra.Cosine, stored, q.Values, 10, nil)) / 20
			}
			var took []time.Duration
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if _, err := s.Query(b.Context(), "docs", mastra.VectorQuery{Vector: queries[i%100].Values, TopK: 10}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				i++
			}
			slices.Sort(took)
			b.ReportMetric(math.Round(float64(took[len(took)/2].Microseconds())), "p50-µs")
			b.ReportMetric(recall, "recall")
		})
	}
}

// BenchmarkNewFilter is a query whose filter was never asked before: the metadata of all vectors are read.
func BenchmarkNewFilter(b *testing.B) {
	s := open(b, b.TempDir())
	_, queries := fill(b, s, random(1, 100_100, 128))
	i := 0
	for b.Loop() {
		i++
		got, err := s.Query(b.Context(), "docs", mastra.VectorQuery{Vector: queries[i%100].Values, TopK: 10, Filter: mastra.JSON(fmt.Sprintf(`{"n":%d}`, i))})
		if err != nil || len(got) != 1 {
			b.Fatal(got, err)
		}
	}
}
