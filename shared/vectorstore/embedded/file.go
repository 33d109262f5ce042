package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
)

// An index is one file that grows at its end: a header and then records. A record is what one commit wrote, all of it or
// nothing. It has a small part (ids, metadata, codes), which is read when the index is opened, and a big one (the
// vectors), which is read where a query needs it.
//
//	header: magic, version, dimension, metric, seed, when it was created, checksum; headerSize bytes
//	record: magic, checksum of the rest of this head, length of small, count of its entries, length of big,
//	        checksum of small, checksum of big (recordSize bytes); small; big; zeros up to a multiple of 8
//	small:  entries: kind (one byte), length of id (uvarint), id; of a put also: length of metadata (uvarint), metadata, code
//	big:    the float32 values of all puts
//
// All numbers are little endian, checksums are CRC-32C.
const (
	fileMagic   = 0x0a315645564c4d89 // "\x89MLVEV1\n"
	recordMagic = 0xc3e1a7f5
	version     = 1
	headerSize  = 64
	recordSize  = 40

	kindPut    = 1
	kindDelete = 2

	maxRecord = 512 << 20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	metrics    = []mastra.Metric{mastra.Cosine, mastra.Euclidean, mastra.DotProduct}
	endian     = binary.LittleEndian

	errCorrupt = errors.New("the file is damaged")
	errTorn    = errors.New("the file ends inside of a record")
)

type header struct {
	dim     int
	metric  mastra.Metric
	seed    uint64 // of the rotation; it tells an index from a later one of the same name
	created int64  // Unix nanoseconds
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = endian.AppendUint64(b, fileMagic)
	b = endian.AppendUint32(b, version)
	b = endian.AppendUint32(b, uint32(h.dim))
	for i, m := range metrics {
		if m == h.metric {
			b = endian.AppendUint64(b, uint64(i))
		}
	}
	b = endian.AppendUint64(b, h.seed)
	b = endian.AppendUint64(b, uint64(h.created))
	b = append(b, make([]byte, headerSize-4-len(b))...)
	return endian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || endian.Uint64(b) != fileMagic {
		return h, fmt.Errorf("%w: it is no vector index", errCorrupt)
	}
	if v := endian.Uint32(b[8:]); v > version {
		return h, fmt.Errorf("the index was made by a newer version of this program (format %d, this one knows %d)", v, version)
	}
	metric := endian.Uint64(b[16:])
	if crc32.Checksum(b[:headerSize-4], castagnoli) != endian.Uint32(b[headerSize-4:]) || metric >= uint64(len(metrics)) {
		return h, fmt.Errorf("%w: its header does not add up", errCorrupt)
	}
	h = header{dim: int(endian.Uint32(b[12:])), metric: metrics[metric], seed: endian.Uint64(b[24:]), created: int64(endian.Uint64(b[32:]))}
	if h.dim < 1 || h.dim > vectorstore.MaxDimension {
		return h, fmt.Errorf("%w: dimension %d", errCorrupt, h.dim)
	}
	return h, nil
}

// coded says whether vectors have codes; short ones are themselves kept in memory.
func (h header) coded() bool { return h.dim > exactDim }

func (h header) words() int { return (h.dim + 63) / 64 }

// codeSize is the length of one code in the file.
func (h header) codeSize() int {
	if !h.coded() {
		return 0
	}
	return 8*planes*h.words() + 8*4
}

// entry is one change of an index.
type entry struct {
	kind   byte
	id     string
	meta   []byte
	values []float32 // of a put
	code   []uint64
	est    estimator
}

// record is the head of a record.
type record struct {
	at               int64 // where it begins
	small, big       int64 // lengths
	count            int
	smallCRC, bigCRC uint32
}

func (r record) smallAt() int64 { return r.at + recordSize }
func (r record) bigAt() int64   { return r.smallAt() + r.small }
func (r record) end() int64     { return (r.bigAt() + r.big + 7) &^ 7 }

// encodeRecord is the record of entries.
func (h header) encodeRecord(entries []entry) []byte {
	size := 0
	for _, e := range entries {
		size += len(e.id) + len(e.meta) + h.codeSize() + 4*len(e.values) + 16
	}
	b := make([]byte, recordSize, recordSize+size+8)
	for _, e := range entries {
		b = append(b, e.kind)
		b = binary.AppendUvarint(b, uint64(len(e.id)))
		b = append(b, e.id...)
		if e.kind != kindPut {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(e.meta)))
		b = append(b, e.meta...)
		if !h.coded() {
			continue
		}
		for _, w := range e.code {
			b = endian.AppendUint64(b, w)
		}
		for _, f := range e.est.stored() {
			b = endian.AppendUint32(b, math.Float32bits(*f))
		}
	}
	small := len(b) - recordSize
	for _, e := range entries {
		for _, f := range e.values {
			b = endian.AppendUint32(b, math.Float32bits(f))
		}
	}
	endian.PutUint32(b, recordMagic)
	endian.PutUint32(b[8:], uint32(small))
	endian.PutUint32(b[12:], uint32(len(entries)))
	endian.PutUint64(b[16:], uint64(len(b)-recordSize-small))
	endian.PutUint32(b[24:], crc32.Checksum(b[recordSize:recordSize+small], castagnoli))
	endian.PutUint32(b[28:], crc32.Checksum(b[recordSize+small:], castagnoli))
	endian.PutUint64(b[32:], h.seed) // a record of another index, or one that a client hides in its data, is none of this
	endian.PutUint32(b[4:], crc32.Checksum(b[8:recordSize], castagnoli))
	return append(b, make([]byte, -len(b)&7)...)
}

