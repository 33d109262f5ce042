package agentloop_test

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/dynamodb"
)

// patient is a model that answers each call with "done" once it is allowed to.
type patient struct{ may chan struct{} }

func (patient) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "patient", Version: "v2"}
}

func (p patient) Stream(ctx context.Context, _ *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		select {
		case <-p.may:
		case <-ctx.Done():
			yield(mastra.ModelPart{}, ctx.Err())
			return
		}
		for _, part := range said("done") {
			if !yield(part, nil) {
				return
			}
		}
	}
}

// onBoth runs f with two processes over each storage; both ask the same model.
func onBoth(t *testing.T, model mastra.LanguageModel, a *mastra.Agent, f func(t *testing.T, here, there *process)) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "db")
		f(t, newProcess(t, path, 0, model, a), newProcess(t, path, 0, model, a))
	})
	t.Run("dynamodb", func(t *testing.T) {
		endpoint, name := services.DynamoDB(t), "agentloop-"+mastra.NewID()
		cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
		names, err := dynamodb.ParseURL(fmt.Sprintf("dynamodb://?threads=%s-t&runs=%s-r&observability=%s-o", name, name, name))
		if err != nil {
			t.Fatal(err)
		}
		store := dynamodb.Open(cfg, names)
		if err := store.CreateTables(t.Context()); err != nil {
			t.Fatal(err)
		}
		f(t, processOn(t, store, time.Now, model, a), processOn(t, dynamodb.Open(cfg, names), time.Now, model, a))
	})
}

// Of messages that come to one thread at once, in different processes, one begins a run and the others join it.
func TestMessagesAtOnceMakeOneRun(t *testing.T) {
	model := patient{make(chan struct{})}
	onBoth(t, model, echoAgent(), func(t *testing.T, here, there *process) {
		a, _ := here.Agent("echo-agent")
		send := func(p *process, thread, id string, queue bool) (string, error) {
			m := note(id, id)
			m.Call.ThreadID, m.Queue = thread, queue
			return p.runner.Send(t.Context(), p.Mastra, a, m)
		}
		for round := range 5 {
			thread := fmt.Sprintf("%s-%d", t.Name(), round)
			var runs [6]string
			var all sync.WaitGroup
			for i := range runs {
				p := []*process{here, there}[i%2]
				all.Go(func() {
					var err error
					if runs[i], err = send(p, thread, fmt.Sprintf("%s-m%d", thread, i), false); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for _, id := range runs {
				if id != runs[0] {
					t.Fatalf("round %d: the messages went to %v", round, runs)
				}
			}
			queued, err := send(there, thread, thread+"-q", true)
			if err != nil || queued == runs[0] {
				t.Fatalf("the queued message went to %s, %v", queued, err)
			}
			stop := make(chan struct{})
			var answers sync.WaitGroup
			answers.Go(func() {
				for {
					select {
					case model.may <- struct{}{}:
					case <-stop:
						return
					}
				}
			})
			until(t, "the end of both runs", func() bool {
				r, err := here.Storage.Run(t.Context(), queued)
				return err == nil && r.Status == mastra.StatusSuccess
			})
			close(stop)
			answers.Wait()
			_, messages, err := here.Storage.Recall(t.Context(), thread, 100)
			if err != nil {
				t.Fatal(err)
			}
			held := map[string]int{}
			for _, m := range messages {
				if m.Role == "signal" {
					held[strings.TrimPrefix(m.ID, thread)]++
				}
			}
			for _, id := range []string{"-m0", "-m1", "-m2", "-m3", "-m4", "-m5", "-q"} {
				if held[id] != 1 {
					t.Errorf("round %d: message %s is there %d times", round, id, held[id])
				}
			}
			page, err := here.Storage.Runs(t.Context(), mastra.RunQuery{WorkflowID: mastra.AgentRuns + a.ID, Paging: mastra.Paging{PerPage: 100}})
			if err != nil || len(page.Items) != 2*(round+1) {
				t.Fatalf("round %d: %d runs, %v", round, len(page.Items), err)
			}
		}
	})
}

// Messages that wait for runs of their own outlive the process that has them, also where the first of them was begun already.
func TestWaitingMessagesAreHandedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, second := patient{make(chan struct{})}, patient{make(chan struct{})}
	dies := newProcess(t, path, 0, first, echoAgent())
	a, _ := dies.Agent("echo-agent")
	last := ""
	for _, id := range []string{"m1", "m2", "m3"} {
		m := note(id, id)
		m.Queue = id != "m1"
		var err error
		if last, err = dies.runner.Send(t.Context(), dies.Mastra, a, m); err != nil {
			t.Fatal(err)
		}
	}
	first.may <- struct{}{} // then m2 begins its run
	until(t, "the second run", func() bool { return strings.Contains(thread(t, dies.Storage), "m2") })
	heir := newProcess(t, path, time.Minute, second, echoAgent())
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	close(second.may)
	until(t, "the third run", func() bool {
		r, err := heir.Storage.Run(t.Context(), last)
		return err == nil && r.Status == mastra.StatusSuccess
	})
	close(first.may)
}
