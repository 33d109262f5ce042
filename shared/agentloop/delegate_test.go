package agentloop_test

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// models is a LanguageModel that answers by the instructions that it is given: each agent of a test has its own script.
type models map[string]*script

func (models) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "models", Version: "v2"}
}

func (m models) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return m[q.Messages[0].Text()].Stream(ctx, q)
}

// team is an agent that has another one whose tool needs approval: the boss of a boss, where deep is set.
func team(ran *atomic.Int32, deep bool) []*mastra.Agent {
	worker := deleter(ran)
	worker.ID, worker.Name, worker.Instructions, worker.Memory = "worker", "Worker", "worker", nil
	var sub mastra.Callable = worker
	agents := []*mastra.Agent{worker}
	if deep {
		lead := &mastra.Agent{ID: "lead", Name: "Lead", Instructions: "lead", Tools: []mastra.Callable{worker}}
		agents, sub = append(agents, lead), lead
	}
	return append(agents, &mastra.Agent{ID: "a", Name: "A", Instructions: "boss", Memory: &mastra.Memory{LastMessages: 10}, Tools: []mastra.Callable{sub}})
}

func teamModels(deep bool) models {
	m := models{"worker": {steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`, "calculatorTool", `{"op":"add","a":1,"b":2}`)}}, "boss": {steps: [][]mastra.ModelPart{asks("agent-worker", `{"prompt":"delete x"}`)}}, "lead": {}}
	if deep {
		m["lead"], m["boss"] = &script{steps: m["boss"].steps}, &script{steps: [][]mastra.ModelPart{asks("agent-lead", `{"prompt":"do it"}`)}}
	}
	return m
}

func TestAnAgentWithinAsks(t *testing.T) {
	for _, deep := range []bool{false, true} {
		for _, approve := range []bool{true, false} {
			t.Run(fmt.Sprint(deep, approve), func(t *testing.T) {
				var ran atomic.Int32
				path := filepath.Join(t.TempDir(), "db")
				begin := newProcess(t, path, 0, teamModels(deep), team(&ran, deep)...)
				chunks, err := begin.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "ann", RunID: "run"})
				if err != nil || !strings.HasPrefix(types(chunks), "start step-start tool-call tool-output tool-output ") || !strings.HasSuffix(types(chunks), "tool-output tool-call-approval") {
					t.Fatalf("%s, %v", types(chunks), err)
				}
				got := payload(t, chunks[len(chunks)-1])
				if !strings.Contains(got, `"runId":"run","from":"AGENT","payload":{"toolCallId":"c0","toolName":"delete","args":{"name":"x"},"resumeSchema":`) {
					t.Error(got)
				}
				if within := payload(t, chunks[len(chunks)-2]); !strings.Contains(within, `"runId":"run","from":"USER","payload":{"output":{"type":"`) || !strings.Contains(within, `"type":"tool-call-approval"`) {
					t.Error(within)
				}
				others := models{"worker": {}, "lead": {}, "boss": {}} // in another process each model only sees what follows
				there := newProcess(t, path, 0, others, team(&ran, deep)...)
				page, err := there.Storage.Runs(t.Context(), mastra.RunQuery{WorkflowID: mastra.AgentRuns + "a", Status: mastra.StatusSuspended, Paging: mastra.Paging{PerPage: 10}})
				if err != nil || len(page.Items) != 1 || page.Items[0].ID != "run" || !strings.Contains(string(page.Items[0].Result), `"toolName":"delete","args":{"name":"x"},"requiresApproval":true`) {
					t.Fatalf("%+v, %v", page, err)
				}
				_, messages, err := there.Storage.Recall(t.Context(), "t", 10)
				if err != nil || len(messages) != 2 || !strings.Contains(string(messages[1].Content), `"pendingToolApprovals":{"c0":{"toolCallId":"c0","toolName":"delete","args":{"name":"x"},"parentToolName":"agent-`) {
					t.Fatalf("%s, %v", messages, err)
				}
				if ran.Load() != 0 {
					t.Fatal("the tool ran without approval")
				}
				a, _ := there.Agent("a")
				if _, err := there.runner.Resume(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: "run", ToolCallID: "c0", Data: mastra.JSON(`{"approved":"maybe"}`)}); mastra.CodeOf(err) != mastra.CodeInvalid {
					t.Error(err)
				}
				answer := mastra.AgentResume{RunID: "run", ToolCallID: "c0", Data: mastra.JSON(fmt.Sprintf(`{"approved":%t,"reason":"not now"}`, approve))}
				seq, err := there.runner.ResumeStream(t.Context(), there.Mastra, a, answer)
				rest := collect(t, seq, err)
				if !strings.HasPrefix(types(rest), "tool-output ") || !strings.HasSuffix(types(rest), " tool-output tool-result step-finish step-start text-start text-delta text-end step-finish finish") {
					t.Errorf("%s", types(rest))
				}
				told := others["worker"].asked[0].Messages
				want := map[bool]string{true: "deleted x", false: "not now"}[approve]
				if last := told[len(told)-1]; len(last.Parts) != 2 || !strings.Contains(string(last.Parts[0].Output), want) {
					t.Errorf("the model was told %+v", last)
				}
				if got := map[bool]int32{true: 1}[approve]; ran.Load() != got {
					t.Errorf("the tool ran %d times", ran.Load())
				}
				if _, err := begin.runner.Resume(t.Context(), begin.Mastra, a, answer); mastra.CodeOf(err) != mastra.CodeConflict {
					t.Errorf("answered twice: %v", err)
				}
				_, messages, _ = there.Storage.Recall(t.Context(), "t", 10)
				if len(messages) != 2 || strings.Contains(string(messages[1].Content), "pendingToolApprovals") {
					t.Errorf("%s", messages)
				}
			})
		}
	}
}

