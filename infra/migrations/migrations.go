// Package migrations is the SQL that a Postgres needs before the vector store can use it: numbered files, applied in order,
// each once. It links no database client: the migrate function runs them through the RDS Data API, everybody else through pgx.
package migrations

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"strings"
)

//go:embed *.sql
var files embed.FS

// Exec runs one statement without parameters inside of a transaction and says how many rows it affected.
type Exec func(ctx context.Context, statement string) (int64, error)

// Transact runs do in one transaction, which it commits where do returns nil.
type Transact func(ctx context.Context, do func(Exec) error) error

// migration is one file.
type migration struct {
	version int
	hash    string
	text    string
}

func all() ([]migration, error) {
	var list []migration
	for version := 1; ; version++ {
		data, err := files.ReadFile(fmt.Sprintf("%d.sql", version))
		if err != nil {
			break
		}
		sum := sha256.Sum256(data)
		list = append(list, migration{version, hex.EncodeToString(sum[:]), string(data)})
	}
	if entries, err := files.ReadDir("."); err != nil || len(entries) != len(list) {
		return nil, fmt.Errorf("migrations must be named 1.sql, 2.sql, … without a gap")
	}
	return list, nil
}

// Hash changes whenever a migration is added or changed.
func Hash() string {
	list, err := all()
	if err != nil {
		return err.Error()
	}
	sum := sha256.New()
	for _, m := range list {
		sum.Write([]byte(m.hash))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Apply brings a database up to date, one transaction a migration. Several may run at once.
func Apply(ctx context.Context, transact Transact) error {
	list, err := all()
	if err != nil {
		return err
	}
	for _, m := range list {
		err := transact(ctx, func(exec Exec) error {
			for _, s := range []string{
				`DO $do$ BEGIN PERFORM pg_advisory_xact_lock(5318008137); END $do$`,
				`CREATE TABLE IF NOT EXISTS public.mastralambda_migrations (version integer PRIMARY KEY, hash text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
			} {
				if _, err := exec(ctx, s); err != nil {
					return err
				}
			}
			// Version and hash are ours: numbers and hexadecimal digits.
			added, err := exec(ctx, fmt.Sprintf(`INSERT INTO public.mastralambda_migrations (version, hash) VALUES (%d, '%s') ON CONFLICT DO NOTHING`, m.version, m.hash))
			if err != nil || added == 0 {
				return err
			}
			for _, s := range statements(m.text) {
				if _, err := exec(ctx, s); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("migration %d: %w", m.version, err)
		}
	}
	return nil
}

// statements splits a file, since the Data API takes one statement a call: one ends with a semicolon that an empty line, or
// the end, follows.
func statements(text string) []string {
	var out []string
	for part := range strings.SplitSeq(strings.TrimSpace(text)+"\n", ";\n\n") {
		if part = strings.TrimSuffix(strings.TrimSpace(part), ";"); part != "" {
			out = append(out, part)
		}
	}
	return out
}
