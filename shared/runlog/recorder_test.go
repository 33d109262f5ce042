package runlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/storage/sqlite"
)

// process is one of several that share a storage.
type process struct {
	*runlog.Recorder
	runs *runlog.Supervisor
	m    *mastra.Mastra
}

func storage(t testing.TB) mastra.Storage {
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "mastra.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newProcess(t testing.TB, s mastra.Storage) *process {
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: s}})
	if err != nil {
		t.Fatal(err)
	}
	runs := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { runs.Drain(context.Background()) })
	return &process{runlog.NewRecorder(runs), runs, m}
}

func (p *process) follow(t *testing.T, ctx context.Context, run string, after mastra.Position) (got []string) {
	t.Helper()
	chunks, err := p.Follow(ctx, p.m, run, after)
	if err != nil {
		t.Fatal(err)
	}
	for c, err := range chunks {
		if err != nil {
			return append(got, err.Error())
		}
		got = append(got, c.At.String()+" "+c.Text)
		if data, err := c.Encode(); err != nil || !strings.Contains(string(data), fmt.Sprintf(`"text":%q`, c.Text)) {
			t.Errorf("%s, %v", data, err)
		}
	}
	return got
}

func want(epoch, from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("%d-%d word%d ", epoch, i+1, i))
	}
	return list
}

func end(t *testing.T, p *process, log *runlog.Log) {
	t.Helper()
	b, err := log.Block(true)
	if err != nil {
		t.Fatal(err)
	}
	err = p.m.Storage.Commit(t.Context(), &mastra.Batch{Chunks: []mastra.ChunkBlock{*b}})
	log.Stored(b, err == nil)
	log.Close()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnyProcessFollowsARun(t *testing.T) {
	s := storage(t)
	here, there := newProcess(t, s), newProcess(t, s)
	log := here.Open(t.Context(), here.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 1}})
	var readers []chan []string
	read := func(p *process, after mastra.Position) {
		done := make(chan []string, 1)
		readers = append(readers, done)
		go func() { done <- p.follow(t, t.Context(), "run", after) }()
	}
	const n = 40
	read(here, mastra.Position{})
	read(there, mastra.Position{}) // the run is not stored yet
	for i := range n {
		log.Append(delta(i))
		time.Sleep(40 * time.Millisecond)
		if i == n/2 {
			read(here, mastra.Position{Epoch: 1, Seq: 5})
			read(there, mastra.Position{Epoch: 1, Seq: 5})
		}
	}
	end(t, here, log)
	read(here, mastra.Position{})
	read(there, mastra.Position{})
	for i, from := range []int{0, 0, 5, 5, 0, 0} {
		if got := <-readers[i]; !slices.Equal(got, want(1, from, n)) {
			t.Errorf("reader %d got %v", i, got)
		}
	}
	if got := there.follow(t, t.Context(), "run", mastra.Position{Epoch: 1, Seq: n}); got != nil {
		t.Errorf("behind the last chunk there is %v", got)
	}
	// The run was resumed there: the stream goes on behind what was.
	log = there.Open(t.Context(), there.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 1, Seq: n}})
	for i := n; i < n+5; i++ {
		log.Append(delta(i))
	}
	end(t, there, log)
	if got := here.follow(t, t.Context(), "run", mastra.Position{}); !slices.Equal(got, want(1, 0, n+5)) {
		t.Errorf("all of it is %v", got)
	}
}

