package agentloop_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
	"mastralambda/shared/storage/sqlite"
)

// reference is the reference application's model: it echoes, or calls a tool and tells its result.
type reference struct {
	id    string
	calls atomic.Int32
}

func (r *reference) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "mock", ID: r.id, Version: "v2"}
}

var (
	words   = regexp.MustCompile(`\S+\s*`)
	weather = regexp.MustCompile(`weather in ([A-Za-z ]+)`)
	add     = regexp.MustCompile(`add (-?\d+) and (-?\d+)`)
)

func (r *reference) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		last := q.Messages[len(q.Messages)-1]
		user := ""
		for _, m := range q.Messages {
			if m.Role == "user" {
				user = m.Text()
			}
		}
		if strings.Contains(user, "boom") && last.Role == "user" {
			yield(mastra.ModelPart{}, mastra.Errorf(mastra.CodeUpstream, "mock model exploded"))
			return
		}
		n := r.calls.Add(1)
		parts := []mastra.ModelPart{{Type: mastra.ModelMetadata, ID: fmt.Sprint("resp_", n), ModelID: r.id}}
		usage := mastra.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}
		say := func(text string) {
			parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextStart, ID: "txt-0"})
			for _, w := range words.FindAllString(text, -1) {
				parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextDelta, ID: "txt-0", Text: w})
			}
			parts = append(parts, mastra.ModelPart{Type: mastra.ModelTextEnd, ID: "txt-0"}, mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishStop, Usage: usage})
		}
		ask := func(tool, input string) {
			id, half := fmt.Sprint("call_", n), (len(input)+1)/2
			parts = append(parts, mastra.ModelPart{Type: mastra.ModelToolInputStart, ID: id, ToolName: tool},
				mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: id, Text: input[:half]},
				mastra.ModelPart{Type: mastra.ModelToolInputDelta, ID: id, Text: input[half:]},
				mastra.ModelPart{Type: mastra.ModelToolInputEnd, ID: id},
				mastra.ModelPart{Type: mastra.ModelToolCall, ID: id, ToolName: tool, Input: mastra.JSON(input)},
				mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishToolCalls, Usage: usage})
		}
		switch w, a := weather.FindStringSubmatch(user), add.FindStringSubmatch(user); {
		case last.Role == "tool":
			var out []string
			for _, p := range last.Parts {
				var o struct {
					Value mastra.JSON `json:"value"`
				}
				_ = schema.Unmarshal(p.Output, &o)
				out = append(out, string(o.Value))
			}
			if len(out) == 1 {
				say("Result: " + out[0])
			} else {
				say("Result: [" + strings.Join(out, ",") + "]")
			}
		case w != nil && len(q.Tools) > 0:
			ask("weatherTool", fmt.Sprintf(`{"city":%q}`, strings.TrimSpace(w[1])))
		case a != nil && len(q.Tools) > 0:
			ask("calculatorTool", `{"op":"add","a":`+a[1]+`,"b":`+a[2]+`}`)
		default:
			say("Echo: " + user)
		}
		for _, p := range parts {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// script is a model that answers each call with the next of its steps, then with "done".
type script struct {
	steps [][]mastra.ModelPart
	errs  []error // after the parts of the step
	asked []*mastra.ModelRequest
}

func (*script) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "test", ID: "script", Version: "v2"}
}

func (s *script) Stream(ctx context.Context, q *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		n := len(s.asked)
		copied := *q
		copied.Messages = append([]mastra.PromptMessage(nil), q.Messages...)
		s.asked = append(s.asked, &copied)
		parts := said("done")
		if n < len(s.steps) {
			parts = s.steps[n]
		}
		for _, p := range parts {
			if !yield(p, nil) {
				return
			}
		}
		if n < len(s.errs) && s.errs[n] != nil {
			yield(mastra.ModelPart{}, s.errs[n])
		}
	}
}

func said(text string) []mastra.ModelPart {
	return []mastra.ModelPart{{Type: mastra.ModelTextStart, ID: "t"}, {Type: mastra.ModelTextDelta, ID: "t", Text: text},
		{Type: mastra.ModelTextEnd, ID: "t"}, {Type: mastra.ModelFinish, Finish: mastra.FinishStop}}
}

func asks(calls ...string) (parts []mastra.ModelPart) { // name, arguments, name, arguments, …
	for i := 0; i < len(calls); i += 2 {
		parts = append(parts, mastra.ModelPart{Type: mastra.ModelToolCall, ID: "c" + strconv.Itoa(i/2), ToolName: calls[i], Input: mastra.JSON(calls[i+1])})
	}
	return append(parts, mastra.ModelPart{Type: mastra.ModelFinish, Finish: mastra.FinishToolCalls})
}

type city struct {
	City string `json:"city" minLength:"1"`
}
type report struct {
	City       string  `json:"city"`
	TempC      float64 `json:"tempC"`
	Conditions string  `json:"conditions"`
}
type sum struct {
	Op string  `json:"op" enum:"add,mul,div"`
	A  float64 `json:"a"`
	B  float64 `json:"b"`
}
type total struct {
	Result float64 `json:"result"`
}

func weatherTool() *mastra.Tool {
	return mastra.NewTool("weather-tool", "Get the weather for a city", func(_ context.Context, in city) (report, error) {
		return report{in.City, float64(len(in.City)), "sunny"}, nil
	}).Named("weatherTool")
}

func calculatorTool() *mastra.Tool {
	return mastra.NewTool("calculator", "Arithmetic", func(_ context.Context, in sum) (total, error) {
		if in.Op == "div" && in.B == 0 {
			return total{}, errors.New("division by zero")
		}
		return total{in.A + in.B}, nil
	}).Named("calculatorTool")
}

// world is an application on a real storage.
type world struct {
	*mastra.Mastra
	runs   *runlog.Supervisor
	runner *agentloop.Runner
}

func newWorld(t testing.TB, model mastra.LanguageModel, agents ...*mastra.Agent) *world {
	t.Helper()
	store, err := sqlite.Open(t.TempDir() + "/test.db")
	if err != nil {
		t.Fatal(err)
	}
	var over mastra.Storage = store
	if strings.HasPrefix(t.Name(), "TestClaimsFirst/") {
		over = claimsFirst{store}
	}
	w := newWorldOn(t, over, model, agents...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.runs.Drain(ctx); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return w
}

func newWorldOn(t testing.TB, store mastra.Storage, model mastra.LanguageModel, agents ...*mastra.Agent) *world {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	w := &world{runs: runlog.NewSupervisor(quiet)}
	w.runner = agentloop.New(w.runs)
	var err error
	w.Mastra, err = mastra.New(mastra.Config{Agents: agents, Backends: mastra.Backends{Agents: w.runner, Storage: store, Logger: quiet,
		Models: func(string) (mastra.LanguageModel, error) { return model, nil }}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) generate(ctx context.Context, agent string, c mastra.AgentCall) (*mastra.AgentResult, error) {
	a, err := w.Agent(agent)
	if err != nil {
		return nil, err
	}
	return w.runner.Generate(ctx, w.Mastra, a, c)
}

func (w *world) stream(ctx context.Context, agent string, c mastra.AgentCall) (chunks []mastra.Chunk, err error) {
	a, err := w.Agent(agent)
	if err != nil {
		return nil, err
	}
	seq, err := w.runner.Stream(ctx, w.Mastra, a, c)
	if err != nil {
		return nil, err
	}
	for c, err := range seq {
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}
