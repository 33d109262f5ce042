package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
)

// The crashing workflow notes each beginning of a step in a file, and dies in the step that CRASH_AT names.
func crashing(dir string) mastra.Workflow {
	note := func(id string) *mastra.Step {
		return step(id, func(_ context.Context, n int) (int, error) {
			f, err := os.OpenFile(filepath.Join(dir, "effects"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return 0, err
			}
			defer f.Close()
			name := id
			if id == "turn" || id == "again" {
				name = fmt.Sprintf("%s%d", id, n)
			}
			if _, err := fmt.Fprintln(f, name); err != nil {
				return 0, err
			}
			if os.Getenv("CRASH_AT") == name {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return n + 1, nil
		})
	}
	inner := mastra.NewWorkflow[int, int]("inner").Then(note("i1")).Then(note("i2"))
	return mastra.NewWorkflow[int, int]("w").Then(note("a")).Then(note("b")).
		Then(mastra.NewStep("list", func(_ context.Context, n int) ([]int, error) { return []int{n, n + 1, n + 2}, nil })).ForEach(note("turn"), 1).
		Then(mastra.NewStep("sum", total)).Then(inner).Until(note("again"), mastra.Cond(func(n int) bool { return n >= 20 })).Then(note("z"))
}

const crashLease = 400 * time.Millisecond

func TestCrash(t *testing.T) {
	if dir := os.Getenv("CRASH_DIR"); dir != "" { // the child
		w := crashing(dir)
		p := open(t, filepath.Join(dir, "runs.db"), []mastra.Workflow{w}, engine.Lease(crashLease, crashLease/4))
		p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1"), Tracing: mastra.TracingOptions{Tags: []string{"kept"}}})
		t.Fatal("it should have died")
	}
	all := []string{"a", "b", "turn3", "turn4", "turn5", "i1", "i2", "again17", "again18", "again19", "z"}
	for _, at := range all {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run=^TestCrash$")
			child.Env = append(os.Environ(), "CRASH_DIR="+dir, "CRASH_AT="+at)
			if out, err := child.CombinedOutput(); child.ProcessState.ExitCode() != -1 {
				t.Fatalf("the child did not die: %v %s", err, out)
			}
			w := crashing(dir)
			p := open(t, filepath.Join(dir, "runs.db"), []mastra.Workflow{w}, engine.Lease(crashLease, crashLease/4))
			ctx, cancel := context.WithCancel(context.Background())
			recovered := make(chan struct{})
			go func() { defer close(recovered); p.engine.Recover(ctx, p.Mastra) }()
			run := start(t, p, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")}) // joins what is taken over
			cancel()
			<-recovered
			if run.Status != mastra.StatusSuccess || string(run.Result) != "21" {
				t.Errorf("%s %s %+v", run.Status, run.Result, run.Error)
			}
			effects, err := os.ReadFile(filepath.Join(dir, "effects"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range all {
				want := 1
				if name == at {
					want = 2 // it was interrupted: it may have had its effect
				}
				if n := bytes.Count(effects, []byte(name+"\n")); n != want {
					t.Errorf("%s ran %d times, not %d", name, n, want)
				}
			}
			keys := map[string]bool{}
			for _, s := range run.Steps {
				if keys[s.Key] || s.Value.Status != mastra.StatusSuccess {
					t.Errorf("%s is there twice, or %s", mastra.StepName(s.Key), s.Value.Status)
				}
				keys[s.Key] = true
			}
			trace, err := p.store.Trace(context.Background(), run.TraceID)
			if err != nil || len(trace[0].Tags) != 1 {
				t.Fatalf("%v %+v", err, trace)
			}
			spans := map[string]bool{}
			for _, s := range trace {
				spans[s.Name] = true
			}
			for _, name := range []string{"a", "b", "sum", "inner", "z"} {
				if !spans["workflow step: '"+name+"'"] {
					t.Errorf("the trace lacks step %s", name)
				}
			}
		})
	}
}

// blocking is a workflow whose second step waits to be let go, or for its context.
func blocking() (w mastra.Workflow, began chan struct{}, release chan struct{}) {
	began, release = make(chan struct{}, 10), make(chan struct{})
	return mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("block", func(ctx context.Context, n int) (int, error) {
		began <- struct{}{}
		select {
		case <-release:
			return n, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})).Then(step("b", inc)), began, release
}

func TestClientGone(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := p.engine.Start(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
		gone <- err
	}()
	<-began
	cancel()
	if err := <-gone; err != context.Canceled {
		t.Error(err)
	}
	close(release)
	if run := start(t, p, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON(" 1 ")}); run.Status != mastra.StatusSuccess || len(began) > 0 {
		t.Errorf("%+v", run)
	}
}

func TestCancel(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	defer close(release)
	for name, by := range map[string]*process{"here": p, "in another process": other} {
		t.Run(name, func(t *testing.T) {
			synchronous := make(chan *mastra.Run)
			go func() {
				run, err := p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{RunID: name, Input: mastra.JSON("1")})
				if err != nil {
					t.Error(err)
				}
				synchronous <- run
			}()
			<-began
			if err := by.engine.Cancel(context.Background(), by.Mastra, w, name); err != nil {
				t.Fatal(err)
			}
			stored, err := p.store.Run(context.Background(), name)
			if err != nil || stored.Status != mastra.StatusCanceled {
				t.Errorf("%v %+v", err, stored)
			}
			if err := by.engine.Cancel(context.Background(), by.Mastra, w, name); mastra.CodeOf(err) != mastra.CodeConflict {
				t.Errorf("cancelled twice: %v", err)
			}
			if by == other { // the owner sees it at its next checkpoint, or heartbeat
				release <- struct{}{}
			}
			if run := <-synchronous; run.Status != mastra.StatusCanceled || strings.Contains(names(run), "b ") {
				t.Errorf("%+v", run)
			}
		})
	}
	pending, err := p.engine.Create(context.Background(), p.Mastra, w, mastra.WorkflowCall{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.engine.Cancel(context.Background(), p.Mastra, w, pending.ID); err != nil {
		t.Error(err)
	}
	if _, err := p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{RunID: pending.ID, Input: mastra.JSON("1")}); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Errorf("a cancelled run starts: %v", err)
	}
}

// A process that lost its lease without noticing cannot write any more.
func TestTakenOver(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	first := make(chan *mastra.Run)
	go func() {
		run, err := p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{RunID: "run", Input: mastra.JSON("1")})
		if err != nil {
			t.Error(err)
		}
		first <- run
	}()
	<-began
	run, err := p.store.Run(context.Background(), "run")
	if err != nil {
		t.Fatal(err)
	}
	run.LeaseUntil, run.Steps = 1, nil // as if it had run out
	if err := p.store.Commit(context.Background(), &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *run}}}); err != nil {
		t.Fatal(err)
	}
	if err := other.engine.TakeOver(context.Background(), other.Mastra); err != nil {
		t.Fatal(err)
	}
	<-began // the interrupted step runs again
	close(release)
	got := <-first // it answers with what the other process did
	if got.Status != mastra.StatusSuccess || got.Fence != 2 {
		t.Errorf("%+v", got)
	}
}

