package agentloop_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// tree is a trace as its reader sees it: a line a span, below the one that it belongs to.
func tree(t *testing.T, w *world, traceID string, show func(s mastra.Span) string) string {
	t.Helper()
	spans, err := w.Storage.Trace(t.Context(), traceID)
	if err != nil {
		t.Fatal(err)
	}
	within, known := map[string][]mastra.Span{}, map[string]bool{}
	for _, s := range spans {
		known[s.SpanID] = true
	}
	for _, s := range spans {
		if !known[s.ParentID] {
			s.ParentID = ""
		}
		within[s.ParentID] = append(within[s.ParentID], s)
	}
	var b strings.Builder
	var write func(id, indent string)
	write = func(id, indent string) {
		for _, s := range within[id] {
			b.WriteString(indent + strings.TrimSpace(s.Name+" "+show(s)) + "\n")
			write(s.SpanID, indent+"  ")
		}
	}
	write("", "")
	return b.String()
}

func inputAndOutput(s mastra.Span) string {
	if s.Type != mastra.SpanAgentRun && s.Type != mastra.SpanToolCall {
		return ""
	}
	return string(s.Input) + " -> " + string(s.Output)
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(strings.ReplaceAll(want, "\t", "  "), "\n"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The spans of a run that waits are those of the real server: what goes on stands below the model's span of what came before,
// or below the call that goes on with it.
func TestTheTraceOfARunThatWaits(t *testing.T) {
	for _, approved := range []string{"true", "false"} {
		var ran atomic.Int32
		path := filepath.Join(t.TempDir(), "db")
		begin := newProcess(t, path, 0, teamModels(false), team(&ran, false)...)
		r, err := begin.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), ThreadID: "t", ResourceID: "ann", RunID: "run"})
		if err != nil || r.FinishReason != mastra.FinishSuspended {
			t.Fatalf("%+v, %v", r, err)
		}
		waits := `{"status":"suspended","reason":"tool-call-approval","toolCallId":"c0","toolName":"delete"}`
		before := `
agent run: 'a' "go" -> ` + waits + `
	memory: recall
	llm: 'models'
		step: 0
			inference: 0
			tool: 'agent-worker' {"prompt":"delete x"} ->
				agent run: 'worker' "delete x" -> ` + waits + `
					llm: 'models'
						step: 0
							inference: 0
							tool: 'calculatorTool' {"op":"add","a":1,"b":2} -> {"result":3}
`
		expect(t, tree(t, begin.world, r.TraceID, inputAndOutput), before)

		there := newProcess(t, path, 0, models{"worker": {}, "boss": {}}, team(&ran, false)...)
		a, _ := there.Agent("a")
		after, err := there.runner.Resume(t.Context(), there.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":` + approved + `}`)})
		if err != nil || after.TraceID != r.TraceID {
			t.Fatalf("%+v, %v", after, err)
		}
		answer := `{"approved":` + approved + `,"toolCallId":"c0","toolName":"delete"}`
		tool := "\n\t\t\t\t\t\t\t\t\ttool: 'delete' {\"name\":\"x\"} -> \"deleted x\""
		if approved == "false" {
			tool = "" // it was not called
		}
		expect(t, tree(t, there.world, r.TraceID, inputAndOutput), before+`		agent run: 'a' (resumed) `+answer+` -> {"text":"done","files":[]}
			llm: 'models'
				tool: 'agent-worker' {"prompt":"delete x"} -> {"text":"done"}
					agent run: 'worker' (resumed) `+answer+` -> {"text":"done","files":[]}
						llm: 'models'`+strings.Replace(tool, "\t\t\t\t\t\t\t\t\t", "\t\t\t\t\t\t\t", 1)+`
							step: 0
							step: 1
								inference: 1
				step: 0
				step: 1
					inference: 1
			memory: save
`)
		spans, _ := there.Storage.Trace(t.Context(), r.TraceID)
		ids, from := map[string]string{}, map[string]string{}
		for _, s := range spans {
			ids[s.SpanID] = s.Name
		}
		for _, s := range spans {
			if _, id, resumed := strings.Cut(string(s.Metadata), `"resumed":true,"resumedFromSpanId":"`); resumed {
				from[s.Name] = ids[id[:16]] + " of " + s.EntityID
			}
		}
		if from["agent run: 'a' (resumed)"] != "llm: 'models' of a" || from["agent run: 'worker' (resumed)"] != "llm: 'models' of worker" {
			t.Error(from)
		}
	}
}

