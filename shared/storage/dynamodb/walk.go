package dynamodb

import (
	"context"
	"strings"
)

// walkBatch is how many entries a walk reads of a partition at once.
const walkBatch = 200

// walk goes through a list in order and reads each entry once: a batch of each partition, and the next one where that is used up.
type walk struct {
	s          *Store
	l          *list
	descending bool
	parts      []walkPart
}

type walkPart struct {
	left []entry
	last item
	done bool
}

func (s *Store) walk(l *list, descending bool) *walk {
	return &walk{s: s, l: l, descending: descending, parts: make([]walkPart, len(l.pks))}
}

// take returns the next n entries, or as many as there are.
func (w *walk) take(ctx context.Context, n int) (out []entry, err error) {
	for len(out) < n {
		var calls []func() error
		for i := range w.parts {
			if p := &w.parts[i]; len(p.left) == 0 && !p.done {
				calls = append(calls, func() error { return w.read(ctx, w.l.pks[i], p) })
			}
		}
		if err := parallel(calls...); err != nil {
			return nil, err
		}
		var first *walkPart
		for i := range w.parts {
			if p := &w.parts[i]; len(p.left) > 0 && (first == nil || w.before(&p.left[0], &first.left[0])) {
				first = p
			}
		}
		if first == nil {
			break
		}
		out, first.left = append(out, first.left[0]), first.left[1:]
	}
	return out, nil
}

func (w *walk) before(a, b *entry) bool {
	if w.descending {
		a, b = b, a
	}
	return strings.Compare(a.at, b.at) < 0
}

func (w *walk) read(ctx context.Context, pk string, p *walkPart) error {
	l := w.l
	items, err := w.s.query(ctx, query{table: l.table, index: l.index, pk: pk, from: max(l.from, l.since), to: l.to, descending: w.descending, most: walkBatch, behind: p.last})
	if err != nil {
		return err
	}
	for _, it := range items {
		p.left = append(p.left, l.entryOf(it))
	}
	if p.done = len(items) < walkBatch; !p.done {
		p.last = items[len(items)-1]
	}
	return nil
}
