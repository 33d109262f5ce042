// Package vectortest is the one suite that every mastra.VectorStore passes.
package vectortest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/mastra"
)

// Run runs the suite. open returns an empty store for one test; it cleans up after itself.
func Run(t *testing.T, open func(t *testing.T) mastra.VectorStore) {
	for name, test := range map[string]func(*testing.T, mastra.VectorStore){
		"indexes": indexes, "names": names, "upsert": upsert, "refused": refused, "metrics": scores, "filters": filters,
		"query": query, "concurrent": concurrent, "tenants": tenants, "recall": recall, "namespaces": namespaces, "changes": changes,
		"replace": replace, "selection stays": selectionStays, "unusual": unusual, "large": large, "opposed": opposed,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func code(t *testing.T, err error, want mastra.Code) {
	t.Helper()
	if got := mastra.CodeOf(err); got != want {
		t.Errorf("%v: code %q, want %q", err, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, s mastra.VectorStore, name string, dim int, m mastra.Metric) {
	t.Helper()
	must(t, s.CreateIndex(t.Context(), mastra.VectorIndex{Name: name, Dimension: dim, Metric: m}))
}

func indexes(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	if names, err := s.Indexes(ctx); err != nil || len(names) != 0 {
		t.Fatalf("a new store has %v, %v", names, err)
	}
	create(t, s, "zebra", 3, mastra.Cosine)
	create(t, s, "Ape", 4, mastra.Euclidean)
	create(t, s, "ape", 5, mastra.DotProduct)
	create(t, s, "zebra", 3, "") // cosine, which it is
	code(t, s.CreateIndex(ctx, mastra.VectorIndex{Name: "zebra", Dimension: 4, Metric: mastra.Cosine}), mastra.CodeConflict)
	code(t, s.CreateIndex(ctx, mastra.VectorIndex{Name: "zebra", Dimension: 3, Metric: mastra.Euclidean}), mastra.CodeConflict)
	code(t, s.CreateIndex(ctx, mastra.VectorIndex{Name: "x", Dimension: 0}), mastra.CodeInvalid)
	code(t, s.CreateIndex(ctx, mastra.VectorIndex{Name: "x", Dimension: 1 << 30}), mastra.CodeInvalid)
	code(t, s.CreateIndex(ctx, mastra.VectorIndex{Name: "x", Dimension: 3, Metric: "manhattan"}), mastra.CodeInvalid)
	if names, err := s.Indexes(ctx); err != nil || !slices.Equal(names, []string{"zebra", "Ape", "ape"}) {
		t.Fatalf("indexes are %v, %v", names, err)
	}
	if d, err := s.DescribeIndex(ctx, "Ape"); err != nil || d.Name != "Ape" || d.Dimension != 4 || d.Metric != mastra.Euclidean || d.Count != 0 {
		t.Errorf("described as %+v, %v", d, err)
	}
	must(t, s.Upsert(ctx, "Ape", []mastra.Vector{{ID: "a", Values: []float32{1, 2, 3, 4}}}))
	must(t, s.DeleteIndex(ctx, "Ape"))
	code(t, s.DeleteIndex(ctx, "Ape"), mastra.CodeNotFound)
	_, err := s.DescribeIndex(ctx, "Ape")
	code(t, err, mastra.CodeNotFound)
	_, err = s.Query(ctx, "Ape", mastra.VectorQuery{Vector: []float32{1, 2, 3, 4}, TopK: 1})
	code(t, err, mastra.CodeNotFound)
	code(t, s.Upsert(ctx, "Ape", []mastra.Vector{{ID: "a", Values: []float32{1, 2, 3, 4}}}), mastra.CodeNotFound)
	create(t, s, "Ape", 2, mastra.Cosine) // another one now, and empty
	if d, err := s.DescribeIndex(ctx, "Ape"); err != nil || d.Count != 0 || d.Dimension != 2 {
		t.Errorf("made again it is %+v, %v", d, err)
	}
}

func names(t *testing.T, s mastra.VectorStore) {
	long := strings.Repeat("a", 63)
	create(t, s, long, 2, mastra.Cosine)
	create(t, s, "_A1", 2, mastra.Cosine)
	for _, name := range []string{"", "bad name; drop table", "../../etc/passwd", "a/b", "1a", "a-b", "ä", "a.b", long + "a", "a\x00", "a\n"} {
		err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: name, Dimension: 2})
		code(t, err, mastra.CodeInvalid)
		if want := "Invalid index name: " + name + "."; err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
		code(t, s.Upsert(t.Context(), name, []mastra.Vector{{ID: "a", Values: []float32{1, 2}}}), mastra.CodeInvalid)
		code(t, s.DeleteIndex(t.Context(), name), mastra.CodeInvalid)
	}
}

func upsert(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	create(t, s, "docs", 3, mastra.Cosine)
	must(t, s.Upsert(ctx, "docs", []mastra.Vector{
		{ID: "v1", Values: []float32{1, 0, 0}, Metadata: mastra.JSON(`{"t":"a", "n":1}`)},
		{ID: "v2", Values: []float32{0, 1, 0}, Metadata: mastra.JSON(`{"t":"b","n":2}`)},
		{ID: "v3", Values: []float32{0.9, 0.1, 0}},
		{ID: "v2", Values: []float32{0, 0, 1}, Metadata: mastra.JSON(`{"t":"c","s":"<ü>"}`)}, // the later one stays
	}))
	must(t, s.Upsert(ctx, "docs", []mastra.Vector{{ID: "v1", Values: []float32{0.5, 0.5, 0}, Metadata: mastra.JSON(`{}`)}}))
	if d, err := s.DescribeIndex(ctx, "docs"); err != nil || d.Count != 3 {
		t.Errorf("described as %+v, %v", d, err)
	}
	got, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 0, 0}, TopK: 10, IncludeVector: true})
	must(t, err)
	want := []mastra.Match{
		{ID: "v3", Score: 0.9 / math.Sqrt(0.82), Metadata: mastra.JSON(`{}`), Vector: []float32{0.9, 0.1, 0}},
		{ID: "v1", Score: math.Sqrt(0.5), Metadata: mastra.JSON(`{}`), Vector: []float32{0.5, 0.5, 0}},
		{ID: "v2", Score: 0, Metadata: mastra.JSON(`{"t":"c","s":"<ü>"}`), Vector: []float32{0, 0, 1}},
	}
	if len(got) != len(want) {
		t.Fatalf("%d matches, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.ID != w.ID || math.Abs(g.Score-w.Score) > 1e-6 || !sameJSON(g.Metadata, w.Metadata) || !slices.Equal(g.Vector, w.Vector) {
			t.Errorf("match %d is %+v, want %+v", i, g, w)
		}
	}
}