// What the model used is counted once, in the part of the run that asked it.
func TestTokensOfARunThatWaits(t *testing.T) {
	used := func(parts []mastra.ModelPart, n int) []mastra.ModelPart {
		parts[len(parts)-1].Usage = mastra.Usage{InputTokens: n, OutputTokens: 1, TotalTokens: n + 1}
		return parts
	}
	var ran atomic.Int32
	model := &script{steps: [][]mastra.ModelPart{used(asks("delete", `{"name":"x"}`), 10), used(said("done"), 20)}}
	w := newProcess(t, filepath.Join(t.TempDir(), "db"), 0, model, deleter(&ran))
	if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run"}); err != nil {
		t.Fatal(err)
	}
	a, _ := w.Agent("a")
	r, err := w.runner.Resume(t.Context(), w.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`)})
	if err != nil || r.TotalUsage.InputTokens != 30 {
		t.Fatalf("%+v, %v", r, err)
	}
	usage := func(s mastra.Span) string {
		_, use, _ := strings.Cut(string(s.Attributes), `"usage":{"inputTokens":`)
		_, finish, _ := strings.Cut(string(s.Attributes), `"finishReason":"`)
		if s.Type != mastra.SpanModelGeneration {
			return ""
		}
		return use[:2] + " " + finish[:strings.IndexByte(finish, '"')]
	}
	expect(t, tree(t, w.world, r.TraceID, usage), `
agent run: 'a'
	llm: 'script' 10 suspended
		step: 0
			inference: 0
		agent run: 'a' (resumed)
			llm: 'script' 20 stop
				tool: 'delete'
				step: 0
				step: 1
					inference: 1
`)
}

func find(t *testing.T, w *world, traceID, name string) mastra.Span {
	t.Helper()
	spans, err := w.Storage.Trace(t.Context(), traceID)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no span %q among %d", name, len(spans))
	return mastra.Span{}
}

