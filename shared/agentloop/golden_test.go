package agentloop_test

import (
	"context"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func echoAgent() *mastra.Agent {
	return &mastra.Agent{ID: "echo-agent", Key: "echoAgent", Name: "Echo Agent", Instructions: "Echo the user.", Memory: &mastra.Memory{LastMessages: 10}}
}

func weatherAgent() *mastra.Agent {
	return &mastra.Agent{ID: "weather-agent", Key: "weatherAgent", Name: "Weather Agent", Instructions: "Answer weather questions with tools.",
		Tools: []mastra.Callable{weatherTool(), calculatorTool()}}
}

// What differs from call to call is made equal: ids, times, and the model's own numbering.
var unstable = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`"[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"`), `"uuid"`},
	{regexp.MustCompile(`"[0-9a-f]{32}"`), `"trace"`},
	{regexp.MustCompile(`"[0-9a-f]{16}"`), `"span"`},
	{regexp.MustCompile(`:1\d{12}`), `:0`},
	{regexp.MustCompile(`"20\d\d-[^"]{17,19}Z"`), `"time"`},
	{regexp.MustCompile(`"1970-01-01T00:00:00.000Z"`), `null`}, // our mock has no time, which is written as null
	{regexp.MustCompile(`"(resp|call)_\d+"`), `"$1"`},
}

func stable(t *testing.T, line string) (v any) {
	t.Helper()
	for _, u := range unstable {
		line = u.pattern.ReplaceAllString(line, u.with)
	}
	if err := schema.Unmarshal([]byte(line), &v); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return v
}

func same(t *testing.T, at string, got, want any) {
	t.Helper()
	if m, ok := want.(map[string]any); ok {
		g, _ := got.(map[string]any)
		for k := range m {
			if _, ok := g[k]; !ok {
				t.Errorf("%s.%s is missing", at, k)
			} else {
				same(t, at+"."+k, g[k], m[k])
			}
		}
		for k := range g {
			if _, ok := m[k]; !ok {
				t.Errorf("%s.%s = %v is too much", at, k, g[k])
			}
		}
		return
	}
	if l, ok := want.([]any); ok {
		if g, _ := got.([]any); len(g) == len(l) {
			for i := range l {
				same(t, at+"[]", g[i], l[i])
			}
			return
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s = %v, want %v", at, got, want)
	}
}

func golden(t *testing.T, name string) []string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func TestGenerateAsTheReferenceServer(t *testing.T) {
	for _, c := range []struct {
		golden, agent, text string
		before              string
	}{
		{golden: "agents-generate", agent: "echo-agent", text: "What is 2+2?"},
		{golden: "agents-generate-memory-2", agent: "echo-agent", before: "hello memory", text: "second turn"},
		{golden: "agents-generate-tool", agent: "weather-agent", text: "add 2 and 2"},
	} {
		t.Run(c.golden, func(t *testing.T) {
			model := &reference{id: "mock-echo"}
			if c.agent == "weather-agent" {
				model.id = "mock-weather"
			}
			w := newWorld(t, model, echoAgent(), weatherAgent())
			call := mastra.AgentCall{Messages: mastra.UserMessage(c.text)}
			if c.before != "" {
				call.ThreadID, call.ResourceID = "thread-golden-1", "user-1"
				first := call
				first.Messages = mastra.UserMessage(c.before)
				if _, err := w.generate(context.Background(), c.agent, first); err != nil {
					t.Fatal(err)
				}
			}
			r, err := w.generate(context.Background(), c.agent, call)
			if err != nil {
				t.Fatal(err)
			}
			got, err := schema.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "", stable(t, string(got)), stable(t, golden(t, c.golden)[0]))
		})
	}
}

func TestStreamAsTheReferenceServer(t *testing.T) {
	for _, c := range []struct{ golden, agent, text string }{
		{"agents-stream", "echo-agent", "Tell me a story"},
		{"agents-stream-tool", "weather-agent", "weather in Paris"},
		{"agents-stream-tool-input-invalid", "weather-agent", "weather in  "},
	} {
		t.Run(c.golden, func(t *testing.T) {
			model := &reference{id: "mock-echo"}
			if c.agent == "weather-agent" {
				model.id = "mock-weather"
			}
			w := newWorld(t, model, echoAgent(), weatherAgent())
			chunks, err := w.stream(context.Background(), c.agent, mastra.AgentCall{Messages: mastra.UserMessage(c.text)})
			if err != nil {
				t.Fatal(err)
			}
			want := golden(t, c.golden)
			if len(chunks) != len(want) {
				t.Errorf("%d chunks, want %d", len(chunks), len(want))
			}
			for i := range min(len(chunks), len(want)) {
				data, err := chunks[i].Encode()
				if err != nil {
					t.Fatal(err)
				}
				got := stable(t, string(data)).(map[string]any)
				if chunks[i].Type == mastra.ChunkTextDelta { // simple clients read the text here
					payload := got["payload"].(map[string]any)
					if got["text"] != payload["text"] {
						t.Errorf("text = %v", got["text"])
					}
					delete(got, "text")
				}
				same(t, chunks[i].Type, got, stable(t, want[i]))
			}
		})
	}
}
