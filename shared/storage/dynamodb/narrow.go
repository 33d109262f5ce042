package dynamodb

import (
	"context"
	"maps"
	"slices"

	"mastralambda/shared/mastra"
)

// narrowest is where the fewest traces are among which are all that a query asks for. former is until when traces began that a
// former version wrote, which have no thin items: those of that time are looked through, too.
func (s *Store) narrowest(ctx context.Context, byTime *list, q *mastra.TraceQuery, former mastra.Time) (from *source, err error) {
	known := false // whatever version wrote them
	switch {
	case q.RunID != "":
		from, known, err = s.ofRun(ctx, byTime, q.RunID)
	case q.ThreadID != "" && keepable(q.ThreadID):
		from, known, err = s.ofThread(ctx, byTime, q.ThreadID, former != 0)
	}
	if err != nil {
		return nil, err
	}
	if from == nil {
		if from, err = s.inLists(ctx, byTime, q); err != nil {
			return nil, err
		}
		known = q.EntityType != "" && q.EntityID != "" && len(from.lists) == 1 && from.lists[0].index == index2
	}
	if former != 0 && slices.Contains(from.lists, byTime) {
		return &source{lists: []*list{byTime}}, nil
	}
	if former != 0 && !known {
		old := *byTime
		if until := moment(former) + after; old.to == "" || until < old.to {
			old.to = until
		}
		from.lists, from.exact, from.total = append(from.lists, &old), false, nil
	}
	return from, nil
}

// ofRun finds the trace that has the run's id, and those that a thin item ties to it. Where there is the first, an id that this
// program has made, there are no others.
func (s *Store) ofRun(ctx context.Context, byTime *list, run string) (from *source, known bool, err error) {
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	from = &source{lists: []*list{sparseList(table, tenant, byRun(run), byTime)}}
	id := mastra.TraceOfRun(run)
	if id == "" {
		return from, false, nil
	}
	at := place{tracePK(tenant, id), summaryKey}
	items, err := s.batchGet(ctx, table, []place{at}, false)
	if err == nil && items[at] != nil {
		var root *mastra.Span
		if root, err = rootOf(items[at][attrSum]); err == nil {
			from.found, known = summaries(items, byTime), root.RunID == run
		}
	}
	return from, known, err
}

// summaries are items of traces as entries of a list by time.
func summaries(items map[place]item, byTime *list) (found []entry) {
	for _, it := range items {
		at := textOf(it[attrSK1])
		if at >= max(byTime.from, byTime.since) && (byTime.to == "" || at <= byTime.to) {
			found = append(found, entry{pk: pkOf(it), sk: skOf(it), at: at, item: it, sum: it[attrSum]})
		}
	}
	sortItems(found, byTime.descending, func(e *entry) string { return e.at + "#" + e.pk })
	return found
}

// inLists combines the lists that stand for a part of the query each.
func (s *Store) inLists(ctx context.Context, byTime *list, q *mastra.TraceQuery) (*source, error) {
	tenant, table := mastra.Tenant(ctx), s.tables.Observability
	var lists []*list
	for _, tag := range q.Tags {
		lists = append(lists, sparseList(table, tenant, byTag(tag), byTime))
	}
	rest := *q // what no list stands for
	if rest.Tags = nil; q.Status != "" && q.Status != statusSuccess {
		lists, rest.Status = append(lists, sparseList(table, tenant, byStatus(q.Status), byTime)), ""
	}
	var of *list // of the entity
	if q.EntityType != "" && q.EntityID != "" {
		of = entitiesList(tenant, byTime, rootKind{EntityType: q.EntityType, EntityID: q.EntityID})
	}
	switch {
	case len(lists) == 1 && !narrows(&rest):
		return &source{lists: lists, exact: true}, nil
	case len(lists) > 0:
		if from, err := s.inAll(ctx, lists, byTime); from != nil || err != nil {
			return from, err
		}
	}
	if rest = *q; of != nil {
		rest.EntityType, rest.EntityID = "", ""
		return &source{lists: []*list{of}, exact: !narrows(&rest)}, nil
	}
	if q.ResourceID != "" {
		if from, err := s.ofResource(ctx, byTime, q.ResourceID); from != nil || err != nil {
			return from, err
		}
	}
	if len(lists) > 0 { // all are long
		return &source{lists: lists[:1]}, nil
	}
	if q.EntityType+q.EntityID+q.EntityName+q.SpanType+q.Name != "" {
		return s.ofKinds(ctx, byTime, q)
	}
	if rest.Status == statusSuccess {
		if rest.Status = ""; !narrows(&rest) {
			return s.successful(byTime, tenant), nil
		}
	}
	return &source{lists: []*list{byTime}}, nil
}

