package dynamodb

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

const (
	maxKeys     = 2000   // that a filtered list reads
	maxCounted  = 50_000 // traces that are counted by their keys, in each partition
	maxSkipped  = 20_000 // keys that an unfiltered list passes over
	fromEndOnly = 100    // a page this far from the beginning is read from the nearer end
	maxLagging  = 500    // threads whose exact time is looked up for one page
)

// list is a page of what stands in some partitions, merged by their sort keys.
type list struct {
	table, index string
	pks          []string
	from, to     string // sort keys
	since        string // what is older is to be deleted by its age
	descending   bool
	most         int                                  // that is counted of a partition; 0 is all
	sparse       bool                                 // of thin items that stand for traces
	fill         func(context.Context, []entry) error // reads what keep needs and the index has not
	keep         func(*entry) (bool, error)           // filters; nil keeps all
	total        func(context.Context) (int, error)   // kept; not asked where the list is filtered or has a range
	counts       bool                                 // total knows of the range
	mastra.Paging
}

// between keeps what lies between two times, inclusive; 0 is open.
func (l *list) between(from, to mastra.Time) {
	if from != 0 {
		l.from = moment(from)
	}
	if to != 0 {
		l.to = moment(to) + after
	}
}

// keys are the attributes of the list's keys.
func (l *list) keys() (pk, sk string) {
	switch l.index {
	case index1:
		return attrPK1, attrSK1
	case index2:
		return attrPK2, attrSK2
	}
	return attrPK, attrSK
}

// entry is one item as a list's partitions show it.
type entry struct {
	pk, sk string // of the item
	at     string // its place in the list
	item   item   // what the index or the partition has of it
	sum    attribute
	sparse bool // item is a thin one that stands for it
}

func (l *list) entryOf(it item) entry {
	if l.sparse {
		return sparseEntry(it)
	}
	_, at := l.keys()
	return entry{pk: pkOf(it), sk: skOf(it), at: textOf(it[at]), item: it, sum: it[attrSum]}
}

func errTooMany() error {
	return mastra.Errorf(mastra.CodeInvalid, "There are too many to look through: ask for a narrower range of time")
}

// counted is the total of a list that none is kept of.
func (s *Store) counted(l list) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		return s.countParts(ctx, &l, l.pks)
	}
}

// countParts counts what some partitions of a list have of it.
func (s *Store) countParts(ctx context.Context, l *list, pks []string) (total int, err error) {
	parts := make([]int, len(pks))
	calls := make([]func() error, len(pks))
	for i, pk := range pks {
		calls[i] = func() (err error) {
			parts[i], err = s.countKeys(ctx, query{table: l.table, index: l.index, pk: pk, from: max(l.from, l.since), to: l.to, most: l.most})
			return err
		}
	}
	err = parallel(calls...)
	for _, n := range parts {
		total += n
	}
	return total, err
}

// entries reads the first n of a list, of all its partitions at once.
func (s *Store) entries(ctx context.Context, l *list, descending bool, n int) ([]entry, error) {
	all, _, err := s.entriesOf(ctx, l, descending, n)
	return all[:min(len(all), n)], err
}

// entriesOf also says which partitions may have more than was read.
func (s *Store) entriesOf(ctx context.Context, l *list, descending bool, n int) (all []entry, more []string, err error) {
	found := make([][]item, len(l.pks))
	calls := make([]func() error, len(l.pks))
	for i, pk := range l.pks {
		calls[i] = func() (err error) {
			found[i], err = s.query(ctx, query{table: l.table, index: l.index, pk: pk, from: max(l.from, l.since), to: l.to, descending: descending, consistent: l.index == "" && !l.sparse, most: n})
			return err
		}
	}
	if err := parallel(calls...); err != nil {
		return nil, nil, err
	}
	for i, items := range found {
		if len(items) >= n {
			more = append(more, l.pks[i])
		}
		for _, it := range items {
			all = append(all, l.entryOf(it))
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		c := cmp.Or(strings.Compare(a.at, b.at), strings.Compare(a.pk, b.pk))
		if descending {
			return -c
		}
		return c
	})
	return all, more, nil
}

