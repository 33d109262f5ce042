package agentloop_test

import (
	"context"
	"iter"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func TestANetworkRoutesATask(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{
		spoken(`{"primitiveId":"calculatorTool","primitiveType":"tool","prompt":"{\"op\":\"add\",\"a\":1,\"b\":2}","selectionReason":"a sum"}`),
		spoken(`{"primitiveId":"helper","primitiveType":"agent","prompt":"say it","selectionReason":"words"}`),
		spoken("three it is"), // the helper's own
		spoken(`{"primitiveId":"none","primitiveType":"none","prompt":"It is three.","selectionReason":"done"}`),
	}}
	helper := &mastra.Agent{ID: "helper", Description: "Says things"}
	w := newWorld(t, model, helper, &mastra.Agent{ID: "a", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{calculatorTool(), helper}})
	a, _ := w.Agent("a")
	seq, err := w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("1 and 2?"), ThreadID: "t", ResourceID: "u"})
	all := collect(t, seq, err)
	want := "routing-agent-start routing-agent-end tool-execution-start tool-execution-end routing-agent-start routing-agent-end agent-execution-start " +
		"agent-execution-event-start agent-execution-event-step-start agent-execution-event-text-start agent-execution-event-text-delta agent-execution-event-text-end " +
		"agent-execution-event-step-finish agent-execution-event-finish agent-execution-end routing-agent-start routing-agent-end " +
		"network-execution-event-step-finish network-execution-event-finish"
	if got := types(all); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := payload(t, all[3]); !strings.Contains(got, `"result":{"result":3}`) {
		t.Error(got)
	}
	if told := model.asked[3].Messages; !strings.Contains(told[len(told)-1].Text(), "three it is") {
		t.Errorf("the model was not told what the helper said: %s", told[len(told)-1].Text())
	}
	until(t, "the thread", func() bool {
		_, messages, err := w.Storage.Recall(t.Context(), "t", 10)
		return err == nil && len(messages) == 2 && strings.Contains(string(messages[1].Content), `"content":"It is three."`) && strings.Contains(string(messages[1].Content), `"toolName":"agent-helper"`)
	})
	w = newWorld(t, &script{steps: [][]mastra.ModelPart{spoken(`no JSON`)}}, a)
	seq, err = w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go")})
	if got := types(collect(t, seq, err)); got != "routing-agent-start error" {
		t.Error(got)
	}
	if _, err := w.runner.Network(t.Context(), w.Mastra, helper, mastra.AgentCall{Messages: mastra.UserMessage("go")}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Error(err)
	}
}

func chooses(id, kind, prompt string) []mastra.ModelPart {
	data, err := schema.Marshal(map[string]string{"primitiveId": id, "primitiveType": kind, "prompt": prompt, "selectionReason": "because"})
	if err != nil {
		panic(err)
	}
	return spoken(string(data))
}

var atEnd = chooses("none", "none", "all done")

// What a network runs may need a person's approval, or ask for more: it waits, and goes on in any process.
func TestANetworkWaits(t *testing.T) {
	type answer struct {
		OK bool `json:"ok"`
	}
	ask := mastra.NewPausableTool("ask", "", func(_ context.Context, in nameIn, a *answer) (string, error) {
		if a == nil {
			return "", mastra.Suspend(map[string]string{"sure": in.Name})
		}
		return "asked " + in.Name, nil
	})
	flow := mastra.NewWorkflow[nameIn, string]("flow").Then(mastra.NewPausable("confirm", func(_ context.Context, in nameIn, a *answer) (string, error) {
		if a == nil {
			return "", mastra.Suspend("confirm?")
		}
		return "confirmed " + in.Name, nil
	}))
	for _, c := range []struct {
		name, id, kind, prompt string
		inner                  [][]mastra.ModelPart // of the agent that is chosen
		asked, waits           string
		data                   string
		told                   string
	}{
		{"a tool that needs approval", "delete", "tool", `{"name":"x"}`, nil, "tool-execution-start tool-execution-approval", `"toolName":"delete"`, `{"approved":true}`, `deleted x`},
		{"one that is declined", "delete", "tool", `{"name":"x"}`, nil, "tool-execution-start tool-execution-approval", `"args":{"name":"x"}`, `{"approved":false,"reason":"not now"}`, `not now`},
		{"a tool that asks", "ask", "tool", `{"name":"x"}`, nil, "tool-execution-start tool-execution-suspended", `"suspendPayload":{"sure":"x"}`, `{"ok":true}`, `asked x`},
		{"an agent whose tool needs approval", "helper", "agent", "delete x", [][]mastra.ModelPart{asks("delete", `{"name":"x"}`), said("it is gone")},
			"agent-execution-start agent-execution-event-start agent-execution-event-step-start agent-execution-event-tool-call agent-execution-event-tool-call-approval agent-execution-approval", `"args":{"prompt":"delete x"}`, `{"approved":true}`, "it is gone"},
		{"a workflow that waits", "flow", "workflow", `{"name":"x"}`, nil, "", `"suspendPayload":"confirm?"`, `{"ok":true}`, "confirmed x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ran atomic.Int32
			remove := deleter(&ran).Tools[0]
			helper := &mastra.Agent{ID: "helper", Description: "Says things", Tools: []mastra.Callable{remove}}
			a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{remove, ask, flow, helper}}
			path := filepath.Join(t.TempDir(), "db")
			begin, rest := c.inner[:min(1, len(c.inner))], c.inner[min(1, len(c.inner)):]
			here := newProcess(t, path, 0, &script{steps: append([][]mastra.ModelPart{chooses(c.id, c.kind, c.prompt)}, begin...)}, a, helper)
			model := &script{steps: append(append([][]mastra.ModelPart{}, rest...), atEnd)}
			there := newProcess(t, path, 0, model, a, helper)
			seq, err := here.runner.Network(t.Context(), here.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "u", RunID: "run"})
			chunks := collect(t, seq, err)
			if got := types(chunks); c.asked != "" && got != "routing-agent-start routing-agent-end "+c.asked {
				t.Fatal(got)
			}
			if last := payload(t, chunks[len(chunks)-1]); !strings.Contains(last, c.waits) || !strings.Contains(last, `"resumeSchema":"{`) || !strings.Contains(last, `"selectionReason":"because"`) {
				t.Error(last)
			}
			if ran.Load() != 0 {
				t.Fatal("the tool ran without approval")
			}
			stored, err := there.Storage.Run(t.Context(), "run")
			if err != nil || stored.Status != mastra.StatusSuspended {
				t.Fatalf("%+v, %v", stored, err)
			}
			answer := mastra.AgentResume{RunID: "run", Data: mastra.JSON(c.data)}
			seq, err = there.runner.ResumeStream(t.Context(), there.Mastra, a, answer)
			chunks = collect(t, seq, err)
			if got := types(chunks); !strings.HasSuffix(got, c.kind+"-execution-end routing-agent-start routing-agent-end network-execution-event-step-finish network-execution-event-finish") {
				t.Fatal(got)
			}
			told := model.asked[len(model.asked)-1].Messages
			if got := told[len(told)-1].Text(); !strings.Contains(got, c.told) {
				t.Error(got)
			}
			if _, err := here.runner.ResumeStream(t.Context(), here.Mastra, a, answer); mastra.CodeOf(err) != mastra.CodeConflict {
				t.Errorf("answered twice: %v", err)
			}
		})
	}
}