func TestWhatSpansShow(t *testing.T) {
	t.Run("what a caller sent, before processors", func(t *testing.T) {
		shout := &mastra.Processor{ID: "shout", Input: func(_ context.Context, ms mastra.Messages) (mastra.Messages, error) {
			ms[len(ms)-1].Content[0].Text += "!"
			return ms, nil
		}, InputStep: func(context.Context, *mastra.ModelRequest) error { return nil }}
		w := newWorld(t, &script{}, &mastra.Agent{ID: "a", Processors: []*mastra.Processor{shout}})
		messages := mastra.Messages{{Role: "system", Content: mastra.InputContent{{Type: mastra.PartText, Text: "be kind"}}}, mastra.UserMessage("go")[0]}
		for _, one := range []struct {
			messages mastra.Messages
			want     string
		}{{messages[1:], `"go"`}, {messages, `[{"role":"system","content":"be kind"},{"role":"user","content":"go"}]`}} {
			r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: one.messages})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, tree(t, w, r.TraceID, func(mastra.Span) string { return "" }), `
agent run: 'a'
	input processor: shout
	llm: 'script'
		step: 0
			input step processor: shout
			inference: 0
`)
			root := find(t, w, r.TraceID, "agent run: 'a'")
			if string(root.Input) != one.want {
				t.Errorf("%s, not %s", root.Input, one.want)
			}
			if s := find(t, w, r.TraceID, "input step processor: shout"); s.ParentID != find(t, w, r.TraceID, "step: 0").SpanID || !strings.Contains(string(s.Input), `"go!"`) || string(s.Output) != "{}" {
				t.Errorf("%+v", s)
			}
			if s := find(t, w, r.TraceID, "input processor: shout"); s.ParentID != root.SpanID || !strings.Contains(string(s.Input), `"content":"go"}]}`) {
				t.Errorf("%+v", s)
			}
		}
	})
	t.Run("the object of a structured answer", func(t *testing.T) {
		w := newWorld(t, &script{steps: [][]mastra.ModelPart{said(`{"n":1}`)}}, &mastra.Agent{ID: "a"})
		temperature := 0.5
		r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Structured: &mastra.Structured{Schema: mastra.JSON(`{"type":"object"}`)},
			Settings: mastra.ModelSettings{Temperature: &temperature}})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"agent run: 'a'", "llm: 'script'", "step: 0", "inference: 0"} {
			if s := find(t, w, r.TraceID, name); !strings.Contains(string(s.Output), `"object":{"n":1}`) {
				t.Errorf("%s: %s", name, s.Output)
			}
		}
		if a := find(t, w, r.TraceID, "inference: 0").Attributes; !strings.Contains(string(a), `"responseFormat":"json_schema"`) || !strings.Contains(string(a), `"parameters":{"temperature":0.5}`) {
			t.Error(string(a))
		}
	})
	t.Run("a call that the caller carries out", func(t *testing.T) {
		w := newWorld(t, &script{steps: [][]mastra.ModelPart{asks("ask", `{"q":1}`)}}, &mastra.Agent{ID: "a"})
		r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), ClientTools: []mastra.ClientTool{{Name: "ask", Description: "asks"}}})
		if err != nil {
			t.Fatal(err)
		}
		s := find(t, w, r.TraceID, "client_tool: 'ask'")
		if s.Type != mastra.SpanClientTool || s.ParentID != r.SpanID || !strings.Contains(string(s.Metadata), `"args":{"q":1}`) || string(s.Attributes) != `{"toolType":"client-tool","toolDescription":"asks"}` {
			t.Errorf("%+v", s)
		}
	})
	t.Run("what the caller says of it, also within", func(t *testing.T) {
		inner := &mastra.Agent{ID: "inner", Instructions: "inner"}
		outer := &mastra.Agent{ID: "outer", Instructions: "outer", Tools: []mastra.Callable{inner}}
		w := newWorld(t, models{"outer": {steps: [][]mastra.ModelPart{asks("agent-inner", `{"prompt":"secret"}`)}}, "inner": {}}, inner, outer)
		ctx := mastra.WithRequestContext(t.Context(), mastra.RequestContext{"user": mastra.JSON(`{"id":"ann","age":7}`), "tenant": mastra.JSON(`"acme"`)})
		r, err := w.generate(ctx, "outer", mastra.AgentCall{Messages: mastra.UserMessage("secret"), Tracing: mastra.TracingOptions{HideInput: true, HideOutput: true,
			Metadata: mastra.JSON(`{"sessionId":"s","runId":"forged"}`), RequestContextKeys: []string{"user.id", "tenant", "none", "tenant.x"}}})
		if err != nil {
			t.Fatal(err)
		}
		spans, _ := w.Storage.Trace(t.Context(), r.TraceID)
		if len(spans) != 11 {
			t.Errorf("%d spans", len(spans))
		}
		for _, s := range spans {
			if !strings.HasPrefix(string(s.Metadata), `{"user":{"id":"ann"},"tenant":"acme","sessionId":"s","runId":"`+s.RunID+`"`) || s.Input != nil || s.Output != nil {
				t.Errorf("%s: %s, %s, %s", s.Name, s.Metadata, s.Input, s.Output)
			}
		}
	})
	t.Run("each of two calls of one id", func(t *testing.T) {
		parts := asks("calculatorTool", `{"op":"add","a":1,"b":1}`, "calculatorTool", `{"op":"add","a":1,"b":2}`)
		parts[1].ID = parts[0].ID
		w := newWorld(t, &script{steps: [][]mastra.ModelPart{parts}}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{calculatorTool()}})
		r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
		if err != nil {
			t.Fatal(err)
		}
		if got := tree(t, w, r.TraceID, inputAndOutput); !strings.Contains(got, `-> {"result":2}`) || !strings.Contains(got, `-> {"result":3}`) {
			t.Error(got)
		}
	})
	t.Run("what is said of it when it goes on", func(t *testing.T) {
		var ran atomic.Int32
		w := newProcess(t, filepath.Join(t.TempDir(), "db"), 0, &script{steps: [][]mastra.ModelPart{asks("delete", `{"name":"x"}`)}}, deleter(&ran))
		first := mastra.TracingOptions{Metadata: mastra.JSON(`{"m":1}`), Tags: []string{"t"}, HideInput: true}
		if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: first}); err != nil {
			t.Fatal(err)
		}
		a, _ := w.Agent("a")
		r, err := w.runner.Resume(t.Context(), w.Mastra, a, mastra.AgentResume{RunID: "run", Data: mastra.JSON(`{"approved":true}`), Tracing: mastra.TracingOptions{Metadata: mastra.JSON(`{"n":2}`), Tags: []string{"u"}, HideOutput: true}})
		if err != nil {
			t.Fatal(err)
		}
		s := find(t, w.world, r.TraceID, "agent run: 'a' (resumed)")
		if !strings.HasPrefix(string(s.Metadata), `{"n":2,"runId":"run"`) || len(s.Tags) != 1 || s.Tags[0] != "u" || s.Input != nil || s.Output != nil {
			t.Errorf("%+v", s)
		}
	})
	t.Run("that it was broken off, or refused", func(t *testing.T) {
		started := make(chan struct{})
		slow := mastra.NewTool("slow", "", func(ctx context.Context, _ struct{}) (string, error) {
			close(started)
			<-ctx.Done()
			return "", ctx.Err()
		})
		w := newWorld(t, &script{steps: [][]mastra.ModelPart{asks("slow", `{}`)}}, &mastra.Agent{ID: "a", Tools: []mastra.Callable{slow}})
		go func() { <-started; w.runner.Cancel(context.Background(), "run") }()
		trace := strings.Repeat("a", 32)
		if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: mastra.TracingOptions{TraceID: trace}}); err == nil {
			t.Fatal("a run that was cancelled has an answer")
		}
		if root := find(t, w, trace, "agent run: 'a'"); root.Error != nil || string(root.Output) != `{"status":"aborted","reason":"abort"}` {
			t.Errorf("%s, %s", root.Error, root.Output)
		}
		if s := find(t, w, trace, "llm: 'script'"); !strings.Contains(string(s.Attributes), `"finishReason":"aborted"`) || !strings.Contains(string(s.Attributes), `"usage":{}`) {
			t.Error(string(s.Attributes))
		}
		if s := find(t, w, trace, "step: 0"); s.Error != nil { // nothing of it has failed
			t.Errorf("%s", s.Error)
		}

		w = newWorld(t, &script{errs: []error{errors.New("no")}}, &mastra.Agent{ID: "a"})
		if _, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), Tracing: mastra.TracingOptions{TraceID: trace}}); err == nil {
			t.Fatal("a model that fails has an answer")
		}
		for _, name := range []string{"agent run: 'a'", "llm: 'script'", "step: 0", "inference: 0"} {
			if s := find(t, w, trace, name); s.Status() != "error" {
				t.Errorf("%s: %s", name, s.Status())
			}
		}

		again := &mastra.Processor{ID: "again", OutputStep: func(_ context.Context, s *mastra.StepOutput) error {
			if s.Retries == 0 {
				return mastra.Abort("shorter").Retry()
			}
			return nil
		}}
		w = newWorld(t, &script{steps: [][]mastra.ModelPart{said("too long")}}, &mastra.Agent{ID: "a", Processors: []*mastra.Processor{again}, MaxProcessorRetries: 1})
		r, err := w.generate(t.Context(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go")})
		if err != nil {
			t.Fatal(err)
		}
		if s := find(t, w, r.TraceID, "step: 0"); !strings.Contains(string(s.Output), "too long") || !strings.Contains(string(s.Attributes), `"isContinued":true,"finishReason":"retry"`) {
			t.Errorf("%s %s", s.Output, s.Attributes)
		}
		if s := find(t, w, r.TraceID, "step: 1"); !strings.Contains(string(s.Input), "shorter") {
			t.Errorf("the span does not show what the model was told: %s", s.Input)
		}
	})
}