func TestATakenOverRunBeginsAnEpoch(t *testing.T) {
	s := storage(t)
	lost, heir, third := newProcess(t, s), newProcess(t, s), newProcess(t, s)
	log := lost.Open(t.Context(), lost.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 1}})
	for i := range 3 {
		log.Append(delta(i))
	}
	b, _ := log.Block(false)
	if err := s.Commit(t.Context(), &mastra.Batch{Chunks: []mastra.ChunkBlock{*b}}); err != nil {
		t.Fatal(err)
	}
	log.Stored(b, true)
	done := make(chan []string, 1)
	go func() { done <- third.follow(t, t.Context(), "run", mastra.Position{}) }()
	log.Append(delta(3)) // seen by clients of the lost process, never stored
	time.Sleep(300 * time.Millisecond)
	log = heir.Open(t.Context(), heir.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 2}})
	for i := range 5 {
		log.Append(delta(i))
	}
	end(t, heir, log)
	all := append(want(1, 0, 3), want(2, 0, 5)...)
	if got := <-done; !slices.Equal(got, all) {
		t.Errorf("who followed got %v", got)
	}
	if got := heir.follow(t, t.Context(), "run", mastra.Position{}); !slices.Equal(got, all) {
		t.Errorf("later it is %v", got)
	}
	if got := third.follow(t, t.Context(), "run", mastra.Position{Epoch: 1, Seq: 4}); !slices.Equal(got, want(2, 0, 5)) {
		t.Errorf("who saw more than was stored gets %v", got)
	}
}

func TestAStreamHasItsOwner(t *testing.T) {
	s := storage(t)
	p := newProcess(t, s)
	as := func(resource string) context.Context {
		return mastra.WithPrincipal(t.Context(), &mastra.Principal{Resource: resource})
	}
	log := p.Open(as("ann"), p.m, runlog.Origin{RunID: "run", ResourceID: "ann", From: mastra.Position{Epoch: 1}})
	log.Append(delta(0))
	refused := func() {
		t.Helper()
		for _, run := range []string{"run", "none"} {
			if _, err := p.Follow(as("bob"), p.m, run, mastra.Position{}); mastra.CodeOf(err) != mastra.CodeNotFound {
				t.Errorf("%s: %v", run, err)
			}
		}
	}
	refused()
	end(t, p, log)
	refused()
	if got := p.follow(t, as("ann"), "run", mastra.Position{}); len(got) != 1 {
		t.Error(got)
	}
}

// failing is a storage that loses its disk for a while.
type failing struct {
	mastra.Storage
	err error
}

func (f *failing) Commit(ctx context.Context, b *mastra.Batch) error {
	if f.err != nil {
		return f.err
	}
	return f.Storage.Commit(ctx, b)
}

func TestWhatCouldNotBeStoredIsStoredLater(t *testing.T) {
	f := &failing{storage(t), errors.New("no disk")}
	p := newProcess(t, f)
	log := p.Open(t.Context(), p.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 1}})
	log.Append(delta(0))
	log.Hold()
	log.Append(delta(7))
	b, _ := log.Block(true)
	log.Stored(b, f.Commit(t.Context(), &mastra.Batch{Chunks: []mastra.ChunkBlock{*b}}) == nil)
	log.Drop()
	log.Append(delta(1))
	log.Close()
	f.err = nil
	if got := p.follow(t, t.Context(), "run", mastra.Position{}); !slices.Equal(got, want(1, 0, 2)) {
		t.Error(got)
	}
	if err := p.runs.Drain(t.Context()); err != nil { // at the latest now
		t.Fatal(err)
	}
	if got := newProcess(t, f).follow(t, t.Context(), "run", mastra.Position{}); !slices.Equal(got, want(1, 0, 2)) {
		t.Error(got)
	}
}

// A Log lets go of what is stored; a slow reader gets it from there.
func TestALogStaysSmall(t *testing.T) {
	p := newProcess(t, storage(t))
	log := p.Open(t.Context(), p.m, runlog.Origin{RunID: "run", From: mastra.Position{Epoch: 1}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	const total = 20_000
	slow := make(chan int)
	began := make(chan struct{})
	go func() {
		seen := 0
		for c, err := range log.Read(ctx, 0) {
			if err != nil {
				t.Error(err)
				break
			}
			if want := fmt.Sprintf("word%d ", seen); c.Text != want {
				t.Errorf("chunk %d is %q", seen, c.Text)
				break
			}
			if seen++; seen == 1 {
				<-began
			}
		}
		slow <- seen
	}()
	for ; n < total; n++ {
		log.Append(delta(n))
	}
	if kept := log.Kept(); kept > 3000 {
		t.Errorf("%d of %d chunks are kept in memory", kept, total)
	}
	close(began)
	end(t, p, log)
	if seen := <-slow; seen != total {
		t.Errorf("the slow reader saw %d chunks", seen)
	}
}
