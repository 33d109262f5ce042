package pgvector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
	"mastralambda/shared/vectorstore/filter"
)

// A query is answered in one of two ways. Exactly: all entries that the filter matches are compared. Or from the index:
// pgvector walks it outward from the query until enough entries match. The first is faster where few entries match, the
// second where many do; how many do is found on a sample. Where the walk gives up early the query is answered exactly.
const (
	exactFloats = 2_000_000 // of the entries that match: comparing so many takes some milliseconds
	sampleRows  = 1000
	maxEF       = 1000 // pgvector's own limit
	minEF       = 200
)

// search is one query on its way.
type search struct {
	ix     *index
	query  *mastra.VectorQuery
	filter *filter.Expr
	norm   float64
}

// Query finds the nearest vectors.
func (s *Store) Query(ctx context.Context, name string, q mastra.VectorQuery) (matches []mastra.Match, err error) {
	f, err := vectorstore.CheckQuery(&q)
	if err != nil {
		return nil, err
	}
	err = s.with(ctx, name, func(ix *index) error {
		norm, err := vectorstore.CheckValues(name, ix.dim, q.Vector)
		if err != nil {
			return err
		}
		matches, err = s.search(ctx, &search{ix, &q, f, norm})
		return err
	})
	return matches, err
}

func (s *Store) search(ctx context.Context, q *search) ([]mastra.Match, error) {
	st, err := s.current(ctx, q.ix)
	if err != nil {
		return nil, err
	}
	s.buildLater(q.ix, st)
	if walk, err := s.walks(ctx, q, st); err != nil {
		return nil, err
	} else if walk {
		matches, err := s.walk(ctx, q, st)
		if err != nil || len(matches) >= q.query.TopK || q.filter == nil && !st.namespaces {
			return q.above(matches), err
		}
	}
	matches, err := s.compare(ctx, q)
	return q.above(matches), err
}

// above are the matches of at least the score that was asked for.
func (q *search) above(matches []mastra.Match) []mastra.Match {
	if q.query.MinScore == nil {
		return matches
	}
	return slices.DeleteFunc(matches, func(m mastra.Match) bool { return m.Score < *q.query.MinScore })
}

// walks decides between the index and comparing all that match.
func (s *Store) walks(ctx context.Context, q *search, st state) (bool, error) {
	few := int64(exactFloats / q.ix.dim)
	if !st.built || !q.ix.indexable() || st.rows <= few || int64(q.query.TopK) > st.rows/10 || q.norm == 0 {
		return false, nil
	}
	if q.filter == nil && !st.namespaces {
		return true, nil
	}
	var w where
	condition := q.condition(&w)
	if w.err != nil {
		return false, w.err
	}
	percent := min(100, 100*float64(sampleRows)/float64(st.rows))
	type counts struct{ Seen, Matching int64 }
	sample, err := single(ctx, s, nil, fmt.Sprintf(`SELECT count(*), count(*) FILTER (WHERE %s) FROM %s TABLESAMPLE SYSTEM (%g)`, condition, q.ix.table(), percent), w.args, pgx.RowToStructByPos[counts])
	if err != nil || sample[0].Seen == 0 {
		return false, err
	}
	return sample[0].Matching*st.rows/sample[0].Seen > max(few, 10*int64(q.query.TopK)), nil
}

// condition is what an entry must fulfil.
func (q *search) condition(w *where) string {
	c := "namespace = " + w.arg(q.query.Namespace, "text")
	if q.filter != nil {
		c += " AND " + w.condition(q.filter, "metadata", false)
	}
	return c
}

// config is a setting for one statement.
type config struct{ name, value string }

// single runs one statement with its settings, sent together.
func single[T any](ctx context.Context, s *Store, settings []config, statement string, args []any, row pgx.RowToFunc[T]) (all []T, err error) {
	settings = append(settings, config{"statement_timeout", fmt.Sprint(readTimeout.Milliseconds())})
	for range 2 { // the server may have ended a connection that was idle; what is read may be read again
		var b pgx.Batch
		for _, c := range settings {
			b.Queue(`SELECT set_config($1, $2, true)`, c.name, c.value)
		}
		b.Queue(statement, args...).Query(func(rows pgx.Rows) (err error) {
			all, err = pgx.CollectRows(rows, row)
			return err
		})
		if err = s.pool.SendBatch(ctx, &b).Close(); !lost(err) || ctx.Err() != nil {
			break
		}
	}
	return all, err
}

