package dynamodb

import (
	"context"

	"mastralambda/shared/mastra"
)

// tracesOfThread finds the traces of a thread by its messages and links, which name them for its deletion, so that their list costs what
// the thread holds, however many traces there are. It cannot say of a thread that a former version made, or that is longer than this.
func (s *Store) tracesOfThread(ctx context.Context, l *list, thread string) (found []entry, ok bool, err error) {
	const most = 2 * maxKeys // a turn is two messages
	tenant, pk := mastra.Tenant(ctx), threadPK(mastra.Tenant(ctx), thread)
	var act item
	var named []item
	err = parallel(
		func() (err error) { act, err = s.activity(ctx, pk); return err },
		func() (err error) {
			named, err = s.query(ctx, query{table: s.tables.Threads, pk: pk, from: traceLinks, to: messages + "~", keysOnly: true, most: most + 1})
			return err
		})
	if err != nil || act["created"] == nil || len(named) > most {
		return nil, false, err
	}
	var places []place
	for _, it := range named {
		if id := textOf(it["trace"]); id != "" {
			places = append(places, place{tracePK(tenant, id), summaryKey})
		}
	}
	items, err := s.batchGet(ctx, s.tables.Observability, places, false)
	if err != nil {
		return nil, false, err
	}
	for _, it := range items {
		at := textOf(it[attrSK1])
		if at >= max(l.from, l.since) && (l.to == "" || at <= l.to) {
			found = append(found, entry{pk: pkOf(it), sk: skOf(it), at: at, item: it, sum: it[attrSum]})
		}
	}
	sortItems(found, l.descending, func(e *entry) string { return e.at })
	return found, true, nil
}
