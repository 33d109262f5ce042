package pgvector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/vectorstore"
)

// index is what is known of one index. Its row of the catalog never changes: an index that is made anew has another id.
type index struct {
	id     int64
	dim    int
	metric mastra.Metric
	kind   mastra.IndexType
	config mastra.IndexConfig

	mu     sync.Mutex
	state  state
	asked  time.Time // when state was
	builds bool      // in the background, by this process
}

// state is what changes slowly: how many entries there are about, and whether they are indexed.
type state struct {
	rows       int64
	pages      int64
	built      bool // the indexes are there
	namespaces bool // some entry is in another one than ""
}

// Dimensions up to which pgvector indexes a type. Longer vectors are compared one by one.
const (
	maxVector  = 2000
	maxHalfvec = 4000
	buildFrom  = 10_000 // entries: fewer are compared one by one as fast
	stateFor   = 5 * time.Second
)

func (ix *index) table() string { return fmt.Sprintf("mastralambda.vectors_%d", ix.id) }

// annName and metaName are those of the indexes of its vectors and of its metadata in Postgres, in the schema of the table.
func (ix *index) annName() string  { return fmt.Sprintf("vectors_%d_ann", ix.id) }
func (ix *index) metaName() string { return fmt.Sprintf("vectors_%d_metadata", ix.id) }

// lastName is that of the index which is built last.
func (ix *index) lastName() string {
	if ix.indexable() {
		return ix.annName()
	}
	return ix.metaName()
}

// indexable says whether pgvector can index the vectors.
func (ix *index) indexable() bool { return ix.kind != mastra.Flat && ix.dim <= maxHalfvec }

// key is the expression that is indexed, and that a query orders by: long vectors as halfvec, which the exact distances of
// the candidates make up for.
func (ix *index) key(operand string) string {
	if ix.dim > maxVector {
		return fmt.Sprintf("%s::halfvec(%d)", operand, ix.dim)
	}
	return operand
}

// operator is the distance of the metric: cosine distance, Euclidean distance, negative inner product.
func (ix *index) operator() string {
	switch ix.metric {
	case mastra.Euclidean:
		return "<->"
	case mastra.DotProduct:
		return "<#>"
	}
	return "<=>"
}

func (ix *index) operatorClass() string {
	kind := "vector"
	if ix.dim > maxVector {
		kind = "halfvec"
	}
	switch ix.metric {
	case mastra.Euclidean:
		return kind + "_l2_ops"
	case mastra.DotProduct:
		return kind + "_ip_ops"
	}
	return kind + "_cosine_ops"
}

// CreateIndex makes an index.
func (s *Store) CreateIndex(ctx context.Context, i mastra.VectorIndex) error {
	if err := vectorstore.CheckIndex(&i); err != nil {
		return err
	}
	tenant := mastra.Tenant(ctx)
	chosen, err := schema.Marshal(i.Config)
	if err != nil {
		return err
	}
	err = s.tx(ctx, writeTimeout, func(tx pgx.Tx) error {
		ix := index{dim: i.Dimension}
		err := tx.QueryRow(ctx, `INSERT INTO mastralambda.vector_indexes (tenant, name, dimension, metric, type, options) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb) ON CONFLICT DO NOTHING RETURNING id`,
			tenant, i.Name, i.Dimension, string(i.Metric), string(i.Type), string(chosen)).Scan(&ix.id)
		if errors.Is(err, pgx.ErrNoRows) {
			have := mastra.VectorIndex{}
			if err := tx.QueryRow(ctx, `SELECT dimension, metric FROM mastralambda.vector_indexes WHERE tenant = $1 AND name = $2`, tenant, i.Name).
				Scan(&have.Dimension, &have.Metric); err != nil {
				return err
			}
			if have.Dimension != i.Dimension || have.Metric != i.Metric {
				return vectorstore.Conflict(i.Name, &have, &i)
			}
			return nil
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE %s (namespace text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, embedding vector(%d) NOT NULL, metadata jsonb NOT NULL, PRIMARY KEY (namespace, id))`,
			ix.table(), ix.dim))
		return err
	})
	return refusal(err)
}

// Indexes are the names of all indexes, the oldest first.
func (s *Store) Indexes(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT name FROM mastralambda.vector_indexes WHERE tenant = $1 ORDER BY created_at, id`, mastra.Tenant(ctx))
	if err != nil {
		return nil, refusal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return names, refusal(err)
}

// DescribeIndex is what an index holds.
func (s *Store) DescribeIndex(ctx context.Context, name string) (d *mastra.VectorIndex, err error) {
	err = s.with(ctx, name, func(ix *index) error {
		st, err := s.look(ctx, ix)
		if err != nil {
			return err
		}
		d = &mastra.VectorIndex{Name: name, Dimension: ix.dim, Metric: ix.metric, Type: ix.kind, Config: ix.config, Indexed: st.built}
		return s.tx(ctx, readTimeout, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT count(*) FROM `+ix.table()).Scan(&d.Count)
		})
	})
	return d, err
}

// DeleteIndex deletes an index with all that it holds.
func (s *Store) DeleteIndex(ctx context.Context, name string) error {
	if err := vectorstore.CheckName(name); err != nil {
		return err
	}
	key := indexKey{mastra.Tenant(ctx), name}
	err := s.tx(ctx, writeTimeout, func(tx pgx.Tx) error {
		var ix index
		err := tx.QueryRow(ctx, `DELETE FROM mastralambda.vector_indexes WHERE tenant = $1 AND name = $2 RETURNING id`, key.tenant, key.name).Scan(&ix.id)
		if errors.Is(err, pgx.ErrNoRows) {
			return vectorstore.NotFound(name)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DROP TABLE `+ix.table())
		return err
	})
	s.mu.Lock()
	delete(s.known, key)
	s.mu.Unlock()
	return refusal(err)
}

// current is the state of an index, which may be some seconds old.
func (s *Store) current(ctx context.Context, ix *index) (state, error) {
	ix.mu.Lock()
	st, asked := ix.state, ix.asked
	ix.mu.Unlock()
	if time.Since(asked) < stateFor {
		return st, nil
	}
	return s.look(ctx, ix)
}

func (s *Store) look(ctx context.Context, ix *index) (st state, err error) {
	// The table's size is exact; how many rows a page has is what the last analysis found.
	var perPage float64
	err = s.pool.QueryRow(ctx, `SELECT CASE WHEN reltuples <= 0 THEN 0 ELSE reltuples::float8 / greatest(relpages, 1) END, pg_relation_size(c.oid) / 8192,
		coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('mastralambda.' || $2::text)), FALSE),
		EXISTS (SELECT FROM `+ix.table()+` WHERE namespace > '')
		FROM pg_class c WHERE c.oid = $1::text::regclass`, ix.table(), ix.lastName()).Scan(&perPage, &st.pages, &st.built, &st.namespaces)
	if err != nil {
		return st, err
	}
	if st.rows = int64(perPage * float64(st.pages)); perPage == 0 { // never analyzed
		if err = s.pool.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM `+ix.table()+` LIMIT $1) AS first`, 2*buildFrom).Scan(&st.rows); err != nil {
			return st, err
		}
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.state, ix.asked = st, time.Now()
	return st, nil
}
