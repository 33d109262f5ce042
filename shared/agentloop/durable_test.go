package agentloop_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/storage/sqlite"
)

// process is one of several that share a database.
type process struct {
	*world
	engine *engine.Engine
}

// newProcess opens the database anew, as another process does, with its clock ahead.
func newProcess(t *testing.T, path string, ahead time.Duration, model mastra.LanguageModel, agents ...*mastra.Agent) *process {
	t.Helper()
	now := func() time.Time { return time.Now().Add(ahead) }
	store, err := sqlite.Open(path, sqlite.Clock(now))
	if err != nil {
		t.Fatal(err)
	}
	return processOn(t, store, now, model, agents...)
}

func processOn(t *testing.T, store mastra.Storage, now func() time.Time, model mastra.LanguageModel, agents ...*mastra.Agent) *process {
	t.Helper()
	var err error
	quiet := slog.New(slog.DiscardHandler)
	w := &world{runs: runlog.NewSupervisor(quiet)}
	w.runner = agentloop.New(w.runs)
	e := engine.New(w.runs)
	w.Mastra, err = mastra.New(mastra.Config{Agents: agents, Backends: mastra.Backends{Agents: w.runner, Engine: e, Storage: store, Logger: quiet, Now: now,
		Models: func(string) (mastra.LanguageModel, error) { return model, nil }}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.runs.Drain(ctx)
		store.Close()
	})
	return &process{w, e}
}

