package app

import (
	"math"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func TestApplicationFits(t *testing.T) {
	if _, err := New(mastra.Backends{}); err != nil {
		t.Fatal(err)
	}
}

func TestCalculate(t *testing.T) {
	for expression, want := range map[string]float64{
		"2+2": 4, "2 + 3 * 4": 14, "(2+3)*4": 20, "-3 + 1": -2, "2^3^2": 512, "10/4": 2.5, "1.5*2": 3, "--2": 2, "7-2-1": 4,
	} {
		got, err := calculate(t.Context(), Calculation{expression})
		if err != nil || got.Result != want {
			t.Errorf("%s = %v, %v; want %v", expression, got.Result, err, want)
		}
	}
	for _, expression := range []string{"", "2+", "two", "(1", "1)", "1..2", "1/0", "0/0", strings.Repeat("-", 5000) + "1", strings.Repeat("(", 5000)} {
		if got, err := calculate(t.Context(), Calculation{expression}); err == nil {
			t.Errorf("%.20q = %v", expression, got.Result)
		}
	}
}

func FuzzCalculate(f *testing.F) {
	f.Add("2+2")
	f.Add("((((1")
	f.Fuzz(func(t *testing.T, expression string) {
		got, err := calculate(t.Context(), Calculation{expression})
		if err == nil && (math.IsNaN(got.Result) || math.IsInf(got.Result, 0)) {
			t.Errorf("%q = %v", expression, got.Result)
		}
	})
}
