package dynamodb

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// The outlines of many traces are read from hours that were read before; what comes late, or goes, is seen all the same.
func TestHours(t *testing.T) {
	var m meter
	s, ctx := openTest(t, m.attach), newTenant(t)
	now := time.UnixMilli(1_790_000_000_000)
	s.now = func() time.Time { return now }
	begin := mastra.TimeOf(now.Add(-48 * time.Hour))
	trace := func(i int, at mastra.Time) []mastra.Span {
		id := fmt.Sprintf("%032x", i)
		root := mastra.Span{TraceID: id, SpanID: "00000000000000aa", Name: "agent run: 'a'", Type: mastra.SpanAgentRun, StartedAt: at, EndedAt: at + 5, EntityType: "agent", EntityID: "a"}
		model := mastra.Span{TraceID: id, SpanID: "00000000000000bb", ParentID: root.SpanID, Name: "llm: 'm'", Type: mastra.SpanModelGeneration, StartedAt: at + 1, EndedAt: at + 4,
			Attributes: mastra.JSON(`{"model":"m","provider":"p","usage":{"inputTokens":7,"outputTokens":5},"costContext":{"estimatedCost":0.25,"costUnit":"USD"}}`)}
		return []mastra.Span{root, model}
	}
	const many = 600
	var b mastra.Batch
	for i := range many { // over two days, but for some hours without any
		at := begin + mastra.Time(i)*48*hourLong/many
		if hourOf(at)/hourLong%6 == 0 {
			at -= hourLong
		}
		b.Spans = append(b.Spans, trace(i, at)...)
	}
	s.now = func() time.Time { return begin.Time() } // while they are written
	for part := range slices.Chunk(b.Spans, 200) {
		if err := s.Commit(ctx, &mastra.Batch{Spans: part}); err != nil {
			t.Fatal(err)
		}
	}
	s.now = func() time.Time { return now }
	read := func(q mastra.SpanQuery) (ids []string, c cost) {
		t.Helper()
		c = m.of(t, func() error {
			var last mastra.Time
			return s.outlinesByHour(ctx, mastra.Tenant(ctx), q, maxRead, func(spans []mastra.Span) bool {
				at := spans[0].StartedAt
				if len(ids) > 0 && (q.Ascending && at < last || !q.Ascending && at > last) {
					t.Errorf("%v comes after %v", at, last)
				}
				last = at
				if spans[1].Model == nil || spans[1].Model.Usage.InputTokens != 7 || spans[1].Model.Cost.Amount != 0.25 {
					t.Errorf("%+v", spans[1].Model)
				}
				ids = append(ids, spans[0].TraceID)
				return true
			})
		})
		return ids, c
	}
	// Where there are more than one call reads, each gets further than the one before.
	tries := 1
	for ; ; tries++ {
		err := s.outlinesByHour(ctx, mastra.Tenant(ctx), mastra.SpanQuery{Ascending: true}, 150, func([]mastra.Span) bool { return true })
		if err == nil {
			break
		}
		if mastra.CodeOf(err) != mastra.CodeInvalid || tries > 8 {
			t.Fatalf("try %d: %v", tries, err)
		}
	}
	if tries < 4 {
		t.Errorf("%d traces were read by %d calls of 150", many, tries)
	}
	var hours []mastra.Time
	for h := hourOf(begin); h < mastra.TimeOf(now); h += hourLong {
		hours = append(hours, h)
	}
	if err := s.changeHours(ctx, mastra.Tenant(ctx), hours...); err != nil { // and now from the beginning
		t.Fatal(err)
	}
	now = now.Add(10 * time.Minute)
	all, first := read(mastra.SpanQuery{})
	if len(all) != many {
		t.Fatalf("%d traces, want %d", len(all), many)
	}
	again, second := read(mastra.SpanQuery{})
	t.Logf("from traces: %d requests, %d in sequence, %v RRU, %v WRU; from hours: %d requests, %d in sequence, %v RRU", first.calls, first.trips, first.read, first.write, second.calls, second.trips, second.read)
	if !slices.Equal(all, again) {
		t.Error("what was kept is not what was read")
	}
	if second.calls > 40 || second.read > first.read/4 || second.write > 0 {
		t.Errorf("reading hours takes %v", second)
	}
	// The other way round, and a part that begins and ends within hours.
	part := mastra.SpanQuery{From: begin + 10*hourLong + hourLong/2, To: begin + 20*hourLong + hourLong/2, Ascending: true}
	some, _ := read(part)
	want := 0
	for i := range b.Spans {
		if sp := &b.Spans[i]; sp.Root() && sp.StartedAt >= part.From && sp.StartedAt <= part.To {
			want++
		}
	}
	if len(some) != want {
		t.Errorf("%d traces in part, want %d", len(some), want)
	}
	// A run that took ten hours, and one that is deleted.
	late := trace(many, begin+hourLong/2)
	if err := s.Commit(ctx, &mastra.Batch{Spans: late}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTraces(ctx, []string{all[many/2]}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, _ := read(mastra.SpanQuery{})
		if len(got) != many || !slices.Contains(got, late[0].TraceID) || slices.Contains(got, all[many/2]) {
			t.Errorf("%d traces; the late one %v, the deleted one %v", len(got), slices.Contains(got, late[0].TraceID), slices.Contains(got, all[many/2]))
		}
	}
	now = now.Add(10 * time.Minute) // the index is certain to be up to date
	read(mastra.SpanQuery{})
	got, third := read(mastra.SpanQuery{})
	if len(got) != many || third.calls > second.calls+2 {
		t.Errorf("%d traces by %v", len(got), third)
	}
	// Of what changes while an hour is read nothing is kept.
	pk := hourPK(mastra.Tenant(ctx), hourOf(begin))
	head, err := s.get(ctx, s.tables.Observability, pk, only)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.changeHours(ctx, mastra.Tenant(ctx), begin); err != nil {
		t.Fatal(err)
	}
	if err := s.keepHour(ctx, mastra.Tenant(ctx), hourOf(begin), []byte("old"), head); err != nil {
		t.Fatal(err)
	}
	if head, err = s.get(ctx, s.tables.Observability, pk, only); err != nil || head["v"] != nil {
		t.Errorf("an hour that changed is kept as it was: %v, %v", head, err)
	}
}
