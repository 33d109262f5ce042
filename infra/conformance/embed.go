package main

import (
	"context"
	"math"

	"mastralambda/shared/mastra"
)

const dimension = 8

// embedder counts the code units of a text by their value modulo 8, and makes that a vector of length 1.
type embedder struct{}

var _ mastra.Embedder = embedder{}

func (embedder) Dimension() int { return dimension }

func (embedder) Embed(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		var counts [dimension]float64
		for _, r := range text {
			if r > 0xFFFF { // a pair of surrogates
				r -= 0x10000
				counts[(0xD800+r>>10)%dimension]++
				r = 0xDC00 + r&0x3FF
			}
			counts[r%dimension]++
		}
		sum := 0.0
		for _, n := range counts {
			sum += n * n
		}
		norm := math.Sqrt(sum)
		if norm == 0 {
			norm = 1
		}
		out[i] = make([]float32, dimension)
		for j, n := range counts {
			out[i][j] = float32(n / norm)
		}
	}
	return out, nil
}
