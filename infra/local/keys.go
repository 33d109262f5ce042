package local

import (
	"context"
	"errors"
	"io"

	"mastralambda/infra/keys"
	"mastralambda/shared/storage/sqlite"
)

// Keys makes, lists and revokes API keys as keys.Run does. A running server knows of it at once.
func Keys(ctx context.Context, getenv func(string) string, out io.Writer, args []string) (err error) {
	c, err := readConfig(getenv)
	if err != nil {
		return err
	}
	store, err := sqlite.Open(c.sqlitePath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return keys.Run(ctx, store, out, args)
}
