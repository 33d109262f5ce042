package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue"
	"mastralambda/shared/queue/sqs"
	"mastralambda/shared/runlog"
	"mastralambda/shared/storage/dynamodb"
	"mastralambda/shared/storage/sqlite"
)

// The chaos tests start processes that carry out runs on one storage, kill them, and look at what is left: each step has one
// result, made by one effect under one idempotency key, and every run ends. A process is this test binary; the variables
// CHAOS_… say what it is to do.

const chaosLease = 500 * time.Millisecond

// effect is the outside world: what is done under a key that was seen before does nothing.
type effect struct{ file *os.File }

func (e *effect) on(ctx context.Context, place string) error {
	_, err := fmt.Fprintf(e.file, "%s %s %s\n", mastra.IdempotencyKey(ctx), mastra.RunID(ctx), place)
	return err
}

// chaotic is a workflow with everything that can be interrupted. Each effect has a place that names step and turn.
func chaotic(e *effect) mastra.Workflow {
	does := func(id string) *mastra.Step {
		return step(id, func(ctx context.Context, n int) (int, error) {
			place := id
			if id == "turn" || id == "again" || strings.HasPrefix(id, "i") { // their input tells the turns apart
				place = fmt.Sprintf("%s(%d)", id, n)
			}
			if err := e.on(ctx, place); err != nil {
				return 0, err
			}
			s, err := mastra.State[tally](ctx)
			if err != nil {
				return 0, err
			}
			if id == "first" || id == "again" || id == "last" { // never two at once
				s.Count++
				if err := mastra.SetState(ctx, s); err != nil {
					return 0, err
				}
			}
			return n + 1, nil
		})
	}
	inner := mastra.NewWorkflow[int, int]("inner").Then(does("i1")).Then(does("i2"))
	return mastra.NewWorkflow[int, int]("chaos").Then(does("first")).
		Parallel(does("left"), does("right")).
		Then(mastra.Map(func(m map[string]int) int { return m["left"] + m["right"] })).
		Then(mastra.NewStep("list", func(ctx context.Context, n int) ([]int, error) { return []int{n, n + 10, n + 20}, e.on(ctx, "list") })).
		ForEach(does("turn"), 2).
		Then(mastra.NewStep("sum", total)).
		Then(mastra.NewPausable("ask", func(ctx context.Context, n int, a *Answer) (int, error) {
			if a == nil {
				return 0, mastra.Suspend(nil)
			}
			return n + a.Add, e.on(ctx, "ask")
		})).
		Sleep(5*time.Millisecond).
		Then(inner).
		Until(does("again"), mastra.Cond(func(n int) bool { return n%4 == 0 })).
		Then(does("last"))
}

// chaosInput of run i, and what comes of it: the result, the count in the state, and the effects.
func chaosInput(i int) int { return i % 7 }

func chaosWant(i int) (result, count int, effects []string) {
	n := chaosInput(i) + 1
	effects = append(effects, "first", "left", "right", "list")
	n = 2 * (n + 1)
	sum := 0
	for _, item := range []int{n, n + 10, n + 20} {
		effects = append(effects, fmt.Sprintf("turn(%d)", item))
		sum += item + 1
	}
	n = sum + 100
	effects = append(effects, "ask", fmt.Sprintf("i1(%d)", n), fmt.Sprintf("i2(%d)", n+1))
	n += 2
	turns := 0
	for {
		effects = append(effects, fmt.Sprintf("again(%d)", n))
		turns++
		if n++; n%4 == 0 {
			break
		}
	}
	return n + 1, turns + 2, append(effects, "last")
}

// world is what the processes of one test share, as it is handed to them.
type world struct {
	dir, storage, queue string // queue is the one that names its place; "" without one
}

func (w world) env() []string {
	return append(os.Environ(), "CHAOS_DIR="+w.dir, "CHAOS_STORAGE="+w.storage, "CHAOS_QUEUE="+w.queue)
}

