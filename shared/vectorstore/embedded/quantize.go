package embedded

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// A vector is kept twice: exactly in the file, and as a code of 4 bits a dimension in memory, from which its inner
// product with a query is estimated by counting bits. The first bit of each dimension, its sign, alone gives a coarse
// estimate: a rough one against the signs of the query, a better one against three bits of it.
//
// Codes are of randomly rotated vectors: rotation spreads whatever is peculiar to single dimensions over all of them,
// so that the error of an estimate is known however the data look: about normal, with a standard deviation of
// |x - code| * |query| / sqrt(dimensions).
const (
	planes = 4      // bits a dimension
	step   = 0.3352 // of the best uniform quantiser of a normal distribution with 16 levels, in standard deviations
	rounds = 4      // of the rotation
)

// coder makes the codes of one index.
type coder struct {
	dim   int // of the vectors
	words int // 64-bit words of one plane; the rotated vector has 64 times as many dimensions
	signs []uint64
}

func newCoder(dim int, seed uint64) *coder {
	c := &coder{dim: dim, words: (dim + 63) / 64}
	r := rand.New(rand.NewPCG(seed, 0x6d61737472616c61))
	c.signs = make([]uint64, rounds*c.words)
	for i := range c.signs {
		c.signs[i] = r.Uint64()
	}
	return c
}

// rotate turns v, which has room for 64 * words values, in place: random signs and a Walsh-Hadamard transform of the
// first, then the last, then again the first and last power of two many values.
func (c *coder) rotate(v []float32) {
	n := 1 << (bits.Len(uint(len(v))) - 1)
	scale := float32(1 / math.Sqrt(float64(n)))
	for round := range rounds {
		signs := c.signs[round*c.words:][:c.words]
		for i := range v {
			v[i] = math.Float32frombits(math.Float32bits(v[i]) ^ uint32(signs[i>>6]>>(i&63)&1)<<31)
		}
		part := v[:n]
		if round%2 == 1 {
			part = v[len(v)-n:]
		}
		hadamard(part)
		for i := range part {
			part[i] *= scale
		}
	}
}

func hadamard(v []float32) {
	for h := 1; h < len(v); h *= 2 {
		for i := 0; i < len(v); i += 2 * h {
			a, b := v[i:i+h], v[i+h:i+2*h]
			b = b[:len(a)]
			for j, x := range a {
				y := b[j]
				a[j], b[j] = x+y, x-y
			}
		}
	}
}

// estimator is what turns counted bits into an estimate of one vector's inner product.
type estimator struct {
	coarse, fine       float32 // factors
	coarseErr, fineErr float32 // lengths of what the codes leave out
	coarseSum, fineSum float32 // of the code's bits, and of its values
	norm               float32 // length of the coded vector, which the metric may have scaled
	length             float32 // of the vector
	offset             float32 // what the metric adds to the inner product
}

// encode writes the planes of values, of which plane 0 holds the first bit of each dimension, and its estimator.
// scale is what the metric multiplies values with. scratch has room for 64 * words values and is overwritten.
func (c *coder) encode(values []float32, scale float64, code []uint64, scratch []float32) (e estimator) {
	scratch = scratch[:64*c.words]
	var norm2 float64
	for i, x := range values {
		x := float64(x) * scale
		scratch[i] = float32(x)
		norm2 += x * x
	}
	clear(scratch[len(values):])
	clear(code)
	c.rotate(scratch)
	delta := step * math.Sqrt(norm2/float64(len(scratch)))
	if delta == 0 {
		return e
	}
	// Of both reconstructions r: <x,r> and <r,r>.
	var abs, dot, square, fineSum, coarseSum float64
	inv := float32(1 / delta)
	for i, x := range scratch {
		v := level(x * inv)
		w, bit := i>>6, uint(i&63)
		for p := range planes {
			code[p*c.words+w] |= uint64(v>>(planes-1-p)&1) << bit
		}
		r := float64(v) - 7.5
		fineSum += float64(v)
		coarseSum += float64(v >> (planes - 1))
		abs += math.Abs(float64(x))
		dot += float64(x) * r
		square += r * r
	}
	// A factor f so that <x, f*r> = <x,x>: the estimate of a vector near to x is then not too small.
	f, g := norm2/dot, norm2/abs
	e = estimator{
		coarse: float32(g), fine: float32(f),
		coarseErr: float32(math.Sqrt(max(0, g*g*float64(len(scratch))-norm2))),
		fineErr:   float32(math.Sqrt(max(0, f*f*square-norm2))),
		coarseSum: float32(coarseSum), fineSum: float32(fineSum),
		norm: float32(math.Sqrt(norm2)),
	}
	return e
}

