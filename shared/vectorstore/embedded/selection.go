package embedded

import (
	"slices"
	"sync"

	"mastralambda/shared/vectorstore/filter"
)

// selection is which slots a filter matches, as far as it was asked for: a slot never changes what it holds, so that this
// stays right while others are added. Reading the metadata of all would take longer than the rest of a query.
type selection []chunkSelection

// chunkSelection is that of one chunk: the first count slots have their bits.
type chunkSelection struct {
	count int
	bits  []uint64
}

// fill asks the filter about the slots of a chunk that it was not asked about.
func (s selection) fill(m *metadata, chunk int, f *filter.Expr) error {
	slots, known := m.of.chunks[chunk].slots, &s[chunk]
	if known.count == len(slots) {
		return nil
	}
	known.bits = append(slices.Clone(known.bits), make([]uint64, chunkSlots/64-len(known.bits))...) // others read the old ones
	if m.ahead = 0; len(slots)-known.count > chunkSlots/32 {
		m.ahead = metaAhead
	}
	for i := known.count; i < len(slots); i++ {
		if slots[i].dead {
			continue
		}
		meta, err := m.read(&slots[i])
		if err != nil {
			return err
		}
		if f.Match(meta) {
			known.bits[i/64] |= 1 << (i % 64)
		}
	}
	known.count = len(slots)
	return nil
}

// keptSelections are so many that a few tenants' or documents' filters stay: each is a bit an entry.
const keptSelections = 64

// selections are the latest of a state, by the text of their filters.
type selections struct {
	mu    sync.Mutex
	byKey map[string]selection
	order []string // oldest first
}

// get is what is known of a filter, with room for all chunks. It is the caller's own but for the bits.
func (k *selections) get(key string, chunks int) selection {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := slices.Clone(k.byKey[key])
	return append(s, make(selection, chunks-len(s))...)
}

func (k *selections) put(key string, s selection) {
	if len(key) > 4<<10 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byKey == nil {
		k.byKey = map[string]selection{}
	}
	if _, ok := k.byKey[key]; !ok {
		if len(k.order) == keptSelections {
			delete(k.byKey, k.order[0])
			k.order = slices.Delete(k.order, 0, 1)
		}
		k.order = append(k.order, key)
	}
	k.byKey[key] = s
}
