package embedded

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/filter"
)

// A query goes through sieves. All vectors are estimated roughly, those that could be among the answers coarsely and then
// finely, and of these, best first, those that still could be are compared exactly. "Could be" means: the estimate plus some
// standard deviations of its error exceeds the worst of the best TopK that are known exactly. So the answers are those
// of a full comparison but for rare bad luck, whatever the data look like; only the time differs.
const (
	fewEnough = 64   // so few vectors are compared exactly at once
	fewish    = 4096 // of so few more can be compared: a filter may choose those that are hard to tell apart
)

// deviations is how many standard deviations of its error an estimate of one of count vectors may be wrong by.
func deviations(count int) float32 {
	if count <= fewish {
		return 3.5
	}
	return 2.3
}

// candidate is a vector on its way through the sieves.
type candidate struct {
	slot     uint32
	estimate float32 // of the rank, and then the rank that it could have at best
	error    float32 // standard deviation
}

// hit is a vector that was compared exactly.
type hit struct {
	slot uint32
	rank float64
}

// scratch is reused from query to query.
type scratch struct {
	room  []float32
	parts []*part
	few   []candidate
	fine  []candidate
}

// part is one worker's share of the vectors.
type part struct {
	counts [chunkSlots]int32
	all    []roughly
	top    []int // places in all
	fine   []candidate
	best   topK // where vectors are short and have no estimates
	meta   metadata
	err    error
}

// roughly is a vector with its rough estimate.
type roughly struct {
	slot     uint32
	estimate float32
}

// scale is what the metric multiplies a vector of a length with before it is coded.
func (h header) scale(norm float64) float64 {
	if h.metric != mastra.Cosine {
		return 1
	}
	if norm == 0 {
		return 0
	}
	return 1 / norm
}

// offset is what the metric adds to the inner product with a vector, so that more is nearer.
func (h header) offset(norm float32) float32 {
	if h.metric == mastra.Euclidean {
		return -norm * norm / 2
	}
	return 0
}

func (st *state) query(ctx context.Context, q *mastra.VectorQuery, norm float64, f *filter.Expr, sc *scratch) ([]mastra.Match, error) {
	sc.room = slices.Grow(sc.room[:0], 64*st.words())[:64*st.words()]
	space, ok := st.spaces[q.Namespace]
	if !ok {
		return []mastra.Match{}, nil
	}
	best := &topK{k: q.TopK}
	if !st.coded() {
		parts, err := st.scan(ctx, space, string(q.Filter), f, sc, func(p *part, chunk int, which *places) {
			p.exactly(st, q.Vector, norm, q.TopK, chunk, which)
		})
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			best.join(p.best.hits)
		}
		return st.matches(best, q, sc)
	}
	scaled := make([]float32, st.dim)
	for i, x := range q.Vector {
		scaled[i] = float32(float64(x) * st.scale(norm))
	}
	ask := st.coder.ask(scaled, sc.room)
	parts, err := st.scan(ctx, space, string(q.Filter), f, sc, func(p *part, chunk int, which *places) {
		p.estimate(st, &ask, chunk, which)
	})
	if err != nil {
		return nil, err
	}
	count := 0
	for _, p := range parts {
		count += len(p.all)
	}
	if best.k = min(best.k, count); best.k == 0 {
		return []mastra.Match{}, nil
	}
	x := exactly{st: st, ctx: ctx, query: q.Vector, norm: norm}
	if count <= max(fewEnough, best.k) {
		sc.few = sc.few[:0]
		for _, p := range parts {
			for _, at := range p.all {
				sc.few = append(sc.few, candidate{slot: at.slot})
			}
		}
		if err := x.compare(best, sc.few, sc.room, false); err != nil {
			return nil, err
		}
		return st.matches(best, q, sc)
	}
	// The roughly best ones of each part, finely, give a first bar.
	st.each(parts, func(p *part) {
		p.first(max(4*best.k, 2*fewEnough))
		p.fine = p.fine[:0]
		for _, i := range p.top {
			p.fine = append(p.fine, st.finely(&ask, p.all[i].slot))
			p.all[i].estimate = float32(math.Inf(-1)) // seen
		}
	})
	sc.collect(parts)
	sure := min(best.k+8, len(sc.fine))
	if err := x.compare(best, sc.fine[:sure], sc.room, false); err != nil {
		return nil, err
	}
	rest, wrong := sc.fine[sure:], deviations(count)
	for i := range rest {
		rest[i].estimate += wrong * rest[i].error
	}
	bar := best.bar()
	st.each(parts, func(p *part) { st.sift(&ask, p, bar, wrong) })
	parts[0].fine = append(parts[0].fine, rest...)
	sc.collect(parts)
	if err := x.compare(best, sc.fine, sc.room, true); err != nil {
		return nil, err
	}
	return st.matches(best, q, sc)
}

