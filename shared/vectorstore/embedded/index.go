package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"sync"
	"unsafe"
)

const (
	chunkSlots = 1024
	exactDim   = 64 // up to this dimension vectors are kept in memory and have no codes
)

// slot is the place of one vector. A vector that is overwritten gets a new one.
type slot struct {
	id               string // with its namespace, see stored
	space            int32  // its namespace's number
	valuesAt, metaAt int64
	metaLen          int32
	dead             bool
}

// chunk holds up to chunkSlots slots and what is scanned of them.
type chunk struct {
	slots   []slot
	live    map[int32]*places // by namespace
	plane0  []uint64          // words a slot
	rest    []uint64          // (planes-1) * words a slot
	rough   []rough
	est     []estimator
	values  []float32 // where vectors are short
	lengths []float32 // of them

	maxErr, maxNorm float32 // of est: the largest coarseErr and norm
}

// places is a bit a slot of a chunk.
type places [chunkSlots / 64]uint64

// rough is what of an estimator is read of all vectors.
type rough struct{ factor, offset float32 }

// state is what is known of an index's file.
type state struct {
	header
	coder   *coder
	file    *os.File
	info    os.FileInfo
	end     int64 // of what is loaded
	seen    int64 // the file's size when it was last looked at
	chunks  []*chunk
	byID    map[string]uint32
	spaces  map[string]int32 // numbers of namespaces
	kept    selections
	live    int
	garbage int64 // bytes of the file that nobody needs
}

// index is one index of a store. Its file may be changed by other processes too, all of which append.
type index struct {
	path string

	mu sync.RWMutex // of st and what it points to; queries hold it for reading
	st *state

	writing sync.Mutex // held by the one who commits for all that wait
	queueMu sync.Mutex
	queue   []*change
}

var errGone = errors.New("the index is gone")

