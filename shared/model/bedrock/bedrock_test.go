package bedrock

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"mastralambda/shared/mastra"
	"mastralambda/shared/model/modeltest"
	"mastralambda/shared/schema"
)

// framed are events, one {type: event} a line, as the service sends them: application/vnd.amazon.eventstream.
func framed(t testing.TB, events string) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := eventstream.NewEncoder()
	for line := range strings.Lines(events) {
		var e map[string]mastra.JSON
		if err := schema.Unmarshal([]byte(strings.TrimSpace(line)), &e); err != nil {
			t.Fatal(err)
		}
		for name, payload := range e {
			kind, message := ":event-type", "event"
			if strings.HasSuffix(name, "Exception") {
				kind, message = ":exception-type", "exception"
			}
			m := eventstream.Message{Payload: payload}
			m.Headers.Set(kind, eventstream.StringValue(name))
			m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
			m.Headers.Set(":message-type", eventstream.StringValue(message))
			if err := encoder.Encode(&out, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Bytes()
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client whose service answers with that.
func answering(t testing.TB, status int, kind string, body []byte, see func(*http.Request, string)) *Client {
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return NewClient(roundTrip(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if see != nil {
			see(r, string(sent))
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)), Request: r, ContentLength: int64(len(body)),
			Header: http.Header{"Content-Type": {kind}, "X-Amzn-Requestid": {"r-1"}}}, nil
	}))
}

const streamed = "application/vnd.amazon.eventstream"

func TestRecordings(t *testing.T) {
	for file, want := range map[string]modeltest.Answer{
		"thinking-tools": {Reasoning: "add them", Text: "Let me", Calls: `add{"a":1}now{}`, Finish: "tool-calls", Model: "tiny",
			Metadata: `{"bedrock":{"signature":"c2ln"}}{"bedrock":{"redactedData":"eHl6"}}`,
			Usage:    mastra.Usage{InputTokens: 125, OutputTokens: 28, TotalTokens: 153, CachedInputTokens: 100, CacheCreationInputTokens: 20}},
		"json":    {Text: `{"ok":true}`, Finish: "stop", Model: "tiny"},
		"refusal": {Finish: "content-filter", Model: "tiny", Usage: mastra.Usage{InputTokens: 6, TotalTokens: 6}},
	} {
		events, err := os.ReadFile("testdata/" + file + ".chunks.txt")
		if err != nil {
			t.Fatal(err)
		}
		var r mastra.ModelRequest
		if file == "json" {
			r.Schema = mastra.JSON(`{"type":"object"}`)
		}
		if got, err := modeltest.Ask(t, New("tiny", answering(t, 200, streamed, framed(t, string(events)), nil)), r); err != nil || got != want {
			t.Errorf("%s: %+v, %v\nwant %+v", file, got, err, want)
		}
	}
}