// collect gathers what the parts found finely, best first.
func (sc *scratch) collect(parts []*part) {
	sc.fine = sc.fine[:0]
	for _, p := range parts {
		sc.fine = append(sc.fine, p.fine...)
	}
	slices.SortFunc(sc.fine, better)
}

// each runs work on the parts, at the same time where that is worth it.
func (st *state) each(parts []*part, work func(p *part)) {
	parallel(len(parts), func(w int) { work(parts[w]) })
}

// exactly compares vectors with one query.
type exactly struct {
	st    *state
	ctx   context.Context
	query []float32
	norm  float64
}

// compare adds to best whoever of the candidates belongs there. Where they are sifted, it ends before the first, and so
// all after it, that cannot.
func (x *exactly) compare(best *topK, candidates []candidate, room []float32, sifted bool) error {
	workers := 1
	if len(candidates)*x.st.dim > 64*chunkSlots {
		workers = runtime.GOMAXPROCS(0)
	}
	bests, errs := make([]*topK, workers), make([]error, workers)
	for w := range bests { // what one of them has seen is no more than the bar of all
		bests[w] = &topK{k: best.k, hits: slices.Clone(best.hits)}
	}
	parallel(workers, func(w int) {
		own := room
		if w > 0 {
			own = make([]float32, x.st.dim)
		}
		errs[w] = x.part(bests[w], candidates, w, workers, own, sifted)
	})
	for _, b := range bests {
		best.join(b.hits)
	}
	return errors.Join(errs...)
}

func (x *exactly) part(best *topK, candidates []candidate, first, stride int, room []float32, sifted bool) error {
	for i := first; i < len(candidates); i += stride {
		c := candidates[i]
		if sifted && float64(c.estimate) <= best.bar() {
			break
		}
		if i/stride%chunkSlots == 0 && x.ctx.Err() != nil {
			return x.ctx.Err()
		}
		values, err := x.st.values(c.slot, room[:x.st.dim])
		if err != nil {
			return err
		}
		best.add(hit{c.slot, x.st.rank(x.query, x.norm, values, float64(x.st.chunks[c.slot/chunkSlots].est[c.slot%chunkSlots].length))})
	}
	return nil
}

func better(a, b candidate) int {
	if c := cmp.Compare(b.estimate, a.estimate); c != 0 {
		return c
	}
	return cmp.Compare(a.slot, b.slot)
}

// scan shows visit, chunk by chunk, the vectors of a namespace that f, which is key, matches. It returns the parts that took them.
func (st *state) scan(ctx context.Context, space int32, key string, f *filter.Expr, sc *scratch, visit func(p *part, chunk int, which *places)) ([]*part, error) {
	workers, work := 1, st.live*st.words()
	if !st.coded() {
		work = st.live * st.dim
	}
	if f != nil && st.live > chunkSlots || work > 64*chunkSlots {
		workers = min(runtime.GOMAXPROCS(0), len(st.chunks))
	}
	for len(sc.parts) < workers {
		sc.parts = append(sc.parts, new(part))
	}
	var matching selection
	if f != nil {
		matching = st.kept.get(key, len(st.chunks))
	}
	share := (len(st.chunks) + workers - 1) / max(1, workers)
	parallel(workers, func(w int) {
		p := sc.parts[w]
		p.all, p.best, p.err = p.all[:0], topK{hits: p.best.hits[:0]}, nil
		p.meta = metadata{of: st, buf: p.meta.buf[:0]}
		for n := min(w*share, len(st.chunks)); n < min((w+1)*share, len(st.chunks)) && p.err == nil; n++ {
			if p.err = ctx.Err(); p.err != nil {
				break
			}
			if f != nil {
				if p.err = matching.fill(&p.meta, n, f); p.err != nil {
					break
				}
			}
			if live := st.chunks[n].live[space]; live != nil {
				which := *live
				if f != nil {
					which.and(matching[n].bits)
				}
				visit(p, n, &which)
			}
		}
	})
	for _, p := range sc.parts[:workers] {
		if p.err != nil {
			return nil, p.err
		}
	}
	if f != nil {
		st.kept.put(key, matching)
	}
	return sc.parts[:workers], nil
}

