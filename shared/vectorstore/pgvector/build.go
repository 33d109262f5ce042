package pgvector

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"mastralambda/shared/mastra"
)

// buildMemory is what a build may take of the server's memory: one that does not fit is many times slower.
const (
	buildMemory = "256MB"
	defaultEF   = 160 // pgvector's own 64 loses clusters: a recall of 0.95 where this has 1.00
	maxNumbers  = 8   // keys of metadata that are indexed as numbers
)

// BuildIndex builds what queries of the index are answered from, and returns when it is built. Entries that come later are
// added to it one by one, which is slower than a load before it.
func (s *Store) BuildIndex(ctx context.Context, name string) error {
	return s.with(ctx, name, func(ix *index) error { return s.build(ctx, ix) })
}

// buildLater builds an index in the background, once it is worth it. Until it is there all entries are compared.
func (s *Store) buildLater(ix *index, st state) {
	if st.built || st.rows < buildFrom {
		return
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.builds || s.building.Err() != nil {
		return
	}
	ix.builds = true
	s.builds.Go(func() {
		// A failure is seen by the next caller, who begins anew. An instance that is frozen meanwhile goes on waiting when it
		// wakes; the server has then finished.
		_ = s.build(s.building, ix)
		ix.mu.Lock()
		defer ix.mu.Unlock()
		ix.builds = false
	})
}

// build builds the indexes, or waits for whoever builds them. Writers are not kept waiting.
func (s *Store) build(ctx context.Context, ix *index) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	for {
		tag, err := s.pool.Exec(ctx, `UPDATE mastralambda.vector_indexes SET building_until = now() + $2::bigint * interval '1 second' WHERE id = $1 AND (building_until IS NULL OR building_until < now())`,
			ix.id, int64(buildTimeout.Seconds()))
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			break
		}
		if st, err := s.look(ctx, ix); err != nil || st.built {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return ix.createIndexes(ctx, c.Conn()) })
	after, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if _, e := s.pool.Exec(after, `UPDATE mastralambda.vector_indexes SET building_until = NULL WHERE id = $1`, ix.id); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	_, err = s.look(ctx, ix)
	return err
}

// indexed is one index in Postgres.
type indexed struct{ name, on string }

// wanted are the indexes of the table: of its metadata, and last of its vectors.
func (ix *index) wanted(ctx context.Context, conn *pgx.Conn) ([]indexed, error) {
	all := []indexed{{ix.metaName(), `gin (metadata jsonb_path_ops) WITH (fastupdate = off)`}}
	keys, err := ix.numbers(ctx, conn)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		all = append(all, indexed{fmt.Sprintf("vectors_%d_number_%d", ix.id, i), fmt.Sprintf("btree (%s)", number("(metadata -> "+key+"::text)"))})
	}
	if !ix.indexable() {
		return all, nil
	}
	with := ""
	switch ix.kind {
	case mastra.HNSW:
		m := cmp.Or(ix.config.M, 16)
		with = fmt.Sprintf("m = %d, ef_construction = %d", m, cmp.Or(ix.config.EFConstruction, max(defaultEF, 2*m)))
	case mastra.IVFFlat:
		lists := ix.config.Lists
		if lists == 0 {
			var n float64
			if err := conn.QueryRow(ctx, `SELECT count(*) FROM `+ix.table()).Scan(&n); err != nil {
				return nil, err
			}
			lists = ivfLists(n)
		}
		with = fmt.Sprintf("lists = %d", lists)
	}
	return append(all, indexed{ix.annName(), fmt.Sprintf("%s ((%s) %s) WITH (%s)", ix.kind, ix.key("embedding"), ix.operatorClass(), with)}), nil
}

// numbers are the keys of metadata that mostly hold numbers, as literals of SQL. Ranges of them are asked for.
func (ix *index) numbers(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, fmt.Sprintf(`WITH sample AS MATERIALIZED (SELECT metadata FROM %s LIMIT $1)
		SELECT quote_literal(key) FROM sample, jsonb_each(metadata) AS member (key, value) WHERE jsonb_typeof(value) = 'number' AND octet_length(key) <= 200
		GROUP BY key HAVING count(*) > (SELECT count(*) / 2 FROM sample) ORDER BY count(*) DESC, key LIMIT $2`, ix.table()), sampleRows, maxNumbers)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (ix *index) createIndexes(ctx context.Context, conn *pgx.Conn) error {
	all, err := ix.wanted(ctx, conn)
	if err != nil {
		return err
	}
	// A setting of the connection, since CONCURRENTLY runs in no transaction. A pooler may give it to another one: that build is
	// slower.
	if _, err := conn.Exec(ctx, `SELECT set_config('maintenance_work_mem', $1, FALSE)`, buildMemory); err != nil {
		return err
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `RESET maintenance_work_mem`) }()
	built := false
	for _, i := range all {
		var there, valid bool
		if err := conn.QueryRow(ctx, `SELECT count(*) > 0, coalesce(bool_and(indisvalid), FALSE) FROM pg_index WHERE indexrelid = to_regclass($1)`, "mastralambda."+i.name).Scan(&there, &valid); err != nil {
			return err
		}
		if valid {
			continue
		}
		if there { // a build that was cut off has left it
			if _, err := conn.Exec(ctx, `DROP INDEX CONCURRENTLY IF EXISTS mastralambda.`+i.name); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE INDEX CONCURRENTLY %s ON %s USING %s`, i.name, ix.table(), i.on)); err != nil {
			return err
		}
		built = true
	}
	if built {
		_, err = conn.Exec(ctx, `ANALYZE `+ix.table())
	}
	return err
}

// ivfLists is what pgvector advises: a list for a thousand entries, of very many the square root.
func ivfLists(n float64) int {
	if n > 1e6 {
		return int(math.Sqrt(n))
	}
	return int(max(10, n/1000))
}