func TestRealRecordings(t *testing.T) {
	want := map[string]modeltest.Answer{
		"text": {Text: "Let me count the \"r\"s in \"strawberry\"", Finish: "stop", Model: "m", Usage: mastra.Usage{InputTokens: 22, OutputTokens: 55, TotalTokens: 77}},
		"reasoning": {Text: "There are **3** r's", Reasoning: "Let me count the r's", Metadata: `{"bedrock":{"signature":"Ep0C`, Finish: "stop", Model: "m",
			Usage: mastra.Usage{InputTokens: 51, OutputTokens: 94, TotalTokens: 145}},
		"tool-call.1":      {Calls: `test-tool{"value":"Sparkle Day"}`, Finish: "tool-calls", Model: "m", Usage: mastra.Usage{InputTokens: 125, OutputTokens: 45, TotalTokens: 170}},
		"json-with-tool.1": {Text: `{"result":"data"}`, Calls: `get-weather{"location":"SF"}`, Finish: "tool-calls", Model: "m"},
	}
	for name, events := range modeltest.Recordings(t, "bedrock") {
		var r mastra.ModelRequest
		if strings.HasPrefix(name, "json") {
			r.Schema = mastra.JSON(`{"type":"object"}`)
		}
		got, err := modeltest.Ask(t, New("m", answering(t, 200, streamed, framed(t, string(events)), nil)), r)
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

func part(kind, text string) mastra.Part { return mastra.Part{Type: kind, Text: text} }

func TestRequest(t *testing.T) {
	type in struct {
		A int `json:"a"`
	}
	add := mastra.NewTool[in, in]("add", "adds", nil)
	user := []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{part("text", "hi")}}}
	ten, warm := 10, 0.5
	called := []mastra.PromptMessage{
		{Role: "system", Parts: []mastra.Part{part("text", "be brief")}},
		{Role: "user", Parts: []mastra.Part{part("text", "look"), part("text", ""), {Type: "image", Image: mastra.JSON(`"data:image/jpeg;base64,aGk="`)}, {Type: "file", MediaType: "application/pdf", Data: mastra.JSON(`"aGk="`)}}},
		{Role: "assistant", Parts: []mastra.Part{{Type: "reasoning", Text: "hm", ProviderOptions: mastra.JSON(`{"bedrock":{"signature":"s"}}`)}, {Type: "reasoning", Text: "unsigned"},
			{Type: "tool-call", ToolCallID: "c", ToolName: "add", Input: mastra.JSON(`{"a":12345678901234567890}`)}}},
		{Role: "tool", Parts: []mastra.Part{{Type: "tool-result", ToolCallID: "c", ToolName: "add", Output: mastra.JSON(`{"type":"error-text","value":"no"}`)}}},
		{Role: "user", Parts: []mastra.Part{part("text", "again")}}}
	for _, c := range []struct {
		name string
		r    mastra.ModelRequest
		want []string // in the body
		not  string
		err  string
	}{
		{name: "a conversation", r: mastra.ModelRequest{Messages: called, Tools: []*mastra.Tool{add}, ToolChoice: mastra.ToolChoice{Mode: "required"}, Settings: mastra.ModelSettings{Temperature: &warm, MaxOutputTokens: &ten}},
			want: []string{`"system":[{"text":"be brief"}]`,
				`{"content":[{"text":"look"},{"image":{"format":"jpeg","source":{"bytes":"aGk="}}},{"document":{"format":"pdf","name":"document-1","source":{"bytes":"aGk="}}}],"role":"user"}`,
				`{"content":[{"reasoningContent":{"reasoningText":{"signature":"s","text":"hm"}}},{"toolUse":{"input":{"a":12345678901234567890},"name":"add","toolUseId":"c"}}],"role":"assistant"}`,
				`{"content":[{"toolResult":{"content":[{"text":"no"}],"status":"error","toolUseId":"c"}},{"text":"again"}],"role":"user"}`,
				`"toolChoice":{"any":{}}`, `"temperature":0.5`, `"maxTokens":10`}, not: "unsigned"},
		{name: "calls without tools", r: mastra.ModelRequest{Messages: called, Tools: []*mastra.Tool{add}, ToolChoice: mastra.ToolChoice{Mode: "none"}}, want: []string{`[called add with`, `[add answered no]`}, not: "toolUse"},
		{name: "json beside tools", r: mastra.ModelRequest{Messages: user, Tools: []*mastra.Tool{add}, Schema: mastra.JSON(`{"type":"object"}`)}, want: []string{`"name":"json"`, `"toolChoice":{"any":{}}`}},
		{name: "json alone", r: mastra.ModelRequest{Messages: user, Schema: mastra.JSON(`{"type":"object"}`)}, want: []string{`"toolChoice":{"tool":{"name":"json"}}`}},
		{name: "thinking", r: mastra.ModelRequest{Messages: user, Settings: mastra.ModelSettings{Temperature: &warm, MaxOutputTokens: &ten},
			Options: map[string]mastra.JSON{"bedrock": mastra.JSON(`{"reasoningConfig":{"type":"enabled","budgetTokens":2000},"additionalModelRequestFields":{"top_k":5}}`)}},
			want: []string{`"thinking":{"budget_tokens":2000,"type":"enabled"}`, `"top_k":5`, `"maxTokens":2010`}, not: "temperature"},
		{name: "thinking of a wrong kind", r: mastra.ModelRequest{Messages: user, Options: map[string]mastra.JSON{"bedrock": mastra.JSON(`{"reasoningConfig":{"type":"hard"}}`)}}, err: "Invalid request body"},
		{name: "a picture elsewhere", r: mastra.ModelRequest{Messages: []mastra.PromptMessage{{Role: "user", Parts: []mastra.Part{{Type: "image", Image: mastra.JSON(`"https://a.example/b.png"`)}}}}}, err: "This model takes attachments as data only"},
	} {
		sent := ""
		client := answering(t, 200, streamed, framed(t, `{"messageStop":{"stopReason":"end_turn"}}`), func(r *http.Request, body string) {
			sent = body
			if r.URL.Host != "bedrock-runtime.us-east-1.amazonaws.com" || r.URL.EscapedPath() != "/model/us.amazon.nova-lite-v1%3A0/converse-stream" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
				t.Errorf("%s %v", r.URL, r.Header)
			}
		})
		_, err := modeltest.Ask(t, New("us.amazon.nova-lite-v1:0", client), c.r)
		var e *mastra.Error
		if c.err != "" && (!errors.As(err, &e) || e.Code != mastra.CodeInvalid || !strings.HasPrefix(e.Message, c.err)) || c.err == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}

		for _, want := range c.want {
			if canonical := mastra.JSON(sent).Clone(); canonical.Canonicalize() != nil || !strings.Contains(string(canonical), want) && !strings.Contains(sent, want) {
				t.Errorf("%s: %s\nlacks %s", c.name, canonical, want)
			}
		}
		if c.not != "" && strings.Contains(sent, c.not) {
			t.Errorf("%s: %s\nhas %s", c.name, sent, c.not)
		}
	}
}

