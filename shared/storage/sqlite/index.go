package sqlite

import (
	"context"
	"math"
	"slices"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// What finds traces is derived from the packs behind the commits that wrote them, many at once: in a tenth of the time that each
// by itself would take, and without that anybody waits for it. Whoever reads first brings it up to date (Store.indexed).

const (
	indexBatch = segmentPacks     // of a busy writer, while it waits for the disk: others wait some milliseconds
	indexMany  = 4 * segmentPacks // of one that has nothing else to do, or whom a reader waits for
	indexDelay = time.Second
)

// indexed calls f with a connection that sees all traces committed before.
func (s *Store) indexed(ctx context.Context, f func(*conn) error) error {
	wanted := int64(-1)
	for {
		behind := false
		err := s.readers.read(ctx, func(c *conn) error {
			r, err := c.first("SELECT n, (SELECT max(n) FROM packs) FROM indexed")
			if err != nil {
				return err
			}
			if wanted < 0 {
				wanted = r.int(1)
			}
			if behind = r.int(0) < wanted; behind {
				return nil
			}
			return f(c)
		})
		if err != nil || !behind {
			return err
		}
		if err := s.submit(ctx, func(t *tx) error { _, err := t.index(indexMany); return err }); err != nil {
			return err
		}
	}
}

// unindexed says whether there is something to index.
func (c *conn) unindexed() (bool, error) {
	r, err := c.first("SELECT n < ifnull((SELECT max(n) FROM packs), 0) FROM indexed")
	if err != nil {
		return false, err
	}
	return r.int(0) == 1, nil
}

// indexSome indexes some of what waits, in the transaction that is open or a new one. A failure is told to the next reader, and
// tried again behind the next commit.
func (s *Store) indexSome(limit int) {
	s.take(&write{done: make(chan struct{}), run: func(t *tx) error {
		n, err := t.index(limit)
		if s.unindexed = max(s.unindexed-n, 1); err != nil || n < limit {
			s.unindexed = 0
		}
		return err
	}})
}

// indexAll indexes what is left.
func (t *tx) indexAll() error {
	for {
		if n, err := t.index(indexMany); n == 0 || err != nil {
			return err
		}
	}
}

// index indexes up to limit packs in the order of their commits, and says how many there were.
func (t *tx) index(limit int) (n int, err error) {
	r, err := t.first("SELECT n FROM indexed")
	if err != nil {
		return 0, err
	}
	x := &indexer{tx: t, indexing: t.indexing}
	last, n, err := t.eachPack(r.int(0), limit, x.add)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	if err := x.finish(); err != nil {
		return 0, err
	}
	t.signals += n
	_, err = t.exec("UPDATE indexed SET n = ?", last)
	return n, err
}

// lowerIndexed keeps the mark at the last pack, whose number the next one may get again when it was deleted.
func (t *tx) lowerIndexed() error {
	_, err := t.exec("UPDATE indexed SET n = min(n, ifnull((SELECT max(n) FROM packs), 0))")
	return err
}

// indexing is what a writer indexes with, again and again.
type indexing struct {
	reader   packDecoder
	spans    []mastra.Span     // of the pack that is added
	earlier  []mastra.Span     // of one before it
	builders []*segmentBuilder // that nobody has
}

func (x *indexing) builder() *segmentBuilder {
	if n := len(x.builders); n > 0 {
		b := x.builders[n-1]
		x.builders = x.builders[:n-1]
		return b
	}
	return new(segmentBuilder)
}

func (x *indexing) done(b *segmentBuilder) {
	b.reset()
	if len(x.builders) < 4 {
		x.builders = append(x.builders, b)
	}
}

// indexer makes segments of packs in a transaction.
type indexer struct {
	*tx
	*indexing
	tenants []building // few at once
	traces  []newTrace // to be written
	changed []*segment // whose flags are no longer what is stored
}

// building is a tenant's segment that is being made.
type building struct {
	tenant string
	*segmentBuilder
}

// add adds a pack.
func (x *indexer) add(tenant string, n int64, body []byte) error {
	x.spans = x.read(body, x.spans)
	spans := x.spans
	if len(spans) == 0 { // it is damaged: what is behind it shall be found all the same
		return nil
	}
	var outlined []byte
	if packed := x.reader.packed; packed != nil {
		outlined = body[1 : len(body)-len(packed)]
	} else {
		all := make([]*mastra.Span, len(spans))
		for i := range spans {
			all[i] = &spans[i]
		}
		outlined = outline.Append(nil, all)
	}
	b := x.building(tenant)
	b.add(n, spans, outlined, nil)
	p := tracedPack{n: n, last: math.MinInt64}
	for i := range spans {
		p.last, p.rooted = max(p.last, int64(spans[i].StartedAt)), p.rooted || spans[i].Root()
	}
	x.traces = append(x.traces, newTrace{tenant, spans[0].TraceID, p, appendPack(nil, p)})
	if err := x.keepNames(tenant, spans); err != nil {
		return err
	}
	if len(x.traces) == tracesAtOnce || b.full() {
		if err := x.writeTraces(); err != nil {
			return err
		}
	}
	if b.full() {
		return x.write(*b)
	}
	return nil
}

// read reads the outline of a pack, into spans where it fits; of one that is damaged there are none.
func (x *indexing) read(body []byte, spans []mastra.Span) []mastra.Span {
	read, err := x.reader.pack(body, spans)
	if err != nil {
		return spans[:0]
	}
	return read
}

// building is the segment that a tenant's packs go to.
func (x *indexer) building(tenant string) *building {
	at := slices.IndexFunc(x.tenants, func(b building) bool { return b.tenant == tenant })
	if at < 0 {
		at = len(x.tenants)
		x.tenants = append(x.tenants, building{tenant, x.builder()})
	}
	return &x.tenants[at]
}

// finish writes what is left. A small segment takes in the one before it that is not larger, so that few are small.
func (x *indexer) finish() error {
	if err := x.writeTraces(); err != nil {
		return err
	}
	if err := x.writeFlags(); err != nil {
		return err
	}
	for _, b := range x.tenants {
		for len(b.packs) > 0 && !b.full() {
			before, err := x.lastSegment(b.tenant)
			if err != nil {
				return err
			}
			if before == nil || before.size > len(b.packs) || before.size+len(b.packs) > segmentPacks || before.spans+len(b.flags) > segmentSpans {
				break
			}
			both := x.builder()
			if err := x.copy(both, before, nil); err != nil {
				return err
			}
			for _, p := range b.packs {
				if err := x.copyPack(both, p, b.outlines, b.flags); err != nil {
					return err
				}
			}
			if err := x.dropSegment(before); err != nil {
				return err
			}
			x.done(b.segmentBuilder)
			b.segmentBuilder = both
		}
		if err := x.write(b); err != nil {
			return err
		}
		x.done(b.segmentBuilder)
	}
	return nil
}

func (x *indexer) writeFlags() error {
	for _, s := range x.changed {
		b := segmentBuilder{flags: s.flags}
		if _, err := x.exec("UPDATE columns SET body = ? WHERE tenant = ? AND kind = ? AND n = ?", b.column(columnFlags), s.tenant, int64(columnFlags), s.n); err != nil {
			return err
		}
		if _, err := x.exec("UPDATE segments SET roots = ? WHERE tenant = ? AND n = ?", int64(b.roots()), s.tenant, s.n); err != nil {
			return err
		}
	}
	x.changed = x.changed[:0]
	return nil
}

func (x *indexer) lastSegment(tenant string) (*segment, error) {
	r, err := x.first("SELECT max(n) FROM segments WHERE tenant = ?", tenant)
	if err != nil || r[0] == nil {
		return nil, err
	}
	return x.segmentOf(tenant, r.int(0))
}

// copy adds the packs of a stored segment to another one, but for those that are to go.
func (x *indexer) copy(to *segmentBuilder, s *segment, gone map[int64]bool) error {
	if err := s.loadOutlines(); err != nil {
		return err
	}
	if err := s.loadFlags(); err != nil {
		return err
	}
	for _, p := range s.places {
		if gone[p.n] {
			continue
		}
		if err := x.copyPack(to, p, s.outlines, s.flags); err != nil {
			return err
		}
	}
	return nil
}

func (x *indexer) copyPack(to *segmentBuilder, p packPlace, outlines, flags []byte) (err error) {
	outlined := outlines[p.start : p.start+p.size]
	x.reader.Begin(outlined)
	if x.spans, err = x.reader.Spans(x.spans, p.spans); err != nil {
		return err
	}
	to.add(p.n, x.spans, outlined, flags[p.row:p.row+p.spans])
	return nil
}

// write stores the segment that is being made, and begins another one.
func (x *indexer) write(b building) error {
	if len(b.packs) == 0 {
		return nil
	}
	n := b.packs[len(b.packs)-1].n
	if _, err := x.exec("INSERT INTO segments (tenant, n, packs, spans, roots, first, last) VALUES (?, ?, ?, ?, ?, ?, ?)", b.tenant, n, int64(len(b.packs)), int64(len(b.flags)),
		int64(b.roots()), slices.Min(b.started), slices.Max(b.started)); err != nil {
		return err
	}
	for kind := range columns {
		if _, err := x.exec("INSERT INTO columns (tenant, kind, n, body) VALUES (?, ?, ?, ?)", b.tenant, int64(kind), n, b.column(kind)); err != nil {
			return err
		}
	}
	b.reset()
	return nil
}

func (t *tx) dropSegment(s *segment) error {
	if _, err := t.exec("DELETE FROM segments WHERE tenant = ? AND n = ?", s.tenant, s.n); err != nil {
		return err
	}
	for kind := range columns {
		if _, err := t.exec("DELETE FROM columns WHERE tenant = ? AND kind = ? AND n = ?", s.tenant, int64(kind), s.n); err != nil {
			return err
		}
	}
	return nil
}

// dropPacks deletes packs, and what segments know of them.
func (t *tx) dropPacks(tenant string, packs []int64) error {
	slices.Sort(packs)
	if err := t.deletePacks(packs); err != nil {
		return err
	}
	x := &indexer{tx: t, indexing: t.indexing}
	for len(packs) > 0 {
		s, err := t.segmentOf(tenant, packs[0])
		if err != nil {
			return err
		}
		gone := map[int64]bool{}
		for len(packs) > 0 && (s == nil || packs[0] <= s.n) {
			gone[packs[0]] = true
			packs = packs[1:]
		}
		if s == nil { // they were damaged
			continue
		}
		rest := building{tenant, x.builder()}
		if err := x.copy(rest.segmentBuilder, s, gone); err != nil {
			return err
		}
		if err := t.dropSegment(s); err != nil {
			return err
		}
		if err := x.write(rest); err != nil {
			return err
		}
		x.done(rest.segmentBuilder)
	}
	return t.lowerIndexed()
}
