// Package local is the one-process server: every group of routes over embedded storage.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/handlers/system"
	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/handlers/voice"
	"mastralambda/shared/handlers/workflows"
	logstore "mastralambda/shared/logstore/local"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/queue"
	queuelocal "mastralambda/shared/queue/local"
	"mastralambda/shared/runlog"
	"mastralambda/shared/scoring"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/sqlite"
	"mastralambda/shared/telemetry"
	"mastralambda/shared/webhook"
)

// Options are what distinguishes one local process from another.
type Options struct {
	App       func(mastra.Backends) (*mastra.Mastra, error)
	Getenv    func(string) string
	Out       io.Writer       // the lines that say where it listens
	Models    mastra.Models   // nil: those of the environment
	Embedder  mastra.Embedder // nil: that of the environment
	Vectors   string          // the name of a vector store that VECTOR_URL does not name; its type where empty
	AnyOrigin bool            // any web page may call: for the twin only
}

// workAtOnce is how many pieces of queued work are done at once.
const workAtOnce = 4

// drainTime is how long a stop waits for requests and runs.
const drainTime = 20 * time.Second

// Tables are the route tables of all groups.
func Tables() [][]server.Route {
	return [][]server.Route{agents.Routes(), workflows.Routes(), tools.Routes(), memory.Routes(), observability.Routes(),
		logs.Routes(), vector.Routes(), voice.Routes(), system.Routes()}
}

// Run serves until ctx ends, then drains. Everything that keeps it from starting is one line.
func Run(ctx context.Context, o Options) (err error) {
	c, err := readConfig(o.Getenv)
	if err != nil {
		return err
	}
	if err := o.readModels(); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.address())
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d of %s is taken: another process listens there, PORT chooses another one", c.port, c.host)
	} else if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", c.address(), err)
	}
	defer listener.Close()
	if o.Getenv("GOGC") == "" {
		tuneGC()
	}
	p, err := open(c, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	o.greet(c, listener, p.Mastra)
	return p.serve(ctx, listener)
}

// readModels makes the models of the environment where no others are given.
func (o *Options) readModels() (err error) {
	if o.Models == nil {
		o.Models, err = model.FromEnv(o.Getenv)
	}
	if o.Embedder == nil && err == nil {
		o.Embedder, err = model.EmbedderFromEnv(o.Getenv)
	}
	return err
}

// Process is an application on open embedded backends.
type Process struct {
	Mastra     *mastra.Mastra
	Handler    *server.Server
	supervisor *runlog.Supervisor
	engine     *engine.Engine
	queue      *queuelocal.Queue
	log        *logstore.Store
	exporter   *telemetry.Exporter
	storage    *sqlite.Store
	vectors    []io.Closer
}

// Open opens the application without serving it: for tests that call handlers, or the Handler, directly.
func Open(o Options) (*Process, error) {
	c, err := readConfig(o.Getenv)
	if err != nil {
		return nil, err
	}
	if err := o.readModels(); err != nil {
		return nil, err
	}
	return open(c, o)
}

