package embedded

import (
	"cmp"
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore/filter"
)

// A query goes through three sieves. All vectors are estimated coarsely, those that could be among the answers finely,
// and of these, best first, those that still could be are compared exactly. "Could be" means: the estimate plus some
// standard deviations of its error exceeds the worst of the best TopK that are known exactly. So the answers are those
// of a full comparison but for rare bad luck, whatever the data look like; only the time differs.
const (
	deviations = 2.3
	fewEnough  = 64 // so few vectors are compared exactly at once
)

// candidate is a vector on its way through the sieves.
type candidate struct {
	slot     uint32
	estimate float32 // of the rank, and then the rank that it could have at best
	error    float32 // standard deviation; negative: seen finely already
}

// hit is a vector that was compared exactly.
type hit struct {
	slot uint32
	rank float64
}

// scratch is reused from query to query.
type scratch struct {
	room  []float32
	parts [][]candidate
	all   []candidate
	fine  []candidate
	top   []int
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
	var ask question
	if st.coded() {
		scaled := make([]float32, st.dim)
		for i, x := range q.Vector {
			scaled[i] = float32(float64(x) * st.scale(norm))
		}
		ask = st.coder.ask(scaled, sc.room)
	}
	space, ok := st.spaces[q.Namespace]
	if !ok {
		return []mastra.Match{}, nil
	}
	if err := st.scan(ctx, &ask, space, string(q.Filter), f, sc); err != nil {
		return nil, err
	}
	best := &topK{k: min(q.TopK, len(sc.all))}
	if best.k == 0 {
		return []mastra.Match{}, nil
	}
	x := exactly{st: st, ctx: ctx, query: q.Vector, norm: norm}
	if !st.coded() || len(sc.all) <= max(fewEnough, best.k) {
		if err := x.compare(best, sc.all, sc.room, false); err != nil {
			return nil, err
		}
		return st.matches(best, q, sc)
	}
	// The coarsely best ones, finely, give a first bar.
	sc.first(max(4*best.k, 2*fewEnough))
	sc.fine = sc.fine[:0]
	for _, i := range sc.top {
		c := &sc.all[i]
		sc.fine = append(sc.fine, st.finely(&ask, c.slot))
		c.error = -1
	}
	slices.SortFunc(sc.fine, better)
	sure := min(best.k+8, len(sc.fine))
	if err := x.compare(best, sc.fine[:sure], sc.room, false); err != nil {
		return nil, err
	}
	sc.fine = sc.fine[sure:]
	st.sift(&ask, sc, best.bar())
	slices.SortFunc(sc.fine, better)
	if err := x.compare(best, sc.fine, sc.room, true); err != nil {
		return nil, err
	}
	return st.matches(best, q, sc)
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
		for _, h := range b.hits {
			best.add(h)
		}
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
		best.add(hit{c.slot, x.st.rank(x.query, x.norm, values, x.st.length(c.slot, values))})
	}
	return nil
}

func better(a, b candidate) int {
	if c := cmp.Compare(b.estimate, a.estimate); c != 0 {
		return c
	}
	return cmp.Compare(a.slot, b.slot)
}

// scan collects the vectors of a namespace that f, which is key, matches into sc.all, with their coarse estimates where there
// are codes.
func (st *state) scan(ctx context.Context, ask *question, space int32, key string, f *filter.Expr, sc *scratch) error {
	words := st.words()
	workers := 1
	if work := st.live * words; f != nil && st.live > chunkSlots || work > 64*chunkSlots {
		workers = min(runtime.GOMAXPROCS(0), len(st.chunks))
	}
	for len(sc.parts) < workers {
		sc.parts = append(sc.parts, nil)
	}
	var matching selection
	if f != nil {
		matching = st.kept.get(key, len(st.chunks))
	}
	errs := make([]error, workers)
	share := (len(st.chunks) + workers - 1) / max(1, workers)
	work := func(w int) {
		out := sc.parts[w][:0]
		first, last := min(w*share, len(st.chunks)), min((w+1)*share, len(st.chunks))
		for n := first; n < last && errs[w] == nil; n++ {
			if errs[w] = ctx.Err(); errs[w] != nil {
				break
			}
			c := st.chunks[n]
			if f != nil {
				if errs[w] = matching.fill(st, n, f); errs[w] != nil {
					break
				}
			}
			for i := range c.slots {
				s := &c.slots[i]
				if s.dead || s.space != space || f != nil && !matching.has(n, i) {
					continue
				}
				at := candidate{slot: uint32(n*chunkSlots + i)}
				if st.coded() {
					at.estimate, at.error = ask.coarseEstimate(c.plane0[i*words:(i+1)*words], &c.est[i])
				}
				out = append(out, at)
			}
		}
		sc.parts[w] = out
	}
	parallel(workers, work)
	sc.all = sc.all[:0]
	for w := range workers {
		if errs[w] != nil {
			return errs[w]
		}
		sc.all = append(sc.all, sc.parts[w]...)
	}
	if f != nil {
		st.kept.put(key, matching)
	}
	return nil
}

// sift adds to sc.fine whoever of sc.all could pass the bar, coarsely and then finely; estimates become what could be at best.
func (st *state) sift(ask *question, sc *scratch, bar float64) {
	for i := range sc.fine {
		c := &sc.fine[i]
		c.estimate += deviations * c.error
	}
	workers := 1
	if len(sc.all) > 4*chunkSlots {
		workers = min(runtime.GOMAXPROCS(0), len(sc.parts))
	}
	share := (len(sc.all) + workers - 1) / workers
	parallel(workers, func(w int) {
		out := sc.parts[w][:0]
		for _, c := range sc.all[min(w*share, len(sc.all)):min((w+1)*share, len(sc.all))] {
			if c.error < 0 || float64(c.estimate+deviations*c.error) <= bar {
				continue
			}
			fine := st.finely(ask, c.slot)
			fine.estimate += deviations * fine.error
			if float64(fine.estimate) > bar {
				out = append(out, fine)
			}
		}
		sc.parts[w] = out
	})
	for w := range workers {
		sc.fine = append(sc.fine, sc.parts[w]...)
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

// first sets sc.top to the places in sc.all of the n best estimates: a heap whose worst is in front.
func (sc *scratch) first(n int) {
	top := sc.top[:0]
	for i := range sc.all {
		if len(top) < n {
			top = append(top, i)
			if len(top) == n {
				for j := n/2 - 1; j >= 0; j-- {
					sc.sink(top, j)
				}
			}
		} else if sc.all[i].estimate > sc.all[top[0]].estimate {
			top[0] = i
			sc.sink(top, 0)
		}
	}
	sc.top = top
}

func (sc *scratch) sink(top []int, i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(top); c++ {
			if sc.all[top[c]].estimate < sc.all[top[least]].estimate {
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

func (t *topK) add(h hit) {
	worse := func(a, b hit) int {
		if c := cmp.Compare(b.rank, a.rank); c != 0 {
			return c
		}
		return cmp.Compare(a.slot, b.slot)
	}
	i, found := slices.BinarySearchFunc(t.hits, h, worse)
	if found || i == t.k {
		return
	}
	if len(t.hits) == t.k {
		t.hits = t.hits[:t.k-1]
	}
	t.hits = slices.Insert(t.hits, i, h)
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
		meta, err := st.meta(s)
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

// length is that of the vector of a slot.
func (st *state) length(at uint32, v []float32) float64 {
	switch {
	case st.metric != mastra.Cosine:
		return 0
	case st.coded():
		return float64(st.chunks[at/chunkSlots].est[at%chunkSlots].length)
	}
	return math.Sqrt(dot(v, v))
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