func collect(t *testing.T, chunks iter.Seq2[mastra.Chunk, error], err error) []mastra.Chunk {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var all []mastra.Chunk
	for c, err := range chunks {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func payload(t *testing.T, c mastra.Chunk) string {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// deleter is an agent whose one tool needs approval, and counts.
func deleter(ran *atomic.Int32) *mastra.Agent {
	return &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 10}, Tools: []mastra.Callable{
		mastra.NewTool("delete", "", func(_ context.Context, in nameIn) (string, error) { ran.Add(1); return "deleted " + in.Name, nil }).WithApproval(),
		calculatorTool(),
	}}
}

func TestAPersonIsAsked(t *testing.T) {
	for _, approve := range []bool{true, false} {
		t.Run(fmt.Sprint(approve), func(t *testing.T) {
			var ran atomic.Int32
			path := filepath.Join(t.TempDir(), "db")
			begin := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`, "calculatorTool", `{"op":"add","a":1,"b":2}`)}}, deleter(&ran))
			other := &script{} // in another process the model only sees what follows
			there := newProcess(t, path, 0, other, deleter(&ran))
			a, _ := begin.Agent("a")
			chunks, err := begin.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("delete x"), ThreadID: "t", ResourceID: "ann", RunID: "run"})
			if err != nil || types(chunks) != "start step-start tool-call tool-call tool-result tool-call-approval" {
				t.Fatalf("%s, %v", types(chunks), err)
			}
			if ran.Load() != 0 {
				t.Fatal("the tool ran without approval")
			}
			stored, err := there.Storage.Run(t.Context(), "run")
			if err != nil || stored.Status != mastra.StatusSuspended || stored.ResourceID != "ann" || !strings.Contains(string(stored.Result), `"toolCallId":"c0"`) {
				t.Fatalf("%+v, %v", stored, err)
			}
			_, messages, err := there.Storage.Recall(t.Context(), "t", 10)
			if err != nil || len(messages) != 2 || !strings.Contains(string(messages[1].Content), `"pendingToolApprovals":{"c0":{`) {
				t.Fatalf("%s, %v", messages, err)
			}
			answer := mastra.AgentResume{RunID: "run", ToolCallID: "c0", Data: mastra.JSON(fmt.Sprintf(`{"approved":%t,"reason":"not now"}`, approve))}
			seq, err := there.runner.ResumeStream(t.Context(), there.Mastra, a, answer)
			rest := collect(t, seq, err)
			outcome, told := "tool-result", `"deleted x"`
			if !approve {
				outcome, told = "tool-output-denied", "not now"
			}
			if types(rest) != outcome+" step-finish step-start text-start text-delta text-end step-finish finish" || !strings.Contains(payload(t, rest[0]), told) {
				t.Errorf("%s: %s", types(rest), payload(t, rest[0]))
			}
			if last := other.asked[0].Messages; !strings.Contains(string(last[len(last)-1].Parts[0].Output), told) || len(last[len(last)-1].Parts) != 2 {
				t.Errorf("the model was told %+v", last[len(last)-1])
			}
			if want := map[bool]int32{true: 1}[approve]; ran.Load() != want {
				t.Errorf("the tool ran %d times", ran.Load())
			}
			// The stream is one, wherever it is read.
			seq, err = begin.runner.Observe(t.Context(), begin.Mastra, "run", mastra.Position{})
			all := collect(t, seq, err)
			if types(all) != types(chunks)+" "+types(rest) || all[6].At.Seq != 7 || all[6].At.Epoch != all[5].At.Epoch {
				t.Errorf("observed: %s, the seventh at %v", types(all), all[6].At)
			}
			_, messages, _ = there.Storage.Recall(t.Context(), "t", 10)
			if len(messages) != 2 || strings.Contains(string(messages[1].Content), "pendingToolApprovals") || !strings.Contains(string(messages[1].Content), fmt.Sprintf(`"approval":{"id":"c0","approved":%t`, approve)) {
				t.Errorf("%s", messages)
			}
			for _, p := range []*process{begin, there} {
				if _, err := p.runner.ResumeStream(t.Context(), p.Mastra, a, answer); mastra.CodeOf(err) != mastra.CodeConflict {
					t.Errorf("answered twice: %v", err)
				}
			}
		})
	}
}

func TestOneAnswerWins(t *testing.T) {
	var ran atomic.Int32
	path := filepath.Join(t.TempDir(), "db")
	var all []*process
	for range 3 {
		all = append(all, newProcess(t, path, 0, &script{}, deleter(&ran)))
	}
	begin := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, deleter(&ran))
	r, err := begin.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run"})
	if err != nil || r.FinishReason != mastra.FinishSuspended || !strings.Contains(string(r.SuspendPayload), `"toolName":"delete"`) {
		t.Fatalf("%+v, %v", r, err)
	}
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		p := all[i%3]
		wg.Go(func() {
			a, _ := p.Agent("a")
			r, err := p.runner.Resume(t.Context(), p.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)})
			switch {
			case err == nil && r.Text == "done":
				won.Add(1)
			case mastra.CodeOf(err) == mastra.CodeConflict:
				lost.Add(1)
			default:
				t.Error(r, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 11 || ran.Load() != 1 {
		t.Errorf("%d won, %d lost, the tool ran %d times", won.Load(), lost.Load(), ran.Load())
	}
}

func TestEveryToolOnRequest(t *testing.T) {
	w := newWorld(t, &script{steps: [][]mastra.ModelPart{asks("calculatorTool", `{"op":"add","a":1,"b":2}`)}}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}})
	chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Approve: true})
	if err != nil || types(chunks) != "start step-start tool-call tool-call-approval" {
		t.Errorf("%s, %v", types(chunks), err)
	}
}

type question struct {
	Question string `json:"question"`
}

type colour struct {
	Colour string `json:"colour" minLength:"1"`
}

// painter has a tool that asks for a colour.
func painter() *mastra.Agent {
	return &mastra.Agent{ID: "a", Name: "A", Tools: []mastra.Callable{
		mastra.NewPausableTool("paint", "", func(_ context.Context, in nameIn, answer *colour) (string, error) {
			if answer == nil {
				return "", mastra.Suspend(question{"which colour for " + in.Name + "?"})
			}
			return in.Name + " is " + answer.Colour, nil
		})}}
}

func TestAToolThatWaits(t *testing.T) {
	w := newWorld(t, &script{steps: [][]mastra.ModelPart{asks("paint", `{"name":"door"}`, "paint", `{"name":"wall"}`)}}, painter())
	chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run"})
	if err != nil || types(chunks) != "start step-start tool-call tool-call tool-call-suspended tool-call-suspended" {
		t.Fatalf("%s, %v", types(chunks), err)
	}
	if got := payload(t, chunks[4]); !strings.Contains(got, `"suspendPayload":{"question":"which colour for door?"}`) || !strings.Contains(got, `colour`) {
		t.Error(got)
	}
	a, _ := w.Agent("a")
	answer := func(call, data string) ([]mastra.Chunk, error) {
		seq, err := w.runner.ResumeStream(t.Context(), w.Mastra, a, mastra.AgentResume{RunID: "run", ToolCallID: call, Data: mastra.JSON(data)})
		if err != nil {
			return nil, err
		}
		return collect(t, seq, nil), nil
	}
	for _, c := range []struct {
		call, data string
		want       mastra.Code
	}{{"", `{"colour":"red"}`, mastra.CodeInvalid}, {"c0", `{"colour":""}`, mastra.CodeInvalid}, {"c0", `{}`, mastra.CodeInvalid}, {"c9", `{"colour":"red"}`, mastra.CodeConflict}} {
		if _, err := answer(c.call, c.data); mastra.CodeOf(err) != c.want {
			t.Errorf("%s %s: %v", c.call, c.data, err)
		}
	}
	chunks, err = answer("c1", `{"colour":"red"}`)
	if err != nil || types(chunks) != "tool-result tool-call-suspended" {
		t.Fatalf("%s, %v", types(chunks), err)
	}
	chunks, err = answer("c0", `{"colour":"blue"}`)
	if err != nil || types(chunks) != "tool-result step-finish step-start text-start text-delta text-end step-finish finish" || !strings.Contains(payload(t, chunks[0]), "door is blue") {
		t.Fatalf("%s, %v", types(chunks), err)
	}
}

// stalling is a model that says a word each time it may.
type stalling struct {
	words chan string // closed at the end of the answer
	asked atomic.Int32
}

func (*stalling) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "stalling", Version: "v2"}
}

func (s *stalling) Stream(ctx context.Context, _ *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	s.asked.Add(1)
	return func(yield func(mastra.ModelPart, error) bool) {
		yield(mastra.ModelPart{Type: mastra.ModelTextStart, ID: "t"}, nil)
		for {
			select {
			case w, more := <-s.words:
				if more && !yield(mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "t", Text: w}, nil) {
					return
				} else if more {
					continue
				}
			case <-ctx.Done():
				yield(mastra.ModelPart{}, ctx.Err())
				return
			}
			break
		}
		yield(mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "t"}, nil)
		yield(mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop}, nil)
	}
}

func TestARunIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, second := &stalling{words: make(chan string)}, &stalling{words: make(chan string)}
	lost := newProcess(t, path, 0, first, echoAgent())
	heir := newProcess(t, path, time.Minute, second, echoAgent()) // for it, the lease has run out
	reader := newProcess(t, path, 0, &script{}, echoAgent())
	a, _ := lost.Agent("echo-agent")
	chunks, err := lost.runner.Stream(t.Context(), lost.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("hello"), ThreadID: "t", ResourceID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(chunks)
	defer stop()
	c, _, _ := next()
	id := c.RunID
	first.words <- "half "
	for { // until the run is durable
		if r, err := heir.Storage.Run(t.Context(), id); err == nil && r.Status == mastra.StatusRunning && r.Owner != "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	seq, err := reader.runner.Observe(t.Context(), reader.Mastra, id, mastra.Position{})
	if err != nil {
		t.Fatal(err)
	}
	observed := make(chan []mastra.Chunk)
	go func() { observed <- collect(t, seq, nil) }()
	for _, w := range []string{"whole ", "answer"} {
		second.words <- w
	}
	close(second.words)
	close(first.words) // the lost one comes to its end, too late
	all := <-observed
	if got := types(all); !strings.HasSuffix(got, "epoch step-start text-start text-delta text-delta text-end step-finish finish") || !strings.HasPrefix(got, "start ") {
		t.Errorf("observed %s", got)
	}
	if at := slices.IndexFunc(all, func(c mastra.Chunk) bool { return c.Type == mastra.ChunkEpoch }); at < 0 || all[at].At != (mastra.Position{Epoch: 2, Seq: 1}) {
		t.Error("no epoch begins")
	}
	var own []mastra.Chunk // whoever read the lost one is led to the other
	for {
		c, err, ok := next()
		if !ok || err != nil {
			if err != nil {
				t.Error(err)
			}
			break
		}
		own = append(own, c)
	}
	if got := types(own); !strings.HasSuffix(got, "epoch step-start text-start text-delta text-delta text-end step-finish finish") {
		t.Errorf("the first reader saw %s", got)
	}
	_, messages, err := reader.Storage.Recall(t.Context(), "t", 10)
	if err != nil || len(messages) != 2 || !strings.Contains(string(messages[1].Content), `"content":"whole answer"`) {
		t.Errorf("%s, %v", messages, err)
	}
	if r, err := reader.Storage.Run(t.Context(), id); err != nil || r.Status != mastra.StatusSuccess {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAStoppingProcessGivesItsRunsUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, second := &stalling{words: make(chan string)}, &stalling{words: make(chan string)}
	stops, heir := newProcess(t, path, 0, first, echoAgent()), newProcess(t, path, 0, second, echoAgent())
	a, _ := stops.Agent("echo-agent")
	chunks, err := stops.runner.Stream(t.Context(), stops.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("hello"), RunID: "run"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []mastra.Chunk)
	go func() { done <- collect(t, chunks, nil) }()
	for {
		if _, err := heir.Storage.Run(t.Context(), "run"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = stops.runs.Drain(ctx)
	close(first.words)
	for {
		if r, err := heir.Storage.Run(t.Context(), "run"); err == nil && r.Owner == "" && r.Status == mastra.StatusRunning {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	second.words <- "on"
	close(second.words)
	if got := types(<-done); !strings.HasSuffix(got, "epoch step-start text-start text-delta text-end step-finish finish") {
		t.Errorf("%s", got)
	}
}
