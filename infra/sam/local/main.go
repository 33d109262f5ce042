// Command local builds template.yaml with SAM and serves it with sam local start-api, over the same stand-ins for AWS as the
// tests: local [-port 3000] [Parameter=value ...]. It needs a container engine and the environment of infra/services/services.sh.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "sam local:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	port := flags.Int("port", 3000, "where it listens, on this machine only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	endpoint := os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")
	if endpoint == "" {
		return errors.New(`AWS_ENDPOINT_URL_DYNAMODB is not set: make sam-local starts the stand-ins, or eval "$(infra/services/services.sh start)"`)
	}
	database := cmp.Or(os.Getenv("VECTOR_URL"), os.Getenv("TEST_POSTGRES_URL"))
	if database == "" {
		return errors.New("neither VECTOR_URL nor TEST_POSTGRES_URL is set: make sam-local starts the stand-ins")
	}
	s, err := start(ctx, options{root: ".", port: *port, dynamoDB: endpoint, vectorURL: database, parameters: flags.Args(), tables: "sam", log: log})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Listening on %s. A request to a function that is not running yet waits for its container.\n", s.url)
	fmt.Fprintf(out, "Try:  curl %s/api/agents/myAgent/generate -H 'Content-Type: application/json' -d '{\"messages\": \"What is 2+2?\"}'\n", s.url)
	select {
	case <-ctx.Done():
	case <-s.exited:
	}
	return s.stop()
}