// then is a model that answers as one of its own does, and then hangs.
type then struct {
	*script
	hangs chan struct{} // closed when it does
}

func (m *then) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	if len(m.asked) < len(m.steps) {
		return m.script.Stream(ctx, q)
	}
	return func(yield func(mastra.ModelPart, error) bool) {
		close(m.hangs)
		<-ctx.Done()
		yield(mastra.ModelPart{}, ctx.Err())
	}
}

// What a process did of a run before it died is in the trace, too: whoever takes the run over knows it.
func TestTheTraceOfARunThatIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	inner := &mastra.Agent{ID: "inner", Instructions: "inner"}
	agent := &mastra.Agent{ID: "a", Name: "A", Instructions: "a", Tools: []mastra.Callable{inner, calculatorTool()}}
	stuck := &then{&script{steps: [][]mastra.ModelPart{asks("agent-inner", `{"prompt":"deep"}`), said("inside"), asks("calculatorTool", `{"op":"add","a":1,"b":2}`)}}, make(chan struct{})}
	lost := newProcess(t, path, 0, stuck, agent, inner)
	heir := newProcess(t, path, time.Minute, &script{}, agent, inner) // for it, the lease has run out
	trace := strings.Repeat("a", 32)
	go func() {
		_, _ = lost.stream(context.Background(), "a", mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: mastra.TracingOptions{TraceID: trace}})
	}()
	<-stuck.hangs
	until(t, "the steps are stored", func() bool {
		r, err := heir.Storage.Run(t.Context(), "run")
		return err == nil && r.Status == mastra.StatusRunning && r.Owner != "" && len(r.Steps) == 2
	})
	if err := heir.engine.TakeOver(t.Context(), heir.Mastra); err != nil {
		t.Fatal(err)
	}
	until(t, "its end", func() bool {
		r, err := heir.Storage.Run(t.Context(), "run")
		return err == nil && r.Status == mastra.StatusSuccess
	})
	lost.runner.Cancel(t.Context(), "run") // it has hung until now
	expect(t, tree(t, heir.world, trace, inputAndOutput), `
agent run: 'a' "go" -> {"text":"done","files":[]}
	llm: 'script'
		step: 0
			inference: 0
			tool: 'agent-inner' {"prompt":"deep"} -> {"text":"inside"}
				agent run: 'inner' "deep" -> {"text":"inside","files":[]}
					llm: 'script'
						step: 0
							inference: 0
		step: 1
			inference: 1
			tool: 'calculatorTool' {"op":"add","a":1,"b":2} -> {"result":3}
		step: 2
			inference: 2
`)
	spans, _ := heir.Storage.Trace(t.Context(), trace)
	for _, s := range spans {
		if s.EndedAt < s.StartedAt || s.Type != mastra.SpanModelStep && s.Type != mastra.SpanModelInference && s.Type != mastra.SpanToolCall {
			continue
		}
		if !strings.HasSuffix(s.Name, "2") && s.EndedAt > spans[0].EndedAt-500 && s.EntityID == "a" { // the run lasted for a second behind them
			t.Errorf("%s ended at %s, the run at %s", s.Name, s.EndedAt, spans[0].EndedAt)
		}
	}
}

