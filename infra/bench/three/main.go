// Command three serves a workflow of three steps, for the benchmark.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"mastralambda/infra/local"
	"mastralambda/shared/mastra"
)

type name struct {
	Name string `json:"name"`
}

type greeting struct {
	Greeting string `json:"greeting"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := func(b mastra.Backends) (*mastra.Mastra, error) {
		three := mastra.NewWorkflow[name, greeting]("three").
			Then(mastra.NewStep("trim", func(_ context.Context, in name) (name, error) { return name{strings.TrimSpace(in.Name)}, nil })).
			Then(mastra.NewStep("upper", func(_ context.Context, in name) (name, error) { return name{strings.ToUpper(in.Name)}, nil })).
			Then(mastra.NewStep("greet", func(_ context.Context, in name) (greeting, error) { return greeting{"Hello, " + in.Name + "!"}, nil }))
		return mastra.New(mastra.Config{Workflows: []mastra.Workflow{three}, Backends: b})
	}
	if err := local.Run(ctx, local.Options{App: app, Getenv: os.Getenv, Out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, "three:", err)
		os.Exit(1)
	}
}
