// Command cmd serves the application on this machine, and manages its API keys: "key add|list|revoke".
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"mastralambda/infra/local"
	"mastralambda/shared/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mastra:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "key":
		return local.Keys(ctx, os.Getenv, os.Stdout, args[1:])
	case len(args) > 0:
		return fmt.Errorf("unknown command %q: there is key, or none to serve", args[0])
	}
	return local.Run(ctx, local.Options{App: app.New, Getenv: os.Getenv, Out: os.Stdout})
}