// lost says whether a connection ended before its answer.
func lost(err error) bool {
	return strings.HasPrefix(sqlState(err), "57P") || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// compare answers exactly.
func (s *Store) compare(ctx context.Context, q *search) ([]mastra.Match, error) {
	var w where
	vector := w.arg(pgvector.NewVector(q.query.Vector), "vector")
	distance := fmt.Sprintf("embedding %s %s", q.ix.operator(), vector)
	if q.ix.metric == mastra.Cosine {
		distance = fmt.Sprintf("coalesce(nullif(%s, 'NaN'), 1)", distance) // of a vector without a direction
	} else {
		distance = "0 + (" + distance + ")" // so that no index is in order of it
	}
	statement := fmt.Sprintf(`SELECT id, %s AS distance, metadata, %s FROM %s WHERE %s ORDER BY distance LIMIT %s`,
		distance, q.values(), q.ix.table(), q.condition(&w), w.arg(q.query.TopK, "bigint"))
	return s.answer(ctx, q, nil, statement, &w)
}

// walk answers from the index.
func (s *Store) walk(ctx context.Context, q *search, st state) ([]mastra.Match, error) {
	var w where
	vector := w.arg(pgvector.NewVector(q.query.Vector), "vector")
	condition := q.condition(&w)
	k := w.arg(q.query.TopK, "bigint")
	// The index's order is almost that of the distances, and of half precision where vectors are long: some more than asked
	// for are put into the order.
	statement := fmt.Sprintf(`WITH near AS MATERIALIZED (SELECT id, embedding %s %s AS distance, metadata, %s AS vector FROM %s WHERE %s ORDER BY %s %s %s LIMIT %s + 20)
		SELECT * FROM near ORDER BY distance LIMIT %s`,
		q.ix.operator(), vector, q.values(), q.ix.table(), condition, q.ix.key("embedding"), q.ix.operator(), q.ix.key(vector), k, k)
	ef := min(maxEF, max(minEF, 2*(q.query.TopK+20)))
	settings := []config{{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}, {"enable_sort", "off"}}
	switch q.ix.kind {
	case mastra.HNSW:
		settings = append(settings, config{"hnsw.ef_search", fmt.Sprint(ef)}, config{"hnsw.iterative_scan", "relaxed_order"},
			config{"hnsw.max_scan_tuples", fmt.Sprint(max(20_000, st.rows/5))})
	case mastra.IVFFlat:
		lists := q.ix.config.Lists
		if lists == 0 {
			lists = ivfLists(float64(st.rows))
		}
		probes := int(math.Ceil(math.Sqrt(float64(lists)))) * 2
		settings = append(settings, config{"ivfflat.probes", fmt.Sprint(min(probes, lists))}, config{"ivfflat.iterative_scan", "relaxed_order"},
			config{"ivfflat.max_probes", fmt.Sprint(max(probes, lists/2))})
	}
	return s.answer(ctx, q, settings, statement, &w)
}

// values is the column of the vectors, where they are asked for.
func (q *search) values() string {
	if q.query.IncludeVector {
		return "embedding"
	}
	return "NULL::vector"
}

func (s *Store) answer(ctx context.Context, q *search, settings []config, statement string, w *where) ([]mastra.Match, error) {
	if w.err != nil {
		return nil, w.err
	}
	return single(ctx, s, settings, statement, w.args, func(row pgx.CollectableRow) (m mastra.Match, err error) {
		var distance float64
		var metadata []byte
		var vector *pgvector.Vector
		if err := row.Scan(&m.ID, &distance, &metadata, &vector); err != nil {
			return m, err
		}
		m.Score, m.Metadata = q.ix.score(distance), mastra.JSON(metadata)
		if vector != nil {
			m.Vector = vector.Slice()
		}
		return m, nil
	})
}

// score is what an answer shows, as the reference server's stores do: see the embedded store.
func (ix *index) score(distance float64) float64 {
	switch ix.metric {
	case mastra.Euclidean:
		return 1 / (1 + distance)
	case mastra.DotProduct:
		return -distance
	}
	return 1 - float64(float32(distance))
}