func level(x float32) int { return min(15, max(0, int(math.Floor(float64(x)))+8)) }

// question is a coded query.
type question struct {
	planes                 [][planes]uint64 // per word, first bits first
	signs                  []uint64         // the first bits
	rough, coarse, fine    float32          // factors
	coarseSum              float32          // of the upper three bits
	fineSum                float32          // of the values
	norm                   float32
	roughQ, coarseQ, fineQ float32 // lengths of what the codes leave out
	dims                   float32
}

// ask codes a query; scratch is as for encode.
func (c *coder) ask(values []float32, scratch []float32) question {
	code := make([]uint64, planes*c.words)
	e := c.encode(values, 1, code, scratch)
	q := question{planes: make([][planes]uint64, c.words), signs: code[:c.words], rough: e.coarse, roughQ: e.coarseErr, fine: e.fine, fineSum: e.fineSum, norm: e.norm, fineQ: e.fineErr, dims: float32(64 * c.words)}
	var dot, square float64 // of the coarse reconstruction, whose levels are those of the upper three bits
	for w := range c.words {
		for p := range planes {
			q.planes[w][p] = code[p*c.words+w]
		}
		for bit := range 64 {
			v := 0
			for p := range 3 {
				v = v<<1 | int(q.planes[w][p]>>bit&1)
			}
			r := float64(v) - 3.5
			q.coarseSum += float32(v)
			dot += float64(scratch[64*w+bit]) * r
			square += r * r
		}
	}
	if dot > 0 {
		norm2 := float64(q.norm) * float64(q.norm)
		f := norm2 / dot
		q.coarse, q.coarseQ = float32(f), float32(math.Sqrt(max(0, f*f*square-norm2)))
	}
	return q
}

// differing counts, for some of the codes of a chunk, in how many dimensions their signs are not those of the query. It is the
// loop in which a query is most of its time, and does nothing else for that.
func (q *question) differing(plane0 []uint64, which *places, counts *[chunkSlots]int32) {
	signs := q.signs
	for w, bitset := range which {
		for ; bitset != 0; bitset &= bitset - 1 {
			i := w*64 + bits.TrailingZeros64(bitset)
			code := plane0[i*len(signs):][:len(signs)]
			n := 0
			for w, x := range code {
				n += bits.OnesCount64(x ^ signs[w])
			}
			counts[i] = int32(n)
		}
	}
}

// coarseEstimate is the estimated inner product by plane 0, and the standard deviation of its error.
func (q *question) coarseEstimate(plane0 []uint64, e *estimator) (estimate, deviation float32) {
	var a, b, c int
	m := q.planes[:len(plane0)]
	for w, x := range plane0 {
		m := &m[w]
		a += bits.OnesCount64(x & m[0])
		b += bits.OnesCount64(x & m[1])
		c += bits.OnesCount64(x & m[2])
	}
	// sum over dimensions of (query - 3.5) * (2*bit - 1)
	n := 2*float32(4*a+2*b+c) - q.coarseSum - 7*e.coarseSum + 3.5*q.dims
	return q.coarse*e.coarse*n + e.offset, q.deviation(e.coarseErr, q.coarseQ, e.norm)
}

// fineEstimate is the same by all planes.
func (q *question) fineEstimate(plane0, rest []uint64, e *estimator) (estimate, deviation float32) {
	n := len(plane0)
	sum := 8*q.plane(plane0) + 4*q.plane(rest[:n]) + 2*q.plane(rest[n:2*n]) + q.plane(rest[2*n:3*n])
	t := float32(sum) - 7.5*(q.fineSum+e.fineSum) + 56.25*q.dims
	return q.fine*e.fine*t + e.offset, q.deviation(e.fineErr, q.fineQ, e.norm)
}

func (q *question) plane(code []uint64) int {
	var a, b, c, d int
	m := q.planes[:len(code)]
	for w, x := range code {
		m := &m[w]
		a += bits.OnesCount64(x & m[0])
		b += bits.OnesCount64(x & m[1])
		c += bits.OnesCount64(x & m[2])
		d += bits.OnesCount64(x & m[3])
	}
	return 8*a + 4*b + 2*c + d
}

func (q *question) deviation(codeErr, queryErr, norm float32) float32 {
	x, y, z := codeErr*q.norm, queryErr*norm, codeErr*queryErr
	return float32(math.Sqrt(float64((x*x + y*y + z*z) / q.dims)))
}