func sameJSON(a, b mastra.JSON) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	return a.Canonicalize() == nil && b.Canonicalize() == nil && string(a) == string(b)
}

// refused: what is wrong with one vector refuses the whole batch.
func refused(t *testing.T, s mastra.VectorStore) {
	ctx := t.Context()
	create(t, s, "docs", 2, mastra.Cosine)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	good := mastra.Vector{ID: "good", Values: []float32{1, 2}}
	for _, bad := range [][]mastra.Vector{
		{}, {good, {ID: "", Values: []float32{1, 2}}}, {good, {ID: "x", Values: []float32{1}}}, {good, {ID: "x"}},
		{good, {ID: "x", Values: []float32{1, nan}}}, {good, {ID: "x", Values: []float32{inf, 1}}},
		{good, {ID: "x", Values: []float32{1, 2}, Metadata: mastra.JSON(`[1]`)}}, {good, {ID: "x", Values: []float32{1, 2}, Metadata: mastra.JSON(`{"a":`)}},
	} {
		code(t, s.Upsert(ctx, "docs", bad), mastra.CodeInvalid)
	}
	if d, err := s.DescribeIndex(ctx, "docs"); err != nil || d.Count != 0 {
		t.Errorf("refused batches have left %+v, %v", d, err)
	}
	for _, q := range []mastra.VectorQuery{
		{Vector: []float32{1, 2}}, {Vector: []float32{1, 2}, TopK: -1}, {Vector: []float32{1}, TopK: 1}, {TopK: 1}, {Vector: []float32{1, nan}, TopK: 1},
		{Vector: []float32{1, 2}, TopK: 1, Filter: mastra.JSON(`{"t":{"$bogus":1}}`)}, {Vector: []float32{1, 2}, TopK: 1, Filter: mastra.JSON(`[]`)},
	} {
		_, err := s.Query(ctx, "docs", q)
		code(t, err, mastra.CodeInvalid)
	}
	_, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 1, Filter: mastra.JSON(`{"t":{"$bogus":1}}`)})
	if err == nil || !strings.Contains(err.Error(), "Unsupported operator: $bogus") {
		t.Errorf("%v does not name the operator", err)
	}
	if got, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 3}); err != nil || got == nil || len(got) != 0 {
		t.Errorf("an empty index answers %v, %v", got, err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Upsert(canceled, "docs", []mastra.Vector{good}); err == nil {
		t.Error("an upsert of a canceled call was done")
	}
}

func scores(t *testing.T, s mastra.VectorStore) {
	for metric, want := range map[mastra.Metric]map[string]float64{
		mastra.Cosine:     {"same": 1, "half": 1, "side": 0, "back": -1},
		mastra.Euclidean:  {"same": 1, "half": 1 / 2., "side": 1 / (1 + math.Sqrt(8)), "back": 1 / 5.},
		mastra.DotProduct: {"same": 4, "half": 2, "side": 0, "back": -4},
	} {
		name := string(metric)
		create(t, s, name, 2, metric)
		must(t, s.Upsert(t.Context(), name, []mastra.Vector{
			{ID: "back", Values: []float32{-2, 0}}, {ID: "half", Values: []float32{1, 0}}, {ID: "same", Values: []float32{2, 0}}, {ID: "side", Values: []float32{0, 2}},
		}))
		got, err := s.Query(t.Context(), name, mastra.VectorQuery{Vector: []float32{2, 0}, TopK: 10})
		must(t, err)
		if len(got) != 4 || !slices.IsSortedFunc(got, func(a, b mastra.Match) int { return cmp.Compare(b.Score, a.Score) }) {
			t.Errorf("%s: %+v", metric, got)
		}
		for _, m := range got {
			if math.Abs(m.Score-want[m.ID]) > 1e-6 {
				t.Errorf("%s: %s has %g, want %g", metric, m.ID, m.Score, want[m.ID])
			}
		}
	}
}

func filters(t *testing.T, s mastra.VectorStore) {
	create(t, s, "docs", 2, mastra.Cosine)
	all := []mastra.Vector{{ID: "none", Values: []float32{1, 1}}}
	for i := range 100 {
		all = append(all, mastra.Vector{ID: fmt.Sprint(i), Values: []float32{1, float32(i)}, Metadata: mastra.JSON(fmt.Sprintf(
			`{"n":%d,"even":%t,"t":"%c","tags":["t%d","all"],"in":{"side":"%d"},"long":%q}`, i, i%2 == 0, 'a'+i%5, i%3, i%7, strings.Repeat("x", 1000*(i%2))))})
	}
	must(t, s.Upsert(t.Context(), "docs", all))
	for filter, want := range map[string]int{
		``: 101, `{}`: 101, `{"even":true}`: 50, `{"n":{"$gte":90}}`: 10, `{"t":"a","even":false}`: 10, `{"t":["a","b"]}`: 40, `{"in.side":"0"}`: 15,
		`{"tags":"t0"}`: 0, `{"tags":{"$contains":["t0"]}}`: 34, `{"tags":{"$all":["t1","all"]}}`: 33, `{"$or":[{"n":1},{"n":{"$in":[2,3]}}]}`: 3,
		`{"n":{"$exists":false}}`: 1, `{"n":{"$not":{"$lt":95}}}`: 5, `{"$nor":[{"n":{"$lt":50}},{"even":true}]}`: 25, `{"t":{"$regex":"^[ab]$"}}`: 40,
		`{"long":{"$contains":"XXX"}}`: 50, `{"n":1000}`: 0,
	} {
		got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: []float32{1, 0}, TopK: 1000, Filter: mastra.JSON(filter)})
		if err != nil || len(got) != want {
			t.Errorf("%s: %d matches, want %d (%v)", filter, len(got), want, err)
		}
	}
}

