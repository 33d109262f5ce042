package sqlite

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/outline"
)

// What thousands of commits leave behind, with spans that are committed again, traces that are deleted and reads in between, is what
// a list of all spans says it is.
func TestSegments(t *testing.T) {
	s := openNew(t)
	random := rand.New(rand.NewPCG(1, 2))
	type trace struct {
		spans []mastra.Span // as they were committed last
		roots []string      // in the order of their commits
	}
	spansIn := func(tr *trace) []mastra.Span {
		if tr == nil {
			return nil
		}
		return tr.spans
	}
	tenants := []string{"one", "two"}
	kept := map[string]map[string]*trace{"one": {}, "two": {}}
	types := []string{mastra.SpanAgentRun, mastra.SpanToolCall, mastra.SpanModelGeneration}
	traces := 0
	commit := func(tenant string, batch *mastra.Batch) {
		must(t, s.Commit(mastra.WithPrincipal(bg, &mastra.Principal{Tenant: tenant}), batch))
		for _, sp := range batch.Spans {
			tr := kept[tenant][sp.TraceID]
			if tr == nil {
				tr = &trace{}
				kept[tenant][sp.TraceID] = tr
			}
			if at := slices.IndexFunc(tr.spans, func(o mastra.Span) bool { return o.SpanID == sp.SpanID }); at >= 0 {
				tr.spans[at] = sp
			} else {
				tr.spans = append(tr.spans, sp)
			}
			if sp.Root() {
				tr.roots = append(tr.roots, sp.SpanID)
			}
		}
	}
	check := func(round int) {
		for _, tenant := range tenants {
			ctx := mastra.WithPrincipal(bg, &mastra.Principal{Tenant: tenant})
			for name, q := range map[string]mastra.TraceQuery{
				"all": {}, "entity": {EntityID: "e3"}, "run": {RunID: "run77"}, "thread": {ThreadID: "thread5", Status: "error"}, "name": {Name: "name 4", Ascending: true},
				"range": {From: 3000, To: 9000, EntityID: "e1"}, "tags": {Tags: []string{"t1"}}, "by end": {OrderByEnd: true, Status: "success"},
				"types": {Types: types[:2]}, "tools of an entity": {Types: types[1:2], EntityID: "e2"}, "match": {Match: func(r *mastra.Span) bool { return r.StartedAt%3 == 0 }},
				"failed": {ChildError: new(bool)}, "having": {Having: &mastra.SpanMatch{SpanType: mastra.SpanToolCall, EntityID: "e4", Status: "error"}},
			} {
				var want []mastra.Span
				for _, tr := range kept[tenant] {
					failed := slices.ContainsFunc(tr.spans, func(sp mastra.Span) bool { return !sp.Root() && len(sp.Error) > 0 })
					if h := q.Having; h != nil && !slices.ContainsFunc(tr.spans, func(sp mastra.Span) bool {
						return sp.Type == h.SpanType && sp.EntityID == h.EntityID && sp.Status() == h.Status
					}) {
						continue
					}
					for _, sp := range tr.spans {
						listed := q.Types == nil && len(tr.roots) > 0 && sp.SpanID == tr.roots[len(tr.roots)-1] || slices.Contains(q.Types, sp.Type)
						if !listed || q.ChildError != nil && failed != *q.ChildError || q.EntityID != "" && sp.EntityID != q.EntityID || q.RunID != "" && sp.RunID != q.RunID ||
							q.ThreadID != "" && sp.ThreadID != q.ThreadID || q.Status != "" && sp.Status() != q.Status || q.Name != "" && sp.Name != q.Name ||
							sp.StartedAt < q.From || q.To != 0 && sp.StartedAt > q.To || len(q.Tags) > 0 && !slices.Contains(sp.Tags, q.Tags[0]) || q.Match != nil && !q.Match(&sp) {
							continue
						}
						want = append(want, sp)
					}
				}
				slices.SortFunc(want, func(a, b mastra.Span) int {
					c := cmp.Compare(a.StartedAt, b.StartedAt)
					if q.OrderByEnd {
						c = cmp.Compare(a.EndedAt, b.EndedAt)
					}
					if !q.Ascending {
						c = -c
					}
					return cmp.Or(c, cmp.Compare(a.TraceID, b.TraceID), cmp.Compare(a.SpanID, b.SpanID))
				})
				for _, page := range []int{0, 3} {
					q.Paging = mastra.Paging{Page: page, PerPage: 50}
					p, err := s.Traces(ctx, q)
					must(t, err)
					from := min(len(want), 50*page)
					part := want[from:min(len(want), from+50)]
					if p.Total != len(want) || len(p.Items) != len(part) || p.HasMore != (len(want) > from+50) {
						t.Fatalf("round %d, %s, %s, page %d: %d of %d (%v), want %d of %d", round, tenant, name, page, len(p.Items), p.Total, p.HasMore, len(part), len(want))
					}
					for i, got := range p.Items { // equal times may come in any order
						at := slices.IndexFunc(want, func(w mastra.Span) bool { return w.TraceID == got.TraceID && w.SpanID == got.SpanID })
						if at < 0 || got.EndedAt != want[at].EndedAt || string(got.Input) != string(want[at].Input) || got.StartedAt != part[i].StartedAt && !q.OrderByEnd || q.OrderByEnd && got.EndedAt != part[i].EndedAt {
							t.Fatalf("round %d, %s, %s, page %d: %d is %+v, want %+v", round, tenant, name, page, i, got, part[i])
						}
					}
				}
			}
			// All spans of the outlines, those that were replaced too, are of traces that are there.
			seen := map[string]bool{}
			last := mastra.Time(-1)
			must(t, s.Outlines(ctx, mastra.SpanQuery{Ascending: true}, func(spans []mastra.Span) bool {
				seen[spans[0].TraceID] = true
				if at := mastra.Time(startOf(spans)); at < last {
					t.Fatalf("round %d: outlines from %v after %v", round, at, last)
				} else {
					last = at
				}
				return true
			}))
			if len(seen) != len(kept[tenant]) {
				t.Fatalf("round %d, %s: outlines of %d traces, want %d", round, tenant, len(seen), len(kept[tenant]))
			}
		}
	}
	for round := range 12 {
		for range 4 {
			tenant := tenants[random.IntN(2)]
			var batch mastra.Batch
			for range 1 + random.IntN(300) {
				id := fmt.Sprint("trace", traces)
				if random.IntN(5) == 0 {
					id = fmt.Sprint("trace", random.IntN(traces+1))
				} else {
					traces++
				}
				for i := range 1 + random.IntN(5) {
					at := mastra.Time(10*traces + random.IntN(40))
					sp := mastra.Span{TraceID: id, SpanID: fmt.Sprint("s", random.IntN(8)), ParentID: "s9", Type: types[random.IntN(3)], Name: fmt.Sprint("name ", random.IntN(6)), StartedAt: at, EndedAt: at + mastra.Time(random.IntN(900)),
						EntityType: "agent", EntityID: fmt.Sprint("e", random.IntN(5)), EntityName: "E", RunID: fmt.Sprint("run", random.IntN(traces+1)), ThreadID: fmt.Sprint("thread", random.IntN(9)),
						Input: mastra.JSON(fmt.Sprint(random.IntN(1 << 30)))}
					if i == 0 && random.IntN(4) > 0 {
						sp.ParentID, sp.SpanID = "", fmt.Sprint("root", random.IntN(2))
					}
					for _, other := range [...][]mastra.Span{batch.Spans, spansIn(kept[tenant][id])} { // one that is committed again started when it did
						if k := slices.IndexFunc(other, func(o mastra.Span) bool { return o.TraceID == id && o.SpanID == sp.SpanID }); k >= 0 {
							sp.StartedAt = other[k].StartedAt
						}
					}
					switch random.IntN(12) {
					case 0:
						sp.Error = mastra.JSON(`{"message":"no"}`)
					case 1:
						sp.EndedAt = 0
					case 2:
						sp.Tags = []string{"t0", fmt.Sprint("t", random.IntN(400))}
					}
					batch.Spans = append(batch.Spans, sp)
				}
			}
			commit(tenant, &batch)
		}
		if round%3 == 1 {
			tenant := tenants[random.IntN(2)]
			var gone []string
			for id := range kept[tenant] {
				if gone = append(gone, id); len(gone) == 40 {
					break
				}
			}
			must(t, s.DeleteTraces(mastra.WithPrincipal(bg, &mastra.Principal{Tenant: tenant}), gone))
			for _, id := range gone {
				delete(kept[tenant], id)
			}
		}
		check(round)
	}
	var segments, packs int64
	must(t, s.readers.read(bg, func(c *conn) error {
		r, err := c.first("SELECT count(*), sum(packs) FROM segments")
		if err == nil {
			segments, packs = r.int(0), r.int(1)
		}
		return err
	}))
	if most := packs/segmentPacks + 24; segments > most {
		t.Errorf("%d segments of %d packs, want %d at most", segments, packs, most)
	}
}

// A damaged segment is an error, no panic.
func FuzzSegment(f *testing.F) {
	var b segmentBuilder
	spans := packed()
	all := make([]*mastra.Span, len(spans))
	for i := range spans {
		all[i] = &spans[i]
	}
	b.add(7, spans, outline.Append(nil, all), nil)
	for kind := range columns {
		f.Add(slices.Clone(b.column(kind)), 1, len(spans))
	}
	f.Fuzz(func(t *testing.T, body []byte, packs, spans int) {
		packs, spans = packs&0xff, spans&0xfff
		if places, err := readPlaces(body, packs, spans); err == nil && packs > 0 {
			if last := places[packs-1]; last.row+last.spans != spans {
				t.Errorf("%+v", places)
			}
		}
		_, _ = readInts(body, spans)
		for _, p := range splitPacks("tenant", body) {
			_ = p.body
		}
		_, _ = readPacks(body)
		c, err := readTexts(body, spans)
		if err != nil {
			return
		}
		mask := slices.Repeat([]byte{isCertain}, spans)
		c.keep(mask, func(text string) bool { return holdsTags(text, []string{"a"}) }, func(p uint16) bool { return p&1 == 0 })
	})
}