// exactly compares some of a chunk's vectors, which are short ones, with the query, and keeps the k best.
func (p *part) exactly(st *state, query []float32, norm float64, k, chunk int, which *places) {
	p.best.k = k
	c, first := st.chunks[chunk], uint32(chunk*chunkSlots)
	for w, bitset := range which {
		for ; bitset != 0; bitset &= bitset - 1 {
			i := w*64 + bits.TrailingZeros64(bitset)
			at, values := first+uint32(i), c.values[i*st.dim:(i+1)*st.dim]
			p.best.add(hit{at, st.rank(query, norm, values, float64(c.lengths[i]))})
		}
	}
}

// estimate appends some of a chunk's vectors to p.all, with their rough estimates.
func (p *part) estimate(st *state, ask *question, chunk int, which *places) {
	c, first := st.chunks[chunk], uint32(chunk*chunkSlots)
	ask.differing(c.plane0, which, &p.counts)
	for w, bitset := range which {
		for ; bitset != 0; bitset &= bitset - 1 {
			i := w*64 + bits.TrailingZeros64(bitset)
			estimate := ask.rough*c.rough[i].factor*(ask.dims-2*float32(p.counts[i])) + c.rough[i].offset
			p.all = append(p.all, roughly{first + uint32(i), estimate})
		}
	}
}

func (p *places) and(bits []uint64) {
	for i := range p {
		p[i] &= bits[i]
	}
}

// sift sets p.fine to whoever of p.all could pass the bar, roughly, coarsely and finely; estimates become what could be at best.
func (st *state) sift(ask *question, p *part, bar float64, deviations float32) {
	p.fine = p.fine[:0]
	n, chunk, need := st.words(), -1, float32(0)
	for _, at := range p.all {
		if in := int(at.slot / chunkSlots); in != chunk {
			chunk = in
			c := st.chunks[in]
			need = float32(bar) - deviations*ask.deviation(c.maxErr, ask.roughQ, c.maxNorm)
		}
		if at.estimate < need {
			continue
		}
		c, i := st.chunks[chunk], int(at.slot%chunkSlots)
		estimate, deviation := ask.coarseEstimate(c.plane0[i*n:(i+1)*n], &c.est[i])
		if float64(estimate+deviations*deviation) <= bar {
			continue
		}
		fine := st.finely(ask, at.slot)
		fine.estimate += deviations * fine.error
		if float64(fine.estimate) > bar {
			p.fine = append(p.fine, fine)
		}
	}
}

func parallel(workers int, work func(w int)) {
	if workers <= 1 {
		work(0)
		return
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { work(w) })
	}
	all.Wait()
}

func (st *state) finely(ask *question, at uint32) candidate {
	c, i, n := st.chunks[at/chunkSlots], int(at%chunkSlots), st.words()
	estimate, deviation := ask.fineEstimate(c.plane0[i*n:(i+1)*n], c.rest[i*(planes-1)*n:(i+1)*(planes-1)*n], &c.est[i])
	return candidate{at, estimate, deviation}
}

// first sets p.top to the n best rough estimates: a heap whose worst is in front.
func (p *part) first(n int) {
	top := p.top[:0]
	for i := range p.all {
		if len(top) < n {
			top = append(top, i)
			if len(top) == n {
				for j := n/2 - 1; j >= 0; j-- {
					p.sink(top, j)
				}
			}
		} else if p.all[i].estimate > p.all[top[0]].estimate {
			top[0] = i
			p.sink(top, 0)
		}
	}
	p.top = top
}

func (p *part) sink(top []int, i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(top); c++ {
			if p.all[top[c]].estimate < p.all[top[least]].estimate {
				least = c
			}
		}
		if least == i {
			return
		}
		top[i], top[least] = top[least], top[i]
		i = least
	}
}

