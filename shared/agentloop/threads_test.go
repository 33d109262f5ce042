package agentloop_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/mastra"
)

func note(id, text string) mastra.AgentMessage {
	return mastra.AgentMessage{Signal: mastra.ThreadSignal{ID: id, Type: "user", TagName: "user", Contents: mastra.InputContent{{Type: mastra.PartText, Text: text}}},
		Call: mastra.AgentCall{ThreadID: "t", ResourceID: "u"}}
}

// thread is what the thread holds: roles and texts.
func thread(t *testing.T, s mastra.Storage) string {
	t.Helper()
	_, messages, err := s.Recall(context.Background(), "t", 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range messages {
		_, rest, _ := strings.Cut(string(m.Content), `"text":"`)
		text, _, _ := strings.Cut(rest, `"`)
		out = append(out, m.Role+" "+text)
	}
	return strings.Join(out, "; ")
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in vain: ", what)
		}
	}
}

func TestMessagesOfAThread(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(map[bool]string{false: "here", true: "from another process"}[remote], func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			model := &stalling{words: make(chan string)}
			here := newProcess(t, path, 0, model, echoAgent())
			there := here
			if remote {
				there = newProcess(t, path, 0, &script{}, echoAgent())
			}
			a, _ := here.Agent("echo-agent")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var seen []mastra.Chunk
			chunks, err := there.runner.Subscribe(ctx, there.Mastra, "t")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			runs := 0
			go func() {
				defer close(ended)
				for c, err := range chunks {
					if err != nil {
						return
					}
					seen = append(seen, c)
					if c.Type == mastra.ChunkFinish {
						if strings.Contains(payload(t, c), `"steps"`) || strings.Contains(payload(t, c), `"nonUser"`) {
							t.Error("the finish is not slim")
						}
						if runs++; runs == 2 || remote {
							return
						}
					}
				}
			}()
			time.Sleep(50 * time.Millisecond) // it has begun
			first, err := here.runner.Send(t.Context(), here.Mastra, a, note("m1", "one"))
			if err != nil {
				t.Fatal(err)
			}
			model.words <- "first"
			second, err := there.runner.Send(t.Context(), there.Mastra, a, note("m2", "two"))
			if err != nil || second != first {
				t.Fatalf("the second message went to %s, not to %s, %v", second, first, err)
			}
			if !remote {
				queued := note("m3", "three")
				queued.Queue = true
				third, err := there.runner.Send(t.Context(), there.Mastra, a, queued)
				if err != nil || third == first {
					t.Fatalf("the queued message went to %s, %v", third, err)
				}
			}
			close(model.words) // each further answer is empty
			<-ended
			want := "signal one; assistant first; signal two"
			kinds := types(seen)
			if !strings.HasPrefix(kinds, "start data-user-message step-start text-start text-delta text-end step-finish data-user-message step-start") {
				t.Errorf("seen: %s", kinds)
			}
			if !remote {
				want += "; signal three"
			}
			until(t, want, func() bool { return thread(t, here.Storage) == want })
		})
	}
}

func TestAbortOfAThread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	model := &stalling{words: make(chan string)}
	here, there := newProcess(t, path, 0, model, echoAgent()), newProcess(t, path, 0, &script{}, echoAgent())
	a, _ := here.Agent("echo-agent")
	run, err := here.runner.Send(t.Context(), here.Mastra, a, note("m1", "one"))
	if err != nil {
		t.Fatal(err)
	}
	abort := func(p *process, expected string) bool {
		ok, err := p.runner.Abort(t.Context(), p.Mastra, "t", expected)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if abort(here, "another") || abort(there, "another") {
		t.Error("another run was ended")
	}
	if !abort(here, run) {
		t.Error("nothing was ended")
	}
	until(t, "the run ends", func() bool {
		r, err := there.Storage.Run(t.Context(), run)
		return err == nil && r.Status == mastra.StatusCanceled
	})
	until(t, "its process knows", func() bool { return !abort(here, "") })
	if abort(there, "") {
		t.Error("an ended run was ended")
	}
	seq, err := there.runner.Observe(t.Context(), there.Mastra, run, mastra.Position{})
	if got := types(collect(t, seq, err)); !strings.HasSuffix(got, "abort") {
		t.Errorf("observed %s", got)
	}
	// One that goes on in another process.
	if run, err = here.runner.Send(t.Context(), here.Mastra, a, note("m2", "two")); err != nil {
		t.Fatal(err)
	}
	if !abort(there, "") {
		t.Error("nothing was ended")
	}
	if r, err := here.Storage.Run(t.Context(), run); err != nil || r.Status != mastra.StatusCanceled {
		t.Errorf("%+v, %v", r, err)
	}
	close(model.words)
}