func TestCannotGoOn(t *testing.T) {
	old := mastra.NewWorkflow[int, int]("w").Then(ask("ask")).Then(step("b", inc))
	p := inNewFile(t, old)
	suspended := start(t, p, old, mastra.WorkflowCall{Input: mastra.JSON("1")})
	abandon := func(id string) {
		graph, _ := old.Graph().JSON()
		if err := p.store.Commit(context.Background(), &mastra.Batch{Runs: []mastra.RunUpdate{{Create: true, Run: mastra.Run{ID: id, WorkflowID: "w", Status: mastra.StatusRunning, Graph: graph, Input: mastra.JSON("1"), Owner: "gone", LeaseUntil: 1, Fence: 1}}}}); err != nil {
			t.Fatal(err)
		}
	}
	changed := mastra.NewWorkflow[int, int]("w").Then(ask("ask")).Then(step("c", inc))
	for name, workflows := range map[string][]mastra.Workflow{"changed": {changed}, "gone": nil} {
		abandon(name)
		now := open(t, p.path, workflows)
		if err := now.engine.TakeOver(context.Background(), now.Mastra); err != nil {
			t.Fatal(err)
		}
		run, err := p.store.Run(context.Background(), name)
		if err != nil || run.Status != mastra.StatusFailed || !strings.Contains(run.Error.Message, "cannot go on") {
			t.Errorf("%s: %v %+v", name, err, run)
		}
	}
	now := open(t, p.path, []mastra.Workflow{changed})
	if _, err := now.engine.Resume(context.Background(), now.Mastra, changed, mastra.WorkflowResume{RunID: suspended.ID, Data: mastra.JSON(`{"add":1}`)}); mastra.CodeOf(err) != mastra.CodeConflict {
		t.Error(err)
	}
}

