// Command cmd lists the work that failed too often ("list") and sends it again ("resend ID"): of the queue that QUEUE_URL
// and its companions name, else of the local storage in DATA_DIR or STORAGE_URL.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mastralambda/infra/dead"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/queue/sqs"
	"mastralambda/shared/storage/sqlite"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dead:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	place, deployed, err := sqs.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	if deployed {
		q, err := sqs.OpenPlace(ctx, place)
		if err != nil {
			return err
		}
		return dead.Run(ctx, q, os.Stdout, args)
	}
	store, err := sqlite.Open(cmp.Or(strings.TrimPrefix(os.Getenv("STORAGE_URL"), "sqlite://"), filepath.Join(cmp.Or(os.Getenv("DATA_DIR"), ".data"), "mastra.db")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return dead.Run(ctx, local.Open(store), os.Stdout, args)
}