func TestFailures(t *testing.T) {
	one := 1
	start := `{"messageStart":{"role":"assistant"}}` + "\n" + `{"contentBlockDelta":{"contentBlockIndex":0,"delta":{"text":"Let"}}}`
	cut := framed(t, start)
	for _, c := range []struct {
		name     string
		status   int
		body     string
		events   []byte
		attempts int32
		want     string
	}{
		{name: "throttled", status: 429, body: `{"__type":"ThrottlingException","message":"Too many requests"}`, attempts: 2, want: "The model is rate limited"},
		{name: "not ready", status: 503, body: `{"__type":"ServiceUnavailableException"}`, attempts: 2, want: "The model is overloaded"},
		{name: "no access", status: 403, body: `{"__type":"AccessDeniedException","message":"You don't have access to the model"}`, attempts: 1, want: "The model's provider does not accept the credentials of this server"},
		{name: "unknown", status: 404, body: `{"__type":"ResourceNotFoundException"}`, attempts: 1, want: "The model's provider does not know the model"},
		{name: "invalid", status: 400, body: `{"__type":"ValidationException","message":"too long"}`, attempts: 1, want: "The model refused the request"},
		{name: "failed within the stream", status: 200, events: append(framed(t, start), framed(t, `{"modelStreamErrorException":{"message":"x","originalStatusCode":500}}`)...), attempts: 1, want: "The model's provider failed"},
		{name: "throttled within the stream", status: 200, events: framed(t, `{"throttlingException":{"message":"x"}}`), attempts: 1, want: "The model is rate limited"},
		{name: "cut off between events", status: 200, events: cut, attempts: 1, want: "The model's answer was cut off"},
		{name: "cut off within an event", status: 200, events: cut[:len(cut)-9], attempts: 1, want: "The model's answer was cut off"},
		{name: "another framing", status: 200, events: []byte(strings.Repeat("data: {}\n\n", 20)), attempts: 1, want: "The model's answer makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var attempts atomic.Int32
			kind := "application/json"
			if c.events != nil {
				c.body, kind = string(c.events), streamed
			}
			m := New("m", answering(t, c.status, kind, []byte(c.body), func(*http.Request, string) { attempts.Add(1) }))
			_, err := modeltest.Ask(t, m, mastra.ModelRequest{Settings: mastra.ModelSettings{MaxRetries: &one}})
			var e *mastra.Error
			if !errors.As(err, &e) || e.Code != mastra.CodeUpstream || e.Message != c.want || attempts.Load() != c.attempts {
				t.Errorf("%v after %d attempts", err, attempts.Load())
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
		f.Add(framed(f, string(events)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := modeltest.Ask(t, New("m", answering(t, 200, streamed, body, nil)), mastra.ModelRequest{})
		if err != nil && mastra.CodeOf(err) != mastra.CodeUpstream {
			t.Errorf("%v", err)
		}
	})
}
