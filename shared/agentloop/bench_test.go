package agentloop_test

import (
	"context"
	"iter"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// nothing is a storage that keeps nothing.
type nothing struct{ mastra.Storage }

func (nothing) Commit(context.Context, *mastra.Batch) error { return nil }
func (nothing) Recall(context.Context, string, int) (*mastra.Thread, []mastra.Message, error) {
	return nil, nil, nil
}

func (nothing) Lease(_ context.Context, id, owner string, _ mastra.Time) (*mastra.Run, error) {
	return &mastra.Run{ID: id, Owner: owner, Fence: 1, Status: mastra.StatusRunning}, nil
}

// fixed is a model that always answers the same.
type fixed []mastra.ModelPart

func (fixed) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "fixed", Version: "v2"}
}

func (f fixed) Stream(context.Context, *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		for _, p := range f {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// reportCPU begins to count the processor's time of this process, and the function that it returns reports it: where the
// disk is slow, the time on the clock says little.
func reportCPU(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkGenerate(b *testing.B) {
	turns := func(w *world) func(*testing.PB) {
		var n atomic.Int64
		return func(pb *testing.PB) {
			for pb.Next() {
				id := strconv.FormatInt(n.Add(1), 10)
				r, err := w.generate(context.Background(), "echo-agent", mastra.AgentCall{Messages: mastra.UserMessage("What is 2+2?"), ThreadID: "t" + id, ResourceID: "u"})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := schema.Marshal(r); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("no storage", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(turns(newWorldOn(b, nothing{}, &reference{id: "mock-echo"}, echoAgent())))
	})
	b.Run("sqlite", func(b *testing.B) {
		w := newWorld(b, &reference{id: "mock-echo"}, echoAgent())
		b.ReportAllocs()
		b.SetParallelism(8)
		defer reportCPU(b)()
		b.RunParallel(turns(w))
	})
	b.Run("sqlite, no traces", func(b *testing.B) {
		w := newWorld(b, &reference{id: "mock-echo"}, echoAgent())
		none := 0.0
		w.Tracing.Rate = &none
		b.ReportAllocs()
		b.SetParallelism(8)
		defer reportCPU(b)()
		b.RunParallel(turns(w))
	})
	b.Run("sqlite, claimed", func(b *testing.B) {
		w := newWorld(b, &reference{id: "mock-echo"}, echoAgent())
		b.ReportAllocs()
		b.SetParallelism(8)
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				id := strconv.FormatInt(n.Add(1), 10)
				r := &mastra.Request{Fingerprint: id}
				ctx := mastra.WithRequest(context.Background(), r)
				if _, err := w.generate(ctx, "echo-agent", mastra.AgentCall{Messages: mastra.UserMessage("What is 2+2?"), ThreadID: "t" + id, ResourceID: "u"}); err != nil {
					b.Fatal(err)
				}
				r.End(true)
			}
		})
	})
}

func BenchmarkStream(b *testing.B) {
	model := fixed{{Type: mastra.ModelTextStart, ID: "t"}}
	for range 80 {
		model = append(model, mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "t", Text: "word "})
	}
	model = append(model, mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "t"}, mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop})
	w := newWorldOn(b, nothing{}, model, echoAgent())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a, _ := w.Agent("echo-agent")
			chunks, err := w.runner.Stream(context.Background(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("Tell me a story")})
			if err != nil {
				b.Fatal(err)
			}
			for c := range chunks {
				if _, err := c.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// flowing is a model that says n words and then waits to be let go.
type flowing struct {
	n    int
	said *sync.WaitGroup // each call is done with its words
	end  chan struct{}
}

func (flowing) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "flowing", Version: "v2"}
}

func (f flowing) Stream(context.Context, *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		yield(mastra.ModelPart{Type: mastra.ModelTextStart, ID: "t"}, nil)
		for range f.n {
			yield(mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "t", Text: "word "}, nil)
		}
		f.said.Done()
		<-f.end
		yield(mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "t"}, nil)
		yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop}, nil)
	}
}

// What a stream under way holds in memory once its chunks are stored, however long it is: 10 000 at once, nobody reads them.
func BenchmarkStreamsAtOnce(b *testing.B) {
	for _, words := range []int{100, 1000} {
		b.Run(strconv.Itoa(words)+" chunks", func(b *testing.B) {
			const streams = 10_000
			for b.Loop() {
				model := flowing{words, &sync.WaitGroup{}, make(chan struct{})}
				model.said.Add(streams)
				w := newWorldOn(b, nothing{}, model, echoAgent())
				a, _ := w.Agent("echo-agent")
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				for range streams {
					if _, err := w.runner.Stream(context.Background(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go")}); err != nil {
						b.Fatal(err)
					}
				}
				model.said.Wait()
				time.Sleep(3 * time.Second) // what is left is stored
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc+after.StackInuse-before.StackInuse)/streams, "B/stream")
				close(model.end)
				if err := w.runs.Drain(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