// topK keeps the k best hits, best first; of equal ones the older.
type topK struct {
	k    int
	hits []hit
}

// bar is the rank that a further hit has to exceed.
func (t *topK) bar() float64 {
	if len(t.hits) < t.k {
		return math.Inf(-1)
	}
	return t.hits[t.k-1].rank
}

func (t *topK) join(hits []hit) {
	for _, h := range hits {
		t.add(h)
	}
}

func (t *topK) add(h hit) {
	if t.k == 0 || len(t.hits) == t.k && worse(h, t.hits[t.k-1]) >= 0 {
		return
	}
	i, found := slices.BinarySearchFunc(t.hits, h, worse)
	if found {
		return
	}
	if len(t.hits) == t.k {
		t.hits = t.hits[:t.k-1]
	}
	t.hits = slices.Insert(t.hits, i, h)
}

func worse(a, b hit) int {
	if c := cmp.Compare(b.rank, a.rank); c != 0 {
		return c
	}
	return cmp.Compare(a.slot, b.slot)
}

func (st *state) matches(best *topK, q *mastra.VectorQuery, sc *scratch) ([]mastra.Match, error) {
	out := make([]mastra.Match, 0, len(best.hits))
	for _, h := range best.hits {
		values, err := st.values(h.slot, sc.room[:st.dim])
		if err != nil {
			return nil, err
		}
		score := st.score(q.Vector, values)
		if q.MinScore != nil && score < *q.MinScore {
			break
		}
		s := st.slot(h.slot)
		meta, err := (&metadata{of: st}).read(s)
		if err != nil {
			return nil, err
		}
		_, id := split(s.id)
		m := mastra.Match{ID: id, Score: score, Metadata: meta}
		if q.IncludeVector {
			m.Vector = slices.Clone(values)
		}
		out = append(out, m)
	}
	return out, nil
}

// rank is what the estimates estimate, exactly: it grows with likeness. length is that of v, norm that of the query.
func (h header) rank(query []float32, norm float64, v []float32, length float64) float64 {
	switch h.metric {
	case mastra.Euclidean:
		return (norm*norm - distance2(query, v)) / 2
	case mastra.DotProduct:
		return dot(query, v)
	}
	if norm == 0 || length == 0 {
		return 0
	}
	return dot(query, v) / (norm * length)
}

// score is what an answer shows. Scores are those of the reference server's stores: 1 - distance for cosine (0 where a
// vector is zero), 1 / (1 + distance) for euclidean, the product for dotproduct.
func (h header) score(query, v []float32) float64 {
	switch h.metric {
	case mastra.Euclidean:
		return 1 / (1 + math.Sqrt(distance2(query, v)))
	case mastra.DotProduct:
		return dot(query, v)
	}
	a, b := dot(query, query), dot(v, v)
	if a == 0 || b == 0 {
		return 0
	}
	return 1 - float64(float32(1-dot(query, v)/math.Sqrt(a*b))) // the reference's distance is a float32
}

// dot is an inner product. The conversions keep the compiler from fusing: every machine gets the same bits.
func dot(a, b []float32) float64 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	b = b[:len(a)]
	i := 0
	for ; i+8 <= len(a); i += 8 {
		p, q := a[i:i+8:i+8], b[i:i+8:i+8]
		s0 += float32(p[0] * q[0])
		s1 += float32(p[1] * q[1])
		s2 += float32(p[2] * q[2])
		s3 += float32(p[3] * q[3])
		s4 += float32(p[4] * q[4])
		s5 += float32(p[5] * q[5])
		s6 += float32(p[6] * q[6])
		s7 += float32(p[7] * q[7])
	}
	for ; i < len(a); i++ {
		s0 += float32(a[i] * b[i])
	}
	return float64(((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)))
}

func distance2(a, b []float32) float64 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		p, q := a[i:i+4:i+4], b[i:i+4:i+4]
		d0, d1, d2, d3 := p[0]-q[0], p[1]-q[1], p[2]-q[2], p[3]-q[3]
		s0 += float32(d0 * d0)
		s1 += float32(d1 * d1)
		s2 += float32(d2 * d2)
		s3 += float32(d3 * d3)
	}
	for ; i < len(a); i++ {
		d := a[i] - b[i]
		s0 += float32(d * d)
	}
	return float64(s0 + s1 + s2 + s3)
}