func entitiesList(tenant string, byTime *list, kinds ...rootKind) *list {
	of := *byTime
	of.index, of.pks = index2, nil
	for _, k := range kinds {
		of.pks = append(of.pks, allShards(tenant, ofEntity(k.EntityType, k.EntityID))...)
	}
	of.pks = distinct(of.pks)
	return &of
}

// mostEntities is among how many entities' lists a filter is looked for; more are looked through by time.
const mostEntities = 25

// ofKinds finds the entities whose roots are of a type or name, and, where callers have given that name, the traces that have it.
func (s *Store) ofKinds(ctx context.Context, byTime *list, q *mastra.TraceQuery) (*source, error) {
	tenant := mastra.Tenant(ctx)
	kinds, err := s.rootKinds(ctx, tenant)
	if err != nil {
		return nil, err
	}
	var chosen, others []rootKind
	for _, k := range kinds {
		ok := true
		for _, f := range [...][2]string{{q.EntityType, k.EntityType}, {q.EntityID, k.EntityID}, {q.EntityName, k.EntityName}, {q.SpanType, k.Type}, {q.Name, k.Name}} {
			ok = ok && (f[0] == "" || f[0] == f[1])
		}
		if ok {
			chosen = append(chosen, k)
		} else {
			others = append(others, k)
		}
	}
	rest := *q
	rest.EntityType, rest.EntityID, rest.EntityName, rest.SpanType, rest.Name = "", "", "", "", ""
	if len(chosen) > 0 && len(others) == 0 && !narrows(&rest) { // there are no others
		return &source{lists: []*list{byTime}, exact: true}, nil
	}
	of, not := entitiesList(tenant, byTime, chosen...), entitiesList(tenant, byTime, others...)
	exact := !narrows(&rest) && !slices.ContainsFunc(of.pks, func(pk string) bool { return slices.Contains(not.pks, pk) })
	switch {
	case exact && q.Name == "" && len(of.pks) > len(not.pks) && len(not.pks) <= mostEntities*shards: // most are: they are all but the others
		return &source{lists: []*list{byTime}, total: func(ctx context.Context) (int, error) {
			var all, less int
			err := parallel(
				func() (err error) { all, err = s.ofRange(byTime)(ctx); return err },
				func() (err error) { less, err = s.counted(*not)(ctx); return err })
			return max(0, all-less), err
		}}, nil
	case len(of.pks) > mostEntities*shards:
		return &source{lists: []*list{byTime}}, nil
	}
	from := &source{exact: exact}
	if len(of.pks) > 0 {
		from.lists = append(from.lists, of)
	}
	if q.Name != "" {
		named := sparseList(s.tables.Observability, tenant, byName(q.Name), byTime)
		from.lists = append(from.lists, named)
		rest = *q
		rest.Name = ""
		from.exact = len(from.lists) == 1 && !narrows(&rest)
	}
	from.exact = from.exact && len(from.lists) == 1
	return from, nil
}

// inAll is what is in all of some lists, of those that are short enough. It is nil where none is.
func (s *Store) inAll(ctx context.Context, lists []*list, byTime *list) (*source, error) {
	found := make([][]entry, len(lists))
	calls := make([]func() error, len(lists))
	for i, l := range lists {
		calls[i] = func() (err error) { found[i], err = s.entries(ctx, l, byTime.descending, maxKeys+1); return err }
	}
	if err := parallel(calls...); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(f []entry) bool { return len(f) > maxKeys })
	if len(found) == 0 {
		return nil, nil
	}
	common := found[0]
	for _, other := range found[1:] {
		in := make(map[string]bool, len(other))
		for _, e := range other {
			in[e.pk] = true
		}
		common = slices.DeleteFunc(common, func(e entry) bool { return !in[e.pk] })
	}
	return &source{found: common}, nil
}

// ofRange is how many traces there are in a range of time.
func (s *Store) ofRange(byTime *list) func(context.Context) (int, error) {
	if byTime.from != "" || byTime.to != "" {
		return s.counted(*byTime)
	}
	return byTime.total
}

