package sqlite

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

var errSegment = errors.New("sqlite: a segment is damaged, or was written by a newer version of this program")

// segment is one that is read, as far as it was asked for.
type segment struct {
	c           *conn
	tenant      string
	n           int64
	size        int // packs
	spans       int
	roots       int
	first, last int64

	places   []packPlace
	outlines []byte
	flags    []byte
}

// segments are those of a tenant that have spans started in a range, inclusive.
func (c *conn) segments(ctx context.Context, tenant string, from, to int64) (all []*segment, err error) {
	for r, err := range c.query(ctx, "SELECT n, packs, spans, roots, first, last FROM segments WHERE tenant = ? AND last >= ? AND first <= ? ORDER BY n", tenant, from, to) {
		if err != nil {
			return nil, err
		}
		all = append(all, &segment{c: c, tenant: tenant, n: r.int(0), size: int(r.int(1)), spans: int(r.int(2)), roots: int(r.int(3)), first: r.int(4), last: r.int(5)})
	}
	return all, nil
}

// segmentOf is the segment that a pack is in.
func (c *conn) segmentOf(tenant string, pack int64) (*segment, error) {
	r, err := c.first("SELECT n, packs, spans, roots, first, last FROM segments WHERE tenant = ? AND n >= ? ORDER BY n LIMIT 1", tenant, pack)
	if err != nil || r == nil {
		return nil, err
	}
	return &segment{c: c, tenant: tenant, n: r.int(0), size: int(r.int(1)), spans: int(r.int(2)), roots: int(r.int(3)), first: r.int(4), last: r.int(5)}, nil
}

func (s *segment) column(kind int) ([]byte, error) {
	r, err := s.c.first("SELECT body FROM columns WHERE tenant = ? AND kind = ? AND n = ?", s.tenant, int64(kind), s.n)
	if err == nil && r == nil {
		err = errSegment
	}
	if err != nil {
		return nil, err
	}
	return decompress(r.json(0))
}

func (s *segment) bytes(kind int) ([]byte, error) {
	b, err := s.column(kind)
	if err == nil && (len(b) == 0 || b[0] != asBytes) {
		err = errSegment
	}
	if err != nil {
		return nil, err
	}
	return b[1:], nil
}

// loadFlags and its like read what they name unless it is there.
func (s *segment) loadFlags() (err error) {
	if s.flags == nil {
		if s.flags, err = s.bytes(columnFlags); err == nil && len(s.flags) != s.spans {
			err = errSegment
		}
	}
	return err
}

func (s *segment) loadPlaces() error {
	if s.places != nil {
		return nil
	}
	b, err := s.column(columnPacks)
	if err == nil {
		s.places, err = readPlaces(b, s.size, s.spans)
	}
	return err
}

func (s *segment) loadOutlines() (err error) {
	if err = s.loadPlaces(); err == nil && s.outlines == nil {
		s.outlines, err = s.bytes(columnOutlines)
		if last := s.places[len(s.places)-1]; err == nil && len(s.outlines) != last.start+last.size {
			err = errSegment
		}
	}
	return err
}

func (s *segment) ints(kind int) ([]int64, error) {
	b, err := s.column(kind)
	if err != nil {
		return nil, err
	}
	return readInts(b, s.spans)
}

// packOf is the index of the pack that has a row.
func (s *segment) packOf(row int) int {
	i, found := slices.BinarySearchFunc(s.places, row, func(p packPlace, row int) int { return cmp.Compare(p.row, row) })
	if !found {
		i--
	}
	return i
}

// spot is a row of a segment, or one of its packs, and when that was.
type spot struct {
	*segment
	at  int64
	row int
}

// inOrder calls visit with what collect finds in segments, in order of at, until it says that nothing more is wanted: collect is called for all of
// them even then. Segments cover ranges of time that hardly overlap, so that little waits. unbound says that the ranges tell nothing of at.
func inOrder(all []*segment, descending, unbound bool, collect func(*segment) ([]spot, error), visit func(spot) (more bool, err error)) error {
	slices.SortStableFunc(all, func(a, b *segment) int {
		if descending {
			return cmp.Compare(b.last, a.last)
		}
		return cmp.Compare(a.first, b.first)
	})
	var waiting []spot
	more := true
	for i, s := range all {
		some, err := collect(s)
		if err != nil {
			return err
		}
		if !more {
			continue
		}
		all[i] = nil // what does not wait is not needed any more
		waiting = append(waiting, some...)
		if len(waiting) == 0 || unbound && i+1 < len(all) {
			continue
		}
		slices.SortFunc(waiting, func(a, b spot) int {
			c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n), cmp.Compare(a.row, b.row))
			if descending {
				return -c
			}
			return c
		})
		ready := len(waiting)
		if i+1 < len(all) {
			next := all[i+1]
			ready, _ = slices.BinarySearchFunc(waiting, next, func(f spot, next *segment) int {
				if descending && f.at > next.last || !descending && f.at < next.first {
					return -1
				}
				return 1
			})
		}
		for _, f := range waiting[:ready] {
			if more, err = visit(f); err != nil {
				return err
			}
			if !more {
				break
			}
		}
		waiting = append(waiting[:0], waiting[ready:]...)
	}
	return nil
}
