// Command conformance serves a twin of the reference application, so that the same requests can be sent to this server and
// to the real one. PORT (4222) is where it listens, on loopback; MODEL_DELAY (5) the milliseconds between a model's parts.
// Its storage is fresh and temporary, unless STORAGE_URL (with DATA_DIR beside it) says where it is kept.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mastralambda/infra/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	models := &provider{delay: 5 * time.Millisecond}
	if v := os.Getenv("MODEL_DELAY"); v != "" {
		ms, err := strconv.Atoi(v)
		if err != nil || ms < 0 || ms > 60_000 {
			return fmt.Errorf("MODEL_DELAY=%q: not milliseconds from 0 to 60000", v)
		}
		models.delay = time.Duration(ms) * time.Millisecond
	}
	instead := map[string]string{"HOST": "127.0.0.1", "PORT": "4222", "OTEL_SERVICE_NAME": "ref"}
	if port := os.Getenv("PORT"); port != "" {
		instead["PORT"] = port
	}
	if path, kept := strings.CutPrefix(os.Getenv("STORAGE_URL"), "sqlite://"); !kept {
		if instead["DATA_DIR"], err = os.MkdirTemp("", "conformance-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(instead["DATA_DIR"])) }()
	} else if os.Getenv("DATA_DIR") == "" {
		instead["DATA_DIR"] = path + ".data"
	}
	return local.Run(ctx, local.Options{
		App: newApp, Models: models.model, Embedder: embedder{}, Vectors: vectorStore, AnyOrigin: true, Out: os.Stdout,
		Getenv: func(name string) string {
			if v, ok := instead[name]; ok {
				return v
			}
			return os.Getenv(name)
		},
	})
}
