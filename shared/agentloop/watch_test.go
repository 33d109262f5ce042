package agentloop_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// asking is an agent whose tool, once approved, waits to be let go.
func asking(began, release chan struct{}) *mastra.Agent {
	return &mastra.Agent{ID: "a", Name: "A", Tools: []mastra.Callable{mastra.NewTool("delete", "", func(_ context.Context, in nameIn) (string, error) {
		began <- struct{}{}
		<-release
		return "deleted " + in.Name, nil
	}).WithApproval()}}
}

// told is a queue that notes what is sent, and how the run stood then.
type told struct {
	mastra.Queue
	store    mastra.Storage
	mu       sync.Mutex
	statuses []mastra.RunStatus
	broken   bool
}

func (q *told) Send(ctx context.Context, w mastra.Work) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken {
		return fmt.Errorf("no queue today")
	}
	var status mastra.RunStatus
	if r, err := q.store.Run(ctx, w.ID); err == nil {
		status = r.Status
	}
	q.statuses = append(q.statuses, status)
	return nil
}

// Where nobody sweeps, a message is there before a run is answered, and the run keeps its lease however the answer is waited for.
func TestAnAnsweredRunIsLookedAfter(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	p := newProcess(t, filepath.Join(t.TempDir(), "db"), 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, asking(began, release))
	q := &told{store: p.Storage}
	p.Queue = q
	a, _ := p.Agent("a")
	if _, err := p.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("delete x"), RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := p.runner.Resume(t.Context(), p.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)})
		done <- err
	}()
	<-began
	if len(q.statuses) != 1 || q.statuses[0] != mastra.StatusSuspended {
		t.Errorf("%v", q.statuses)
	}
	stored, err := p.Storage.Run(t.Context(), "run")
	if err != nil || stored.Status != mastra.StatusRunning {
		t.Fatalf("%+v %v", stored, err)
	}
	if err := p.runner.TakeOver(t.Context(), p.Mastra, stored); !errors.As(err, new(*mastra.Again)) {
		t.Errorf("what runs here is taken over: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The message by which a run was taken over stays until another one is there, or somebody else has the run.
func TestATakeoversMessageStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	began, release := make(chan struct{}, 2), make(chan struct{})
	lost := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, asking(began, release))
	heir := newProcess(t, path, time.Minute, &script{}, asking(began, release))
	heir.Queue = &told{store: heir.Storage, broken: true}
	a, _ := lost.Agent("a")
	if _, err := lost.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("delete x"), RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	if _, err := lost.runner.ResumeStream(t.Context(), lost.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)}); err != nil {
		t.Fatal(err)
	}
	<-began
	stored, err := lost.Storage.Run(t.Context(), "run")
	if err != nil {
		t.Fatal(err)
	}
	early := newProcess(t, path, 0, &script{}, asking(began, release))
	for who, p := range map[string]*process{"one that is too early": early, "one whose queue takes nothing": heir} {
		if err := p.runner.TakeOver(t.Context(), p.Mastra, stored); !errors.As(err, new(*mastra.Again)) {
			t.Errorf("%s: %v", who, err)
		}
	}
	close(release)
}

// sent is a queue that takes work and keeps it.
type sent struct {
	mastra.Queue
	mu  sync.Mutex
	all []mastra.Work
}

func (q *sent) Send(_ context.Context, w mastra.Work) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = append(q.all, w)
	return nil
}

// An invocation's time is over in the middle of a stream: the stream says where it goes on, the run is handed over, and
// whoever works on the queue goes on with it.
func TestAnInvocationEndsBeforeItsStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, second := &stalling{words: make(chan string)}, &stalling{words: make(chan string)}
	ends, worker := newProcess(t, path, 0, first, echoAgent()), newProcess(t, path, 0, second, echoAgent())
	queue := &sent{}
	ends.Queue, worker.Queue = queue, queue
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	a, _ := ends.Agent("echo-agent")
	chunks, err := ends.runner.Stream(ctx, ends.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("hello"), ThreadID: "t", ResourceID: "u", RunID: "run"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { first.words <- "half" }()
	begun := collect(t, chunks, nil)
	if got := types(begun); got != "start step-start text-start text-delta goes-on" || !strings.HasSuffix(payload(t, begun[4]), `"payload":{"at":"observe"}}`) {
		t.Errorf("%s: %s", got, payload(t, begun[len(begun)-1]))
	}
	if err := ends.runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	queue.mu.Lock()
	last := queue.all[len(queue.all)-1]
	queue.mu.Unlock()
	if last.Kind != mastra.WorkRun || last.ID != "run" || last.At > mastra.TimeOf(time.Now()) {
		t.Fatalf("%+v", queue.all)
	}
	if err := worker.engine.Work(t.Context(), worker.Mastra, last); err != nil {
		t.Fatal(err)
	}
	second.words <- "whole"
	close(second.words)
	seq, err := ends.runner.Observe(t.Context(), ends.Mastra, "run", begun[3].At)
	if got := types(collect(t, seq, err)); got != "epoch step-start text-start text-delta text-end step-finish finish" {
		t.Errorf("%s", got)
	}
}
