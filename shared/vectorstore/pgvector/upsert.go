package pgvector

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pgvector/pgvector-go"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
	"mastralambda/shared/vectorstore/filter"
)

// maxStatement is about what one statement of an upsert carries, in bytes.
const maxStatement = 4 << 20

// Upsert puts vectors into an index; one whose id is there takes its place. Of two of one id the later one stays.
func (s *Store) Upsert(ctx context.Context, name string, vectors []mastra.Vector) error {
	if err := vectorstore.CheckBatch(vectors); err != nil {
		return err
	}
	return s.with(ctx, name, func(ix *index) error {
		rows, err := ix.rows(name, vectors)
		if err != nil {
			return err
		}
		return s.write(ctx, func(tx pgx.Tx) error { return ix.put(ctx, tx, rows) })
	})
}

// Replace upserts vectors and deletes, in one transaction, what else of the namespace the filter matches.
func (s *Store) Replace(ctx context.Context, name, namespace string, where mastra.JSON, vectors []mastra.Vector) error {
	f, err := vectorstore.CheckReplace(namespace, where, vectors)
	if err != nil {
		return err
	}
	return s.with(ctx, name, func(ix *index) error {
		rows, err := ix.rows(name, vectors)
		if err != nil {
			return err
		}
		return s.write(ctx, func(tx pgx.Tx) error {
			if _, err := ix.remove(ctx, tx, mastra.VectorSelection{Namespace: namespace}, f); err != nil {
				return err
			}
			return ix.put(ctx, tx, rows)
		})
	})
}

// Delete removes entries and returns how many.
func (s *Store) Delete(ctx context.Context, name string, which mastra.VectorSelection) (n int, err error) {
	f, err := vectorstore.CheckSelection(which)
	if err != nil {
		return 0, err
	}
	err = s.with(ctx, name, func(ix *index) error {
		return s.write(ctx, func(tx pgx.Tx) error {
			n, err = ix.remove(ctx, tx, which, f)
			return err
		})
	})
	return n, err
}

// Update changes entries and returns how many.
func (s *Store) Update(ctx context.Context, name string, which mastra.VectorSelection, to mastra.VectorUpdate) (n int, err error) {
	f, err := vectorstore.CheckSelection(which)
	if err != nil {
		return 0, err
	}
	err = s.with(ctx, name, func(ix *index) error {
		if _, err := vectorstore.CheckUpdate(name, ix.dim, &to); err != nil {
			return err
		}
		return s.write(ctx, func(tx pgx.Tx) error {
			n, err = ix.change(ctx, tx, which, f, to)
			return err
		})
	})
	return n, err
}

func (ix *index) remove(ctx context.Context, tx pgx.Tx, which mastra.VectorSelection, f *filter.Expr) (int, error) {
	var w where
	return ix.affect(ctx, tx, which, &w, fmt.Sprintf(`DELETE FROM %s WHERE %s`, ix.table(), w.selected(which, f)))
}

func (ix *index) change(ctx context.Context, tx pgx.Tx, which mastra.VectorSelection, f *filter.Expr, to mastra.VectorUpdate) (int, error) {
	var w where
	var set []string
	if to.Values != nil {
		set = append(set, "embedding = "+w.arg(pgvector.NewVector(to.Values), "vector"))
	}
	if to.Metadata != nil {
		set = append(set, "metadata = "+w.arg(string(to.Metadata), "text::jsonb"))
	}
	return ix.affect(ctx, tx, which, &w, fmt.Sprintf(`UPDATE %s SET %s WHERE %s`, ix.table(), strings.Join(set, ", "), w.selected(which, f)))
}

// selected is the condition of what is selected.
func (w *where) selected(which mastra.VectorSelection, f *filter.Expr) string {
	c := "namespace = " + w.arg(which.Namespace, "text")
	if f == nil {
		return c + " AND id = ANY(" + w.arg(which.IDs, "text[]") + ")"
	}
	return c + " AND " + w.condition(f, "metadata", false)
}

// affect runs a statement on what is selected. Where ids select it, all of them must be there: they are locked first.
func (ix *index) affect(ctx context.Context, tx pgx.Tx, which mastra.VectorSelection, w *where, statement string) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(which.IDs) > 0 {
		rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT id FROM %s WHERE namespace = $1 AND id = ANY($2) ORDER BY id FOR UPDATE`, ix.table()), which.Namespace, which.IDs)
		if err != nil {
			return 0, err
		}
		there, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return 0, err
		}
		for _, id := range which.IDs {
			if _, ok := slices.BinarySearch(there, id); !ok {
				return 0, vectorstore.Missing(id)
			}
		}
	}
	tag, err := tx.Exec(ctx, statement, w.args...)
	return int(tag.RowsAffected()), err
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
	rows := make([]row, 0, len(vectors))
	for _, v := range vectors {
		if _, err := vectorstore.CheckVector(name, ix.dim, &v); err != nil {
			return nil, err
		}
		r := row{namespace: v.Namespace, id: v.ID, embedding: pgvector.NewVector(v.Values), metadata: "{}"}
		if v.Metadata != nil {
			r.metadata = string(v.Metadata)
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

// write runs do in one transaction, which is repeated where it lost against another one.
func (s *Store) write(ctx context.Context, do func(pgx.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := s.tx(ctx, writeTimeout, do)
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
