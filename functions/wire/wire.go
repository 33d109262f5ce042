// Package wire puts a function together: configuration, log, storage, callers and routes. It links no model; what runs
// agents and workflows is in runs.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"mastralambda/shared/lambdahttp"
	"mastralambda/shared/logstore/record"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

// Function is one Lambda.
type Function struct {
	App    func(mastra.Backends) (*mastra.Mastra, error)
	Routes [][]server.Route
	// Runner, where not nil, adds what the function's routes run on.
	Runner Runner
	// Direct, where not nil, answers what other functions invoke this one with.
	Direct func(m *mastra.Mastra) func(ctx context.Context, event mastra.JSON) (any, error)
}

// Runner adds backends. settle waits until what they do is done.
type Runner func(getenv func(string) string, b *mastra.Backends) (settle func(context.Context) error, err error)

// Main serves the function. What keeps it from starting is one line of the log.
func Main(f Function) {
	if err := f.serve(os.Getenv, os.Stdout); err != nil {
		slog.Error("the function does not start", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func (f Function) serve(getenv func(string) string, out io.Writer) error {
	h, err := f.Handler(getenv, out)
	if err != nil {
		return err
	}
	lambdahttp.Serve(h)
	return nil
}

// Application is what the function works with, without its routes. settle, where not nil, waits until what an invocation
// began is done. The log goes to out.
func (f Function) Application(getenv func(string) string, out io.Writer) (m *mastra.Mastra, settle func(context.Context) error, err error) {
	c, err := readConfig(getenv)
	logger := slog.New(mastra.Correlated(Log(out, c.LogLevel)))
	slog.SetDefault(logger) // aws-lambda-go's own lines, too
	if err != nil {
		return nil, nil, err
	}
	b := mastra.Backends{Logger: logger}
	exporter := c.telemetry.Exporter(logger)
	b.Tracing = c.telemetry.Tracing
	storage, err := dynamodb.OpenURL(context.Background(), c.storageURL)
	if err != nil {
		return nil, nil, err
	}
	storage.Keep(c.telemetry.Retention)
	b.Storage = storage
	if f.Runner != nil {
		if settle, err = f.Runner(getenv, &b); err != nil {
			return nil, nil, err
		}
	}
	if exporter != nil {
		runs := settle
		settle = func(ctx context.Context) (err error) {
			if runs != nil {
				err = runs(ctx)
			}
			return errors.Join(err, exporter.Flush(ctx)) // what is queued freezes with the instance
		}
	}
	if m, err = f.App(b); err != nil {
		return nil, nil, fmt.Errorf("the application does not fit together: %w", err)
	}
	return m, settle, nil
}

// Handler is the function without its runtime. The log goes to out.
func (f Function) Handler(getenv func(string) string, out io.Writer) (*lambdahttp.Handler, error) {
	m, settle, err := f.Application(getenv, out)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(getenv)
	if err != nil {
		return nil, err
	}
	h := &lambdahttp.Handler{Buffered: getenv("AWS_SAM_LOCAL") == "true", Settle: settle}
	if f.Direct != nil {
		h.Direct = f.Direct(m)
	}
	s := server.Server{Mastra: m, Prefix: "/api", Version: c.version, Origins: c.Origins, StreamFormat: c.StreamFormat}
	if !c.auth {
		m.Auth = nil
	} else if m.Auth, err = authenticator(m); err != nil {
		return nil, err
	}
	h.Server, err = server.New(s, f.Routes...)
	return h, err
}

func authenticator(m *mastra.Mastra) (mastra.Authenticator, error) {
	if m.Auth != nil {
		return m.Auth, nil
	}
	keys, ok := m.Storage.(mastra.KeyStore)
	if !ok {
		return nil, errors.New("API keys need a storage that keeps them: STORAGE_URL, or AUTH=off for an API that is open to everyone")
	}
	return server.APIKeys{Store: server.Remember(keys, server.KeyFreshness)}, nil
}

// Log writes JSON lines as Lambda's JSON log format takes them, each by one Write.
func Log(out io.Writer, level slog.Level) slog.Handler {
	var mu sync.Mutex
	return record.NewHandler(record.Lambda, level, func(line []byte, _ slog.Level) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := out.Write(line)
		return err
	})
}
