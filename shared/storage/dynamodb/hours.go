package dynamodb

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// Where a tenant has many traces, the outlines of all spans of an hour are kept in one item once somebody has read them: aggregates over a long
// time read those instead of the traces. An hour is kept when it is so long over that hardly a trace is still to come. What writes or deletes
// a trace of such an hour all the same says so in the item first: it changes its tok, upon which what was made before is not stored any more,
// and for as long as an index may lag behind nobody makes it anew.
const (
	hourLong    = 60 * 60 * 1000 // milliseconds, as all here
	hourSettles = 60 * 60 * 1000 // behind its end it is kept
	clockSkew   = 5 * 60 * 1000  // what processes' clocks may differ by
	indexLags   = 2 * 60 * 1000

	hourlyFrom  = 2000         // from so many on
	hoursMost   = 400 * 24     // back from now: what is older is read from the traces
	shortTime   = 3 * hourLong // in which traces are read, however many there are
	hoursAtOnce = 48           // whose items are read together
	maxRead     = 40_000       // traces of hours that are not kept, in one call
	maxOutlines = 400_000
)

func hourOf(t mastra.Time) mastra.Time {
	h := t - t%hourLong
	if t < h {
		h -= hourLong
	}
	return h
}

func hourPK(tenant string, hour mastra.Time) string { return partition(tenant, "H", moment(hour)) }

// over says whether an hour may be kept, by a clock that is early by some time.
func (s *Store) over(hour mastra.Time, early mastra.Time) bool {
	return mastra.TimeOf(s.now())+early >= hour+hourLong+hourSettles
}

// changeHours says that traces of some times change, before they do.
func (s *Store) changeHours(ctx context.Context, tenant string, times ...mastra.Time) error {
	hours := map[mastra.Time]bool{}
	for _, t := range times {
		if h := hourOf(t); s.over(h, clockSkew) {
			hours[h] = true
		}
	}
	var calls []func() error
	for h := range hours {
		calls = append(calls, func() error {
			values := item{":tok": text(mastra.NewID()), ":now": number(mastra.TimeOf(s.now()))}
			change := "SET #tok = :tok, #changed = :now REMOVE #v"
			if s.keep.Traces > 0 {
				values[":ttl"] = number((int64(h+hourLong) + s.keep.Traces.Milliseconds()) / 1000)
				change = "SET #tok = :tok, #changed = :now, #" + TTLAttribute + " = :ttl REMOVE #v"
			}
			_, err := s.write(ctx, update(s.tables.Observability, hourPK(tenant, h), only, change, "", values), "")
			return err
		})
	}
	return parallel(calls...)
}

// forgetHours is changeHours for what is deleted: nothing of it stays. Where so few traces are that nobody keeps hours, it changes those alone
// that were kept before.
func (s *Store) forgetHours(ctx context.Context, tenant string, times ...mastra.Time) error {
	var pks []place
	at := map[place]mastra.Time{}
	for _, t := range times {
		if p := (place{hourPK(tenant, hourOf(t)), only}); s.over(hourOf(t), clockSkew) && !slices.Contains(pks, p) {
			pks, at[p] = append(pks, p), t
		}
	}
	if len(pks) == 0 {
		return nil
	}
	many, err := s.hasMany(ctx, tenant, hourlyFrom/2)
	if err != nil {
		return err
	}
	if !many {
		kept, err := s.batchGet(ctx, s.tables.Observability, pks, true)
		if err != nil {
			return err
		}
		pks = slices.DeleteFunc(pks, func(p place) bool { return kept[p] == nil })
	}
	var calls []func() error
	for _, p := range pks {
		calls = append(calls, func() error {
			if err := s.changeHours(ctx, tenant, at[p]); err != nil {
				return err
			}
			return s.dropPieces(ctx, p.pk, "")
		})
	}
	return parallel(calls...)
}

// dropPieces deletes the pieces in an hour's partition that are not those of a value.
func (s *Store) dropPieces(ctx context.Context, pk, but string) error {
	found, err := s.query(ctx, query{table: s.tables.Observability, pk: pk, from: pieces, to: pieces + "~", consistent: true, keysOnly: true})
	if err != nil {
		return err
	}
	var keys []item
	for _, it := range found {
		if sk := skOf(it); but == "" || len(sk) < len(pieces)+len(but) || sk[len(pieces):len(pieces)+len(but)] != but {
			keys = append(keys, key(pk, sk))
		}
	}
	return s.batchWrite(ctx, s.tables.Observability, nil, keys)
}

func (s *Store) hasMany(ctx context.Context, tenant string, n int) (bool, error) {
	total, _, err := s.total(ctx, s.tables.Observability, tenant, "traces", nil)
	return total >= n, err
}

