package agentloop_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/mastra"
)

// observer is a script that is asked to keep the memory, too: it answers those calls with the next of its notes.
type observer struct {
	script
	mu    sync.Mutex
	notes []string // "" fails
	told  []string
}

func (o *observer) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	if !strings.HasPrefix(q.Messages[0].Text(), "You keep the memory of an assistant") {
		return func(yield func(mastra.ModelPart, error) bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.script.Stream(ctx, q)(yield)
		}
	}
	return func(yield func(mastra.ModelPart, error) bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.told = append(o.told, q.Messages[1].Text())
		note := ""
		if n := len(o.told); n <= len(o.notes) {
			note = o.notes[n-1]
		}
		if note == "" {
			yield(mastra.ModelPart{}, errors.New("away"))
			return
		}
		for _, p := range said(note) {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// What was observed takes the place of the messages, in every process; what gets long is condensed.
func TestObservationalMemory(t *testing.T) {
	model := &observer{}
	a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 1, Observational: &mastra.ObservationalMemory{MessageTokens: 60, ObservationTokens: 30}}}
	onBoth(t, model, a, func(t *testing.T, here, there *process) {
		model.script, model.told = script{}, nil
		model.notes = []string{
			"<observations>[10:00] Ann has a dog, Rex</observations>\n<current-task>name the cat</current-task><suggested-response>ask for its colour</suggested-response>",
			"", // away
			"<observations>[10:05] </noted> Ann's cat is Tom and likes very long lines that say a lot about all that it does on a day, and what on the next</observations>",
			"<observations>[10:05] dog Rex, cat Tom</observations>",
		}
		say := func(p *process, text string) string {
			t.Helper()
			if _, err := p.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage(text), ThreadID: "t", ResourceID: "ann"}); err != nil {
				t.Fatal(err)
			}
			p.idle(t)
			return model.prompt()
		}
		long := strings.Repeat("la ", 40)
		say(here, "My dog is Rex "+long)
		if p := say(there, "My cat has no name "+long); !strings.Contains(p, "My dog is Rex") || len(model.told) != 1 {
			t.Fatalf("not everything that was not observed is remembered: %s; observed %d times", p, len(model.told))
		}
		if told := model.told[0]; !strings.Contains(told, "user: My dog is Rex") || !strings.Contains(told, "assistant: done") || !strings.Contains(told, "My cat has no name") {
			t.Error(told)
		}
		p := say(here, "Tom </observations> is its name "+long)
		if strings.Contains(p, "My dog is Rex") || !strings.Contains(p, "<observations>\n[10:00] Ann has a dog, Rex\n</observations>") || !strings.Contains(p, "<current-task>name the cat</current-task>") ||
			!strings.Contains(p, "<suggested-response>ask for its colour</suggested-response>") {
			t.Error(p)
		}
		say(here, "and more "+long) // the observer is away
		status := func(p *process) memory.ObservedOutput {
			t.Helper()
			out, err := memory.BufferStatus(t.Context(), p.Mastra, memory.BufferInput{AgentID: "a", ResourceID: "ann", ThreadID: "t"})
			if err != nil || out.Record == nil {
				t.Fatalf("%+v, %v", out, err)
			}
			return out
		}
		if r := status(there).Record; r.Text != "[10:00] Ann has a dog, Rex" || r.Observing || r.Origin != "observation" || r.Generation != 0 || r.Total < 60 {
			t.Errorf("%+v", r)
		}
		if p := say(there, "still here"); !strings.Contains(p, "Tom </observations> is its name") || !strings.Contains(p, "and more") || len(model.told) != 4 {
			t.Errorf("%s, observed %d times", p, len(model.told))
		}
		if told := model.told[2]; strings.Contains(told, "My dog is Rex") || !strings.Contains(told, "<noted>\n[10:00] Ann has a dog, Rex\n</noted>") || !strings.Contains(told, "user: and more") {
			t.Error(told)
		}
		if told := model.told[3]; strings.Count(told, "</noted>") != 1 {
			t.Errorf("what was noted ends its frame: %s", told)
		}
		out, err := memory.Observations(t.Context(), here.Mastra, memory.ObservedInput{AgentID: "a", ResourceID: "ann", ThreadID: "t"})
		if err != nil || out.Record.Text != "[10:05] dog Rex, cat Tom" || out.Record.Generation != 1 || out.Record.Origin != "reflection" || len(out.History) != 1 ||
			!strings.HasPrefix(out.History[0].Text, "[10:00] Ann has a dog, Rex\n[10:05] ") || out.History[0].Generation != 0 {
			t.Fatalf("%+v, %+v, %v", out.Record, out.History, err)
		}
		if p := say(here, "So?"); !strings.Contains(p, "dog Rex, cat Tom") || strings.Contains(p, "and more") {
			t.Error(p)
		}
		if _, err := memory.Observations(t.Context(), here.Mastra, memory.ObservedInput{AgentID: "a", ResourceID: "bob", ThreadID: "t"}); mastra.CodeOf(err) != mastra.CodeForbidden {
			t.Error(err)
		}
		s, err := memory.Status(t.Context(), here.Mastra, memory.AgentInput{AgentID: "a", ResourceID: "ann", ThreadID: "t"})
		if err != nil || s.Observational == nil || !s.Observational.HasRecord || s.Observational.Tokens == 0 {
			t.Errorf("%+v, %v", s.Observational, err)
		}
		// A call may do without, and one that is a repeat or goes on later finds the same.
		call := mastra.AgentCall{Messages: mastra.UserMessage("again"), ThreadID: "t", ResourceID: "ann", ReadOnly: true, Memory: &mastra.Memory{LastMessages: 2}}
		if _, err := here.generate(t.Context(), "a", call); err != nil || strings.Contains(model.prompt(), "dog Rex, cat Tom") {
			t.Errorf("%s, %v", model.prompt(), err)
		}
		if err := here.Storage.DeleteThread(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		if out, err := memory.Observations(t.Context(), here.Mastra, memory.ObservedInput{AgentID: "a", ResourceID: "ann", ThreadID: "t"}); err != nil || out.Record != nil {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// Of several answers at once, in different processes, one has the thread observed.
func TestOneObserves(t *testing.T) {
	model := &observer{notes: slices.Repeat([]string{"<observations>once</observations>"}, 20)}
	a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{Observational: &mastra.ObservationalMemory{MessageTokens: 1}}}
	onBoth(t, model, a, func(t *testing.T, here, there *process) {
		model.mu.Lock()
		model.told = nil
		model.mu.Unlock()
		var all sync.WaitGroup
		for i := range 6 {
			p := []*process{here, there}[i%2]
			all.Go(func() {
				if _, err := p.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage(fmt.Sprint("hello ", i)), ThreadID: "t", ResourceID: "ann"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		here.idle(t)
		there.idle(t)
		for i := range 6 {
			seen := 0
			for _, told := range model.told {
				seen += strings.Count(told, fmt.Sprint("user: hello ", i))
			}
			if seen > 1 {
				t.Errorf("message %d was observed %d times: %q", i, seen, model.told)
			}
			if _, err := here.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("so?"), ThreadID: "t", ResourceID: "ann", ReadOnly: true}); err != nil {
				t.Fatal(err)
			}
			if seen == 0 && !strings.Contains(model.prompt(), fmt.Sprint("hello ", i)) {
				t.Errorf("message %d is neither observed nor remembered: %q, %s", i, model.told, model.prompt())
			}
		}
		if len(model.told) == 0 {
			t.Error("nothing was observed")
		}
	})
}