func (w world) open(ctx context.Context) (mastra.Storage, mastra.Queue, error) {
	var q mastra.Queue
	if p := strings.Fields(w.queue); len(p) == 4 {
		var err error
		if q, err = sqs.OpenPlace(ctx, sqs.Place{URL: p[0], ARN: p[1], DeadURL: p[2], Group: p[3], RoleARN: "arn:aws:iam::000000000000:role/scheduler", Attempts: 1000}); err != nil {
			return nil, nil, err
		}
	}
	if path, ok := strings.CutPrefix(w.storage, "sqlite://"); ok {
		s, err := sqlite.Open(path)
		return s, q, err
	}
	s, err := dynamodb.OpenURL(ctx, w.storage)
	return s, q, err
}

// killing is a storage whose process dies before or after its nth commit of a run.
type killing struct {
	mastra.Storage
	run   string
	n     atomic.Int32
	at    int32
	after bool
}

func (k *killing) Commit(ctx context.Context, b *mastra.Batch) error {
	if len(b.Runs) == 0 || b.Runs[0].Run.ID != k.run {
		return k.Storage.Commit(ctx, b)
	}
	n := k.n.Add(1)
	if n == k.at && !k.after {
		die()
	}
	err := k.Storage.Commit(ctx, b)
	if n == k.at && k.after {
		die()
	}
	return err
}

// briefly hides work for a short time: what a process that was killed had in hand comes again soon.
type briefly struct{ mastra.Queue }