// hourly reads outlines by hours.
type hourly struct {
	s          *Store
	tenant     string
	from, to   mastra.Time // inclusive
	descending bool
	yield      func([]mastra.Span) bool
	reader     outline.Reader
	spans      []mastra.Span
	read, most int         // traces that were read, and may be
	seen       int         // commits shown
	at         mastra.Time // the hour that is read
	over       bool        // yield wants no more
}

func (s *Store) outlinesByHour(ctx context.Context, tenant string, q mastra.SpanQuery, most int, yield func([]mastra.Span) bool) error {
	h := &hourly{s: s, tenant: tenant, from: q.From, to: q.To, descending: !q.Ascending, most: most, yield: yield}
	if h.to == 0 {
		h.to = math.MaxInt64
	}
	if s.keep.Traces > 0 {
		h.from = max(h.from, mastra.TimeOf(s.now().Add(-s.keep.Traces)))
	}
	first, last, err := s.ends(ctx, tenant)
	if err != nil || first > last {
		return err
	}
	h.from, h.to = max(h.from, first), min(h.to, last)
	// The hours that may be kept, and what stands before and behind them.
	now := mastra.TimeOf(s.now())
	end := min(hourOf(now-hourSettles), hourOf(min(h.to, now))+hourLong)
	begin := max(hourOf(h.from), end-hoursMost*hourLong)
	end = max(begin, end)
	live := func(from, to mastra.Time) func() error {
		return func() error {
			if from, to = max(from, h.from), min(to, h.to); from > to {
				return nil
			}
			_, err := h.walk(ctx, from, to, nil)
			return err
		}
	}
	parts := []func() error{live(math.MinInt64, begin-1), func() error { return h.all(ctx, h.hours(begin, end)) }, live(end, math.MaxInt64)}
	if h.descending {
		slices.Reverse(parts)
	}
	for _, part := range parts {
		if err := part(); err != nil || h.over {
			return err
		}
	}
	return nil
}

func (h *hourly) all(ctx context.Context, hours []mastra.Time) error {
	for part := range slices.Chunk(hours, hoursAtOnce) {
		if err := h.some(ctx, part); err != nil || h.over {
			return err
		}
	}
	return nil
}

func (h *hourly) hours(begin, end mastra.Time) (all []mastra.Time) {
	for t := begin; t < end; t += hourLong {
		all = append(all, t)
	}
	if h.descending {
		slices.Reverse(all)
	}
	return all
}

// ends are when the first trace and the last one began.
func (s *Store) ends(ctx context.Context, tenant string) (first, last mastra.Time, err error) {
	l := list{table: s.tables.Observability, index: index1, pks: append(allShards(tenant, "L"), allShards(tenant, "P")...), since: s.since(s.keep.Traces)}
	var found [2][]entry
	err = parallel(
		func() (err error) { found[0], err = s.entries(ctx, &l, false, 1); return err },
		func() (err error) { found[1], err = s.entries(ctx, &l, true, 1); return err })
	if err != nil || len(found[0]) == 0 || len(found[1]) == 0 {
		return 0, -1, err
	}
	return placeTime(found[0][0].at), placeTime(found[1][0].at), nil
}

// some yields what some hours in a row have: from their items, or from the traces where they are not kept yet.
func (h *hourly) some(ctx context.Context, hours []mastra.Time) error {
	places := make([]place, len(hours))
	for i, t := range hours {
		places[i] = place{hourPK(h.tenant, t), only}
	}
	heads, err := h.s.batchGet(ctx, h.s.tables.Observability, places, false)
	if err != nil {
		return err
	}
	for i := 0; i < len(hours) && !h.over; {
		if head := heads[places[i]]; head["v"] != nil && !h.s.expired(head) {
			data, err := h.s.load(ctx, head["v"], h.s.tables.Observability, places[i].pk, nil)
			if err != nil {
				return err
			}
			if err := h.kept(data); err != nil {
				return err
			}
			i++
			continue
		}
		n := i + 1
		for n < len(hours) && heads[places[n]]["v"] == nil {
			n++
		}
		if err := h.fill(ctx, hours[i:n], heads); err != nil {
			return err
		}
		i = n
	}
	return nil
}