func query(t *testing.T, s mastra.VectorStore) {
	create(t, s, "docs", 2, mastra.Cosine)
	var all []mastra.Vector
	for i := range 50 {
		all = append(all, mastra.Vector{ID: fmt.Sprint(i), Values: []float32{1, float32(i) / 10}})
	}
	must(t, s.Upsert(t.Context(), "docs", all))
	least := 0.9
	got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: []float32{1, 0}, TopK: 1 << 40, MinScore: &least})
	must(t, err)
	if len(got) != 5 || got[0].ID != "0" || got[0].Vector != nil {
		t.Errorf("%d matches above 0.9: %+v", len(got), got)
	}
	if got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: []float32{0, 0}, TopK: 3}); err != nil || len(got) != 3 || got[0].Score != 0 {
		t.Errorf("a zero vector finds %+v, %v", got, err)
	}
}

// concurrent: batches of many callers are whole to every reader, and all there in the end.
func concurrent(t *testing.T, s mastra.VectorStore) {
	create(t, s, "docs", 80, mastra.Cosine)
	batch := func(writer, round int) (b []mastra.Vector) {
		for i := range 5 {
			v := mastra.Vector{ID: fmt.Sprintf("%d/%d", writer, i), Values: make([]float32, 80), Metadata: mastra.JSON(fmt.Sprintf(`{"writer":%d,"round":%d}`, writer, round))}
			v.Values[i], v.Values[79] = 1, float32(round)
			b = append(b, v)
		}
		return b
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for round := range 6 {
				if err := s.Upsert(t.Context(), "docs", batch(w, round)); err != nil {
					t.Error(err)
				}
				got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: batch(w, 0)[0].Values, TopK: 100, Filter: mastra.JSON(fmt.Sprintf(`{"writer":%d}`, w))})
				if err != nil || len(got) != 5 {
					t.Errorf("%d of a batch of 5, %v", len(got), err)
				}
				for _, m := range got {
					if !strings.Contains(strings.ReplaceAll(string(m.Metadata), " ", ""), fmt.Sprintf(`"round":%d`, round)) {
						t.Errorf("round %d is not visible to its writer: %s", round, m.Metadata)
					}
				}
			}
		})
	}
	writers.Wait()
	if d, err := s.DescribeIndex(t.Context(), "docs"); err != nil || d.Count != 20 {
		t.Errorf("in the end %+v, %v", d, err)
	}
}