// countedPage reads a page of a list that no total is kept of, and counts by their keys those of its partitions that were not read
// to the end.
func countedPage[T any](ctx context.Context, s *Store, l list, load func(context.Context, []entry) ([]T, error)) (*mastra.Page[T], error) {
	n := (l.Page + 1) * l.PerPage
	if l.PerPage <= 0 || l.Page < 0 || n > fromEndOnly {
		l.total, l.counts = s.counted(l), true
		return readPage(ctx, s, l, load)
	}
	all, full, err := s.entriesOf(ctx, &l, l.descending, n)
	if err != nil {
		return nil, err
	}
	total := len(all) - n*len(full)
	offset, end := min(len(all), n-l.PerPage), min(len(all), n)
	var p *mastra.Page[T]
	err = parallel(
		func() error {
			more, err := s.countParts(ctx, &l, full)
			total += more
			return err
		},
		func() (err error) { p, err = loadPage(ctx, all[offset:end], 0, false, load); return err })
	if err != nil {
		return nil, err
	}
	p.Total, p.HasMore = total, end > offset && end < total
	return p, nil
}

// matching reads all that a filtered list has; too many are a CodeInvalid.
func (s *Store) matching(ctx context.Context, l *list) ([]entry, error) {
	all, err := s.entries(ctx, l, l.descending, maxKeys+1)
	if err != nil {
		return nil, err
	}
	if len(all) > maxKeys {
		return nil, errTooMany()
	}
	if l.keep == nil {
		return all, nil
	}
	if l.fill != nil {
		if err := l.fill(ctx, all); err != nil {
			return nil, err
		}
	}
	kept := all[:0]
	for i := range all {
		ok, err := l.keep(&all[i])
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, all[i])
		}
	}
	return kept, nil
}

func (l *list) filtered() bool {
	return l.keep != nil || l.total == nil || (l.from != "" || l.to != "") && !l.counts
}

// window is what part of total a page is, from its offset on.
func window(p mastra.Paging, total int) (offset, n int) {
	if p.PerPage <= 0 || p.Page < 0 || p.Page > total/p.PerPage {
		return 0, 0
	}
	offset = p.Page * p.PerPage
	return offset, max(0, min(p.PerPage, total-offset))
}