// fill reads hours in a row from their traces, and keeps them.
func (h *hourly) fill(ctx context.Context, hours []mastra.Time, heads map[place]item) error {
	begin, end := hours[0], hours[len(hours)-1]
	if h.descending {
		begin, end = end, begin
	}
	made := map[mastra.Time][]byte{}
	whole, err := h.walk(ctx, begin, end+hourLong-1, made)
	if !whole { // what is done of it is kept all the same: whoever asks again gets further
		hours = hours[:max(0, slices.Index(hours, h.at))]
	}
	var calls []func() error
	for i := 0; i < len(hours); i++ {
		gap := 0
		for i+gap < len(hours) && made[hours[i+gap]] == nil {
			gap++
		}
		if gap >= longGap { // it is as quickly looked for again
			i += gap - 1
			continue
		}
		t := hours[i]
		head := heads[place{hourPK(h.tenant, t), only}]
		if head != nil && timeOf(head["changed"])+indexLags > mastra.TimeOf(h.s.now()) {
			continue
		}
		calls = append(calls, func() error { return h.s.keepHour(ctx, h.tenant, t, made[t], head) })
	}
	if ctx.Err() == nil {
		_ = parallel(calls...) // what could not be kept is read again
	}
	return cmp.Or(err, ctx.Err())
}

// longGap is how many hours in a row without any trace are not kept.
const longGap = 12

// keepHour stores what was read of an hour, unless somebody has changed it since its head was read.
func (s *Store) keepHour(ctx context.Context, tenant string, hour mastra.Time, data []byte, head item) error {
	pk, table := hourPK(tenant, hour), s.tables.Observability
	it := key(pk, only)
	var beside []large
	it["tok"], it["v"] = text(mastra.NewID()), s.value(data, table, pk, &beside)
	expire(it, hour+hourLong, s.keep.Traces)
	for _, l := range beside {
		for _, piece := range l.items {
			expire(piece, hour+hourLong, s.keep.Traces)
		}
		if err := s.batchWrite(ctx, table, l.items, nil); err != nil {
			return err
		}
	}
	condition, values := "attribute_not_exists(#PK)", item{}
	if head != nil {
		condition, values = "#tok = :tok", item{":tok": head["tok"]}
	}
	_, err := s.write(ctx, put(table, it, condition, values), "")
	switch {
	case errors.Is(err, errRefused):
		for _, l := range beside {
			var keys []item
			for _, piece := range l.items {
				keys = append(keys, key(pkOf(piece), skOf(piece)))
			}
			if err := s.batchWrite(ctx, table, nil, keys); err != nil {
				return err
			}
		}
		return nil
	case err == nil && head != nil: // what a former value had
		return s.dropPieces(ctx, pk, textOf(it["v"]))
	}
	return err
}

// walk reads traces of a range of time and yields those that are asked for. It adds what each hour has to made, and says whether all
// was read.
func (h *hourly) walk(ctx context.Context, from, to mastra.Time, made map[mastra.Time][]byte) (whole bool, err error) {
	var pointers []*mastra.Span
	err = h.s.walkOutlines(ctx, h.tenant, from, to, h.descending, ofAll, func(at mastra.Time, spans []mastra.Span) (bool, error) {
		h.at = hourOf(at)
		if h.read++; h.read > h.most {
			return false, errTooMany()
		}
		if made != nil {
			pointers = pointers[:0]
			for i := range spans {
				pointers = append(pointers, &spans[i])
			}
			b := outline.Append(nil, pointers)
			made[h.at] = append(binary.AppendUvarint(binary.AppendVarint(made[h.at], int64(at)), uint64(len(b))), b...)
		}
		if at < h.from || at > h.to {
			return true, nil
		}
		return h.show(spans)
	})
	return err == nil && !h.over, err
}

func (h *hourly) show(spans []mastra.Span) (bool, error) {
	if h.seen++; h.seen > maxOutlines {
		return false, errTooMany()
	}
	h.over = !h.yield(spans)
	return !h.over, nil
}

// kept yields what is kept of an hour, which stands in the order in which it was read.
func (h *hourly) kept(data []byte) error {
	type one struct {
		at   mastra.Time
		body []byte
	}
	var all []one
	r := outline.Reader{B: data}
	for len(r.B) > 0 {
		at, n := mastra.Time(r.Int()), r.Uint()
		if r.Bad || n > uint64(len(r.B)) {
			return outline.ErrDamaged
		}
		all = append(all, one{at, r.B[:n]})
		r.B = r.B[n:]
	}
	if n := len(all); n > 1 && (all[0].at > all[n-1].at) != h.descending {
		slices.Reverse(all)
	}
	for _, o := range all {
		if o.at < h.from || o.at > h.to {
			continue
		}
		h.reader.Begin(o.body)
		var err error
		if h.spans, err = h.reader.Spans(h.spans, math.MaxInt); err != nil {
			return err
		}
		if more, err := h.show(h.spans); err != nil || !more {
			return err
		}
	}
	return nil
}
