// Command cmd runs template.yaml on this machine: cmd [-port 3000] [Parameter=value ...]. Each function is a process of its own
// behind an API Gateway front; what they need of AWS stands in for it (AWS_ENDPOINT_URL_DYNAMODB and the like).
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mastralambda/infra/lambdalocal"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lambdalocal:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

// passedOn are the settings that functions take from this process's environment where it has them: what a deployed stack
// resolves from secrets.
var passedOn = []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODEL_DELAY"}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("lambdalocal", flag.ContinueOnError)
	port := flags.Int("port", 3000, "where it listens, on this machine only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parameters := map[string]string{}
	for _, arg := range flags.Args() {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is no Parameter=value of template.yaml", arg)
		}
		parameters[name] = value
	}
	endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")
	if endpoint == "" {
		return errors.New(`AWS_ENDPOINT_URL_DYNAMODB is not set: make lambda-local starts the stand-ins, or eval "$(infra/services/services.sh start)"`)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d is taken: another process listens there, PORT chooses another one", *port)
	} else if err != nil {
		return err
	}
	defer listener.Close()
	env := map[string]string{}
	for _, name := range passedOn {
		if value := os.Getenv(name); value != "" {
			env[name] = value
		}
	}
	folder, err := os.Getwd() // make takes absolute paths
	if err != nil {
		return err
	}
	fmt.Println("building the functions of template.yaml")
	l, err := lambdalocal.Open(ctx, lambdalocal.LocalOptions{Template: "template.yaml", Build: lambdalocal.Make(".", filepath.Join(folder, "build/lambdalocal")), DynamoDB: endpoint, VectorURL: cmp.Or(os.Getenv("VECTOR_URL"), os.Getenv("TEST_POSTGRES_URL")), Queues: os.Getenv("AWS_ENDPOINT_URL_SQS"), Name: "local-", Parameters: parameters, Env: env, Lines: os.Stderr,
		Tables: dynamodb.Tables{Threads: "local-threads", Runs: "local-runs", Observability: "local-observability"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	secret, key := server.NewKey("lambda-local", mastra.Principal{}, mastra.TimeOf(time.Now()))
	if err := l.Store.AddAPIKey(ctx, key); err != nil {
		return err
	}
	at := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("Listening on http://localhost:%d/%s, and on http://api.localhost:%d as a custom domain would. Functions log to stderr.\n", at, l.Gateway.Stage, at)
	fmt.Printf("Try:  curl http://localhost:%d/%s/api/agents/myAgent/generate -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{\"messages\": \"What is 2+2?\"}'\n",
		at, l.Gateway.Stage, secret)
	return serve(ctx, listener, l)
}

func serve(ctx context.Context, listener net.Listener, l *lambdalocal.Local) error {
	domain := l.Gateway.Domain("")
	s := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := strings.Cut(r.Host, ":"); host == "api.localhost" {
			domain.ServeHTTP(w, r)
			return
		}
		l.Gateway.ServeHTTP(w, r)
	})}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}
