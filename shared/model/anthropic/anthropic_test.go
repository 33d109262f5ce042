package anthropic

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

// framed are events as the service sends them.
func framed(events []byte) string {
	var out strings.Builder
	for line := range bytes.Lines(events) {
		var e struct {
			Type string `json:"type"`
		}
		_ = schema.Unmarshal(bytes.TrimSpace(line), &e)
		fmt.Fprintf(&out, "event: %s\r\ndata: %s\r\n\r\n", e.Type, bytes.TrimSpace(line))
	}
	return out.String()
}

func endpoint(t testing.TB, body string) *Model {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/messages" || r.Header.Get("Anthropic-Version") == "" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return New("tiny-claude", Config{BaseURL: s.URL})
}

func TestRecordings(t *testing.T) {
	for file, want := range map[string]modeltest.Answer{
		"thinking-tools": {Reasoning: "add them", Text: "Let me", Calls: `add{"a":1}now{}`, Finish: "tool-calls", Model: "tiny-claude",
			Metadata: `{"anthropic":{"signature":"c2ln"}}{"anthropic":{"redactedData":"xyz"}}`,
			Usage:    mastra.Usage{InputTokens: 125, OutputTokens: 28, TotalTokens: 153, CachedInputTokens: 100, CacheCreationInputTokens: 20}},
		"json":    {Text: `{"ok":true}`, Finish: "stop", Model: "tiny-claude", Usage: mastra.Usage{InputTokens: 5, OutputTokens: 9, TotalTokens: 14}},
		"refusal": {Finish: "content-filter", Model: "tiny-claude", Usage: mastra.Usage{InputTokens: 6, OutputTokens: 2, TotalTokens: 8}},
	} {
		events, err := os.ReadFile("testdata/" + file + ".chunks.txt")
		if err != nil {
			t.Fatal(err)
		}
		var r mastra.ModelRequest
		if file == "json" {
			r.Schema = mastra.JSON(`{"type":"object"}`)
		}
		if got, err := modeltest.Ask(t, endpoint(t, framed(events)), r); err != nil || got != want {
			t.Errorf("%s: %+v, %v\nwant %+v", file, got, err, want)
		}
	}
}

func TestRealRecordings(t *testing.T) {
	want := map[string]modeltest.Answer{
		"text":             {Text: "Hello! I'm doing well, thank you", Finish: "stop", Model: "claude-sonnet-4-5-20250929", Usage: mastra.Usage{InputTokens: 12, OutputTokens: 30, TotalTokens: 42}},
		"clear-thinking.1": {Text: "925 ÷ 5 = 185", Reasoning: "The previous result was 925.", Metadata: `{"anthropic":{"signature":"EvQB`, Finish: "stop", Model: "claude-sonnet-4-5-20250929", Usage: mastra.Usage{InputTokens: 69, OutputTokens: 53, TotalTokens: 122}},
		"json-other-tool.1": {Calls: `weather{"location": "San Francisco"}`, Finish: "tool-calls", Model: "claude-haiku-4-5-20251001",
			Usage: mastra.Usage{InputTokens: 843, OutputTokens: 28, TotalTokens: 871}},
		"refusal": {Finish: "content-filter", Model: "claude-fable-5", Usage: mastra.Usage{InputTokens: 18, OutputTokens: 5, TotalTokens: 23}},
	}
	for name, events := range modeltest.Recordings(t, "anthropic") {
		var r mastra.ModelRequest
		if strings.HasPrefix(name, "json") {
			r.Schema = mastra.JSON(`{"type":"object"}`)
		}
		got, err := modeltest.Ask(t, endpoint(t, framed(events)), r)
		w := want[name]
		if !strings.HasPrefix(got.Text, w.Text) || !strings.HasPrefix(got.Reasoning, w.Reasoning) || !strings.HasPrefix(got.Metadata, w.Metadata) {
			t.Errorf("%s: %+v", name, got)
		}
		got.Text, got.Reasoning, got.Metadata = w.Text, w.Reasoning, w.Metadata
		if err != nil || got != w {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, w)
		}
	}
}

