package dynamodb

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// A trace stands in two indexes: by time, and that of its entity. What neither finds and few traces have is found by thin items of its
// own, one for each: a status that is no success, a failed span below the root, a tag, a name that a caller gave it, a run whose id does
// not tell it, a resource that no thread leads to. They are written beside the summary, so a process that dies may leave some without one; whoever reads them
// looks at the summary, and takes those away that it does not bear out.

// filedAs is the attribute of a summary that says that what finds the trace was written, former versions wrote none, and what of that
// the root does not tell.
const (
	filedAs         = "f"
	filed           = 1
	filedByResource = 2
	filedFailing    = 4 // for a span below the root; of several commits only the trace itself says whether the last has it
)

const byFailure = "by#failure"

func byStatus(status string) string     { return "by#status#" + status }
func byTag(tag string) string           { return "by#tag#" + part(tag) }
func byName(name string) string         { return "by#name#" + part(name) }
func byRun(run string) string           { return "by#run#" + part(run) }
func byResource(resource string) string { return "by#resource#" + part(resource) }

func ofEntity(entityType, id string) string { return "E#" + part(entityType) + "#" + part(id) }

// sparseList is the list of traces that have a thin item.
func sparseList(table, tenant, name string, like *list) *list {
	l := *like
	l.table, l.index, l.sparse, l.pks = table, "", true, allShards(tenant, name)
	if few(name) {
		l.pks = l.pks[:1]
	}
	return &l
}

// few says that nobody adds to a list as often as to those of all traces: it is one partition.
func few(name string) bool {
	return strings.HasPrefix(name, "by#run#") || strings.HasPrefix(name, "by#resource#")
}

// ownName says whether a caller gave the root its name; it is else that of what it runs, of which there are few.
func ownName(r *mastra.Span) bool {
	before, after, ok := strings.Cut(r.Name, "'"+r.EntityID+"'")
	usual := ok && slices.Contains(usualNames, before) && (after == "" || after == " (resumed)")
	return r.Name != "" && !usual
}

var usualNames = []string{"agent run: ", "workflow run: ", "scorer run: "}