func TestDrain(t *testing.T) {
	w, began, release := blocking()
	p := inNewFile(t, w)
	other := open(t, p.path, []mastra.Workflow{w})
	ctx := context.Background()
	for _, id := range []string{"yields", "cut off"} {
		if _, err := p.engine.Background(ctx, p.Mastra, w, mastra.WorkflowCall{RunID: id, Input: mastra.JSON("1")}); err != nil {
			t.Fatal(err)
		}
	}
	<-began
	<-began
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	drained := make(chan error)
	go func() { drained <- p.engine.Drain(short) }()
	release <- struct{}{} // one may finish its step
	if err := <-drained; err != context.DeadlineExceeded {
		t.Error(err)
	}
	if _, err := p.engine.Start(ctx, p.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1")}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("it begins: %v", err)
	}
	close(release)
	if err := other.engine.TakeOver(ctx, other.Mastra); err != nil { // at once: no lease has to run out
		t.Fatal(err)
	}
	for _, id := range []string{"yields", "cut off"} {
		if run := start(t, other, w, mastra.WorkflowCall{RunID: id, Input: mastra.JSON("1")}); run.Status != mastra.StatusSuccess || string(run.Result) != "3" {
			t.Errorf("%+v", run)
		}
	}
	if len(began) != 1 {
		t.Errorf("%d steps ran again, not 1", len(began))
	}
}

// A run that sleeps for an hour keeps its lease, and nobody takes it over meanwhile.
func TestLongSleep(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := mastra.NewWorkflow[int, int]("w").Sleep(time.Hour).Then(step("b", inc))
		p := open(t, filepath.Join(dir, "runs.db"), []mastra.Workflow{w})
		other := open(t, filepath.Join(dir, "runs.db"), []mastra.Workflow{w})
		ctx, cancel := context.WithCancel(context.Background())
		recovered := make(chan struct{})
		go func() { defer close(recovered); other.engine.Recover(ctx, other.Mastra) }()
		begin := time.Now()
		run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
		if time.Since(begin) < time.Hour || run.Status != mastra.StatusSuccess || run.Fence != 1 {
			t.Errorf("%s %+v", time.Since(begin), run)
		}
		cancel()
		<-recovered
	})
}

// Three steps are four commits: the run, two checkpoints, the end.
func TestCommits(t *testing.T) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("b", double)).Then(step("c", inc))
	p := inNewFile(t, w)
	counted := &counter{Storage: p.store}
	p.Mastra.Storage = counted
	start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON("1")})
	if len(counted.batches) != 4 {
		t.Errorf("%d commits", len(counted.batches))
	}
	for i, b := range counted.batches {
		if spans := len(b.Spans); (i < 3) != (spans == 0) || len(b.Runs) != 1 || len(b.Runs[0].Run.Steps) > 2 {
			t.Errorf("commit %d: %d spans, %+v", i, spans, b.Runs)
		}
	}
}

type counter struct {
	mastra.Storage
	batches []*mastra.Batch
}

func (c *counter) Commit(ctx context.Context, b *mastra.Batch) error {
	c.batches = append(c.batches, b)
	return c.Storage.Commit(ctx, b)
}