func open(c config, o Options) (_ *Process, err error) {
	if err := os.MkdirAll(c.dataDir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR=%q cannot be written: %w", c.dataDir, err)
	}
	p := &Process{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.log, err = logstore.Open(filepath.Join(c.dataDir, "logs"), c.LogLevel, nil); err != nil {
		return nil, err
	}
	p.storage = sqlite.Begin(c.sqlitePath, sqlite.Keep(c.telemetry.Retention)) // a new one takes as long as all that follows
	stores, err := p.openVectors(c, o.Vectors)
	if err != nil {
		return nil, err
	}
	logger := slog.New(mastra.Correlated(slog.NewMultiHandler(p.log, slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	p.exporter = c.telemetry.Exporter(logger)
	p.supervisor = runlog.NewSupervisor(logger)
	p.engine, p.queue = engine.New(p.supervisor), queuelocal.Open(p.storage)
	p.Mastra, err = o.App(mastra.Backends{Models: o.Models, Storage: p.storage, Logs: p.log, Embed: o.Embedder, Logger: logger,
		Vectors: stores, Agents: agentloop.New(p.supervisor), Engine: p.engine, Queue: p.queue, Webhook: c.webhook, Alone: true, Scoring: scoring.New(p.supervisor), Tracing: c.telemetry.Tracing})
	if err != nil {
		return nil, fmt.Errorf("the application does not fit together: %w", err)
	}
	s := server.Server{Mastra: p.Mastra, Prefix: c.prefix, Version: "1", Origins: c.Origins, LoopbackOnly: !c.auth, StreamFormat: c.StreamFormat}
	if o.AnyOrigin {
		s.Origins, s.LoopbackOnly = []string{"*"}, false
	}
	switch {
	case !c.auth:
		p.Mastra.Auth = nil
	case p.Mastra.Auth == nil:
		p.Mastra.Auth = server.APIKeys{Store: p.storage}
	}
	if p.Handler, err = server.New(s, Tables()...); err != nil {
		return nil, err
	}
	return p, p.storage.Ready()
}

// serve answers until ctx ends. Runs that another process left behind are taken over meanwhile.
func (p *Process) serve(ctx context.Context, listener net.Listener) error {
	recovering, stop := context.WithCancel(context.WithoutCancel(ctx))
	var keepers sync.WaitGroup
	keepers.Go(func() { _ = p.engine.Recover(recovering, p.Mastra) }) // it logs what fails and ends with recovering
	keepers.Go(func() {
		queue.Consume(recovering, p.Mastra.Logger, p.queue, workAtOnce, queue.Handlers{mastra.WorkWebhook: webhook.New(p.Mastra).Handle}.Handle)
	})
	defer func() { stop(); keepers.Wait() }()
	s := &http.Server{
		Handler:           p.Handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    12 << 10, // net/http adds 4 KiB
		ErrorLog:          slog.NewLogLogger(p.Mastra.Logger.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(packing{listener}) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	p.Mastra.Logger.Info("draining")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	stop()
	err := s.Shutdown(drain)
	if drained := errors.Join(p.engine.Drain(drain), p.supervisor.Drain(drain)); drained != nil {
		err = errors.Join(err, fmt.Errorf("runs were cut off: %w", drained))
	}
	return err
}

// Close closes in the order of use: the log last, since the others write to it.
func (p *Process) Close() error {
	var errs []error
	for _, v := range p.vectors {
		errs = append(errs, v.Close())
	}
	if p.storage != nil {
		errs = append(errs, p.storage.Close())
	}
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	return errors.Join(errs...)
}

func (o Options) greet(c config, listener net.Listener, m *mastra.Mastra) {
	host := c.host
	if loopback(host) {
		host = "localhost"
	}
	url := fmt.Sprintf("http://%s:%d", host, listener.Addr().(*net.TCPAddr).Port)
	fmt.Fprintf(o.Out, "Listening on %s%s (data in %s)\n", url, c.prefix, c.dataDir)
	if len(m.AllAgents()) == 0 {
		return
	}
	a := m.AllAgents()[0]
	answers := "no model"
	if lm, err := o.Models(a.Model); err == nil {
		answers = lm.Info().Provider + "/" + lm.Info().ID
		if lm.Info().Provider == "offline" {
			answers += ": deterministic, no language model; MODEL=openai/… takes a real one"
		}
	}
	fmt.Fprintf(o.Out, "%s answers with %s\nTry:  curl %s%s/agents/%s/generate -H 'Content-Type: application/json' -d '{\"messages\": \"What is 2+2?\"}'\n",
		a.ID, answers, url, c.prefix, a.ID)
	if c.auth {
		fmt.Fprintln(o.Out, "API keys are required: make key NAME=… makes one")
	}
}