// refresh brings the state up to the file. It costs one stat where nothing has changed.
// errGone says that there is no such index any more, or another one of its name.
func (ix *index) refresh() error {
	info, err := os.Stat(ix.path)
	if err != nil {
		return gone(err)
	}
	ix.mu.RLock()
	fresh := ix.st != nil && ix.st.seen == info.Size() && os.SameFile(ix.st.info, info)
	ix.mu.RUnlock()
	if fresh {
		return nil
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.update()
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	return err
}

// update is refresh under mu.
func (ix *index) update() error {
	info, err := os.Stat(ix.path)
	if err != nil {
		return gone(err)
	}
	if ix.st == nil || !os.SameFile(ix.st.info, info) || info.Size() < ix.st.end {
		st, err := openState(ix.path)
		if err != nil {
			return gone(err)
		}
		if ix.st != nil {
			other := ix.st.seed != st.seed
			ix.st.file.Close()
			if other {
				st.file.Close()
				ix.st = nil
				return errGone
			}
		}
		ix.st = st
		info = st.info
	}
	if err := ix.st.load(info.Size()); err != nil {
		return fmt.Errorf("%s: %w", ix.path, err)
	}
	return nil
}

func openState(path string) (*state, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st := &state{file: f, end: headerSize, byID: map[string]uint32{}, spaces: map[string]int32{"": 0}}
	var b [headerSize]byte
	if st.info, err = f.Stat(); err == nil {
		if _, err = f.ReadAt(b[:min(headerSize, st.info.Size())], 0); err == nil {
			st.header, err = decodeHeader(b[:])
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	st.coder = newCoder(st.dim, st.seed)
	return st, nil
}

// load reads the records between end and size. A record that is not whole stays unread: it is being written, or a crash
// has cut it and the next commit removes it.
func (st *state) load(size int64) error {
	var buf []byte
	for st.end < size {
		r, small, err := st.readRecord(st.file, st.end, size, buf)
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return err
		}
		buf = small
		if err := st.apply(r, small); err != nil {
			return fmt.Errorf("record at byte %d: %w", st.end, err)
		}
		st.end = r.end()
	}
	st.seen = size
	return nil
}

func (st *state) apply(r record, small []byte) (err error) {
	var values []float32
	if !st.coded() {
		values = make([]float32, r.big/4)
		if err := readValues(st.file, r.bigAt(), values); err != nil {
			return err
		}
	}
	put := func(id, meta, code []byte, metaAt, valuesAt int64) {
		s := slot{id: string(id), valuesAt: valuesAt, metaAt: metaAt, metaLen: int32(len(meta))}
		namespace, _ := split(s.id)
		space, ok := st.spaces[namespace]
		if !ok {
			space = int32(len(st.spaces))
			st.spaces[namespace] = space
		}
		s.space = space
		var c *chunk
		if n := len(st.chunks); n > 0 {
			c = st.chunks[n-1]
		}
		if c == nil || len(c.slots) == chunkSlots {
			c = &chunk{live: map[int32]*places{}}
			st.chunks = append(st.chunks, c)
		}
		if st.coded() {
			n := st.words()
			c.plane0 = append(c.plane0, make([]uint64, n)...)
			c.rest = append(c.rest, make([]uint64, (planes-1)*n)...)
			c.est = append(c.est, estimator{})
			i := len(c.slots)
			e := &c.est[i]
			decodeCode(code, n, c.plane0[i*n:], c.rest[i*(planes-1)*n:], e)
			e.offset = st.offset(e.norm)
			c.rough = append(c.rough, rough{e.coarse, e.offset})
			c.maxErr, c.maxNorm = max(c.maxErr, e.coarseErr), max(c.maxNorm, e.norm)
		} else {
			i := (valuesAt - r.bigAt()) / 4
			v := values[i : i+int64(st.dim)]
			c.values, c.lengths = append(c.values, v...), append(c.lengths, float32(math.Sqrt(dot(v, v))))
		}
		if c.live[space] == nil {
			c.live[space] = &places{}
		}
		c.live[space][len(c.slots)/64] |= 1 << (len(c.slots) % 64)
		c.slots = append(c.slots, s)
		at := uint32((len(st.chunks)-1)*chunkSlots + len(c.slots) - 1)
		st.remove(id)
		st.byID[s.id] = at
		st.live++
	}
	return st.entries(r, small, put, func(id []byte) {
		st.remove(id)
		st.garbage += int64(len(id)) + recordSize
	})
}

func (st *state) remove(id []byte) {
	at, ok := st.byID[string(id)]
	if !ok {
		return
	}
	s := st.slot(at)
	s.dead = true
	st.chunks[at/chunkSlots].live[s.space][at%chunkSlots/64] &^= 1 << (at % 64)
	st.live--
	st.garbage += st.bytes(s)
	delete(st.byID, s.id)
}

func (st *state) slot(at uint32) *slot { return &st.chunks[at/chunkSlots].slots[at%chunkSlots] }

// bytes is about what a slot takes of the file.
func (st *state) bytes(s *slot) int64 {
	return int64(len(s.id)) + int64(s.metaLen) + int64(st.codeSize()+4*st.dim+8)
}

// metaAhead is how much of a file is read at once where the metadata of many slots are.
const metaAhead = 32 << 10

// metadata reads metadata: objects, {} where there is none. They are not kept in memory, being as large as all the rest.
type metadata struct {
	of    *state
	ahead int    // bytes that are read at once, at least
	buf   []byte // of the file, from at on
	at    int64
}

// read returns that of a slot, until the next call.
func (m *metadata) read(s *slot) ([]byte, error) {
	n := int64(s.metaLen)
	if n == 0 {
		return []byte("{}"), nil
	}
	if s.metaAt < m.at || s.metaAt+n > m.at+int64(len(m.buf)) {
		want := max(int(n), m.ahead)
		m.buf, m.at = slices.Grow(m.buf[:0], want)[:want], s.metaAt
		got, err := m.of.file.ReadAt(m.buf, m.at)
		m.buf = m.buf[:got]
		if err != nil && got < int(n) {
			return nil, err
		}
	}
	return m.buf[s.metaAt-m.at:][:n:n], nil
}

// values reads the vector of a slot into out and returns it.
func (st *state) values(at uint32, out []float32) ([]float32, error) {
	if !st.coded() {
		i := int(at%chunkSlots) * st.dim
		return st.chunks[at/chunkSlots].values[i : i+st.dim], nil
	}
	return out, readValues(st.file, st.slot(at).valuesAt, out)
}

func readValues(f *os.File, at int64, out []float32) error {
	if len(out) == 0 {
		return nil
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), 4*len(out))
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) != 1 { // a big-endian machine
		for i := range out {
			b[4*i], b[4*i+1], b[4*i+2], b[4*i+3] = b[4*i+3], b[4*i+2], b[4*i+1], b[4*i]
		}
	}
	return nil
}

func (ix *index) close() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.st != nil {
		ix.st.file.Close()
		ix.st = nil
	}
}