// The answer of a generate shows what waits within the call that is to be answered; requireToolApproval holds within, too.
func TestAnAgentWithinAsksForEveryTool(t *testing.T) {
	var ran atomic.Int32
	w := newProcess(t, filepath.Join(t.TempDir(), "db"), 0, teamModels(false), team(&ran, false)...)
	r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Approve: true})
	a, _ := w.Agent("a")
	yes := mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)}
	for _, want := range []string{`{"toolCallId":"c0","toolName":"agent-worker","args":{"prompt":"delete x"},"resumeSchema"`,
		`{"toolCallId":"c0","toolName":"agent-worker","suspendPayload":{"toolCallId":"c0","toolName":"delete","args":{"name":"x"},"resumeSchema"`,
		`{"toolCallId":"c0","toolName":"agent-worker","suspendPayload":{"toolCallId":"c1","toolName":"calculatorTool","args":{"op":"add","a":1,"b":2},"resumeSchema"`} {
		if err != nil || r.FinishReason != mastra.FinishSuspended || !strings.HasPrefix(string(r.SuspendPayload), want) {
			t.Fatalf("%s, %v", r.SuspendPayload, err)
		}
		r, err = w.runner.Resume(t.Context(), w.Mastra, a, yes)
	}
	if err != nil || r.Text != "done" || ran.Load() != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// An agent within that runs in a step of a workflow has nobody to ask.
func TestNobodyToAsk(t *testing.T) {
	var ran atomic.Int32
	agents := team(&ran, false)
	flow := mastra.NewWorkflow[mastra.Prompt, mastra.Text]("flow").Then(agents[1])
	w := newProcess(t, filepath.Join(t.TempDir(), "db"), 0, teamModels(false), agents...)
	out, err := flow.Run(mastra.NewContext(t.Context(), w.Mastra), mastra.Prompt{Prompt: "go"})
	if err != nil || out.Text != "done" || ran.Load() != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestAProcessDiesBehindTheApproval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var ran atomic.Int32
	gate := make(chan struct{})
	blocked := func(hang bool) []*mastra.Agent {
		agents := team(&ran, false)
		agents[0].Tools = []mastra.Callable{mastra.NewTool("delete", "", func(ctx context.Context, in nameIn) (string, error) {
			ran.Add(1)
			if hang {
				<-gate
			}
			return "deleted " + in.Name, nil
		}).WithApproval(), calculatorTool()}
		return agents
	}
	dies := newProcess(t, path, 0, teamModels(false), blocked(true)...)
	defer close(gate)
	if _, err := dies.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "ann", RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	a, _ := dies.Agent("a")
	if _, err := dies.runner.ResumeStream(t.Context(), dies.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)}); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(10 * time.Second); ran.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the tool does not run")
		}
	}
	heir := newProcess(t, path, time.Minute, models{"worker": {}, "boss": {}}, blocked(false)...) // for it, the lease has run out
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	seq, err := heir.runner.Observe(t.Context(), heir.Mastra, "run", mastra.Position{})
	all := collect(t, seq, err)
	if got := types(all); !strings.Contains(got, "tool-call-approval epoch ") || !strings.HasSuffix(got, "tool-result step-finish step-start text-start text-delta text-end step-finish finish") || ran.Load() != 2 {
		t.Errorf("%s, the tool ran %d times", got, ran.Load())
	}
}

