package embedded

import (
	"bufio"
	"fmt"
	"os"
	"slices"
)

const (
	maxCommit  = 64 << 20 // bytes of changes that share a commit
	minGarbage = 4 << 20  // bytes that are worth rewriting a file
)

// change is what one caller wants committed.
type change struct {
	entries []entry
	plan    func(*state) ([]entry, error) // where not nil it makes the entries of what the index holds then
	seed    uint64                        // of the index that the codes were made for
	bytes   int
	done    bool
	err     error
}

// commit makes c durable. Callers that wait at the same time share one write and one sync.
func (ix *index) commit(s *Store, c *change) error {
	ix.queueMu.Lock()
	ix.queue = append(ix.queue, c)
	ix.queueMu.Unlock()
	ix.writing.Lock()
	defer ix.writing.Unlock()
	for !c.done {
		ix.queueMu.Lock()
		n, bytes := 0, 0
		for n < len(ix.queue) && (n == 0 || bytes+ix.queue[n].bytes <= maxCommit && ix.queue[0].plan == nil && ix.queue[n].plan == nil) {
			bytes += ix.queue[n].bytes
			n++
		}
		batch := slices.Clone(ix.queue[:n])
		ix.queue = slices.Delete(ix.queue, 0, n)
		ix.queueMu.Unlock()
		err := s.locked(func() error { return ix.write(batch) })
		for _, c := range batch {
			c.done = true
			if err != nil {
				c.err = err
			}
		}
	}
	return c.err
}

// write appends one record, all of it or nothing. The store is locked.
func (ix *index) write(batch []*change) error {
	if err := ix.refresh(); err != nil {
		return err
	}
	st, file, end, torn, entries, err := ix.prepare(batch)
	if err != nil || len(entries) == 0 {
		return err
	}
	b := st.encodeRecord(entries)
	if torn {
		if err := file.Truncate(end); err != nil {
			return err
		}
	}
	_, err = file.WriteAt(b, end)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		if e := file.Truncate(end); e != nil {
			err = fmt.Errorf("%w; and it could not be undone: %w", err, e)
		}
		return err
	}
	if err := ix.refresh(); err != nil {
		return err
	}
	return ix.compact()
}

// prepare collects what can be committed, and where.
func (ix *index) prepare(batch []*change) (st *state, file *os.File, end int64, torn bool, entries []entry, err error) {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if st = ix.st; st == nil {
		return nil, nil, 0, false, nil, errGone
	}
	for _, c := range batch {
		if c.err = st.accepts(c); c.err == nil {
			entries = append(entries, c.entries...)
		}
	}
	return st, st.file, st.end, st.seen != st.end, entries, nil
}

func (st *state) accepts(c *change) error {
	if c.seed != st.seed {
		return errGone
	}
	if c.plan == nil {
		return nil
	}
	var err error
	c.entries, err = c.plan(st)
	return err
}

// compact writes what lives into a new file, which takes the place of the old one, where that has more garbage than life.
func (ix *index) compact() error {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	st := ix.st
	if st == nil || st.garbage < minGarbage || st.garbage < st.end/2 {
		return nil
	}
	return replaceFile(ix.path, func(f *os.File) error {
		w := bufio.NewWriterSize(f, 1<<20)
		if _, err := w.Write(st.header.encode()); err != nil {
			return err
		}
		var batch []entry
		flush := func() error {
			if len(batch) == 0 {
				return nil
			}
			_, err := w.Write(st.encodeRecord(batch))
			batch = batch[:0]
			return err
		}
		for n, c := range st.chunks {
			for i := range c.slots {
				if c.slots[i].dead {
					continue
				}
				e, err := st.entry(uint32(n*chunkSlots + i))
				if err != nil {
					return err
				}
				if batch = append(batch, e); len(batch) == 256 {
					if err := flush(); err != nil {
						return err
					}
				}
			}
		}
		if err := flush(); err != nil {
			return err
		}
		return w.Flush()
	})
}

// entry is the entry that puts the vector of a slot again.
func (st *state) entry(at uint32) (e entry, err error) {
	s := st.slot(at)
	e = entry{kind: kindPut, id: s.id}
	if s.metaLen > 0 {
		if e.meta, err = (&metadata{of: st}).read(s); err != nil {
			return e, err
		}
	}
	if e.values, err = st.values(at, make([]float32, st.dim)); err != nil || !st.coded() {
		return e, err
	}
	c, i, n := st.chunks[at/chunkSlots], int(at%chunkSlots), st.words()
	e.code = append(append(e.code, c.plane0[i*n:(i+1)*n]...), c.rest[i*(planes-1)*n:(i+1)*(planes-1)*n]...)
	e.est = c.est[i]
	return e, nil
}

// replaceFile makes a file with what fill writes, durably and at once: a crash leaves the old one or the new one.
func replaceFile(path string, fill func(*os.File) error) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(tmp, path)
		}
		if err != nil {
			_ = os.Remove(tmp)
			return
		}
		err = syncDir(path)
	}()
	if err := fill(f); err != nil {
		return err
	}
	return f.Sync()
}