func tenants(t *testing.T, s mastra.VectorStore) {
	acme := mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "1", Tenant: "acme/../x"})
	other := mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "2", Tenant: "other"})
	must(t, s.CreateIndex(acme, mastra.VectorIndex{Name: "docs", Dimension: 2}))
	must(t, s.Upsert(acme, "docs", []mastra.Vector{{ID: "a", Values: []float32{1, 2}}}))
	for _, ctx := range []context.Context{other, t.Context()} {
		if names, err := s.Indexes(ctx); err != nil || len(names) != 0 {
			t.Errorf("another tenant sees %v, %v", names, err)
		}
		_, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 1})
		code(t, err, mastra.CodeNotFound)
		code(t, s.DeleteIndex(ctx, "docs"), mastra.CodeNotFound)
	}
	if got, err := s.Query(acme, "docs", mastra.VectorQuery{Vector: []float32{1, 2}, TopK: 1}); err != nil || len(got) != 1 {
		t.Errorf("its owner finds %v, %v", got, err)
	}
}

// Data makes n seeded vectors in clusters of different tightness around a common direction, as embeddings of texts are.
func Data(seed uint64, n, dim, clusters int) []mastra.Vector {
	r := rand.New(rand.NewPCG(seed, 1))
	normal := func(scale float64) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(r.NormFloat64() * scale / math.Sqrt(float64(dim)))
		}
		return v
	}
	add := func(to, v []float32) {
		for i := range to {
			to[i] += v[i]
		}
	}
	common := normal(0.7)
	centers := make([][]float32, clusters)
	for c := range centers {
		centers[c] = normal(1)
		add(centers[c], common)
	}
	all := make([]mastra.Vector, n)
	for i := range all {
		c := r.IntN(clusters)
		v := normal(0.15 + 0.6*float64(c)/float64(clusters))
		add(v, centers[c])
		all[i] = mastra.Vector{ID: fmt.Sprint(i), Values: v, Metadata: mastra.JSON(fmt.Sprintf(`{"n":%d,"cluster":%d}`, i, c))}
	}
	return all
}