// sent is the body of the request that r makes.
func sent(t *testing.T, id string, r mastra.ModelRequest) (string, error) {
	t.Helper()
	asked, err := New(id, Config{}).request(&r)
	if err != nil {
		return "", err
	}
	body, err := schema.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), nil
}

func part(kind, text string) mastra.Part { return mastra.Part{Type: kind, Text: text} }

func TestRequest(t *testing.T) {
	type in struct {
		A int `json:"a"`
	}
	add := mastra.NewTool[in, in]("add", "adds", nil)
	user := []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{part("text", "hi")}}}
	ten := 10
	for _, c := range []struct {
		name string
		r    mastra.ModelRequest
		want []string // in the body
		not  string
		err  string
	}{
		{name: "a conversation", r: mastra.ModelRequest{Messages: []mastra.PromptMessage{
			{Role: "system", Parts: []mastra.Part{part("text", "be brief")}},
			{Role: "user", Parts: []mastra.Part{part("text", "look"), part("text", ""), {Type: "image", Image: mastra.JSON(`"aGk="`)}, {Type: "file", MediaType: "application/pdf", Data: mastra.JSON(`"https://a.example/b.pdf"`)}}},
			{Role: "assistant", Parts: []mastra.Part{{Type: "reasoning", Text: "hm", ProviderOptions: mastra.JSON(`{"anthropic":{"signature":"s"}}`)}, {Type: "reasoning", Text: "unsigned"},
				{Type: "tool-call", ToolCallID: "c", ToolName: "add", Input: mastra.JSON(`{"a":1}`)}}},
			{Role: "tool", Parts: []mastra.Part{{Type: "tool-result", ToolCallID: "c", ToolName: "add", Output: mastra.JSON(`{"type":"error-text","value":"no"}`)}}},
			{Role: "user", Parts: []mastra.Part{part("text", "again")}},
			{Role: "assistant", Parts: []mastra.Part{part("text", "so \n")}}}},
			want: []string{`"system":[{"type":"text","text":"be brief"}]`,
				`{"role":"user","content":[{"type":"text","text":"look"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}},{"type":"document","source":{"type":"url","url":"https://a.example/b.pdf"}}]}`,
				`{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"c","name":"add","input":{"a":1}}]}`,
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"no","is_error":true},{"type":"text","text":"again"}]}`,
				`{"role":"assistant","content":[{"type":"text","text":"so"}]}`}, not: "unsigned"},
		{name: "tools", r: mastra.ModelRequest{Messages: user, Tools: []*mastra.Tool{add}, ToolChoice: mastra.ToolChoice{Tool: "add"}},
			want: []string{`"tools":[{"name":"add","description":"adds","input_schema":{`, `"tool_choice":{"type":"tool","name":"add"}`}},
		{name: "json beside tools", r: mastra.ModelRequest{Messages: user, Tools: []*mastra.Tool{add}, Schema: mastra.JSON(`{"type":"object"}`)},
			want: []string{`{"name":"json",`, `"tool_choice":{"type":"any"}`}},
		{name: "json alone", r: mastra.ModelRequest{Messages: user, Schema: mastra.JSON(`{"type":"object"}`)}, want: []string{`"tool_choice":{"type":"tool","name":"json"}`}},
		{name: "thinking", r: mastra.ModelRequest{Messages: user, Schema: mastra.JSON(`{"type":"object"}`), Settings: mastra.ModelSettings{MaxOutputTokens: &ten},
			Options: map[string]mastra.JSON{"anthropic": mastra.JSON(`{"thinking":{"type":"enabled","budgetTokens":2000}}`), "openai": mastra.JSON(`7`)}},
			want: []string{`"thinking":{"type":"enabled","budget_tokens":2000}`, `"max_tokens":2010`}, not: "tool_choice"},
		{name: "thinking of a wrong kind", r: mastra.ModelRequest{Messages: user, Options: map[string]mastra.JSON{"anthropic": mastra.JSON(`{"thinking":{"type":"hard"}}`)}}, err: "Invalid request body"},
		{name: "a sound", r: mastra.ModelRequest{Messages: []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{{Type: "file", MediaType: "audio/wav", Data: mastra.JSON(`"aGk="`)}}}}}, err: "This model takes texts, images and PDF files only"},
		{name: "no base64", r: mastra.ModelRequest{Messages: []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{{Type: "image", Image: mastra.JSON(`"file:///etc/passwd"`)}}}}}, err: "An attachment is"},
	} {
		body, err := sent(t, "claude-3-5-haiku", c.r)
		var e *mastra.Error
		if c.err != "" && (!errors.As(err, &e) || e.Code != mastra.CodeInvalid || !strings.HasPrefix(e.Message, c.err)) || c.err == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s\nlacks %s", c.name, body, want)
			}
		}
		if c.not != "" && strings.Contains(body, c.not) {
			t.Errorf("%s: %s\nhas %s", c.name, body, c.not)
		}
	}
}

func TestFailures(t *testing.T) {
	const secret = "sk-ant-secret"
	start := framed([]byte(`{"type":"message_start","message":{"id":"m"}}`))
	whole := start + framed([]byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`+"\n"+`{"type":"message_stop"}`))
	for _, c := range []struct {
		name     string
		statuses []int // of the attempts; the last one stays
		body     string
		attempts int32
		want     string // of the error; "": it succeeds
	}{
		{name: "rate limit, then an answer", statuses: []int{429, 200}, body: whole, attempts: 2},
		{name: "overloaded for ever", statuses: []int{529}, attempts: 3, want: "The model is overloaded"},
		{name: "unavailable", statuses: []int{503}, attempts: 3, want: "The model is overloaded"},
		{name: "a wrong key", statuses: []int{401}, body: `bad key ` + secret, attempts: 1, want: "The model's provider does not accept the credentials of this server"},
		{name: "a wrong request", statuses: []int{400}, body: `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"}}`, attempts: 1, want: "The model refused the request"},
		{name: "an unknown model", statuses: []int{404}, attempts: 1, want: "The model's provider does not know the model"},
		{name: "overloaded inside of the stream", statuses: []int{200}, body: start + framed([]byte(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)), attempts: 1, want: "The model is overloaded"},
		{name: "cut off between events", statuses: []int{200}, body: start, attempts: 1, want: "The model's answer was cut off"},
		{name: "cut off within an event", statuses: []int{200}, body: start + "event: x\ndata: {\"type\":", attempts: 1, want: "The model's answer was cut off"},
		{name: "no JSON", statuses: []int{200}, body: "data: hello\n\n", attempts: 1, want: "The model's answer makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var attempts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := int(attempts.Add(1))
				if r.Header.Get("X-Api-Key") != secret || r.Header.Get("X-Team") != "a" {
					t.Errorf("headers %v", r.Header)
				}
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(c.statuses[min(n, len(c.statuses))-1])
				io.WriteString(w, c.body)
			}))
			defer s.Close()
			m := New("m", Config{BaseURL: s.URL + "/v1/", APIKey: secret, Header: http.Header{"x-team": {"a"}}})
			_, err := modeltest.Ask(t, m, mastra.ModelRequest{Messages: []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{part("text", "hi")}}}})
			if attempts.Load() != c.attempts {
				t.Errorf("%d attempts", attempts.Load())
			}
			var e *mastra.Error
			if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &e) || e.Code != mastra.CodeUpstream || e.Message != c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the key is in the error")
			}
		})
	}
}

func FuzzStream(f *testing.F) {
	for _, file := range []string{"thinking-tools", "json", "refusal"} {
		events, err := os.ReadFile("testdata/" + file + ".chunks.txt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(framed(events))
	}
	f.Fuzz(func(t *testing.T, body string) {
		transport := roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		_, err := modeltest.Ask(t, New("m", Config{Transport: transport}), mastra.ModelRequest{})
		if err != nil && mastra.CodeOf(err) != mastra.CodeUpstream {
			t.Errorf("%v", err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