// lines is a log that keeps what is said of runs: "message runId traceId".
type lines struct {
	slog.Handler
	mu   sync.Mutex
	said []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "runId" {
			l.said = append(l.said, r.Message+" "+a.Value.String()+" "+mastra.SpanOf(ctx).TraceID)
		}
		return true
	})
	return nil
}

// Whoever looks at the trace of a run that failed finds in the log why.
func TestTheLogSaysWhichRunFailed(t *testing.T) {
	log := &lines{}
	w := newWorld(t, &script{errs: []error{errors.New("no"), errors.New("no")}}, &mastra.Agent{ID: "a"})
	w.Logger = slog.New(log)
	call := mastra.AgentCall{Messages: mastra.UserMessage("go"), RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("a", 32)}}
	if _, err := w.generate(t.Context(), "a", call); err == nil {
		t.Fatal("a model that fails has an answer")
	}
	if _, err := w.stream(t.Context(), "a", call); err != nil {
		t.Fatal(err)
	}
	want := "a run failed run " + call.Tracing.TraceID
	if log.mu.Lock(); strings.Join(log.said, "\n") != want+"\n"+want {
		t.Errorf("%q", log.said)
	}
	log.mu.Unlock()
}

// What a network asks its model first may be shorter than what a run of the agent would: its end must not look beyond.
func TestANetworkThatMayGoNoFurther(t *testing.T) {
	model := &script{steps: [][]mastra.ModelPart{spoken(`{"primitiveId":"calculatorTool","primitiveType":"tool","prompt":"{\"op\":\"add\",\"a\":1,\"b\":2}","selectionReason":"a sum"}`)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Instructions: "route", Memory: &mastra.Memory{WorkingMemory: &mastra.WorkingMemory{Template: "# Name"}}, Tools: []mastra.Callable{calculatorTool()}})
	a, _ := w.Agent("a")
	seq, err := w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("1 and 2?"), ThreadID: "t", ResourceID: "u", MaxSteps: 1})
	if got := types(collect(t, seq, err)); !strings.HasSuffix(got, "tool-execution-end network-execution-event-step-finish network-execution-event-finish") {
		t.Error(got)
	}
}

