package sqlite

import (
	"encoding/binary"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// tracedPack is a pack that spans of a trace are in.
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
	r := outline.Reader{B: b}
	for len(r.B) > 0 {
		n := r.Uint()
		all = append(all, tracedPack{int64(n >> 1), r.Int(), n&1 != 0})
	}
	if r.Bad {
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
	x.reader.Begin(b.outlines[p.start : p.start+p.size])
	spans, err := x.reader.Spans(nil, p.spans)
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
