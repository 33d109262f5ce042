package openai

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/modeltest"
	"mastralambda/shared/schema"
)

// endpoint serves events in the service's own framing.
func endpoint(t testing.TB, events []byte) *Model {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := range bytes.Lines(events) {
			fmt.Fprintf(w, "data: %s\n\n", bytes.TrimSpace(line))
		}
		io.WriteString(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return New("tiny-1", Config{BaseURL: s.URL})
}

func TestRecordings(t *testing.T) {
	for file, want := range map[string]modeltest.Answer{
		"testdata/text.chunks.txt":  {Text: "Hello you", Finish: "stop", Model: "tiny-1", Usage: mastra.Usage{InputTokens: 7, OutputTokens: 2, TotalTokens: 9, CachedInputTokens: 3}},
		"testdata/tools.chunks.txt": {Reasoning: "two calls", Calls: `add{"a":1}now{}`, Finish: "tool-calls", Model: "tiny-1", Usage: mastra.Usage{InputTokens: 1, OutputTokens: 2, TotalTokens: 3}},
	} {
		events, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := modeltest.Ask(t, endpoint(t, events), mastra.ModelRequest{}); err != nil || got != want {
			t.Errorf("%s: %+v, %v\nwant %+v", file, got, err, want)
		}
	}
}

func TestRealRecordings(t *testing.T) {
	want := map[string]modeltest.Answer{
		"deepseek-tool-call": {Calls: `weather{"location": "San Francisco"}`, Finish: "tool-calls", Model: "deepseek-reasoner", Reasoning: "The user is asking",
			Usage: mastra.Usage{InputTokens: 339, OutputTokens: 83, TotalTokens: 422, ReasoningTokens: 39, CachedInputTokens: 320}},
		"mistral-text": {Text: "Hello, world!", Finish: "stop", Model: "mistral-small-latest", Usage: mastra.Usage{InputTokens: 13, OutputTokens: 8, TotalTokens: 21}},
		"openai-text":  {Text: "**Holiday Name:", Finish: "stop", Model: "gpt-4.1-nano-2025-04-14", Usage: mastra.Usage{InputTokens: 16, OutputTokens: 300, TotalTokens: 316}},
		"xai-tool-call": {Calls: `weather{"location":"San Francisco"}`, Finish: "tool-calls", Model: "grok-3-mini", Reasoning: "First",
			Usage: mastra.Usage{InputTokens: 291, OutputTokens: 222, TotalTokens: 513, ReasoningTokens: 196, CachedInputTokens: 290}},
	}
	for name, events := range modeltest.Recordings(t, "openai-chat") {
		got, err := modeltest.Ask(t, endpoint(t, events), mastra.ModelRequest{})
		w, known := want[name]
		if !known {
			t.Errorf("%s: say here what it holds: %+v", name, got)
			continue
		}
		if !strings.HasPrefix(got.Text, w.Text) || !strings.HasPrefix(got.Reasoning, w.Reasoning) || (w.Text == "") != (got.Text == "") {
			t.Errorf("%s: text %q, reasoning %q", name, got.Text, got.Reasoning)
		}
		got.Text, got.Reasoning = w.Text, w.Reasoning
		if err != nil || got != w {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, w)
		}
	}
}

