package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

type name struct {
	Name string `json:"name"`
}

type greeting struct {
	Greeting string `json:"greeting"`
}

var sequentialWorkflow = mastra.NewWorkflow[name, greeting]("sequential-workflow").Named("sequentialWorkflow").Describe("Two steps").
	Then(mastra.NewStep("upper", func(_ context.Context, in name) (name, error) {
		return name{strings.ToUpper(in.Name)}, nil
	}).Describe("Upper-case")).
	Then(mastra.NewStep("greet", func(_ context.Context, in name) (greeting, error) {
		return greeting{"Hello, " + in.Name + "!"}, nil
	}))

type pair struct {
	A float64 `json:"a"`
	B float64 `json:"b"`
}

type number struct {
	Value float64 `json:"value"`
}

type both struct {
	Add number `json:"add"`
	Mul number `json:"mul"`
}

type totals struct {
	Sum     float64 `json:"sum"`
	Product float64 `json:"product"`
}

type size struct {
	Size string `json:"size"`
}

// The descriptions are the source texts that the reference application shows.
var branchingWorkflow = mastra.NewWorkflow[pair, mastra.JSON]("branching-workflow").Named("branchingWorkflow").
	Parallel(
		mastra.NewStep("add", func(_ context.Context, in pair) (number, error) { return number{in.A + in.B}, nil }),
		mastra.NewStep("mul", func(_ context.Context, in pair) (number, error) { return number{in.A * in.B}, nil }),
	).
	Then(mastra.Map(func(in both) totals { return totals{in.Add.Value, in.Mul.Value} }).
		Describe("async ({ inputData }) => ({ sum: inputData.add.value, product: inputData.mul.value })")).
	Branch(
		mastra.When(func(in totals) bool { return in.Sum >= 10 }, sized("big")).Describe("async ({ inputData }) => inputData.sum >= 10"),
		mastra.When(func(in totals) bool { return in.Sum < 10 }, sized("small")).Describe("async ({ inputData }) => inputData.sum < 10"),
	)

func sized(id string) *mastra.Step {
	return mastra.NewStep(id, func(context.Context, totals) (size, error) { return size{id}, nil })
}

type amount struct {
	Amount float64 `json:"amount"`
}

type approval struct {
	Approved bool `json:"approved"`
}

type reason struct {
	Reason string `json:"reason"`
}

type decided struct {
	Amount   float64 `json:"amount"`
	Approved bool    `json:"approved"`
}

type status struct {
	Status string `json:"status"`
}

var approvalWorkflow = mastra.NewWorkflow[amount, status]("approval-workflow").Named("approvalWorkflow").
	Then(mastra.NewStep("prepare", func(_ context.Context, in amount) (amount, error) { return in, nil })).
	Then(mastra.SuspendsWith[reason](mastra.NewPausable("approve", func(_ context.Context, in amount, answer *approval) (decided, error) {
		if answer == nil {
			return decided{}, mastra.Suspend(reason{"approve " + text(in.Amount) + "?"})
		}
		return decided{in.Amount, answer.Approved}, nil
	}))).
	Then(mastra.NewStep("settle", func(_ context.Context, in decided) (status, error) {
		if !in.Approved {
			return status{"rejected"}, nil
		}
		return status{"paid " + text(in.Amount)}, nil
	}))

// text writes a number as JavaScript does.
func text(v float64) string {
	data, err := schema.Marshal(v)
	if err != nil {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return string(data)
}

type anything struct {
	X mastra.JSON `json:"x"`
}

var failingWorkflow = mastra.NewWorkflow[anything, mastra.JSON]("failing-workflow").Named("failingWorkflow").
	Then(mastra.NewStep("fail-step", func(context.Context, anything) (mastra.JSON, error) {
		return nil, errors.New("step failed on purpose")
	}))

type pause struct {
	Milliseconds float64 `json:"ms"`
}

type done struct {
	Done bool `json:"done"`
}

var slowWorkflow = mastra.NewWorkflow[pause, done]("slow-workflow").Named("slowWorkflow").
	Then(mastra.NewStep("slow-step", func(ctx context.Context, in pause) (done, error) {
		wait(ctx, time.Duration(in.Milliseconds*float64(time.Millisecond)))
		return done{true}, nil
	}))
