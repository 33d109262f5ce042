package pgvector

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"mastralambda/shared/mastra"
)

// buildMemory is what a build may take of the server's memory: one that does not fit is many times slower.
const buildMemory = "256MB"

// BuildIndex builds what queries of the index are answered from, and returns when it is built. Entries that come later are
// added to it one by one, which is slower than a load before it.
func (s *Store) BuildIndex(ctx context.Context, name string) error {
	return s.with(ctx, name, func(ix *index) error { return s.build(ctx, ix) })
}

// buildLater builds an index in the background, once it is worth it. Until it is there all entries are compared.
func (s *Store) buildLater(ix *index, st state) {
	if !ix.indexable() || st.indexed || st.rows < buildFrom {
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

func (s *Store) build(ctx context.Context, ix *index) error {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		conn := c.Conn()
		// One builds, the others wait for it. Writers are not kept waiting: that is what CONCURRENTLY is for, which may run in no
		// transaction, and so takes a connection's own settings, which are taken back.
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, int32(lockSpace), int32(ix.id)); err != nil {
			return err
		}
		defer func() {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			for _, undo := range []string{`SELECT pg_advisory_unlock_all()`, `RESET maintenance_work_mem`} {
				if _, err := conn.Exec(after, undo); err != nil {
					_ = conn.Close(after) // which undoes it as well
				}
			}
		}()
		return ix.createIndexes(ctx, conn)
	})
	if err != nil {
		return err
	}
	_, err = s.look(ctx, ix)
	return err
}

func (ix *index) createIndexes(ctx context.Context, conn *pgx.Conn) error {
	if !ix.indexable() {
		return nil
	}
	var valid, there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1)), EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid)`,
		"mastralambda."+ix.annName()).Scan(&there, &valid); err != nil || valid {
		return err
	}
	if there { // a build that was cut off has left it
		if _, err := conn.Exec(ctx, `DROP INDEX CONCURRENTLY IF EXISTS mastralambda.`+ix.annName()); err != nil {
			return err
		}
	}
	with := ""
	switch ix.kind {
	case mastra.HNSW:
		m, ef := ix.config.M, ix.config.EFConstruction
		if m == 0 {
			m = 16
		}
		if ef == 0 {
			ef = max(64, 2*m)
		}
		with = fmt.Sprintf("m = %d, ef_construction = %d", m, ef)
	case mastra.IVFFlat:
		lists := ix.config.Lists
		if lists == 0 {
			var n float64
			if err := conn.QueryRow(ctx, `SELECT count(*) FROM `+ix.table()).Scan(&n); err != nil {
				return err
			}
			lists = ivfLists(n)
		}
		with = fmt.Sprintf("lists = %d", lists)
	}
	if _, err := conn.Exec(ctx, `SELECT set_config('maintenance_work_mem', $1, FALSE)`, buildMemory); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, fmt.Sprintf(`CREATE INDEX CONCURRENTLY %s ON %s USING %s ((%s) %s) WITH (%s)`,
		ix.annName(), ix.table(), ix.kind, ix.key("embedding"), ix.operatorClass(), with))
	if err == nil {
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
