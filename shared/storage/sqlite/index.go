package sqlite

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"mastralambda/shared/mastra"
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
	reader   outlineReader
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
	var outline []byte
	if packed := x.reader.packed; packed != nil {
		outline = body[1 : len(body)-len(packed)]
	} else {
		all := make([]*mastra.Span, len(spans))
		for i := range spans {
			all[i] = &spans[i]
		}
		o := outliner{}
		o.outline(all)
		outline = o.b
	}
	b := x.building(tenant)
	b.add(n, spans, outline, nil)
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

// pack is one that spans of a trace are in.
type tracedPack struct {
	n      int64
	last   int64 // when the last of its spans started
	rooted bool  // it has a root
}

func appendPack(to []byte, p tracedPack) []byte {
	n := uint64(p.n) << 1
	if p.rooted {
		n |= 1
	}
	return binary.AppendVarint(binary.AppendUvarint(to, n), p.last)
}

func readPacks(b []byte) (all []tracedPack, err error) {
	r := outlineReader{b: b}
	for len(r.b) > 0 {
		n := r.uint()
		all = append(all, tracedPack{int64(n >> 1), r.int(), n&1 != 0})
	}
	if r.bad {
		return nil, errSegment
	}
	return all, nil
}

// packsOf are the packs that spans of a trace are in, in the order of their commits.
func (c *conn) packsOf(tenant, trace string) ([]tracedPack, error) {
	r, err := c.first("SELECT packs FROM traced WHERE tenant = ? AND trace = ?", tenant, trace)
	if err != nil || r == nil {
		return nil, err
	}
	return readPacks(r.json(0))
}

// newTrace says that a pack is of a trace.
type newTrace struct {
	tenant, trace string
	tracedPack
	packs []byte // itself, encoded
}

const tracesAtOnce = 8

var writeTraces = "INSERT INTO traced (tenant, trace, packs) VALUES (?, ?, ?)" + strings.Repeat(", (?, ?, ?)", tracesAtOnce-1) + " ON CONFLICT DO NOTHING"

// writeTraces notes which traces the last packs are of.
func (x *indexer) writeTraces() error {
	all := x.traces
	x.traces = all[:0]
	if len(all) == tracesAtOnce {
		var args [3 * tracesAtOnce]any
		for i, t := range all {
			args[3*i], args[3*i+1], args[3*i+2] = t.tenant, t.trace, t.packs
		}
		if inserted, err := x.exec(writeTraces, args[:]...); err != nil || inserted == tracesAtOnce {
			return err
		}
	}
	for _, t := range all {
		inserted, err := x.exec("INSERT INTO traced (tenant, trace, packs) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", t.tenant, t.trace, t.packs)
		if err == nil && inserted == 0 {
			err = x.follow(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow adds a pack to those of its trace. What it has of them is said by it from now on.
func (x *indexer) follow(t newTrace) error {
	earlier, err := x.packsOf(t.tenant, t.trace)
	if err != nil || slices.ContainsFunc(earlier, func(e tracedPack) bool { return e.n == t.n }) {
		return err
	}
	b := x.building(t.tenant)
	at, _ := slices.BinarySearchFunc(b.packs, t.n, func(p packPlace, n int64) int { return int(p.n - n) })
	p := b.packs[at]
	x.reader.begin(b.outlines[p.start : p.start+p.size])
	spans, err := x.reader.outline(nil, p.spans)
	if err != nil {
		return err
	}
	var all []byte
	for _, e := range earlier {
		all = appendPack(all, e)
		if e.rooted && t.rooted || e.last >= p.at {
			if err := x.replace(b, e, spans, t.rooted); err != nil {
				return err
			}
		}
	}
	_, err = x.exec("UPDATE traced SET packs = ? WHERE tenant = ? AND trace = ?", append(all, t.packs...), t.tenant, t.trace)
	return err
}

// replace takes spans, and the root where there is one, out of what an earlier pack of their trace is listed for.
func (x *indexer) replace(b *building, e tracedPack, spans []mastra.Span, rooted bool) error {
	reader := packReader{c: x.conn}
	body, err := reader.body(e.n)
	if err != nil {
		return err
	}
	x.earlier = x.read(body, x.earlier)
	flags, err := x.flagsOf(b, e.n, len(x.earlier))
	if err != nil || flags == nil {
		return err
	}
	for i := range x.earlier {
		if rooted {
			flags[i] &^= isListed
		}
		if slices.ContainsFunc(spans, func(s mastra.Span) bool { return s.SpanID == x.earlier[i].SpanID }) {
			flags[i] &^= isCurrent | isListed
		}
	}
	return nil
}

// flagsOf are the flags of a pack's spans, to be changed: in the segment that is being made, or in one that is stored.
func (x *indexer) flagsOf(b *building, pack int64, spans int) ([]byte, error) {
	places, flags := b.packs, b.flags
	if pack < places[0].n {
		at := slices.IndexFunc(x.changed, func(s *segment) bool { return s.tenant == b.tenant && s.places[0].n <= pack && pack <= s.n })
		if at < 0 {
			s, err := x.segmentOf(b.tenant, pack)
			if err != nil || s == nil {
				return nil, err
			}
			if err = s.loadPlaces(); err == nil {
				err = s.loadFlags()
			}
			if err != nil {
				return nil, err
			}
			at = len(x.changed)
			x.changed = append(x.changed, s)
		}
		places, flags = x.changed[at].places, x.changed[at].flags
	}
	i, found := slices.BinarySearchFunc(places, pack, func(p packPlace, n int64) int { return int(p.n - n) })
	if !found || places[i].spans != spans {
		return nil, nil
	}
	return flags[places[i].row : places[i].row+spans], nil
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
	outline := outlines[p.start : p.start+p.size]
	x.reader.begin(outline)
	if x.spans, err = x.reader.outline(x.spans, p.spans); err != nil {
		return err
	}
	to.add(p.n, x.spans, outline, flags[p.row:p.row+p.spans])
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
