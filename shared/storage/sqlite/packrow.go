package sqlite

import (
	"context"
	"encoding/binary"

	"mastralambda/shared/storage/outline"
)

// Packs of a transaction share a row: one each would leave half of a page empty behind most of them. A pack's number is that of its
// row with its place in there; that of a pack which is deleted stays free.
const (
	packBits = 9
	packsMax = 1 << packBits // of a row
	rowMax   = 256 << 10     // bytes of one, about
)

// packRow is how the body of such a row begins. Those that former versions wrote are one pack each, and have its tenant in a column.
const packRow = 4

// writePacks writes the packs of the writes that succeeded.
func (t *tx) writePacks() error {
	for all := t.packs; len(all) > 0; {
		n, size := 0, 0
		for n < min(len(all), packsMax) && size < rowMax {
			size += len(all[n].body)
			n++
		}
		room := rooms.Get().(*[]byte)
		*room = joinPacks((*room)[:0], all[:n])
		_, err := t.exec("INSERT INTO packs (tenant, body) VALUES ('', ?)", *room)
		if rooms.Put(room); err != nil {
			return err
		}
		all = all[n:]
	}
	t.written += len(t.packs)
	t.packs = t.packs[:0]
	return nil
}

func joinPacks(b []byte, packs []pack) []byte {
	b = binary.AppendUvarint(append(b, packRow), uint64(len(packs)))
	for _, p := range packs {
		b = append(binary.AppendUvarint(b, uint64(len(p.tenant))), p.tenant...)
		b = binary.AppendUvarint(b, uint64(len(p.body)))
	}
	for _, p := range packs {
		b = append(b, p.body...)
	}
	return b
}

// splitPacks reads the body of a row. A pack that was deleted has no body; of a row that is damaged there is one pack, damaged as well.
func splitPacks(tenant string, body []byte) []pack {
	damaged := []pack{{tenant: tenant, body: body}}
	if versionOf(body) != packRow {
		return damaged
	}
	r := outline.Reader{B: body[1:]}
	n := r.Uint()
	if n > packsMax {
		return damaged
	}
	packs, sizes := make([]pack, n), make([]uint64, n)
	take := func(size uint64) (b []byte) {
		if size > uint64(len(r.B)) {
			r.Bad = true
			return nil
		}
		b, r.B = r.B[:size:size], r.B[size:]
		return b
	}
	for i := range packs {
		packs[i].tenant = string(take(r.Uint()))
		sizes[i] = r.Uint()
	}
	for i := range packs {
		packs[i].body = take(sizes[i])
	}
	if r.Bad || len(r.B) > 0 {
		return damaged
	}
	return packs
}

// packReader reads packs one after the other, which are often of one row.
type packReader struct {
	c     *conn
	row   int64
	packs []pack
}

// body is nil where the pack is not there.
func (p *packReader) body(n int64) ([]byte, error) {
	if row := n >> packBits; p.packs == nil || p.row != row {
		r, err := p.c.first("SELECT tenant, body FROM packs WHERE n = ?", row)
		if err != nil || r == nil {
			return nil, err
		}
		p.row, p.packs = row, splitPacks(r.text(0), r.json(1))
	}
	if at := int(n & (packsMax - 1)); at < len(p.packs) {
		return p.packs[at].body, nil
	}
	return nil, nil
}

// deletePacks deletes packs, in order of their numbers.
func (t *tx) deletePacks(packs []int64) error {
	for len(packs) > 0 {
		row := packs[0] >> packBits
		r, err := t.first("SELECT tenant, body FROM packs WHERE n = ?", row)
		if err != nil {
			return err
		}
		var rest []pack
		if r != nil {
			rest = splitPacks(r.text(0), r.json(1))
		}
		for ; len(packs) > 0 && packs[0]>>packBits == row; packs = packs[1:] {
			if at := int(packs[0] & (packsMax - 1)); at < len(rest) {
				rest[at].body = nil
			}
		}
		left := 0
		for _, p := range rest {
			left += len(p.body)
		}
		if left == 0 {
			_, err = t.exec("DELETE FROM packs WHERE n = ?", row)
		} else {
			_, err = t.exec("UPDATE packs SET body = ? WHERE n = ?", joinPacks(nil, rest), row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachPack yields packs of the rows behind one, up to some more than limit, and says which row was the last one.
func (t *tx) eachPack(after int64, limit int, yield func(tenant string, n int64, body []byte) error) (last int64, count int, err error) {
	last = after
	for r, err := range t.query(context.Background(), "SELECT n, tenant, body FROM packs WHERE n > ? ORDER BY n LIMIT ?", after, int64(limit)) {
		if err != nil {
			return 0, 0, err
		}
		last = r.int(0)
		for i, p := range splitPacks(r.text(1), r.json(2)) {
			if len(p.body) == 0 {
				continue
			}
			count++
			if err := yield(p.tenant, last<<packBits|int64(i), p.body); err != nil {
				return 0, 0, err
			}
		}
		if count >= limit {
			break
		}
	}
	return last, count, nil
}