// A network is observed from anywhere, and taken over behind its last whole piece.
func TestANetworkIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var ran atomic.Int32
	count := mastra.NewTool("count", "", func(context.Context, struct{}) (int32, error) { return ran.Add(1), nil })
	a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{count}}
	first := &halting{script: script{steps: [][]mastra.ModelPart{chooses("count", "tool", "{}")}}, halt: make(chan struct{})}
	dies := newProcess(t, path, 0, first, a)
	seq, err := dies.runner.Network(t.Context(), dies.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "u", RunID: "run"})
	if err != nil {
		t.Fatal(err)
	}
	_ = seq
	until(t, "the record and the chunks before it", func() bool {
		r, err := dies.Storage.Run(t.Context(), "run")
		if err != nil || len(r.Steps) == 0 {
			return false
		}
		blocks, err := dies.Storage.Chunks(t.Context(), "run", mastra.Position{}, 9)
		return err == nil && len(blocks) > 0
	})
	heir := newProcess(t, path, time.Minute, &script{steps: [][]mastra.ModelPart{atEnd}}, a)
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	watcher := newProcess(t, path, time.Minute, &script{}, a)
	seq, err = watcher.runner.Observe(t.Context(), watcher.Mastra, "run", mastra.Position{})
	got := types(collect(t, seq, err))
	if !strings.HasPrefix(got, "routing-agent-start routing-agent-end tool-execution-start tool-execution-end routing-agent-start ") ||
		!strings.HasSuffix(got, "epoch routing-agent-start routing-agent-end network-execution-event-step-finish network-execution-event-finish") {
		t.Error(got)
	}
	if ran.Load() != 1 {
		t.Errorf("the tool ran %d times", ran.Load())
	}
	close(first.halt)
	if err := dies.runs.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := thread(t, heir.Storage); got != "user go; assistant all done" {
		t.Error(got)
	}
}

// Whoever has a thread can end its network, and add to what it does.
func TestANetworkIsInterrupted(t *testing.T) {
	model := &halting{script: script{steps: [][]mastra.ModelPart{chooses("calculatorTool", "tool", `{"op":"add","a":1,"b":2}`)}}, halt: make(chan struct{})}
	a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{calculatorTool()}}
	w := newWorld(t, model, a)
	seq, err := w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "u", RunID: "run"})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the second question", func() bool { return model.halted.Load() })
	ok, err := w.runner.Abort(t.Context(), w.Mastra, "t", "run")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got := types(collect(t, seq, nil)); got != "routing-agent-start routing-agent-end tool-execution-start tool-execution-end routing-agent-start abort" {
		t.Error(got)
	}
	// A message that comes while it is under way is a part of what it is asked.
	plain := &halting{script: script{steps: [][]mastra.ModelPart{chooses("calculatorTool", "tool", `{"op":"add","a":1,"b":2}`), atEnd, atEnd}}, halt: make(chan struct{})}
	w = newWorld(t, plain, a)
	if seq, err = w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "u", RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the second question", func() bool { return plain.halted.Load() })
	if id, err := w.runner.Send(t.Context(), w.Mastra, a, note("m", "and more")); err != nil || id != "run" {
		t.Fatal(id, err)
	}
	close(plain.halt)
	if got := types(collect(t, seq, nil)); !strings.HasSuffix(got, "routing-agent-end data-user-message routing-agent-start routing-agent-end network-execution-event-step-finish network-execution-event-finish") {
		t.Error(got)
	}
	last := plain.asked[2].Messages
	if got := last[len(last)-1].Text(); got != "and more" {
		t.Error(got)
	}
}

// halting is a script whose second answer waits.
type halting struct {
	script
	halt   chan struct{}
	halted atomic.Bool
}

func (h *halting) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		if len(h.asked) == 1 {
			h.halted.Store(true)
			select {
			case <-h.halt:
			case <-ctx.Done():
				yield(mastra.ModelPart{}, ctx.Err())
				return
			}
		}
		h.script.Stream(ctx, q)(yield)
	}
}
