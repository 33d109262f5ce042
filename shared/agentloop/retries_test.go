package agentloop_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// strict refuses what says "bad" and what calls a tool named in forbidden.
func strict(forbidden string, seen *[]mastra.StepOutput) *mastra.Processor {
	return &mastra.Processor{ID: "strict", OutputStep: func(_ context.Context, s *mastra.StepOutput) error {
		*seen = append(*seen, *s)
		if strings.Contains(s.Text, "bad") {
			return mastra.Abort("too bad").With(map[string]int{"x": 1}).Retry()
		}
		for _, c := range s.Calls {
			if c.ToolName == forbidden {
				return mastra.Abort("no tools please").Retry()
			}
		}
		return nil
	}}
}

func TestAProcessorHasTheModelTryAgain(t *testing.T) {
	const feedback = "[Processor Feedback] Your previous response was not accepted: too bad. Please try again with the feedback in mind."
	for _, c := range []struct {
		name           string
		steps          [][]mastra.ModelPart
		retries        int
		text, tripwire string
		finish         mastra.FinishReason
		asked          int
		chunks, stored string
	}{
		{"once", [][]mastra.ModelPart{said("bad"), said("good")}, 2, "good", "", mastra.FinishStop, 2,
			"start step-start text-start text-delta text-end step-finish step-start text-start text-delta text-end step-finish finish", "user hi; assistant good"},
		{"too often", [][]mastra.ModelPart{said("bad"), said("bad")}, 1, "", `{"reason":"too bad","retry":true,"metadata":{"x":1},"processorId":"strict"}`, mastra.FinishTripwire, 2,
			"start step-start text-start text-delta text-end step-finish step-start text-start text-delta text-end step-finish tripwire", "user hi"},
		{"never", [][]mastra.ModelPart{said("bad")}, 0, "", `{"reason":"too bad","retry":true,"metadata":{"x":1},"processorId":"strict"}`, mastra.FinishTripwire, 1,
			"start step-start text-start text-delta text-end step-finish tripwire", "user hi"},
		{"of a tool call", [][]mastra.ModelPart{asks("calculatorTool", `{"op":"add","a":1,"b":2}`), said("good")}, 1, "good", "", mastra.FinishStop, 2,
			"start step-start tool-call step-finish step-start text-start text-delta text-end step-finish finish", "user hi; assistant good"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []mastra.StepOutput
			model := &script{steps: c.steps}
			a := &mastra.Agent{ID: "a", Name: "A", Instructions: "Do.", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{calculatorTool()},
				Processors: []*mastra.Processor{strict("calculatorTool", &seen)}, MaxProcessorRetries: c.retries}
			w := newWorld(t, model, a)
			r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("hi"), ThreadID: "t", ResourceID: "u"})
			if err != nil || r.Text != c.text || r.FinishReason != c.finish || (r.Tripwire != nil) != (c.tripwire != "") {
				t.Fatalf("%+v, %v", r, err)
			}
			if len(model.asked) != c.asked || len(seen) != c.asked || seen[c.asked-1].Retries != c.asked-1 || seen[c.asked-1].Number != c.asked-1 {
				t.Errorf("asked %d times, the processor saw %+v", len(model.asked), seen)
			}
			if got := thread(t, w.Storage); got != c.stored {
				t.Errorf("stored: %s", got)
			}
			if c.name == "once" {
				again := model.asked[1].Messages
				if len(again) != 3 || again[0].Text() != "Do." || again[1].Role != "system" || again[1].Text() != feedback || again[2].Text() != "hi" {
					t.Errorf("%+v", again)
				}
				data, err := r.AppendJSON(nil)
				if err != nil || !strings.Contains(string(data), `"content":[],"text":""`) || !strings.Contains(string(data), `"tripwire":{"reason":"too bad","retry":true,"metadata":{"x":1},"processorId":"strict"}}`) {
					t.Errorf("%s, %v", data, err)
				}
				spans, err := w.Storage.Trace(t.Context(), r.TraceID)
				if err != nil {
					t.Fatal(err)
				}
				found := 0
				for _, s := range spans {
					if s.Name == "output step processor: strict" && s.EntityType == "output_step_processor" {
						found++
					}
				}
				if found != 2 {
					t.Errorf("%d spans of the processor", found)
				}
			}
			w = newWorld(t, &script{steps: c.steps}, a)
			chunks, err := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("hi")})
			if err != nil || types(chunks) != c.chunks {
				t.Fatalf("%s, %v", types(chunks), err)
			}
			for _, chunk := range chunks {
				f, ok := chunk.Payload.(mastra.Finish)
				if got := payload(t, chunk); ok && f.StepResult.Reason == mastra.FinishRetry && (!strings.Contains(got, `"isContinued":true,"retryReason":"`) || !strings.Contains(got, `"retryProcessorId":"strict"`) ||
					!strings.Contains(got, `"processorRetryCount":1,"processorRetryFeedback":"[Processor Feedback]`) || !strings.Contains(got, `"nonUser":[]`)) {
					t.Error(got)
				}
			}
			if last := payload(t, chunks[len(chunks)-1]); c.tripwire != "" && !strings.HasSuffix(last, `"payload":`+c.tripwire+"}") {
				t.Error(last)
			}
		})
	}
}

