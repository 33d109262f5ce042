// Command vectors measures the vector stores, called as Go functions: rows a second of upserts, and of queries the median, the
// 99th percentile and the recall against brute force, without a filter and with filters that few or many entries match. The
// data are seeded and clustered. Postgres is the one of TEST_POSTGRES_URL, in a database that is made for it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/embedded"
	"mastralambda/shared/vectorstore/pgvector"
	"mastralambda/shared/vectorstore/vectortest"
)

const (
	topK  = 10
	batch = 500 // vectors of an upsert
)

// size is one data set.
type size struct{ rows, dim int }

// question is a filter: entries whose number leaves a rest below part, of whole, match it.
type question struct {
	name   string
	filter string
	keep   func(i int) bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var config mastra.IndexConfig

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("vectors", flag.ContinueOnError)
	only := flags.String("store", "embedded,pgvector", "`stores` to measure")
	sizes := flags.String("size", "20000x1536,100000x384", "`sizes` of the data")
	queries := flags.Int("queries", 100, "queries of each kind")
	flags.IntVar(&config.M, "m", 0, "m of HNSW")
	flags.IntVar(&config.EFConstruction, "ef", 0, "efConstruction of HNSW")
	if err := flags.Parse(args); err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for text := range strings.SplitSeq(*sizes, ",") {
		var s size
		if _, err := fmt.Sscanf(text, "%dx%d", &s.rows, &s.dim); err != nil {
			return fmt.Errorf("-size %q is not like 20000x1536", text)
		}
		set := newSet(s, *queries)
		for store := range strings.SplitSeq(*only, ",") {
			fmt.Fprintf(out, "%s, %s, top %d, %d queries one after the other, %d cores\n", store, text, topK, *queries, runtime.NumCPU())
			if err := set.measure(ctx, store, out); err != nil {
				return fmt.Errorf("%s, %s: %w", store, text, err)
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// set is the data, the queries and what the right answers are.
type set struct {
	size
	stored, queries []mastra.Vector
	questions       []question
	right           [][][]string // question, query: ids
}

func newSet(s size, queries int) *set {
	all := vectortest.Data(1, s.rows+queries, s.dim, 100)
	out := &set{size: s, stored: all[:s.rows], queries: all[s.rows:]}
	for i := range out.stored {
		cluster := strings.TrimPrefix(string(out.stored[i].Metadata), `{"n":`+strconv.Itoa(i)+`,"cluster":`)
		out.stored[i].Metadata = mastra.JSON(fmt.Sprintf(`{"title":"Entry %d of the data set","n":%d,"r2":%d,"r10":%d,"r100":%d,"r1000":%d,"cluster":%s`, i, i, i%2, i%10, i%100, i%1000, cluster))
	}
	out.questions = append(out.questions, question{"all", "", func(int) bool { return true }})
	for _, share := range []int{2, 10, 100, 1000} {
		name := strconv.FormatFloat(100/float64(share), 'g', -1, 64) + " %"
		out.questions = append(out.questions,
			question{name + " by equality", fmt.Sprintf(`{"r%d":1}`, share), func(i int) bool { return i%share == 1 }},
			question{name + " by range", fmt.Sprintf(`{"n":{"$lt":%d}}`, s.rows/share), func(i int) bool { return i < s.rows/share }})
	}
	cluster := func(i int) bool { return strings.HasSuffix(string(out.stored[i].Metadata), `,"cluster":7}`) }
	out.questions = append(out.questions, question{"one cluster of 100", `{"cluster":7}`, cluster})
	out.answer()
	return out
}

// answer finds the right answers: cosine, in float64.
func (s *set) answer() {
	s.right = make([][][]string, len(s.questions))
	for range s.questions {
		for i := range s.right {
			s.right[i] = make([][]string, len(s.queries))
		}
	}
	norms := make([]float64, len(s.stored))
	for i, v := range s.stored {
		norms[i] = math.Sqrt(dot(v.Values, v.Values))
	}
	type scored struct {
		i     int
		score float64
	}
	all := make([]scored, len(s.stored))
	for n, q := range s.queries {
		for i, v := range s.stored {
			all[i] = scored{i, dot(v.Values, q.Values) / norms[i]}
		}
		slices.SortFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
		for k, question := range s.questions {
			for _, a := range all {
				if question.keep(a.i) {
					if s.right[k][n] = append(s.right[k][n], s.stored[a.i].ID); len(s.right[k][n]) == topK {
						break
					}
				}
			}
		}
	}
}

func dot(a, b []float32) (sum float64) {
	for i, x := range a {
		sum += float64(x) * float64(b[i])
	}
	return sum
}

type store interface {
	mastra.VectorStore
	Close() error
}

func (s *set) measure(ctx context.Context, kind string, out io.Writer) (err error) {
	open, remove, err := opener(ctx, kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	st, err := open()
	if err != nil {
		return err
	}
	if err := st.CreateIndex(ctx, mastra.VectorIndex{Name: "bench", Dimension: s.dim, Type: mastra.HNSW, Config: config}); err != nil {
		return err
	}
	began := time.Now()
	for b := range slices.Chunk(s.stored, batch) {
		if err := st.Upsert(ctx, "bench", b); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "  upsert\t%.0f rows/s\t%d an upsert\n", float64(s.rows)/time.Since(began).Seconds(), batch)
	began = time.Now()
	if err := st.BuildIndex(ctx, "bench"); err != nil {
		return err
	}
	fmt.Fprintf(out, "  build\t%.1f s\n", time.Since(began).Seconds())
	if err := st.Close(); err != nil {
		return err
	}
	before := heap()
	began = time.Now()
	if st, err = open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := st.Query(ctx, "bench", mastra.VectorQuery{Vector: s.queries[0].Values, TopK: topK}); err != nil {
		return err
	}
	fmt.Fprintf(out, "  open and first query\t%.0f ms\theap of %.0f MB; the vectors are %.0f MB\n", ms(time.Since(began)), float64(heap()-before)/1e6, float64(4*s.rows*s.dim)/1e6)
	for k, question := range s.questions {
		took, recall := make([]time.Duration, len(s.queries)), 0.0
		for n, q := range s.queries {
			began := time.Now()
			got, err := st.Query(ctx, "bench", mastra.VectorQuery{Vector: q.Values, TopK: topK, Filter: mastra.JSON(question.filter)})
			if err != nil {
				return err
			}
			took[n] = time.Since(began)
			recall += vectortest.Recall(got, s.right[k][n]) / float64(len(s.queries))
		}
		slices.Sort(took)
		fmt.Fprintf(out, "  %s\tp50 %.2f ms\tp99 %.2f ms\trecall %.3f\n", question.name, ms(took[len(took)/2]), ms(took[len(took)*99/100]), recall)
	}
	began = time.Now()
	more := make([]mastra.Vector, 0, batch)
	for i, q := range s.queries {
		more = append(more, mastra.Vector{ID: "more" + strconv.Itoa(i), Values: q.Values})
	}
	if err := st.Upsert(ctx, "bench", more); err != nil {
		return err
	}
	fmt.Fprintf(out, "  upsert into the built index\t%.0f rows/s\n", float64(len(more))/time.Since(began).Seconds())
	return nil
}

func opener(ctx context.Context, kind string) (open func() (store, error), remove func() error, err error) {
	switch kind {
	case "embedded":
		dir, err := os.MkdirTemp("", "bench-")
		if err != nil {
			return nil, nil, err
		}
		return func() (store, error) { return embedded.Open(filepath.Join(dir, "vectors")) }, func() error { return os.RemoveAll(dir) }, nil
	case "pgvector":
		admin := os.Getenv("TEST_POSTGRES_URL")
		u, err := url.Parse(admin)
		if admin == "" || err != nil {
			return nil, nil, errors.New(`TEST_POSTGRES_URL is no URL: make bench-vectors starts a Postgres`)
		}
		u.Path = fmt.Sprintf("/bench_%d", os.Getpid())
		execute := func(ctx context.Context, statement string) error {
			conn, err := pgx.Connect(ctx, admin)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(ctx) }()
			_, err = conn.Exec(ctx, statement)
			return err
		}
		remove = func() error {
			return execute(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+strings.TrimPrefix(u.Path, "/")+" WITH (FORCE)")
		}
		if err := execute(ctx, "CREATE DATABASE "+strings.TrimPrefix(u.Path, "/")); err != nil {
			return nil, nil, err
		}
		open = func() (store, error) {
			s, err := pgvector.Open(u.String())
			if err != nil {
				return nil, err
			}
			return s, s.Migrate(ctx)
		}
		return open, remove, nil
	}
	return nil, nil, fmt.Errorf("-store %q is neither embedded nor pgvector", kind)
}

// heap is what is in use after a collection.
func heap() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