// readPage reads a page and its total.
func readPage[T any](ctx context.Context, s *Store, l list, load func(context.Context, []entry) ([]T, error)) (*mastra.Page[T], error) {
	if l.filtered() {
		all, err := s.matching(ctx, &l)
		if err != nil {
			return nil, err
		}
		offset, n := window(l.Paging, len(all))
		return loadPage(ctx, all[offset:offset+n], len(all), n > 0 && offset+n < len(all), load)
	}
	var first []entry
	var total int
	near := l.PerPage > 0 && l.Page >= 0 && l.Page < fromEndOnly && (l.Page+1)*l.PerPage <= fromEndOnly
	err := parallel(
		func() (err error) { total, err = l.total(ctx); return err },
		func() (err error) {
			if near { // the beginning of the list, without waiting for its total
				first, err = s.entries(ctx, &l, l.descending, (l.Page+1)*l.PerPage)
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	offset, n := window(l.Paging, total)
	if n > 0 && !near {
		if first, offset, err = s.around(ctx, &l, offset, n, total); err != nil {
			return nil, err
		}
	}
	end := min(offset+n, len(first))
	offset = min(offset, end)
	return loadPage(ctx, first[offset:end], total, end-offset == n && n > 0 && l.Page*l.PerPage+n < total, load)
}

// around reads the part of a list from offset on, from the nearer end, and says where in it the part begins.
func (s *Store) around(ctx context.Context, l *list, offset, n, total int) ([]entry, int, error) {
	if behind := total - offset - n; behind < offset {
		if behind+n > maxSkipped {
			return nil, 0, errTooMany()
		}
		all, err := s.entries(ctx, l, !l.descending, behind+n)
		slices.Reverse(all)
		return all, max(0, len(all)-behind-n), err
	}
	if offset+n > maxSkipped {
		return nil, 0, errTooMany()
	}
	all, err := s.entries(ctx, l, l.descending, offset+n)
	return all, offset, err
}

func loadPage[T any](ctx context.Context, entries []entry, total int, more bool, load func(context.Context, []entry) ([]T, error)) (*mastra.Page[T], error) {
	p := &mastra.Page[T]{Items: []T{}, Total: total, HasMore: more}
	if len(entries) == 0 {
		return p, nil
	}
	items, err := load(ctx, entries)
	if err != nil {
		return nil, err
	}
	p.Items = append(p.Items, items...)
	return p, nil
}

// sortedPage reads a list in an order that no index has: all of it, as long as it is short enough.
func sortedPage[T any](ctx context.Context, s *Store, l list, load func(context.Context, []entry) ([]T, error), by func(*T) string) (*mastra.Page[T], error) {
	all, err := s.matching(ctx, &l)
	if err != nil {
		return nil, err
	}
	p, err := loadPage(ctx, all, len(all), false, load)
	if err != nil {
		return nil, err
	}
	sortItems(p.Items, l.descending, by)
	offset, n := window(l.Paging, len(p.Items))
	p.Total, p.HasMore = len(p.Items), n > 0 && offset+n < len(p.Items)
	p.Items = p.Items[offset : offset+n]
	return p, nil
}

func sortItems[T any](items []T, descending bool, by func(*T) string) {
	slices.SortStableFunc(items, func(a, b T) int {
		c := strings.Compare(by(&a), by(&b))
		if descending {
			return -c
		}
		return c
	})
}

// laggingPage reads a page of a list whose items may belong up to a slack behind (later than) their places. What may
// stand on the page is looked up with its neighbours within the slack, and brought into order.
func laggingPage[T any](ctx context.Context, s *Store, l list, load func(context.Context, []entry) ([]T, error), by func(*T) string) (*mastra.Page[T], error) {
	total, err := l.total(ctx)
	if err != nil {
		return nil, err
	}
	offset, n := window(l.Paging, total)
	if n == 0 {
		return loadPage(ctx, nil, total, false, load)
	}
	more := 50 // entries read beyond the page, until the neighbours are among them
	for {
		start := max(0, offset-more)
		part, at, err := s.around(ctx, &l, start, min(offset+n+more, total)-start, total)
		if err != nil {
			return nil, err
		}
		begin := at + offset - start
		if begin >= len(part) {
			return loadPage(ctx, nil, total, false, load)
		}
		end := min(begin+n, len(part))
		first, last := begin, end
		for first > 0 && within(part[first-1].at, part[begin].at) {
			first--
		}
		for last < len(part) && within(part[last].at, part[end-1].at) {
			last++
		}
		atStart, atEnd := first == 0 && start > 0, last == len(part) && start+len(part)-at < total
		if (atStart || atEnd) && more < maxLagging {
			more = maxLagging
			continue
		}
		items, err := load(ctx, part[first:last])
		if err != nil {
			return nil, err
		}
		sortItems(items, l.descending, by)
		lead := min(begin-first, len(items))
		items = items[lead:min(lead+n, len(items))]
		return &mastra.Page[T]{Items: append([]T{}, items...), Total: total, HasMore: len(items) == n && offset+n < total}, nil
	}
}

// within says whether two places are within the slack of each other.
func within(a, b string) bool {
	d := placeTime(a) - placeTime(b)
	return d > -slack && d < slack
}

// placeTime is the time that a place begins with.
func placeTime(at string) (t mastra.Time) {
	text, _, _ := strings.Cut(at, "#")
	for _, c := range strings.TrimPrefix(text, "-") {
		t = t*10 + mastra.Time(c-'0')
	}
	return t
}