func (e *estimator) stored() [8]*float32 {
	return [8]*float32{&e.coarse, &e.fine, &e.coarseErr, &e.fineErr, &e.coarseSum, &e.fineSum, &e.norm, &e.length}
}

// readRecord reads the record at at of a file that is size bytes long, its small part into buf where that has room. The
// big part is checked where the record is the file's last, the only one that a crash can have cut.
// It returns errTorn for what a crash leaves behind and errCorrupt for what none does.
func (h header) readRecord(f io.ReaderAt, at, size int64, buf []byte) (r record, small []byte, err error) {
	var head [recordSize]byte
	if size-at < recordSize {
		return r, nil, errTorn
	}
	if _, err := f.ReadAt(head[:], at); err != nil {
		return r, nil, err
	}
	r, ok := h.decodeRecord(head[:], at)
	if !ok {
		return r, nil, h.damage(f, at+8, size)
	}
	if r.end() > size {
		return r, nil, errTorn
	}
	if int64(cap(buf)) < r.small {
		buf = make([]byte, r.small)
	}
	small = buf[:r.small]
	if _, err := f.ReadAt(small, r.smallAt()); err != nil {
		return r, nil, err
	}
	whole := crc32.Checksum(small, castagnoli) == r.smallCRC
	if whole && r.end() == size {
		sum := crc32.New(castagnoli)
		if _, err := io.Copy(sum, io.NewSectionReader(f, r.bigAt(), r.big)); err != nil {
			return r, nil, err
		}
		whole = sum.Sum32() == r.bigCRC
	}
	switch {
	case whole:
		return r, small, nil
	case r.end() == size:
		return r, nil, errTorn
	}
	return r, nil, fmt.Errorf("%w at byte %d", errCorrupt, at)
}

func (h header) decodeRecord(b []byte, at int64) (r record, ok bool) {
	if endian.Uint32(b) != recordMagic || endian.Uint64(b[32:]) != h.seed || crc32.Checksum(b[8:recordSize], castagnoli) != endian.Uint32(b[4:]) {
		return r, false
	}
	r = record{at: at, small: int64(endian.Uint32(b[8:])), count: int(endian.Uint32(b[12:])), big: int64(endian.Uint64(b[16:])),
		smallCRC: endian.Uint32(b[24:]), bigCRC: endian.Uint32(b[28:])}
	return r, r.big >= 0 && r.big+r.small <= maxRecord
}

// damage tells what a crash leaves (nothing readable behind at) from damage in the middle, behind which records stand:
// commits follow one another, so that all but the last one are whole.
func (h header) damage(f io.ReaderAt, at, size int64) error {
	buf := make([]byte, 1<<20)
	for ; size-at >= recordSize; at += int64(len(buf)-recordSize) &^ 7 {
		n := min(int64(len(buf)), size-at)
		if _, err := f.ReadAt(buf[:n], at); err != nil {
			return err
		}
		for i := int64(0); i+recordSize <= n; i += 8 {
			if r, ok := h.decodeRecord(buf[i:i+recordSize], at+i); ok && r.end() <= size {
				return fmt.Errorf("%w before byte %d", errCorrupt, at+i)
			}
		}
		if n < int64(len(buf)) {
			break
		}
	}
	return errTorn
}

// entries walks the small part of a record, at its place in the file. What put and remove get is valid during the call.
func (h header) entries(r record, small []byte, put func(id, meta, code []byte, metaAt, valuesAt int64), remove func(id []byte)) error {
	rest, valuesAt := small, r.bigAt()
	next := func() ([]byte, bool) {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)-w) {
			return nil, false
		}
		b := rest[w : w+int(n)]
		rest = rest[w+int(n):]
		return b, true
	}
	for range r.count {
		if len(rest) == 0 {
			return errCorrupt
		}
		kind := rest[0]
		rest = rest[1:]
		id, ok := next()
		switch {
		case !ok:
			return errCorrupt
		case kind == kindDelete:
			remove(id)
			continue
		case kind != kindPut:
			return errCorrupt
		}
		meta, ok := next()
		size := h.codeSize()
		if !ok || len(rest) < size || valuesAt+int64(4*h.dim) > r.bigAt()+r.big {
			return errCorrupt
		}
		metaAt := r.smallAt() + int64(len(small)-len(rest)-len(meta))
		put(id, meta, rest[:size], metaAt, valuesAt)
		rest = rest[size:]
		valuesAt += int64(4 * h.dim)
	}
	if len(rest) > 0 {
		return errCorrupt
	}
	return nil
}

func decodeCode(b []byte, words int, plane0, rest []uint64, e *estimator) {
	for i := range words {
		plane0[i] = endian.Uint64(b[8*i:])
	}
	for i := range rest {
		rest[i] = endian.Uint64(b[8*(words+i):])
	}
	b = b[8*planes*words:]
	for i, f := range e.stored() {
		*f = math.Float32frombits(endian.Uint32(b[4*i:]))
	}
}
