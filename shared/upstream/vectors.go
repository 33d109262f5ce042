package upstream

import (
	"fmt"
	"math"
)

// CheckVectors holds an embedding model to its dimension: ErrMalformed where a vector is missing, has another length or
// holds what is no number.
func CheckVectors(vectors [][]float32, dimension int) error {
	for i, v := range vectors {
		if len(v) != dimension {
			return fmt.Errorf("%w: vector %d has %d dimensions, not %d", ErrMalformed, i, len(v), dimension)
		}
		for _, x := range v {
			if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
				return fmt.Errorf("%w: vector %d holds what is no number", ErrMalformed, i)
			}
		}
	}
	return nil
}
