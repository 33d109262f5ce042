package dynamodb

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// pace is how much is read at once: entries of each partition, and items with spans, at first and then.
type pace struct{ batch, first, more int }

// ofAll begins with few, where few may be asked for, and never has more than fits into a small function's memory.
var ofAll = pace{walkBatch, 100, outlinesMore}

const outlinesMore = 400

// Outlines reads the items that hold spans, a hundred at first and more as they are asked for, or of many the hours that they are in.
func (s *Store) Outlines(ctx context.Context, q mastra.SpanQuery, yield func([]mastra.Span) bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if q.TraceIDs != nil {
		return s.outlinesOf(ctx, q.TraceIDs, yield)
	}
	if q.From == 0 || q.To == 0 || q.To-q.From > shortTime {
		tenant := mastra.Tenant(ctx)
		if many, err := s.hasMany(ctx, tenant, hourlyFrom); err != nil {
			return err
		} else if many {
			return s.outlinesByHour(ctx, tenant, q, maxRead, yield)
		}
	}
	return s.outlinesOfRange(ctx, q, ofAll, yield)
}

// outlinesOfRange reads the items that hold spans of a range of time.
func (s *Store) outlinesOfRange(ctx context.Context, q mastra.SpanQuery, p pace, yield func([]mastra.Span) bool) error {
	seen := 0
	return s.walkOutlines(ctx, mastra.Tenant(ctx), q.From, q.To, !q.Ascending, p, func(_ mastra.Time, spans []mastra.Span) (bool, error) {
		if seen++; seen > maxRead {
			return false, errTooMany()
		}
		return yield(spans), nil
	})
}

// walkOutlines reads the items that hold spans of a range of time, until yield says false.
func (s *Store) walkOutlines(ctx context.Context, tenant string, from, to mastra.Time, descending bool, p pace, yield func(at mastra.Time, spans []mastra.Span) (bool, error)) error {
	table := s.tables.Observability
	l := list{table: table, index: index1, pks: append(allShards(tenant, "L"), allShards(tenant, "P")...), since: s.since(s.keep.Traces)}
	l.between(from, to)
	w := s.walk(descending, &l)
	w.batch = p.batch
	for n := p.first; ; n = p.more {
		part, err := w.take(ctx, n)
		if err != nil || len(part) == 0 {
			return err
		}
		places := make([]place, len(part))
		for i, e := range part {
			places[i] = place{e.pk, e.sk}
		}
		items, err := s.batchGet(ctx, table, places, false)
		if err != nil {
			return err
		}
		for i := range places {
			it := items[places[i]]
			if it == nil {
				continue
			}
			spans, err := s.spansOf(ctx, it, nil)
			if err != nil {
				return err
			}
			if more, err := yield(placeTime(part[i].at), withoutContents(spans)); err != nil || !more {
				return err
			}
		}
	}
}

// withoutContents takes the contents of spans away.
func withoutContents(spans []mastra.Span) []mastra.Span {
	for i := range spans {
		o := &spans[i]
		o.Model, o.Correlation = o.Use(), o.Correlated()
		if o.Input, o.Output, o.Attributes, o.Metadata, o.Context = nil, nil, nil, nil, nil; len(o.Error) > 0 {
			o.Error = mastra.JSON(`{}`)
		}
	}
	return spans
}

// outlinesOf reads the partitions of traces, some at once.
func (s *Store) outlinesOf(ctx context.Context, ids []string, yield func([]mastra.Span) bool) error {
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	for part := range slices.Chunk(ids, traceReads) {
		found := make([][]mastra.Span, len(part))
		calls := make([]func() error, len(part))
		for i, id := range part {
			calls[i] = func() error {
				if !keepable(id) {
					return nil
				}
				items, err := s.query(ctx, query{table: table, pk: tracePK(tenant, id), consistent: true})
				if err != nil {
					return err
				}
				found[i], err = s.spansIn(ctx, items)
				return err
			}
		}
		if err := parallel(calls...); err != nil {
			return err
		}
		for _, spans := range found {
			if len(spans) > 0 && !yield(withoutContents(spans)) {
				return nil
			}
		}
	}
	return nil
}

// traceReads is how many traces are read at once.
const traceReads = 25

// DeleteTraces deletes the partitions of traces. A trace's scores leave the lists they stand in.
func (s *Store) DeleteTraces(ctx context.Context, ids []string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.deleteTraces(context.WithoutCancel(ctx), mastra.Tenant(ctx), distinct(ids))
}