// BruteForce is the ids of the k vectors nearest to q by comparing all that keep allows.
func BruteForce(metric mastra.Metric, all []mastra.Vector, q []float32, k int, keep func(i int) bool) []string {
	type scored struct {
		id    string
		score float64
	}
	var s []scored
	for i, v := range all {
		if keep != nil && !keep(i) {
			continue
		}
		var ab, aa, bb, d float64
		for i, x := range v.Values {
			a, b := float64(x), float64(q[i])
			ab, aa, bb, d = ab+a*b, aa+a*a, bb+b*b, d+(a-b)*(a-b)
		}
		score := ab
		switch metric {
		case mastra.Cosine:
			score /= math.Sqrt(aa * bb)
		case mastra.Euclidean:
			score = -d
		}
		s = append(s, scored{v.ID, score})
	}
	slices.SortFunc(s, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	ids := make([]string, min(k, len(s)))
	for i := range ids {
		ids[i] = s[i].id
	}
	return ids
}

// Recall is the share of want that is among got.
func Recall(got []mastra.Match, want []string) float64 {
	found := 0
	for _, m := range got {
		if slices.Contains(want, m.ID) {
			found++
		}
	}
	return float64(found) / float64(len(want))
}

func recall(t *testing.T, s mastra.VectorStore) {
	const n, dim, queries = 3000, 200, 20
	for _, metric := range []mastra.Metric{mastra.Cosine, mastra.Euclidean, mastra.DotProduct} {
		name := string(metric)
		all := Data(7, n+queries, dim, 12)
		asked := all[n:]
		all = all[:n]
		create(t, s, name, dim, metric)
		for batch := range slices.Chunk(all, 1000) {
			must(t, s.Upsert(t.Context(), name, batch))
		}
		for filter, keep := range map[string]func(int) bool{
			``:                   nil,
			`{"n":{"$lt":1500}}`: func(i int) bool { return i < 1500 },
			`{"n":{"$lt":30}}`:   func(i int) bool { return i < 30 }, // so few that nothing is missed
		} {
			total := 0.0
			for _, q := range asked {
				got, err := s.Query(t.Context(), name, mastra.VectorQuery{Vector: q.Values, TopK: 10, Filter: mastra.JSON(filter)})
				must(t, err)
				if len(got) != 10 {
					t.Fatalf("%s, %s: %d matches", metric, filter, len(got))
				}
				total += Recall(got, BruteForce(metric, all, q.Values, 10, keep))
			}
			if r := total / queries; r < 0.98 {
				t.Errorf("%s, %s: recall %.3f", metric, filter, r)
			}
		}
	}
}