type amount struct {
	Amount int `json:"amount"`
}

type verdict struct {
	Approved bool `json:"approved"`
}

// payments is a workflow that waits for a person, and an agent that has it.
func payments() (mastra.Workflow, *mastra.Agent) {
	flow := mastra.NewWorkflow[amount, string]("pay").Then(mastra.NewPausable("approve", func(_ context.Context, in amount, answer *verdict) (string, error) {
		if answer == nil {
			return "", mastra.Suspend(question{fmt.Sprintf("pay %d?", in.Amount)})
		}
		return fmt.Sprintf("paid %d: %t", in.Amount, answer.Approved), nil
	}))
	return flow, &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 10}, Tools: []mastra.Callable{flow}}
}

func TestAWorkflowWithinWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for i, c := range []struct {
		name string
		ours bool // the agent's run is answered, not the workflow's own
	}{{"the agent's run is answered", true}, {"the workflow was answered before", false}} {
		t.Run(c.name, func(t *testing.T) {
			id := fmt.Sprint("run-", i)
			flow, agent := payments()
			begin := newProcess(t, path, 0, &script{steps: [][]mastra.ModelPart{asks("workflow-pay", `{"amount":7}`)}}, agent)
			chunks, err := begin.stream(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "ann", RunID: id})
			if err != nil || types(chunks) != "start step-start tool-call tool-output tool-output tool-output tool-output tool-call-suspended" {
				t.Fatalf("%s, %v", types(chunks), err)
			}
			if got := payload(t, chunks[7]); !strings.Contains(got, `"toolCallId":"c0","toolName":"workflow-pay","suspendPayload":{"question":"pay 7?"},"args":{"amount":7},"resumeSchema":"{`) {
				t.Error(got)
			}
			model := &script{}
			_, again := payments()
			there := newProcess(t, path, 0, model, again)
			runs, err := there.Storage.Runs(t.Context(), mastra.RunQuery{WorkflowID: "pay", Status: mastra.StatusSuspended, Paging: mastra.Paging{PerPage: 10}})
			if err != nil || len(runs.Items) != 1 || runs.Items[0].ResourceID != "ann" {
				t.Fatalf("%+v, %v", runs, err)
			}
			if !c.ours {
				if _, err := there.Engine.Resume(t.Context(), there.Mastra, flow, mastra.WorkflowResume{RunID: runs.Items[0].ID, Data: mastra.JSON(`{"approved":false}`)}); err != nil {
					t.Fatal(err)
				}
			}
			a, _ := there.Agent("a")
			if _, err := there.runner.Resume(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: id, Data: mastra.JSON(`{"approved":1}`)}); mastra.CodeOf(err) != mastra.CodeInvalid {
				t.Error(err)
			}
			r, err := there.runner.Resume(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: id, Data: mastra.JSON(`{"approved":true}`)})
			if err != nil || r.Text != "done" {
				t.Fatalf("%+v, %v", r, err)
			}
			told := model.asked[0].Messages
			if want := fmt.Sprintf(`"paid 7: %t"`, c.ours); !strings.Contains(string(told[len(told)-1].Parts[0].Output), want) {
				t.Errorf("the model was told %s, not %s", told[len(told)-1].Parts[0].Output, want)
			}
		})
	}
}