func (s *Store) deleteTraces(ctx context.Context, tenant string, ids []string) error {
	table := s.tables.Observability
	var calls []func() error
	for _, id := range ids {
		if !keepable(id) {
			continue
		}
		calls = append(calls, func() error {
			pk := tracePK(tenant, id)
			items, err := s.query(ctx, query{table: table, pk: pk, consistent: true})
			if err != nil || len(items) == 0 {
				return err
			}
			var keys, thin []item
			var times []mastra.Time
			branches := map[string]int64{} // by the day that they are counted on
			scores := map[string][]string{}
			for _, it := range items {
				sk := skOf(it)
				if it["spans"] != nil {
					times = append(times, placeTime(textOf(it[attrSK1])))
				}
				if n := numberOf(it[branchCount]); n > 0 {
					branches[day(placeTime(textOf(it[attrSK1])), s.keep.Traces)] += n
				}
				switch {
				case sk == summaryKey:
					its, err := sparseItemsOf(tenant, id, it)
					if err != nil {
						return err
					}
					thin = append(thin, its...)
				case strings.HasPrefix(sk, kindScore), strings.HasPrefix(sk, kindFeedback):
					_, id, _ := strings.Cut(textOf(it["at"]), "#")
					scores[sk[:len(kindScore)]] = append(scores[sk[:len(kindScore)]], id)
				default:
					keys = append(keys, key(pk, sk))
					if numberOf(it[filedAs])&filedFailing != 0 {
						thin = append(thin, sparseItem(tenant, byFailure, id, placeTime(textOf(it[attrSK1]))))
					}
				}
			}
			if err := s.forgetHours(ctx, tenant, times...); err != nil {
				return err
			}
			for kind, ids := range scores {
				if err := s.deleteScores(mastra.WithPrincipal(ctx, &mastra.Principal{Tenant: tenant}), kind, ids); err != nil {
					return err
				}
			}
			for _, of := range thin {
				if k := key(pkOf(of), skOf(of)); !slices.ContainsFunc(keys, func(o item) bool { return pkOf(o) == pkOf(k) && skOf(o) == skOf(k) }) {
					keys = append(keys, k)
				}
			}
			if err := s.batchWrite(ctx, table, nil, keys); err != nil {
				return err
			}
			old, err := s.write(ctx, remove(table, pk, summaryKey, "attribute_exists(#PK)", nil), "")
			switch {
			case errors.Is(err, errRefused) && slices.ContainsFunc(items, func(it item) bool { return skOf(it) == summaryKey }): // somebody else was faster
				return nil
			case errors.Is(err, errRefused): // it had no root
				err = nil
			case err == nil:
				on := day(placeTime(textOf(old[attrSK1])), s.keep.Traces)
				err = s.countTrace(ctx, tenant, on, id, mastra.NewID(), tally{-1, -isFiled(old), -branches[on]})
				delete(branches, on)
			}
			for on, n := range branches {
				err = errors.Join(err, s.countTrace(ctx, tenant, on, id, mastra.NewID(), tally{branches: -n}))
			}
			return err
		})
	}
	return parallel(calls...)
}

// traceOf is the trace in this commit of a thread's run: what deletes the thread finds it by the messages.
func (c *commit) traceOf(thread string) string {
	for i := range c.traces {
		for j := range c.traces[i].spans {
			if c.traces[i].spans[j].ThreadID == thread {
				return c.traces[i].id
			}
		}
	}
	return ""
}

func traceLink(threadPK, trace string) item {
	it := key(threadPK, traceLinks+short(trace, 512))
	it["trace"] = text(trace)
	return it
}

// traceLinks tie traces to threads that no message of this commit is in.
func (c *commit) traceLinks() (links []item) {
	linked := map[string]bool{}
	for _, m := range c.messages {
		linked[m.ThreadID+"\x00"+c.traceOf(m.ThreadID)] = true // the one that the message names
	}
	for i := range c.traces {
		t := &c.traces[i]
		for j := range t.spans {
			thread := t.spans[j].ThreadID
			if key := thread + "\x00" + t.id; thread != "" && keepable(thread) && !linked[key] {
				linked[key] = true
				link := traceLink(threadPK(c.tenant, thread), t.id)
				link["tok"] = text(c.token)
				links = append(links, link)
			}
		}
	}
	return links
}
