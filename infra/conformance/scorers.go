package main

import (
	"context"
	"strconv"
	"unicode/utf16"

	"mastralambda/shared/mastra"
)

var lengthScorer = mastra.NewScorer("length-scorer", "Length scorer", "Scores output length", func(_ context.Context, r mastra.ScorerRun) (mastra.Verdict, error) {
	output := r.Output
	if len(output) == 0 || output.Kind() == 'n' {
		output = mastra.JSON(`""`)
	}
	score := min(1, float64(len(utf16.Encode([]rune(string(output)))))/1000)
	return mastra.Verdict{Score: score, Reason: "length score " + strconv.FormatFloat(score, 'f', -1, 64)}, nil
})
