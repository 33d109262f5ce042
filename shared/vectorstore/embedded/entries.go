package embedded

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
	"mastralambda/shared/vectorstore/filter"
)

// stored is the id that an entry is stored under: its namespace, where it has one, is in front.
func stored(namespace, id string) string {
	if namespace == "" {
		return id
	}
	return namespace + "\x00" + id
}

// split is the other way.
func split(key string) (namespace, id string) {
	for i := range len(key) {
		if key[i] == 0 {
			return key[:i], key[i+1:]
		}
	}
	return "", key
}

// changes runs commit on what change makes for the index of a name.
func (s *Store) changes(ctx context.Context, name string, change func(st *state) (*change, error)) error {
	return s.with(ctx, name, func(ix *index) error {
		ix.mu.RLock()
		st := ix.st
		ix.mu.RUnlock()
		if st == nil {
			return errGone
		}
		c, err := change(st)
		if err != nil {
			return err
		}
		c.seed = st.seed
		return ix.commit(s, c)
	})
}

// Upsert puts vectors into an index; one whose id is there takes its place. Of two of one id the later one stays.
func (s *Store) Upsert(ctx context.Context, name string, vectors []mastra.Vector) error {
	if err := vectorstore.CheckBatch(vectors); err != nil {
		return err
	}
	return s.changes(ctx, name, func(st *state) (*change, error) { return st.puts(ctx, name, vectors) })
}

// Replace upserts vectors and deletes, in one change, what else of the namespace the filter matches.
func (s *Store) Replace(ctx context.Context, name, namespace string, where mastra.JSON, vectors []mastra.Vector) error {
	f, err := vectorstore.CheckReplace(namespace, where, vectors)
	if err != nil {
		return err
	}
	return s.changes(ctx, name, func(st *state) (*change, error) {
		c, err := st.puts(ctx, name, vectors)
		if err != nil {
			return nil, err
		}
		puts := c.entries
		c.plan = func(st *state) ([]entry, error) {
			slots, err := st.matching(namespace, f)
			if err != nil {
				return nil, err
			}
			out := make([]entry, 0, len(slots)+len(puts))
			for _, at := range slots {
				out = append(out, entry{kind: kindDelete, id: st.slot(at).id})
			}
			return append(out, puts...), nil
		}
		return c, nil
	})
}

func (st *state) puts(ctx context.Context, name string, vectors []mastra.Vector) (*change, error) {
	c := &change{entries: make([]entry, len(vectors))}
	room := make([]float32, 64*st.words())
	for i := range vectors {
		if i%64 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		v := vectors[i]
		norm, err := vectorstore.CheckVector(name, st.dim, &v)
		if err != nil {
			return nil, err
		}
		e := entry{kind: kindPut, id: stored(v.Namespace, v.ID), meta: v.Metadata}
		st.encode(&e, v.Values, norm, room)
		c.entries[i] = e
		c.bytes += st.entrySize(&e)
	}
	return c, nil
}

// encode sets the vector of an entry, of the length norm.
func (st *state) encode(e *entry, values []float32, norm float64, room []float32) {
	e.values = values
	if st.coded() {
		e.code = make([]uint64, planes*st.words())
		e.est = st.coder.encode(values, st.scale(norm), e.code, room)
		e.est.length = float32(norm)
	}
}

func (st *state) entrySize(e *entry) int { return len(e.id) + len(e.meta) + st.codeSize() + 4*st.dim }

// Delete removes entries and returns how many.
func (s *Store) Delete(ctx context.Context, name string, which mastra.VectorSelection) (n int, err error) {
	f, err := vectorstore.CheckSelection(which)
	if err != nil {
		return 0, err
	}
	err = s.changes(ctx, name, func(*state) (*change, error) {
		return &change{plan: func(st *state) ([]entry, error) {
			slots, err := st.selected(which, f)
			out := make([]entry, len(slots))
			for i, at := range slots {
				out[i] = entry{kind: kindDelete, id: st.slot(at).id}
			}
			n = len(out)
			return out, err
		}}, nil
	})
	return n, err
}

// Update changes entries and returns how many.
func (s *Store) Update(ctx context.Context, name string, which mastra.VectorSelection, to mastra.VectorUpdate) (n int, err error) {
	f, err := vectorstore.CheckSelection(which)
	if err != nil {
		return 0, err
	}
	err = s.changes(ctx, name, func(st *state) (*change, error) {
		norm, err := vectorstore.CheckUpdate(name, st.dim, &to)
		if err != nil {
			return nil, err
		}
		var put entry
		if to.Values != nil {
			st.encode(&put, to.Values, norm, make([]float32, 64*st.words()))
		}
		return &change{plan: func(st *state) ([]entry, error) {
			slots, err := st.selected(which, f)
			if err != nil {
				return nil, err
			}
			out, bytes := make([]entry, len(slots)), 0
			for i, at := range slots {
				e, err := st.entry(at)
				if err != nil {
					return nil, err
				}
				if to.Values != nil {
					e.values, e.code, e.est = put.values, put.code, put.est
				}
				if to.Metadata != nil {
					e.meta = to.Metadata
				}
				if bytes += st.entrySize(&e); bytes > vectorstore.MaxBatch {
					return nil, mastra.Errorf(mastra.CodeTooLarge, "One update takes at most %d MiB: select fewer vectors", vectorstore.MaxBatch>>20)
				}
				out[i] = e
			}
			n = len(out)
			return out, nil
		}}, nil
	})
	return n, err
}

// selected are the slots of what is selected, each once.
func (st *state) selected(which mastra.VectorSelection, f *filter.Expr) (slots []uint32, err error) {
	if f != nil {
		return st.matching(which.Namespace, f)
	}
	seen := map[uint32]bool{}
	for _, id := range which.IDs {
		at, ok := st.byID[stored(which.Namespace, id)]
		if !ok {
			return nil, vectorstore.Missing(id)
		}
		if !seen[at] {
			seen[at] = true
			slots = append(slots, at)
		}
	}
	return slots, nil
}

// matching are the slots of a namespace that a filter matches.
func (st *state) matching(namespace string, f *filter.Expr) (slots []uint32, err error) {
	space, ok := st.spaces[namespace]
	if !ok {
		return nil, nil
	}
	m := metadata{of: st, ahead: metaAhead}
	for n, c := range st.chunks {
		for i := range c.slots {
			s := &c.slots[i]
			if s.dead || s.space != space {
				continue
			}
			meta, err := m.read(s)
			if err != nil {
				return nil, err
			}
			if f.Match(meta) {
				slots = append(slots, uint32(n*chunkSlots+i))
			}
		}
	}
	return slots, nil
}
