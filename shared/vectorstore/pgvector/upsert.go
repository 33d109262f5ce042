package pgvector

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
)

// maxStatement is about what one statement of an upsert carries, in bytes.
const maxStatement = 4 << 20

// Upsert puts vectors into an index; one whose id is there takes its place. Of two of one id the later one stays.
func (s *Store) Upsert(ctx context.Context, name string, vectors []mastra.Vector) error {
	if len(vectors) == 0 {
		return mastra.Errorf(mastra.CodeInvalid, "There are no vectors to upsert")
	}
	return s.with(ctx, name, func(ix *index) error {
		rows, err := ix.rows(name, vectors)
		if err != nil {
			return err
		}
		return retry(ctx, func() error {
			return s.tx(ctx, writeTimeout, func(tx pgx.Tx) error { return ix.put(ctx, tx, rows) })
		})
	})
}

// row is what is stored of a vector.
type row struct {
	namespace, id string
	embedding     pgvector.Vector
	metadata      string
}

func compareRows(a, b row) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.id, b.id))
}

// rows checks vectors. They are in the order of their ids, so that two upserts do not wait for each other in a circle.
func (ix *index) rows(name string, vectors []mastra.Vector) ([]row, error) {
	rows, bytes := make([]row, 0, len(vectors)), 0
	for _, v := range vectors {
		if _, err := vectorstore.CheckVector(name, ix.dim, &v); err != nil {
			return nil, err
		}
		r := row{id: v.ID, embedding: pgvector.NewVector(v.Values), metadata: "{}"}
		if v.Metadata != nil {
			r.metadata = string(v.Metadata)
		}
		if bytes += r.bytes(); bytes > vectorstore.MaxBatch {
			return nil, mastra.Errorf(mastra.CodeTooLarge, "One upsert takes at most %d MiB", vectorstore.MaxBatch>>20)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, compareRows)
	last := 0
	for i := range rows { // of equal ones the last
		if i > 0 && compareRows(rows[last], rows[i]) != 0 {
			last++
		}
		rows[last] = rows[i]
	}
	return rows[:last+1], nil
}

func (r row) bytes() int {
	return len(r.namespace) + len(r.id) + len(r.metadata) + 4*len(r.embedding.Slice())
}

// put writes rows in statements of many rows each, which are sent at once.
func (ix *index) put(ctx context.Context, tx pgx.Tx, rows []row) error {
	statement := fmt.Sprintf(`INSERT INTO %s (namespace, id, embedding, metadata) SELECT * FROM unnest($1::text[], $2::text[], $3::vector[], $4::jsonb[])
		ON CONFLICT (namespace, id) DO UPDATE SET embedding = excluded.embedding, metadata = excluded.metadata`, ix.table())
	for len(rows) > 0 {
		var namespaces, ids, metadata []string
		var embeddings []pgvector.Vector
		for bytes := 0; len(rows) > 0 && bytes < maxStatement; rows = rows[1:] {
			r := rows[0]
			bytes += r.bytes()
			namespaces, ids, metadata, embeddings = append(namespaces, r.namespace), append(ids, r.id), append(metadata, r.metadata), append(embeddings, r.embedding)
		}
		if _, err := tx.Exec(ctx, statement, namespaces, ids, embeddings, metadata); err != nil {
			return err
		}
	}
	return nil
}

// retry repeats a transaction that lost against another one.
func retry(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if state := sqlState(err); state != deadlock && state != serialization || attempt == 5 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(attempt*attempt) * 20 * time.Millisecond):
		}
	}
}
