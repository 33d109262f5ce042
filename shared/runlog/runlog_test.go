package runlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

func delta(i int) mastra.Chunk {
	text := fmt.Sprint("word", i, " ")
	return mastra.Chunk{Type: mastra.ChunkTextDelta, RunID: "run", From: mastra.FromAgent, Text: text, Payload: mastra.TextDelta{ID: "t", Text: text}}
}

func TestReadersFollowFromAnyPosition(t *testing.T) {
	const n = 2000
	var log runlog.Log
	var readers sync.WaitGroup
	for from := range 8 {
		readers.Go(func() {
			at := from * 100
			for c, err := range log.Read(context.Background(), at) {
				if err != nil {
					t.Error(err)
					return
				}
				want, _ := delta(at).Append(nil)
				if got, err := c.Encode(); err != nil || !bytes.Equal(got, want) {
					t.Errorf("chunk %d is %s, %v", at, got, err)
					return
				}
				at++
			}
			if at != n {
				t.Errorf("the reader from %d ended at %d", from*100, at)
			}
		})
	}
	for i := range n {
		if err := log.Append(delta(i)); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()
	readers.Wait()
	if err := log.Append(delta(0)); err != nil || log.Len() != n {
		t.Errorf("after its end the log has %d chunks, %v", log.Len(), err)
	}
}

func TestChunksOfAnySize(t *testing.T) {
	var log runlog.Log
	var want []string
	for i := range 300 {
		text := strings.Repeat("\x01é\"", (i*i)%1500)
		c := mastra.Chunk{Type: "text-delta", Payload: mastra.TextDelta{ID: "t", Text: text}}
		data, _ := c.Append(nil)
		want = append(want, string(data))
		if err := log.Append(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Append(mastra.Chunk{Type: "x", Payload: func() {}}); err == nil {
		t.Error("what does not encode was taken")
	}
	log.Close()
	i := 0
	for c := range log.Read(context.Background(), -1) {
		if got, _ := c.Encode(); string(got) != want[i] {
			t.Fatalf("chunk %d: %s, want %s", i, got, want[i])
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d chunks", i)
	}
}

func TestAReaderEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log runlog.Log
		log.Append(delta(0))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var last error
		n := 0
		for _, err := range log.Read(ctx, 0) {
			if last = err; err == nil {
				n++
			}
		}
		if n != 1 || !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("%d chunks, %v", n, last)
		}
		for range log.Read(context.Background(), 0) {
			break // leaves, and the log goes on
		}
		log.Append(delta(1))
		if log.Len() != 2 {
			t.Error("the log did not go on")
		}
	})
}

func TestARunOutlivesItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
		type key struct{}
		ctx, leave := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
		task, err := s.Begin(ctx, "run")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		task.Go(func(ctx context.Context) error {
			time.Sleep(time.Minute)
			if ctx.Value(key{}) != "value" {
				t.Error("the values are gone")
			}
			return ctx.Err()
		}, func(err error) { ended <- err })
		leave()
		if err := s.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheDeadlineIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		task, _ := s.Begin(ctx, "run")
		began := time.Now()
		err := task.Do(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestCancelByName(t *testing.T) {
	s := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
	tenant := mastra.WithPrincipal(context.Background(), &mastra.Principal{Tenant: "acme"})
	outer, _ := s.Begin(tenant, "first")
	outer.Rename("run")
	inner, _ := s.Begin(outer.Context(), "inner") // ends with the run that it is part of
	if s.Cancel(context.Background(), "run") || s.Cancel(tenant, "first") {
		t.Error("another tenant's run, or a former name, was cancelled")
	}
	if !s.Cancel(tenant, "run") || !errors.Is(context.Cause(outer.Context()), runlog.ErrCanceled) || inner.Context().Err() == nil {
		t.Error("the run was not cancelled with what it holds")
	}
	inner.End()
	outer.End()
	outer.End()
	if s.Cancel(tenant, "run") {
		t.Error("an ended run was cancelled")
	}
	if err := s.Drain(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestPanics(t *testing.T) {
	var out bytes.Buffer
	s := runlog.NewSupervisor(slog.New(slog.NewTextHandler(&out, nil)))
	task, _ := s.Begin(context.Background(), "run-7")
	var told error
	done := make(chan struct{})
	task.Go(func(context.Context) error { panic("oh") }, func(err error) { told = err; close(done) })
	<-done
	if err := s.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	var p *runlog.PanicError
	if !errors.As(told, &p) || p.Value != "oh" || !strings.Contains(out.String(), "run-7") || !strings.Contains(out.String(), "TestPanics") {
		t.Errorf("%v; log: %s", told, out.String())
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
		tended := false
		if !s.Tend(func(stop <-chan struct{}) { <-stop; tended = true }) {
			t.Fatal("nothing tends")
		}
		var tasks []*runlog.Task
		for range 2 { // of one id: both must be found
			task, err := s.Begin(context.Background(), "run")
			if err != nil {
				t.Fatal(err)
			}
			tasks = append(tasks, task)
		}
		ended := make(chan error, 2)
		for _, task := range tasks {
			task.Go(func(ctx context.Context) error {
				inner, err := s.Begin(ctx, "inner")
				if err != nil {
					return err
				}
				return inner.Do(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			}, func(err error) { ended <- err })
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(ctx) }()
		synctest.Wait()
		if _, err := s.Begin(context.Background(), "late"); mastra.CodeOf(err) != mastra.CodeUnavailable {
			t.Errorf("a run begun while draining: %v", err)
		}
		if err := <-drained; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		if err := s.Drain(context.Background()); err != nil || !tended {
			t.Errorf("%v, tended: %v", err, tended)
		}
		if s.Tend(func(<-chan struct{}) {}) {
			t.Error("tending began after the end")
		}
	})
}

func BenchmarkLog(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() { // a stream of 80 chunks with one reader
		var log runlog.Log
		done := make(chan int)
		go func() {
			n := 0
			for c := range log.Read(context.Background(), 0) {
				data, _ := c.Encode()
				n += len(data)
			}
			done <- n
		}()
		for range 80 {
			log.Append(mastra.Chunk{Type: mastra.ChunkTextDelta, RunID: "cebb7a0e-a924-4597-ad2c-ef7641a35f5e", From: mastra.FromAgent, Text: "word ", Payload: mastra.TextDelta{ID: "t", Text: "word "}})
		}
		log.Close()
		<-done
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runlog.NewSupervisor(nil)
		for _, wait := range []func(context.Context) error{s.Idle, s.Drain} {
			release := s.Hold()
			time.AfterFunc(time.Minute, release)
			start := time.Now()
			if err := wait(t.Context()); err != nil || time.Since(start) != time.Minute {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		s.Hold()() // where it has drained there is nothing to hold
	})
}

func TestIdleWaitsAndLetsNewRunsBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runlog.NewSupervisor(nil)
		if err := s.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			run, err := s.Begin(t.Context(), "run")
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			run.Go(func(context.Context) error { time.Sleep(time.Minute); return nil }, nil)
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Idle(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if err := s.Idle(t.Context()); err != nil || time.Since(start) != time.Minute {
				t.Error(err, time.Since(start))
			}
		}
	})
}
