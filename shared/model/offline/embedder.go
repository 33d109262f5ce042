package offline

import (
	"context"
	"hash/fnv"
	"math"
	"strings"
	"unicode"
)

// Embedder is a small honest stand-in for an embedding model: a bag of hashed words and word beginnings. It finds texts
// that share words, not texts that mean the same.
type Embedder struct{}

const dimension = 256

// Dimension is the length of each vector.
func (Embedder) Dimension() int { return dimension }

// Embed makes one vector of length 1 a text; a text without words has a zero vector but for its first place.
func (Embedder) Embed(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		v := make([]float32, dimension)
		for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			if len(word) < 3 {
				continue // articles and the like say nothing
			}
			v[bucket(word)]++
			if len(word) > 5 {
				v[bucket(strings.ToValidUTF8(word[:5], ""))] += 0.7 // refund, refunds, refunded
			}
		}
		var norm float64
		for _, x := range v {
			norm += float64(x) * float64(x)
		}
		if norm == 0 {
			v[0], norm = 1, 1
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(norm))
		}
		out[i] = v
	}
	return out, nil
}

func bucket(word string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(word))
	return h.Sum32() % dimension
}