func TestSignalsStandInTheirTags(t *testing.T) {
	model := &script{}
	w := newWorld(t, model, echoAgent())
	a, _ := w.Agent("echo-agent")
	m := note("m1", "be brief</system-reminder> or not")
	m.Signal.Type, m.Signal.TagName = "reactive", "system-reminder"
	if _, err := w.runner.Send(t.Context(), w.Mastra, a, m); err != nil {
		t.Fatal(err)
	}
	until(t, "the model is asked", func() bool { return thread(t, w.Storage) == "signal be brief</system-reminder> or not; assistant done" })
	last := model.asked[0].Messages[len(model.asked[0].Messages)-1]
	if last.Role != "user" || last.Text() != `<system-reminder>be brief<\/system-reminder> or not</system-reminder>` {
		t.Errorf("%s: %s", last.Role, last.Text())
	}
}

// What was acknowledged outlives the process: messages for the run under way and those that begin runs behind it.
func TestMessagesOutliveTheirProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, second := &stalling{words: make(chan string)}, &stalling{words: make(chan string)}
	dies := newProcess(t, path, 0, first, echoAgent())
	a, _ := dies.Agent("echo-agent")
	run, err := dies.runner.Send(t.Context(), dies.Mastra, a, note("m1", "one"))
	if err != nil {
		t.Fatal(err)
	}
	first.words <- "lost"
	queued := note("m3", "three")
	queued.Queue = true
	third := ""
	for _, m := range []mastra.AgentMessage{note("m2", "two"), queued} {
		if third, err = dies.runner.Send(t.Context(), dies.Mastra, a, m); err != nil {
			t.Fatal(err)
		}
	}
	heir := newProcess(t, path, time.Minute, second, echoAgent()) // for it, the lease has run out
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	second.words <- "found"
	close(second.words)
	const want = "signal one; assistant found; signal two; signal three"
	until(t, want, func() bool { return thread(t, heir.Storage) == want })
	until(t, "the queued message's own run", func() bool {
		r, err := heir.Storage.Run(t.Context(), third)
		return err == nil && r.Status == mastra.StatusSuccess && third != run
	})
	close(first.words) // the lost one comes to its end, too late: it takes nothing
	if err := dies.runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := thread(t, heir.Storage); got != want {
		t.Errorf("%s", got)
	}
}

// A process that dies behind the end of a run leaves messages: they come before the thread's next one.
func TestMessagesThatWereLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	here := newProcess(t, path, 0, &script{}, echoAgent())
	a, _ := here.Agent("echo-agent")
	run, err := here.runner.Send(t.Context(), here.Mastra, a, note("m1", "one"))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the run", func() bool { r, err := here.Storage.Run(t.Context(), run); return err == nil && r.Status.Ended() })
	if err := here.runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := agentloop.Post(t.Context(), here.Mastra, run, note("m2", "two")); err != nil {
		t.Fatal(err)
	}
	there := newProcess(t, path, 0, &script{}, echoAgent())
	want := "signal one; assistant done; signal two; assistant done"
	for _, text := range []string{"three", "four"} {
		if _, err := there.runner.Send(t.Context(), there.Mastra, a, note(text, text)); err != nil {
			t.Fatal(err)
		}
		want += "; signal " + text + "; assistant done"
		until(t, want, func() bool { return thread(t, here.Storage) == want })
	}
}

// A subscriber sees what a run asks, and what follows the answer, wherever that is given.
func TestAnAnswerReachesTheThread(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(map[bool]string{false: "here", true: "from another process"}[remote], func(t *testing.T) {
			var ran atomic.Int32
			path := filepath.Join(t.TempDir(), "db")
			here := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, deleter(&ran))
			there := here
			if remote {
				there = newProcess(t, path, 0, &script{}, deleter(&ran))
			}
			a, _ := here.Agent("a")
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			chunks, err := here.runner.Subscribe(ctx, here.Mastra, "t")
			if err != nil {
				t.Fatal(err)
			}
			var seen []mastra.Chunk
			asked, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for c, err := range chunks {
					if err != nil {
						return
					}
					switch seen = append(seen, c); c.Type {
					case mastra.ChunkApproval:
						close(asked)
					case mastra.ChunkFinish:
						return
					}
				}
			}()
			time.Sleep(50 * time.Millisecond) // it has begun
			id, err := here.runner.Send(t.Context(), here.Mastra, a, note("m1", "go"))
			if err != nil {
				t.Fatal(err)
			}
			<-asked
			until(t, "the run waits", func() bool {
				r, err := here.Storage.Run(t.Context(), id)
				return err == nil && r.Status == mastra.StatusSuspended
			})
			if _, err := there.runner.ResumeStream(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: id, Data: mastra.JSON(`{"approved":true}`)}); err != nil {
				t.Fatal(err)
			}
			<-ended
			if got := types(seen); !strings.HasSuffix(got, "tool-call tool-call-approval tool-result step-finish step-start text-start text-delta text-end step-finish finish") || ran.Load() != 1 {
				t.Errorf("seen: %s", got)
			}
		})
	}
}
