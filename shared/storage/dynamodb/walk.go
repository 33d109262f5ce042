package dynamodb

import (
	"context"
	"strings"
)

// walkBatch is how many entries a walk reads of a partition at once.
const walkBatch = 200

// walk goes through lists in order and reads each entry once: a batch of each partition, and the next one where that is used up.
type walk struct {
	s          *Store
	descending bool
	batch      int
	parts      []walkPart
}

type walkPart struct {
	l    *list
	pk   string
	left []entry
	last item
	done bool
}

func (s *Store) walk(descending bool, lists ...*list) *walk {
	w := &walk{s: s, descending: descending, batch: walkBatch}
	for _, l := range lists {
		for _, pk := range l.pks {
			w.parts = append(w.parts, walkPart{l: l, pk: pk})
		}
	}
	return w
}

// take returns the next n entries, or as many as there are.
func (w *walk) take(ctx context.Context, n int) (out []entry, err error) {
	for len(out) < n {
		var calls []func() error
		for i := range w.parts {
			if p := &w.parts[i]; len(p.left) == 0 && !p.done {
				calls = append(calls, func() error { return w.read(ctx, p) })
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

func (w *walk) read(ctx context.Context, p *walkPart) error {
	l := p.l
	items, err := w.s.query(ctx, query{table: l.table, index: l.index, pk: p.pk, from: max(l.from, l.since), to: l.to, descending: w.descending, most: w.batch, behind: p.last})
	if err != nil {
		return err
	}
	for _, it := range items {
		p.left = append(p.left, l.entryOf(it))
	}
	if p.done = len(items) < w.batch; !p.done {
		p.last = items[len(items)-1]
	}
	return nil
}
