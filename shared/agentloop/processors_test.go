package agentloop_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// guard stops what says "bad", hides what says "secret", and writes "pear" for "apple".
func guard() *mastra.Processor {
	return &mastra.Processor{ID: "guard", Name: "Guard",
		Input: func(_ context.Context, messages mastra.Messages) (mastra.Messages, error) {
			for _, m := range messages {
				for i := range m.Content {
					p := &m.Content[i]
					switch {
					case strings.Contains(p.Text, "bad"):
						return nil, mastra.Abort("bad input").With(map[string]string{"word": "bad"})
					case strings.Contains(p.Text, "broken"):
						return nil, errors.New("the guard is broken")
					case strings.Contains(p.Text, "panics"):
						panic("secret of the stack")
					}
					p.Text = strings.ReplaceAll(p.Text, "secret", "[hidden]")
				}
			}
			return messages, nil
		},
		InputStep: func(_ context.Context, r *mastra.ModelRequest) error {
			if strings.Contains(r.Messages[len(r.Messages)-1].Text(), "no step") {
				return mastra.Abort("bad step")
			}
			r.Messages[len(r.Messages)-1].Parts[0].Text += "!"
			return nil
		},
		OutputStream: func(_ context.Context, parts iter.Seq2[mastra.ModelPart, error]) iter.Seq2[mastra.ModelPart, error] {
			return func(yield func(mastra.ModelPart, error) bool) {
				for p, err := range parts {
					switch {
					case p.Type == mastra.ModelTextDelta && strings.Contains(p.Text, "forbidden"):
						yield(mastra.ModelPart{}, mastra.Abort("forbidden word"))
						return
					case p.Type == mastra.ModelTextDelta && strings.Contains(p.Text, "drop"):
						continue
					}
					p.Text = strings.ReplaceAll(p.Text, "apple", "pear")
					if !yield(p, err) {
						return
					}
				}
			}
		},
		OutputResult: func(_ context.Context, a *mastra.Answer) error {
			for i := range a.Texts {
				if strings.Contains(a.Texts[i], "wrong") {
					return mastra.Abort("bad result")
				}
				a.Texts[i] += " (checked)"
			}
			return nil
		}}
}

func TestProcessors(t *testing.T) {
	const begun = "start step-start text-start text-delta text-delta "
	for _, c := range []struct {
		say, text, tripwire string
		stored              []string
		chunks              string
	}{
		{say: "my secret apple", text: "Echo: my [hidden] pear! (checked)", stored: []string{"my [hidden] apple", "Echo: my [hidden] pear! (checked)"}, chunks: begun + "text-delta text-delta text-end step-finish finish"},
		{say: "a bad word", tripwire: `{"reason":"bad input","metadata":{"word":"bad"},"processorId":"guard"}`, chunks: "tripwire"},
		{say: "no step", tripwire: `{"reason":"bad step","processorId":"guard"}`, stored: []string{"no step"}, chunks: "start step-start tripwire"},
		{say: "drop forbidden words", tripwire: `{"reason":"forbidden word","processorId":"guard"}`, stored: []string{"drop forbidden words"}, chunks: "start step-start text-start text-delta tripwire"},
		{say: "wrong", tripwire: `{"reason":"bad result","processorId":"guard"}`, stored: []string{"wrong"}, chunks: begun + "text-end step-finish tripwire"},
	} {
		t.Run(c.say, func(t *testing.T) {
			model := &reference{id: "mock"}
			w := newWorld(t, model, &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{}, Processors: []*mastra.Processor{guard()}})
			call := mastra.AgentCall{Messages: mastra.UserMessage(c.say), ThreadID: "t", ResourceID: "r"}
			r, err := w.generate(t.Context(), "a", call)
			if err != nil || r.Text != c.text || (r.Tripwire != nil) != (c.tripwire != "") {
				t.Fatalf("%+v, %v", r, err)
			}
			if r.Tripwire != nil && r.FinishReason != mastra.FinishOther {
				t.Error(r.FinishReason)
			}
			if call.Messages[0].Content[0].Text != c.say {
				t.Error("what the caller holds was changed")
			}
			if c.chunks == "tripwire" && model.calls.Load() != 0 {
				t.Error("the model was called")
			}
			_, messages, err := w.Storage.Recall(t.Context(), "t", 10)
			if err != nil || len(messages) != len(c.stored) {
				t.Fatalf("stored: %s, %v", messages, err)
			}
			for i, want := range c.stored {
				if !strings.Contains(string(messages[i].Content), `"text":"`+want+`"`) {
					t.Errorf("stored: %s", messages[i].Content)
				}
			}
			spans, err := w.Storage.Trace(t.Context(), r.TraceID)
			names := map[string]mastra.Span{}
			for _, s := range spans {
				if names[s.Name] = s; len(s.Error) > 0 && s.Type != mastra.SpanProcessorRun { // what a processor stops has not failed
					t.Errorf("%s: %s", s.Name, s.Error)
				}
			}
			if root := names["agent run: 'a'"]; err != nil || strings.Contains(string(root.Attributes), "tripwireAbort") != (c.tripwire != "") || names["input processor: guard"].EntityType != "input_processor" {
				t.Errorf("%+v, %v", spans, err)
			}
			chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage(c.say)})
			if err != nil || types(chunks) != c.chunks {
				t.Errorf("%s, %v", types(chunks), err)
			}
			if last := payload(t, chunks[len(chunks)-1]); c.tripwire != "" && !strings.HasSuffix(last, `"from":"AGENT","payload":`+c.tripwire+"}") {
				t.Error(last)
			}
		})
	}
}