func TestRequest(t *testing.T) {
	var sent struct {
		Model    string `json:"model"`
		Messages []struct {
			Role       string      `json:"role"`
			Content    mastra.JSON `json:"content"`
			ToolCallID string      `json:"tool_call_id"`
			ToolCalls  []struct {
				ID string `json:"id"`
			} `json:"tool_calls"`
		} `json:"messages"`
		Tools       []mastra.JSON `json:"tools"`
		Temperature float64       `json:"temperature"`
	}
	var authorization string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		authorization = r.Header.Get("Authorization")
		if err := schema.Unmarshal(body, &sent); err != nil {
			t.Error(err)
		}
		io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	defer s.Close()
	warm := 0.5
	type in struct {
		A int `json:"a"`
	}
	_, err := modeltest.Ask(t, New("m", Config{BaseURL: s.URL + "/", APIKey: "sk-secret"}), mastra.ModelRequest{
		Settings: mastra.ModelSettings{Temperature: &warm},
		Tools:    []*mastra.Tool{mastra.NewTool[in, in]("add", "adds", nil)},
		Messages: []mastra.PromptMessage{
			{Role: "system", Parts: []mastra.Part{{Type: "text", Text: "be brief"}}},
			{Role: "user", Parts: []mastra.Part{{Type: "text", Text: "look"}, {Type: "image", Image: mastra.JSON(`"aGk="`)}}},
			{Role: "assistant", Parts: []mastra.Part{{Type: "tool-call", ToolCallID: "c", ToolName: "add", Input: mastra.JSON(`{"a":1}`)}}},
			{Role: "tool", Parts: []mastra.Part{{Type: "tool-result", ToolCallID: "c", ToolName: "add", Output: mastra.JSON(`{"type":"json","value":{"a":2}}`)}}},
		}})
	if err != nil || authorization != "Bearer sk-secret" || sent.Model != "m" || len(sent.Messages) != 4 || len(sent.Tools) != 1 || sent.Temperature != 0.5 {
		t.Fatalf("%v %+v", err, sent)
	}
	if got := string(sent.Messages[1].Content); got != `[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}]` {
		t.Error(got)
	}
	if m := sent.Messages[3]; m.ToolCallID != "c" || string(m.Content) != `"{\"a\":2}"` || sent.Messages[2].ToolCalls[0].ID != "c" {
		t.Errorf("%+v", sent.Messages)
	}
}

func TestFailures(t *testing.T) {
	const secret = "sk-secret"
	none := 0
	for _, c := range []struct {
		name     string
		statuses []int // of the attempts; the last one stays
		body     string
		retries  *int
		attempts int32
		want     string // of the error; "": it succeeds
	}{
		{name: "rate limit, then an answer", statuses: []int{429, 200}, attempts: 2},
		{name: "rate limit for ever", statuses: []int{429}, attempts: 3, want: "The model is rate limited"},
		{name: "no retries", statuses: []int{500}, retries: &none, attempts: 1, want: "The model's provider failed"},
		{name: "a wrong key", statuses: []int{401}, body: `{"error":{"message":"bad key ` + secret + `"}}`, attempts: 1, want: "The model's provider does not accept the credentials of this server"},
		{name: "a wrong request", statuses: []int{400}, body: `{"error":{"message":"context length"}}`, attempts: 1, want: "The model refused the request"},
		{name: "overloaded", statuses: []int{503, 200}, attempts: 2},
		{name: "cut off", statuses: []int{200}, body: "data: {\"choices\":[{\"delta\":{\"content\":\"hal\"}}]}\n\n", attempts: 1, want: "The model's answer was cut off"},
		{name: "an error inside of the stream", statuses: []int{200}, body: "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", attempts: 1, want: "The model's provider failed"},
		{name: "no JSON", statuses: []int{200}, body: "data: hello\n\n", attempts: 1, want: "The model's answer makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var attempts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := int(attempts.Add(1))
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(c.statuses[min(n, len(c.statuses))-1])
				if c.body == "" {
					io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
				}
				io.WriteString(w, c.body)
			}))
			defer s.Close()
			_, err := modeltest.Ask(t, New("m", Config{BaseURL: s.URL, APIKey: secret}), mastra.ModelRequest{Settings: mastra.ModelSettings{MaxRetries: c.retries}})
			if attempts.Load() != c.attempts {
				t.Errorf("%d attempts", attempts.Load())
			}
			var e *mastra.Error
			if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &e) || e.Code != mastra.CodeUpstream || !strings.HasPrefix(e.Message, c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if e != nil && strings.Contains(e.Error(), secret) {
				t.Error("the key is in the message")
			}
		})
	}
	_, err := modeltest.Ask(t, New("m", Config{BaseURL: "http://127.0.0.1:1"}), mastra.ModelRequest{Settings: mastra.ModelSettings{MaxRetries: &none}})
	if mastra.CodeOf(err) != mastra.CodeUpstream {
		t.Errorf("refused: %v", err)
	}
}

func FuzzStream(f *testing.F) {
	for _, file := range []string{"testdata/text.chunks.txt", "testdata/tools.chunks.txt"} {
		events, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(events)
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		_, err := modeltest.Ask(t, endpoint(t, events), mastra.ModelRequest{})
		if err != nil && mastra.CodeOf(err) != mastra.CodeUpstream {
			t.Errorf("%v", err)
		}
	})
}
