package pgvector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/filter"
	"mastralambda/shared/vectorstore/vectortest"
)

// built makes an index of seeded data, each entry with its number, and builds it. What it returns second are queries.
func built(t *testing.T, s *Store, i mastra.VectorIndex, n int) (stored, queries []mastra.Vector) {
	t.Helper()
	all := vectortest.Data(3, n+10, i.Dimension, 20)
	stored, queries = all[:n], all[n:]
	for j := range stored {
		stored[j].Metadata = mastra.JSON(fmt.Sprintf(`{"n":%d,"rest":%d,"half":%t,"text":"number %d"}`, j, j%100, j%2 == 0, j))
	}
	if err := s.CreateIndex(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	for batch := range slices.Chunk(stored, 1000) {
		if err := s.Upsert(t.Context(), i.Name, batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.BuildIndex(t.Context(), i.Name); err != nil {
		t.Fatal(err)
	}
	if d, err := s.DescribeIndex(t.Context(), i.Name); err != nil || !d.Indexed || d.Count != n {
		t.Fatalf("built as %+v, %v", d, err)
	}
	return stored, queries
}

// Few entries are compared, many are walked to; and both find what a look at all finds.
func TestPlans(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds indexes of thousands of vectors")
	}
	s := openTest(t)
	for _, c := range []struct {
		index mastra.VectorIndex
		rows  int
	}{
		{mastra.VectorIndex{Name: "hnsw", Dimension: 300, Type: mastra.HNSW}, 7_000},
		{mastra.VectorIndex{Name: "euclidean", Dimension: 300, Type: mastra.HNSW, Metric: mastra.Euclidean}, 7_000},
		{mastra.VectorIndex{Name: "ivfflat", Dimension: 300, Type: mastra.IVFFlat, Metric: mastra.DotProduct}, 7_000},
		{mastra.VectorIndex{Name: "halfvec", Dimension: 2100, Config: mastra.IndexConfig{M: 12, EFConstruction: 80}}, 1_200},
		{mastra.VectorIndex{Name: "flat", Dimension: 300, Type: mastra.Flat}, 7_000},
		{mastra.VectorIndex{Name: "longest", Dimension: 4100}, 1_100}, // longer than pgvector indexes
	} {
		t.Run(c.index.Name, func(t *testing.T) {
			stored, queries := built(t, s, c.index, c.rows)
			metric := c.index.Metric
			if metric == "" {
				metric = mastra.Cosine
			}
			walking := c.index.Type != mastra.Flat && c.index.Dimension <= maxHalfvec
			for _, q := range []struct {
				filter string
				keep   func(int) bool
				walks  bool
			}{
				{``, func(int) bool { return true }, walking},
				{`{"half":true}`, func(i int) bool { return i%2 == 0 }, false}, // filled in below where walking
				{`{"n":{"$lt":30}}`, func(i int) bool { return i < 30 }, false},
				{`{"rest":7}`, func(i int) bool { return i%100 == 7 }, false},
				{`{"text":{"$regex":"7$"},"rest":{"$in":[7,17]}}`, func(i int) bool { return i%100 == 7 || i%100 == 17 }, false},
			} {
				recall := 0.0
				for _, v := range queries {
					got, err := s.Query(t.Context(), c.index.Name, mastra.VectorQuery{Vector: v.Values, TopK: 10, Filter: mastra.JSON(q.filter)})
					if err != nil || len(got) != 10 {
						t.Fatalf("%s: %d, %v", q.filter, len(got), err)
					}
					recall += vectortest.Recall(got, vectortest.BruteForce(metric, stored, v.Values, 10, q.keep)) / float64(len(queries))
				}
				if recall < 0.97 {
					t.Errorf("%s: recall %.3f", q.filter, recall)
				}
				if strings.Contains(q.filter, "half") {
					continue // near the border between the two
				}
				err := s.with(t.Context(), c.index.Name, func(ix *index) error {
					e, err := filter.Parse(mastra.JSON(q.filter))
					if err != nil {
						return err
					}
					st, err := s.look(t.Context(), ix)
					if err != nil {
						return err
					}
					walks, err := s.walks(t.Context(), &search{ix, &mastra.VectorQuery{TopK: 10}, e, 1}, st)
					if walks != q.walks {
						t.Errorf("%q walks: %t of %+v", q.filter, walks, st)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
			// What comes after the build is found, what was deleted is not.
			after := stored[0]
			after.ID = "after"
			if err := s.Upsert(t.Context(), c.index.Name, []mastra.Vector{after}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Delete(t.Context(), c.index.Name, mastra.VectorSelection{IDs: []string{stored[0].ID}}); err != nil {
				t.Fatal(err)
			}
			got, err := s.Query(t.Context(), c.index.Name, mastra.VectorQuery{Vector: after.Values, TopK: 5})
			if err != nil || !slices.ContainsFunc(got, func(m mastra.Match) bool { return m.ID == "after" }) || slices.ContainsFunc(got, func(m mastra.Match) bool { return m.ID == stored[0].ID }) {
				t.Errorf("after the build: %+v, %v", got, err)
			}
		})
	}
}

// A filter that holds only far from the query is answered nevertheless: the walk gives up and all are compared.
func TestAFilterFarFromTheQuery(t *testing.T) {
	s := openTest(t)
	all := make([]mastra.Vector, 9000)
	for i := range all {
		v := make([]float32, 300)
		v[0], v[1+i%250] = 1, float32(i%7)/10
		if far := i >= 4500; far {
			v[0] = -1
		}
		all[i] = mastra.Vector{ID: fmt.Sprint(i), Values: v, Metadata: mastra.JSON(fmt.Sprintf(`{"far":%t}`, i >= 4500))}
	}
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 300}); err != nil {
		t.Fatal(err)
	}
	if err := s.Upsert(t.Context(), "docs", all); err != nil {
		t.Fatal(err)
	}
	if err := s.BuildIndex(t.Context(), "docs"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: all[0].Values, TopK: 20, Filter: mastra.JSON(`{"far":true}`)})
	if err != nil || len(got) != 20 {
		t.Errorf("%d, %v", len(got), err)
	}
}

// A build that was cut off leaves an invalid index: it is built anew. What is built is not built again.
func TestBuildAfterOneThatFailed(t *testing.T) {
	s := openTest(t)
	built(t, s, mastra.VectorIndex{Name: "docs", Dimension: 4}, 200)
	oid := func() (oid uint32) {
		if err := s.pool.QueryRow(t.Context(), `SELECT to_regclass('mastralambda.vectors_1_ann')::oid`).Scan(&oid); err != nil {
			t.Fatal(err)
		}
		return oid
	}
	first := oid()
	if err := s.BuildIndex(t.Context(), "docs"); err != nil || oid() != first {
		t.Errorf("built again: %v", err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = $1`, first); err != nil {
		t.Fatal(err)
	}
	if err := s.BuildIndex(t.Context(), "docs"); err != nil || oid() == first {
		t.Errorf("not built: %v", err)
	}
}

// Keys of metadata are a caller's: an index of one is made without taking it for SQL.
func TestHostileKeysAreIndexed(t *testing.T) {
	s := openTest(t)
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 2, Type: mastra.Flat}); err != nil {
		t.Fatal(err)
	}
	const key = `x')); DROP TABLE vector_indexes; --\\ "$1`
	var all []mastra.Vector
	for i := range 200 {
		all = append(all, mastra.Vector{ID: fmt.Sprint(i), Values: []float32{1, float32(i)}, Metadata: mastra.JSON(fmt.Sprintf(`{%q:%d,"list":[1]}`, key, i))})
	}
	if err := s.Upsert(t.Context(), "docs", all); err != nil {
		t.Fatal(err)
	}
	if err := s.BuildIndex(t.Context(), "docs"); err != nil {
		t.Fatal(err)
	}
	var indexes int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_indexes WHERE tablename = 'vectors_1' AND indexname LIKE '%number%'`).Scan(&indexes); err != nil || indexes != 1 {
		t.Errorf("%d indexes of numbers, %v", indexes, err)
	}
	got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: []float32{1, 0}, TopK: 100, Filter: mastra.JSON(fmt.Sprintf(`{%q:{"$gte":10,"$lt":15}}`, key))})
	if err != nil || len(got) != 5 {
		t.Errorf("%d, %v", len(got), err)
	}
}

// Of many that build at once one does, and the others wait for it.
func TestBuildAtOnce(t *testing.T) {
	s := openTest(t)
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 4}); err != nil {
		t.Fatal(err)
	}
	if err := s.Upsert(t.Context(), "docs", vectortest.Data(1, 500, 4, 3)); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 3 {
		go func() { errs <- s.BuildIndex(t.Context(), "docs") }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if d, err := s.DescribeIndex(t.Context(), "docs"); err != nil || !d.Indexed {
		t.Errorf("%+v, %v", d, err)
	}
}

// Many entries are indexed by themselves, while queries go on, by whoever asks first.
func TestBuildInTheBackground(t *testing.T) {
	s := openTest(t)
	all := vectortest.Data(1, buildFrom+100, 4, 3)
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: 4, Type: mastra.IVFFlat}); err != nil {
		t.Fatal(err)
	}
	if err := s.Upsert(t.Context(), "docs", all); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: all[0].Values, TopK: 1}); err != nil {
			t.Fatal(err)
		}
		d, err := s.DescribeIndex(t.Context(), "docs")
		if err != nil {
			t.Fatal(err)
		}
		if d.Indexed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it was not built")
		}
	}
}

// A statement that takes too long is ended by the server, and is no internal error.
func TestStatementTimeout(t *testing.T) {
	s := openTest(t)
	err := refusal(s.tx(t.Context(), 20*time.Millisecond, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT pg_sleep(60)`)
		return err
	}))
	if mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("%v", err)
	}
	var timeout string
	if err := s.pool.QueryRow(t.Context(), `SHOW statement_timeout`).Scan(&timeout); err != nil || timeout != "0" {
		t.Errorf("the setting has outlived its transaction: %s, %v", timeout, err)
	}
}

// The server may end all connections: it restarts, or they were idle. A query does not notice.
func TestConnectionsEnd(t *testing.T) {
	s := openTest(t)
	built(t, s, mastra.VectorIndex{Name: "docs", Dimension: 4}, 20)
	query := func(ctx context.Context) error {
		_, err := s.Query(ctx, "docs", mastra.VectorQuery{Vector: []float32{1, 2, 3, 4}, TopK: 1})
		return err
	}
	if err := query(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	_, _ = s.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
	if err := query(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
}