func TestProcessorsThatFail(t *testing.T) {
	w := newWorld(t, &script{}, &mastra.Agent{ID: "a", Processors: []*mastra.Processor{guard()}})
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("broken")}); mastra.CodeOf(err) != mastra.CodeUserCode || !strings.Contains(err.Error(), "the guard is broken") {
		t.Error(err)
	}
	var known *mastra.Error
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("panics")}); !errors.As(err, &known) || known.Code != mastra.CodeInternal || strings.Contains(known.Message, "secret") {
		t.Error(err)
	}
	// What is given as context does not get past them either.
	r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Context: mastra.UserMessage("a bad word")})
	if err != nil || r.Tripwire == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// A message that comes to a run under way is looked at, too. What came beside it begins the next run.
func TestProcessorsOfAThread(t *testing.T) {
	model := &stalling{words: make(chan string)}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 10}, Processors: []*mastra.Processor{{ID: "g", Input: guard().Input}}})
	a, _ := w.Agent("a")
	send := func(text string) string {
		t.Helper()
		id, err := w.runner.Send(t.Context(), w.Mastra, a, mastra.AgentMessage{Signal: mastra.ThreadSignal{ID: mastra.NewID(), Type: "user", TagName: "user", Contents: mastra.UserMessage(text)[0].Content},
			Call: mastra.AgentCall{ThreadID: "t", ResourceID: "r"}})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	seq, err := w.runner.Observe(t.Context(), w.Mastra, send("a bad one"), mastra.Position{})
	if got := types(collect(t, seq, err)); got != "tripwire" {
		t.Error(got)
	}
	run := send("one")
	model.words <- "yes"
	if send("a bad one") != run || send("my secret") != run {
		t.Fatal("the messages did not go to the run under way")
	}
	model.words <- "." // that they came
	close(model.words)
	seq, err = w.runner.Observe(t.Context(), w.Mastra, run, mastra.Position{})
	if got := types(collect(t, seq, err)); !strings.HasSuffix(got, "text-end step-finish tripwire") {
		t.Error(got)
	}
	var messages []mastra.Message
	for until := time.Now().Add(10 * time.Second); len(messages) < 2; time.Sleep(10 * time.Millisecond) {
		if _, messages, err = w.Storage.Recall(t.Context(), "t", 10); err != nil || time.Now().After(until) {
			t.Fatal(messages, err)
		}
	}
	if !strings.Contains(string(messages[1].Content), "my [hidden]") || strings.Contains(string(messages[0].Content)+string(messages[1].Content), "bad") {
		t.Errorf("%s", messages)
	}
}