// successful are all traces but those that are listed as others.
func (s *Store) successful(byTime *list, tenant string) *source {
	counts := []func(context.Context) (int, error){s.ofRange(byTime)}
	for _, status := range []string{"error", "running"} {
		counts = append(counts, s.counted(*sparseList(s.tables.Observability, tenant, byStatus(status), byTime)))
	}
	return &source{lists: []*list{byTime}, total: func(ctx context.Context) (int, error) {
		n := make([]int, len(counts))
		calls := make([]func() error, len(counts))
		for i, count := range counts {
			calls[i] = func() (err error) { n[i], err = count(ctx); return err }
		}
		err := parallel(calls...)
		return max(0, n[0]-n[1]-n[2]), err
	}}
}

// A thread's traces are found by its messages and links, which name them for its deletion, so that their list costs what the thread
// holds, however many traces there are. It is nil where the thread is too long.
func (s *Store) ofThread(ctx context.Context, byTime *list, thread string, formerToo bool) (from *source, known bool, err error) {
	pk := threadPK(mastra.Tenant(ctx), thread)
	var act item
	var named []string
	var ok bool
	err = parallel(
		func() (err error) {
			if formerToo { // where this version made the thread, it has no others
				act, err = s.activity(ctx, pk)
			}
			return err
		},
		func() (err error) { named, ok, err = s.tracesNamed(ctx, pk); return err })
	if err != nil || !ok {
		return nil, false, err
	}
	found, err := s.ofTraces(ctx, byTime, named)
	return &source{found: found}, act["created"] != nil, err
}

const (
	mostNamed     = 2 * maxKeys // messages that are looked through for traces: a turn is two
	mostOfThreads = 200         // threads of a resource
	manyTraces    = 500         // up to which all are looked through for those of a resource: that is cheaper than its messages
)

// tracesNamed are the partitions of the traces that a thread's messages and links name.
func (s *Store) tracesNamed(ctx context.Context, pk string) (traces []string, ok bool, err error) {
	items, err := s.query(ctx, query{table: s.tables.Threads, pk: pk, from: traceLinks, to: messages + "~", keysOnly: true, most: mostNamed + 1})
	if err != nil || len(items) > mostNamed {
		return nil, false, err
	}
	seen := map[string]bool{}
	for _, it := range items {
		if id := textOf(it["trace"]); id != "" {
			seen[tracePK(mastra.Tenant(ctx), id)] = true
		}
	}
	return slices.Collect(maps.Keys(seen)), true, nil
}

func (s *Store) ofTraces(ctx context.Context, byTime *list, pks []string) ([]entry, error) {
	places := make([]place, 0, len(pks))
	for _, pk := range pks {
		places = append(places, place{pk, summaryKey})
	}
	items, err := s.batchGet(ctx, s.tables.Observability, places, false)
	return summaries(items, byTime), err
}

// A resource's traces are those of its threads, of those that it gave away, and those that no thread leads to. It is nil where there is
// too much to look through, or there are few traces at all.
func (s *Store) ofResource(ctx context.Context, byTime *list, resource string) (*source, error) {
	tenant, table := mastra.Tenant(ctx), s.tables.Threads
	pk := resourcePK(tenant, resource)
	var threads, left []item
	var others []entry
	var all int
	err := parallel(
		func() (err error) { all, err = byTime.total(ctx); return err },
		func() (err error) {
			others, err = s.entries(ctx, sparseList(s.tables.Observability, tenant, byResource(resource), byTime), byTime.descending, maxKeys+1)
			return err
		},
		func() (err error) {
			threads, err = s.query(ctx, query{table: table, index: index1, pk: pk, most: mostOfThreads + 1})
			return err
		},
		func() (err error) {
			left, err = s.query(ctx, query{table: table, pk: pk, from: threadLeft, to: threadLeft + "~", most: mostOfThreads + 1})
			return err
		})
	if err != nil || len(threads)+len(left) > mostOfThreads || all <= manyTraces {
		return nil, err
	}
	var pks []string
	for _, it := range threads {
		pks = append(pks, pkOf(it))
	}
	for _, it := range left {
		pks = append(pks, threadPK(tenant, textOf(it["thread"])))
	}
	named := make([][]string, len(pks))
	whole := make([]bool, len(pks))
	calls := make([]func() error, len(pks))
	for i, pk := range pks {
		calls[i] = func() (err error) { named[i], whole[i], err = s.tracesNamed(ctx, pk); return err }
	}
	if err := parallel(calls...); err != nil {
		return nil, err
	}
	traces := slices.Concat(named...)
	for _, e := range others {
		traces = append(traces, e.pk)
	}
	if slices.Contains(whole, false) || len(traces) > maxKeys {
		return nil, nil
	}
	found, err := s.ofTraces(ctx, byTime, traces)
	return &source{found: found}, err
}