// What a processor refused is not asked again by whoever takes the run over: the state knows it.
func TestARefusedStepIsKept(t *testing.T) {
	var seen []mastra.StepOutput
	path := filepath.Join(t.TempDir(), "db")
	a := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 5}, Tools: []mastra.Callable{calculatorTool()}, Processors: []*mastra.Processor{strict("", &seen)}, MaxProcessorRetries: 1}
	here := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{said("bad"), asks("calculatorTool", `{"op":"add","a":1,"b":2}`)}}, a)
	yes := mastra.AgentCall{Messages: mastra.UserMessage("hi"), ThreadID: "t", ResourceID: "u", RunID: "run", Approve: true}
	if chunks, err := here.stream(t.Context(), "a", yes); err != nil || !strings.HasSuffix(types(chunks), "tool-call tool-call-approval") {
		t.Fatal(types(chunks), err)
	}
	there := newProcess(t, path, time.Minute, &script{}, a)
	r, err := there.runner.Resume(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)})
	if err != nil || r.Text != "done" || len(r.Steps) != 3 || r.Steps[0].Tripwire == nil || r.Steps[0].FinishReason != mastra.FinishRetry {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := thread(t, there.Storage); strings.Contains(got, "bad") {
		t.Error(got)
	}
}

func TestAProcessorOfToolResults(t *testing.T) {
	hide := &mastra.Processor{ID: "hide", ToolResult: func(_ context.Context, r *mastra.ToolReturned) error {
		switch {
		case strings.Contains(string(r.Args), `"div"`):
			return mastra.Abort("bad tool")
		case strings.Contains(string(r.Args), `"mul"`):
			r.Result = mastra.JSON(`no JSON`)
		default:
			r.Result = mastra.JSON(`{"result": "hidden"}`)
		}
		return nil
	}}
	run := func(op string) (*mastra.AgentResult, []mastra.Chunk, *script, error) {
		t.Helper()
		steps := [][]mastra.ModelPart{asks("calculatorTool", `{"op":"`+op+`","a":1,"b":2}`)}
		model := &script{steps: steps}
		w := newWorld(t, model, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}, Processors: []*mastra.Processor{hide}})
		r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("hi")})
		w = newWorld(t, &script{steps: steps}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}, Processors: []*mastra.Processor{hide}})
		chunks, _ := w.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("hi")})
		return r, chunks, model, err
	}
	r, chunks, model, err := run("add")
	if err != nil || r.Text != "done" || types(chunks) != "start step-start tool-call tool-result step-finish step-start text-start text-delta text-end step-finish finish" {
		t.Fatalf("%+v, %s, %v", r, types(chunks), err)
	}
	if got := payload(t, chunks[3]); !strings.Contains(got, `"result":{"result":"hidden"}`) {
		t.Error(got)
	}
	if told := model.asked[1].Messages; !strings.Contains(string(told[len(told)-1].Parts[0].Output), "hidden") {
		t.Errorf("%s", told[len(told)-1].Parts[0].Output)
	}
	r, chunks, _, err = run("div")
	if err != nil || r.Tripwire == nil || r.Tripwire.Reason != "bad tool" || r.FinishReason != mastra.FinishOther || types(chunks) != "start step-start tool-call tripwire" {
		t.Errorf("%+v, %s, %v", r, types(chunks), err)
	}
	if _, _, _, err = run("mul"); mastra.CodeOf(err) != mastra.CodeUserCode {
		t.Error(err)
	}
}