func (b briefly) Receive(ctx context.Context, wait, _ time.Duration) (*mastra.Delivery, error) {
	return b.Queue.Receive(ctx, wait, 2*time.Second)
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// TestChaosProcess is no test but the process that the others start: it carries out the runs CHAOS_FROM to CHAOS_TO, takes
// over what others left behind, and ends when its own runs have ended.
func TestChaosProcess(t *testing.T) {
	if os.Getenv("CHAOS_DIR") == "" {
		t.Skip("it is started by the other tests")
	}
	w := world{os.Getenv("CHAOS_DIR"), os.Getenv("CHAOS_STORAGE"), os.Getenv("CHAOS_QUEUE")}
	from, _ := strconv.Atoi(os.Getenv("CHAOS_FROM"))
	to, _ := strconv.Atoi(os.Getenv("CHAOS_TO"))
	if err := carry(w, from, to, os.Getenv("CHAOS_KILL")); err != nil {
		t.Fatal(err)
	}
}

func carry(w world, from, to int, kill string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, q, err := w.open(ctx)
	if err != nil {
		return err
	}
	if kill != "" {
		when, n, _ := strings.Cut(kill, " ")
		at, _ := strconv.Atoi(n)
		store = &killing{Storage: store, run: fmt.Sprint("run-", from), at: int32(at), after: when == "after"}
	}
	file, err := os.OpenFile(filepath.Join(w.dir, "effects"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	flow := chaotic(&effect{file})
	opts := []engine.Option{engine.Lease(chaosLease, chaosLease/4), engine.Attempts(1000)}
	if q != nil { // the stand-ins take their time
		opts = append(opts, engine.HandOver, engine.Lease(3*chaosLease, chaosLease))
	}
	e := engine.New(runlog.NewSupervisor(log), opts...)
	m, err := mastra.New(mastra.Config{Workflows: []mastra.Workflow{flow}, Backends: mastra.Backends{Storage: store, Engine: e, Queue: q, Logger: log}})
	if err != nil {
		return err
	}
	if q == nil {
		go e.Recover(ctx, m)
	} else { // the worker
		go queue.Consume(ctx, log, briefly{q}, 16, queue.Handlers{mastra.WorkRun: func(ctx context.Context, w mastra.Work) error { return e.Work(ctx, m, w) }}.Handle)
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	errs := make(chan error, to-from)
	for i := from; i < to; i++ {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := oneRun(ctx, m, e, flow, i, q != nil); err != nil {
				errs <- fmt.Errorf("run %d: %w", i, err)
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

// oneRun begins a run, or joins it, answers it, and waits for its end.
func oneRun(ctx context.Context, m *mastra.Mastra, e *engine.Engine, w mastra.Workflow, i int, background bool) error {
	id, answer := fmt.Sprint("run-", i), mastra.JSON(`{"add":100}`)
	call := mastra.WorkflowCall{RunID: id, Input: mastra.JSON(fmt.Sprint(chaosInput(i))), State: mastra.JSON(`{"count":0}`)}
	begin, look := e.Start, 20*time.Millisecond
	if background {
		look = 200 * time.Millisecond
		if i%2 == 0 {
			begin = e.Background
		}
	}
	run, err := begin(ctx, m, w, call)
	for {
		switch {
		case err != nil && mastra.CodeOf(err) != mastra.CodeConflict:
			return err
		case err == nil && run.Status.Ended():
			return nil
		case err == nil && run.Status == mastra.StatusSuspended:
			if background {
				run, err = e.ResumeBackground(ctx, m, w, mastra.WorkflowResume{RunID: id, Data: answer})
			} else {
				run, err = e.Resume(ctx, m, w, mastra.WorkflowResume{RunID: id, Data: answer})
			}
			continue
		}
		time.Sleep(look)
		run, err = m.Storage.Run(ctx, id)
	}
}

// process starts one.
func (w world) process(from, to int, kill string) *exec.Cmd {
	c := exec.Command(os.Args[0], "-test.run=^TestChaosProcess$", "-test.timeout=5m")
	c.Env = append(w.env(), fmt.Sprint("CHAOS_FROM=", from), fmt.Sprint("CHAOS_TO=", to), "CHAOS_KILL="+kill)
	return c
}

// verify looks at what is left.
func (w world) verify(t *testing.T, runs []int) {
	t.Helper()
	ctx := context.Background()
	store, _, err := w.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	keys := map[string]string{}            // of a run and place
	places := map[string]string{}          // of a key
	effects := map[string]map[string]int{} // by run and place: how often it was asked for
	file, err := os.Open(filepath.Join(w.dir, "effects"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	asked := 0
	for s := bufio.NewScanner(file); s.Scan(); asked++ {
		f := strings.Fields(s.Text())
		key, run, place := f[0], f[1], f[2]
		at := run + " " + place
		if known, ok := keys[at]; ok && known != key {
			t.Errorf("%s has two keys", at)
		}
		if known, ok := places[key]; ok && known != at {
			t.Errorf("%s and %s have one key", at, known)
		}
		keys[at], places[key] = key, at
		if effects[run] == nil {
			effects[run] = map[string]int{}
		}
		effects[run][place]++
	}
	for _, i := range runs {
		id := fmt.Sprint("run-", i)
		run, err := store.Run(ctx, id)
		if err != nil {
			t.Errorf("%s is lost: %v", id, err)
			continue
		}
		result, count, want := chaosWant(i)
		if run.Status != mastra.StatusSuccess || string(run.Result) != fmt.Sprint(result) || string(run.State) != fmt.Sprintf(`{"count":%d}`, count) {
			t.Errorf("%s: %s, %s of %d, state %s of %d, %+v", id, run.Status, run.Result, result, run.State, count, run.Error)
		}
		seen := map[string]bool{}
		for _, s := range run.Steps {
			if seen[s.Key] || s.Value.Status != mastra.StatusSuccess {
				t.Errorf("%s: the step %s is there twice, or %s", id, mastra.StepName(s.Key), s.Value.Status)
			}
			seen[s.Key] = true
		}
		if len(effects[id]) != len(want) {
			t.Errorf("%s had %d effects, not %d: %v", id, len(effects[id]), len(want), effects[id])
		}
		for _, place := range want {
			if effects[id][place] == 0 {
				t.Errorf("%s: %s had no effect", id, place)
			}
		}
	}
	t.Logf("%d runs, %d effects, asked for %d times", len(runs), len(keys), asked)
}

// Every boundary: a process dies before and after each commit of a run, others go on.
func TestKilledAtEveryCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	dir := t.TempDir()
	world{dir: dir, storage: "sqlite://" + filepath.Join(dir, "runs.db")}.killAt(t, boundaries(t), 4)
}

// boundaries are the places of a run where a process can be killed.
func boundaries(t *testing.T) (all []string) {
	t.Helper()
	dir := t.TempDir()
	commits := countCommits(t, world{dir: dir, storage: "sqlite://" + filepath.Join(dir, "runs.db")})
	for n := 1; n <= commits; n++ {
		all = append(all, fmt.Sprint("before ", n), fmt.Sprint("after ", n))
	}
	t.Logf("%d commits a run", commits)
	return all
}

// killAt has a run for each boundary, whose process dies there, some at once; then one process ends what is left.
func (w world) killAt(t *testing.T, boundaries []string, atOnce int) {
	t.Helper()
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	var died atomic.Int32
	runs := make([]int, len(boundaries))
	for i, kill := range boundaries {
		runs[i] = i
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if out, err := w.process(i, i+1, kill).CombinedOutput(); err == nil {
				t.Logf("the process that was to die %s did not: %s", kill, out)
			} else {
				died.Add(1)
			}
		})
	}
	all.Wait()
	if int(died.Load()) < len(runs)*9/10 { // a takeover needs fewer commits than there are here
		t.Errorf("%d of %d died", died.Load(), len(runs))
	}
	if out, err := w.process(0, len(runs), "").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.verify(t, runs)
}

// countCommits is how many one run takes.
func countCommits(t *testing.T, w world) int {
	t.Helper()
	store, _, err := w.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counted := &killing{Storage: store, run: "run-0", at: -1}
	file, err := os.OpenFile(filepath.Join(w.dir, "effects"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	supervisor := runlog.NewSupervisor(log)
	e, flow := engine.New(supervisor), chaotic(&effect{file})
	m, err := mastra.New(mastra.Config{Workflows: []mastra.Workflow{flow}, Backends: mastra.Backends{Storage: counted, Engine: e, Logger: log}})
	if err != nil {
		t.Fatal(err)
	}
	if err := oneRun(t.Context(), m, e, flow, 0, false); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	w.verify(t, []int{0})
	return int(counted.n.Load())
}

// storm carries out runs in several processes, and kills one at random again and again until that was often enough.
func (w world) storm(t *testing.T, total, processes, kills int, every time.Duration) {
	t.Helper()
	share := (total + processes - 1) / processes
	var killed atomic.Int32
	var all sync.WaitGroup
	for p := range processes {
		from, to := p*share, min(total, (p+1)*share)
		all.Go(func() {
			for {
				c := w.process(from, to, "")
				var out strings.Builder
				c.Stdout, c.Stderr = &out, &out
				if err := c.Start(); err != nil {
					t.Error(err)
					return
				}
				ended := make(chan error, 1)
				go func() { ended <- c.Wait() }()
				// Always long enough to begin at all, then at any moment.
				timer := time.NewTimer(every/2 + rand.N(every))
				select {
				case err := <-ended:
					timer.Stop()
					if err != nil {
						t.Errorf("a process failed: %v %s", err, out.String())
					}
					return
				case <-timer.C:
				}
				if int(killed.Add(1)) > kills {
					if err := <-ended; err != nil {
						t.Errorf("a process failed: %v %s", err, out.String())
					}
					return
				}
				_ = c.Process.Kill()
				<-ended
			}
		})
	}
	all.Wait()
	runs := make([]int, total)
	for i := range runs {
		runs[i] = i
	}
	w.verify(t, runs)
	t.Logf("%d processes were killed", min(int(killed.Load()), kills))
}

// A thousand runs in four processes, of which one is killed at random all the time.
func TestKilledAtRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	dir := t.TempDir()
	w := world{dir: dir, storage: "sqlite://" + filepath.Join(dir, "runs.db")}
	w.storm(t, 1000, 4, 30, 900*time.Millisecond)
}
