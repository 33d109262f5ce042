package main

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
)

var (
	weatherTool = mastra.NewTool("weather-tool", "Get the weather for a city", func(_ context.Context, in city) (weather, error) {
		return weather{in.City, float64(utf16Len(in.City)), "sunny"}, nil
	}).Named("weatherTool")

	calculatorTool = mastra.NewTool("calculator", "Arithmetic", calculate).Named("calculatorTool")

	contextTool = undeclared(mastra.NewTool("context-echo", "Echo the request context", func(ctx context.Context, in key) (value, error) {
		return value{in.Key, mastra.RequestContextOf(ctx)[in.Key]}, nil
	})).Named("contextTool")

	dangerousTool = undeclared(mastra.NewTool("dangerous-tool", "Needs approval", func(_ context.Context, in target) (deleted, error) {
		return deleted{in.Target}, nil
	})).Named("dangerousTool").WithApproval()
)

// undeclared hides the tool's output schema.
func undeclared(t *mastra.Tool) *mastra.Tool { t.Output = nil; return t }

type city struct {
	City string `json:"city" minLength:"1"`
}

type weather struct {
	City       string  `json:"city"`
	TempC      float64 `json:"tempC"`
	Conditions string  `json:"conditions"`
}

type sum struct {
	Op string  `json:"op" enum:"add,mul,div"`
	A  float64 `json:"a"`
	B  float64 `json:"b"`
}

type result struct {
	Result float64 `json:"result"`
}

func calculate(_ context.Context, in sum) (result, error) {
	switch in.Op {
	case "add":
		return result{in.A + in.B}, nil
	case "mul":
		return result{in.A * in.B}, nil
	}
	if in.B == 0 {
		return result{}, errors.New("division by zero")
	}
	return result{in.A / in.B}, nil
}

type key struct {
	Key string `json:"key"`
}

type value struct {
	Key   string      `json:"key"`
	Value mastra.JSON `json:"value"`
}

type target struct {
	Target string `json:"target"`
}

type deleted struct {
	Deleted string `json:"deleted"`
}