// The trace of a network says what its model chose: in the spans of its calls, which are no answers.
func TestTheTraceOfANetwork(t *testing.T) {
	chosen := `{"primitiveId":"calculatorTool","primitiveType":"tool","prompt":"{\"op\":\"add\",\"a\":1,\"b\":2}","selectionReason":"a sum"}`
	done := `{"primitiveId":"none","primitiveType":"none","prompt":"It is 3","selectionReason":"done"}`
	model := &script{steps: [][]mastra.ModelPart{spoken(chosen), spoken(done)}}
	w := newWorld(t, model, &mastra.Agent{ID: "a", Instructions: "route", Memory: &mastra.Memory{LastMessages: 1}, Tools: []mastra.Callable{calculatorTool()}})
	a, _ := w.Agent("a")
	seq, err := w.runner.Network(t.Context(), w.Mastra, a, mastra.AgentCall{Messages: mastra.UserMessage("1 and 2?"), ThreadID: "t", ResourceID: "u", RunID: "run", Tracing: mastra.TracingOptions{TraceID: strings.Repeat("a", 32)}})
	collect(t, seq, err)
	said := func(s mastra.Span) string {
		if s.Type != mastra.SpanModelInference {
			return ""
		}
		_, finish, _ := strings.Cut(string(s.Attributes), `"finishReason":`)
		return finish[:len(`"stop"`)] + " " + string(s.Output)
	}
	quoted := func(text string) string { data, _ := schema.Marshal(text); return string(data) }
	expect(t, tree(t, w, strings.Repeat("a", 32), said), `
agent run: 'a'
	memory: recall
	llm: 'script'
		step: 0
			inference: 0 "stop" {"text":`+quoted(chosen)+`,"toolCalls":[]}
			tool: 'calculatorTool'
		step: 1
			inference: 1 "stop" {"text":`+quoted(done)+`,"toolCalls":[]}
	memory: save
`)
	messages, err := w.Storage.Messages(t.Context(), mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 5}})
	if err != nil || len(messages.Items) != 2 || strings.Contains(string(messages.Items[1].Content), "selectionReason") {
		t.Errorf("%+v, %v", messages, err)
	}
}