// sparseNames are the lists that a trace of this root stands in.
func sparseNames(traceID string, r *mastra.Span, filed int64) (names []string) {
	if status := r.Status(); status != statusSuccess {
		names = append(names, byStatus(status))
	}
	for _, tag := range r.Tags {
		names = append(names, byTag(tag))
	}
	if ownName(r) {
		names = append(names, byName(r.Name))
	}
	if r.RunID != "" && mastra.TraceOfRun(r.RunID) != traceID {
		names = append(names, byRun(r.RunID))
	}
	if filed&filedByResource != 0 {
		names = append(names, byResource(r.ResourceID))
	}
	if filed&filedFailing != 0 {
		names = append(names, byFailure)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const statusSuccess = "success"

// isFiled is 1 where this version wrote a summary, else 0.
func isFiled(summary item) int64 {
	if summary[filedAs] == nil {
		return 0
	}
	return 1
}

// sparseItems are a trace's thin items.
func sparseItems(tenant, traceID string, r *mastra.Span, filed int64) (items []item) {
	for _, name := range sparseNames(traceID, r, filed) {
		items = append(items, sparseItem(tenant, name, traceID, r.StartedAt))
	}
	return items
}

func sparseItem(tenant, name, traceID string, at mastra.Time) item {
	shard := shardOf(traceID)
	if few(name) {
		shard = 0
	}
	it := key(sharded(tenant, name, shard), placed(at, traceID))
	if len(traceID) > 512 { // the key has no more than its hash
		it["trace"] = text(traceID)
	}
	return it
}

// putThin writes a thin item.
func (c *commit) putThin(ctx context.Context, thin item, started mastra.Time) (undo, error) {
	thin["tok"], thin["at"] = text(c.token), number(c.now)
	expire(thin, started, c.s.keep.Traces)
	return c.side(ctx, put(c.s.tables.Observability, thin, "", nil))
}

// severalKey marks the thin item of a failure that one of several commits tells of.
const severalKey = "several"

func (c *commit) putFailure(ctx context.Context, t *traceWrite, at mastra.Time) (undo, error) {
	thin := sparseItem(c.tenant, byFailure, t.id, at)
	thin[severalKey] = number(1)
	return c.putThin(ctx, thin, at)
}

// failsBelow says whether a span below the root failed.
func (t *traceWrite) failsBelow() bool {
	return slices.ContainsFunc(t.spans, func(s mastra.Span) bool { return !s.Root() && len(s.Error) > 0 })
}

// failureBeside notes that spans without their root failed. Where they did not, they may replace some that did.
func (c *commit) failureBeside(ctx context.Context, t *traceWrite) (undo, error) {
	if t.failsBelow() {
		return c.putFailure(ctx, t, t.spans[0].StartedAt)
	}
	summary, err := c.s.get(ctx, c.s.tables.Observability, t.pk, summaryKey)
	if err != nil || numberOf(summary[filedAs])&filedFailing == 0 {
		return nil, err
	}
	return c.putFailure(ctx, t, placeTime(textOf(summary[attrSK1])))
}

// sparseItemsOf are those of a stored summary.
func sparseItemsOf(tenant, traceID string, summary item) ([]item, error) {
	if summary[filedAs] == nil {
		return nil, nil
	}
	r, err := rootOf(summary[attrSum])
	if err != nil {
		return nil, err
	}
	return sparseItems(tenant, traceID, r, numberOf(summary[filedAs])), nil
}

// rootOf is the root in a summary.
func rootOf(sum attribute) (*mastra.Span, error) {
	data, err := unpack(blobOf(sum))
	if err != nil {
		return nil, err
	}
	var root mastra.Span
	return &root, schema.Unmarshal(data, &root)
}

// apart says that a root has a resource, and that no message of this commit leads to it: what lists the resource's threads would
// not find it.
func (c *commit) apart(t *traceWrite) bool {
	r := t.root
	return r.ResourceID != "" && !(r.ThreadID != "" && c.traceOf(r.ThreadID) == t.id && slices.ContainsFunc(c.messages, func(m *messageWrite) bool { return m.ThreadID == r.ThreadID }))
}

// sparseEntry is the trace that a thin item stands for.
func sparseEntry(it item) entry {
	at, id, _ := strings.Cut(skOf(it), "#")
	if it["trace"] != nil {
		id = textOf(it["trace"])
	}
	tenant, _, _ := strings.Cut(pkOf(it), "#")
	return entry{pk: tenant + "#X#" + short(id, maxID), sk: summaryKey, at: at, item: it, sparse: true}
}

// staleAfter is how many milliseconds after it was written a thin item must have its summary.
const staleAfter = 3_600_000

// bears says whether a trace's summary, nil where there is none, bears out the thin item that an entry is.
func (e *entry) bears(summary item) (bool, error) {
	if summary == nil {
		return false, nil
	}
	_, id, _ := strings.Cut(skOf(e.item), "#")
	if e.item["trace"] != nil {
		id = textOf(e.item["trace"])
	}
	tenant, _, _ := strings.Cut(pkOf(e.item), "#")
	its, err := sparseItemsOf(unescape(tenant), id, summary)
	return slices.ContainsFunc(its, func(it item) bool { return pkOf(it) == pkOf(e.item) && skOf(it) == skOf(e.item) }), err
}

// discard takes thin items away that a process left which died, or which have outlived what they stood for.
func (s *Store) discard(ctx context.Context, stale []entry) {
	var calls []func() error
	for _, e := range stale[:min(len(stale), maxParallel)] {
		if s.time()-timeOf(e.item["at"]) < staleAfter { // its summary is on its way
			continue
		}
		calls = append(calls, func() error {
			_, err := s.write(ctx, remove(s.tables.Observability, pkOf(e.item), skOf(e.item), "#tok = :tok", item{":tok": e.item["tok"]}), "")
			return err
		})
	}
	_ = parallel(calls...) // the next reader tries again
}

// former is until when traces may have begun that a former version wrote, which no thin item finds; 0 where there are none.
func (s *Store) former(ctx context.Context, tenant string) (until mastra.Time, err error) {
	items, err := s.query(ctx, query{table: s.tables.Observability, pk: counters(tenant, "traces")})
	for _, it := range items {
		if s.expired(it) || numberOf(it["n"]) <= numberOf(it[filedAs]) {
			continue
		}
		until = max(until, formerUntil(it, s.time()))
	}
	return until, err
}

// overlap is how long after this version's first trace one of a former version may still have written some, in milliseconds.
const overlap = 24 * 3_600_000

// formerUntil is that of the traces that one item counts: of a day, or of all times.
func formerUntil(counter item, now mastra.Time) mastra.Time {
	name, _, _ := strings.Cut(skOf(counter), "#")
	if end, ok := endOfDay(name); ok {
		return end
	}
	if since := timeOf(counter["since"]); since > 0 {
		return since + overlap
	}
	return now + overlap
}
