package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

var bg = context.Background()

func openAt(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func openNew(tb testing.TB) *Store { return openAt(tb, filepath.Join(tb.TempDir(), "mastra.db")) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// asked and answered are what a generate commits: the request, then everything else.
func asked(id string, now mastra.Time) *mastra.Batch {
	return &mastra.Batch{
		Threads: []mastra.Thread{{ID: "thread-" + id, ResourceID: "user", Title: "A talk", CreatedAt: now, UpdatedAt: now}},
		Messages: []mastra.Message{{ID: "question-" + id, ThreadID: "thread-" + id, ResourceID: "user", Role: "user", CreatedAt: now,
			Content: mastra.JSON(`{"format":2,"parts":[{"type":"text","text":"What is 2+2, and why is it so often asked?"}],"content":"What is 2+2, and why is it so often asked?"}`)}},
		Claims: []mastra.ClaimUpdate{{Create: true, Claim: mastra.Claim{Key: "claim-" + id, Owner: "p", Status: mastra.StatusRunning, RunID: id,
			Fingerprint: "0123456789abcdef0123456789abcdef", ExpiresAt: now + 1e6, LeaseUntil: now + 3e4}}},
	}
}

func answered(id string, now mastra.Time) *mastra.Batch {
	b := &mastra.Batch{
		Messages: []mastra.Message{{ID: "answer-" + id, ThreadID: "thread-" + id, ResourceID: "user", Role: "assistant", CreatedAt: now,
			Content: mastra.JSON(`{"format":2,"parts":[{"type":"step-start"},{"type":"text","text":"Four. It is the smallest sum that surprises nobody."}],"content":"Four. It is the smallest sum that surprises nobody."}`)}},
		Claims: []mastra.ClaimUpdate{{Delete: true, Claim: mastra.Claim{Key: "claim-" + id, Owner: "p"}}},
	}
	for i := range 5 {
		s := mastra.Span{TraceID: "trace-" + id, SpanID: fmt.Sprint("span-", i), ParentID: "span-0", Name: "agent run: 'myAgent'", Type: mastra.SpanModelGeneration, StartedAt: now, EndedAt: now + 20,
			EntityType: "agent", EntityID: "myAgent", RunID: id, Input: mastra.JSON(`[{"role":"user","content":"What is 2+2, and why is it so often asked?"}]`),
			Output: mastra.JSON(`{"text":"Four. It is the smallest sum that surprises nobody."}`), Attributes: mastra.JSON(`{"model":"offline/demo","usage":{"inputTokens":12,"outputTokens":9}}`)}
		if i == 0 {
			s.ParentID, s.Type = "", mastra.SpanAgentRun
		}
		b.Spans = append(b.Spans, s)
	}
	return b
}

func BenchmarkOpen(b *testing.B) {
	b.Run("fresh", func(b *testing.B) {
		dir := b.TempDir()
		for i := 0; b.Loop(); i++ {
			s, err := Open(filepath.Join(dir, fmt.Sprint(i), "mastra.db"))
			must(b, err)
			b.StopTimer()
			must(b, s.Close())
			b.StartTimer()
		}
	})
	b.Run("existing", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "mastra.db")
		must(b, openAt(b, path).Close())
		for b.Loop() {
			s, err := Open(path)
			must(b, err)
			b.StopTimer()
			must(b, s.Close())
			b.StartTimer()
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name string
		work func(s *Store, id string, now mastra.Time) error
	}{
		{"asked", func(s *Store, id string, now mastra.Time) error { return s.Commit(bg, asked(id, now)) }},
		{"answered", func(s *Store, id string, now mastra.Time) error {
			batch := answered(id, now)
			batch.Threads = asked(id, now).Threads
			return s.Commit(bg, batch)
		}},
		{"generate", func(s *Store, id string, now mastra.Time) error {
			if _, _, err := s.Recall(bg, "thread-"+id, 10); err != nil {
				return err
			}
			if err := s.Commit(bg, asked(id, now)); err != nil {
				return err
			}
			return s.Commit(bg, answered(id, now))
		}},
		{"workflow", func(s *Store, id string, now mastra.Time) error {
			run := mastra.Run{ID: id, WorkflowID: "three", Status: mastra.StatusRunning, Input: mastra.JSON(`{"name":"Ada"}`), CreatedAt: now, UpdatedAt: now, Owner: "p", LeaseUntil: now + 3e4, Fence: 1,
				Graph: mastra.JSON(`[{"type":"step","step":{"id":"trim","description":"Trims"}},{"type":"step","step":{"id":"upper","description":"Shouts"}},{"type":"step","step":{"id":"greet","description":"Greets"}}]`)}
			u := mastra.RunUpdate{Run: run, Create: true}
			for _, step := range []string{"trim", "upper", "greet", ""} {
				batch := &mastra.Batch{Runs: []mastra.RunUpdate{u}}
				if step == "" {
					batch.Spans = answered(id, now).Spans[:4]
				}
				if err := s.Commit(bg, batch); err != nil {
					return err
				}
				u.Create = false
				u.Run.Path = append(u.Run.Path, step)
				u.Run.Steps = mastra.Object[mastra.StepResult]{{Key: step, Value: mastra.StepResult{Status: mastra.StatusSuccess, Payload: run.Input, Output: run.Input, StartedAt: int64(now), EndedAt: int64(now)}}}
				if step == "greet" {
					u.Run.Status = mastra.StatusSuccess
				}
			}
			return nil
		}},
	} {
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", c.name, callers), func(b *testing.B) {
				s := openNew(b)
				var n atomic.Int64
				b.ReportAllocs()
				work := func() {
					must(b, c.work(s, fmt.Sprintf("%08x-0000", uint32(n.Add(1))*2654435761), mastra.TimeOf(time.Now())))
				}
				if callers == 1 {
					for b.Loop() {
						work()
					}
				} else {
					b.SetParallelism(callers / runtime.GOMAXPROCS(0))
					b.RunParallel(func(p *testing.PB) {
						for p.Next() {
							work()
						}
					})
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "/s")
				b.ReportMetric(float64(s.transactions.Load())/float64(b.N), "tx/op")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := openNew(b)
	for from := 0; from < 10_000; from += 100 {
		batch := oneThread("thread")
		for i := from; i < from+100; i++ {
			now := mastra.Time(i) * 100
			batch.Messages = append(batch.Messages, asked(fmt.Sprint(i), now).Messages...)
			batch.Messages[i-from].ThreadID = "thread"
			spans := answered(fmt.Sprint(i), now).Spans
			spans[0].EntityID = fmt.Sprint("agent-", i%10)
			batch.Spans = append(batch.Spans, spans...)
		}
		must(b, s.Commit(bg, batch))
	}
	u := mastra.RunUpdate{Run: mastra.Run{ID: "run", WorkflowID: "w", Input: mastra.JSON(`{}`), Graph: mastra.JSON(`[]`)}, Create: true}
	for _, step := range []string{"a", "b", "c"} {
		u.Run.Steps.Set(step, mastra.StepResult{Status: mastra.StatusSuccess, Output: mastra.JSON(`{"a":1}`)})
	}
	must(b, s.Commit(bg, &mastra.Batch{Runs: []mastra.RunUpdate{u}}))

	ten := func(page int) mastra.Paging { return mastra.Paging{Page: page, PerPage: 10} }
	messages := func(page int) func() error {
		return func() error {
			_, err := s.Messages(bg, mastra.MessageQuery{ThreadID: "thread", Paging: ten(page)})
			return err
		}
	}
	traces := func(q mastra.TraceQuery) func() error {
		return func() error { _, err := s.Traces(bg, q); return err }
	}
	for _, c := range []struct {
		name string
		read func() error
	}{
		{"recall of 10", func() error { _, _, err := s.Recall(bg, "thread", 10); return err }},
		{"thread", func() error { _, err := s.Thread(bg, "thread"); return err }},
		{"run", func() error { _, err := s.Run(bg, "run"); return err }},
		{"trace", func() error { _, err := s.Trace(bg, "trace-77"); return err }},
		{"messages/first page", messages(0)},
		{"messages/middle", messages(500)},
		{"messages/last page", messages(999)},
		{"traces/first page", traces(mastra.TraceQuery{Paging: ten(0)})},
		{"traces/middle", traces(mastra.TraceQuery{Paging: ten(500)})},
		{"traces/of an entity", traces(mastra.TraceQuery{EntityID: "agent-3", Paging: ten(0)})},
		{"traces/of a run", traces(mastra.TraceQuery{RunID: "77", Paging: ten(0)})},
		{"traces/by end", traces(mastra.TraceQuery{OrderByEnd: true, Paging: ten(0)})},
		{"traces/tag", traces(mastra.TraceQuery{Tags: []string{"none"}, Paging: ten(0)})},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(b, c.read())
			}
		})
	}
	b.Run("recall of 10/16", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				_, _, err := s.Recall(bg, "thread", 10)
				must(b, err)
			}
		})
	})
}
