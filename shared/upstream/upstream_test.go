package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		err            error
	}{
		{"two", "data: a\n\ndata: b\n\n", "a|b|", nil},
		{"of several lines and kinds", ": hello\r\nevent: x\r\nid: 1\r\ndata: a\r\ndata:b\r\n\r\n: \r\n\r\nevent: y\r\n\r\n", "a\nb|", nil},
		{"an empty one", "data\n\ndata: \n\n", "||", nil},
		{"no blank after the last line", "data: a\n\ndata: b\n", "a|", io.ErrUnexpectedEOF},
		{"cut within a line", "data: a\n\ndata: {\"x", "a|", io.ErrUnexpectedEOF},
		{"a long line", "data: " + strings.Repeat("x", 100_000) + "\n\n", strings.Repeat("x", 100_000) + "|", nil},
		{"a line without an end", "data: " + strings.Repeat("x", MaxAnswer+1), "", ErrTooLong},
		{"nothing", "", "", nil},
	} {
		got, failed := "", error(nil)
		for data, err := range Events(strings.NewReader(c.in)) {
			if err != nil {
				failed = err
				continue
			}
			got += string(data) + "|"
		}
		if got != c.want || !errors.Is(failed, c.err) {
			t.Errorf("%s: %.100q, %v", c.name, got, failed)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, value string
		want        time.Duration
		ok          bool
	}{
		{"Retry-After", "3", 3 * time.Second, true}, {"Retry-After", "0.5", time.Second / 2, true}, {"Retry-After-Ms", "250", time.Second / 4, true},
		{"Retry-After", "Thu, 26 Nov 2026 08:00:07 GMT", 7 * time.Second, true}, {"Retry-After", "Thu, 26 Nov 2026 07:00:00 GMT", 0, true},
		{"Retry-After", "soon", 0, false}, {"Retry-After", "-1", 0, false}, {"Retry-After", "1e300", 0, false}, {"X", "1", 0, false},
	} {
		h := http.Header{}
		h.Set(c.name, c.value)
		if got, ok := retryAfter(h, now); got != c.want || ok != c.ok {
			t.Errorf("%s: %s: %v %v", c.name, c.value, got, ok)
		}
	}
}

// Whoever is told to wait for longer than a caller would is told so at once.
func TestALongWaitIsNotWaitedFor(t *testing.T) {
	asked := 0
	c := Client(roundTrip(func(*http.Request) (*http.Response, error) {
		asked++
		return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"3600"}}, Body: io.NopCloser(strings.NewReader("slow down"))}, nil
	}), nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a.example", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil || asked != 1 {
		t.Fatalf("%v after %d requests", err, asked)
	}
	defer response.Body.Close()
	if failed := Refused(t.Context(), "m", response); mastra.CodeOf(failed) != mastra.CodeUpstream || !strings.Contains(failed.Error(), "slow down") {
		t.Error(failed)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Text beside an answer in JSON is held back, and is the answer only where nothing else is.
func TestJSONAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces func(p *Parts)
		want   string
	}{
		{"by the tool", func(p *Parts) { p.Text("0", "Here: "); p.Call(1, "a", AnswerTool, `{"x":`); p.Call(1, "", "", `1}`) }, `{"x":1}`},
		{"as a text", func(p *Parts) { p.Text("0", `{"x":`); p.Text("0", `1}`) }, `{"x":1}`},
		{"in a fence", func(p *Parts) { p.Text("0", "```json\n{\"x\":1}\n```") }, `{"x":1}`},
		{"a fence that is no JSON", func(p *Parts) { p.Text("0", "```\nx\n```") }, "```\nx\n```"},
		{"another tool first", func(p *Parts) { p.Text("0", "Let me see"); p.Call(1, "a", "look", `{}`) }, ""},
	} {
		got := ""
		p := Parts{JSON: true, Yield: func(m mastra.ModelPart) bool {
			if m.Type == mastra.ModelTextDelta {
				got += m.Text
			}
			return true
		}}
		c.pieces(&p)
		p.Finish(mastra.FinishStop, mastra.Usage{})
		if got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("event: x\ndata: {\"a\":1}\n\n: \n\ndata: b\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		size, ended := 0, false
		for data, err := range Events(strings.NewReader(in)) {
			if ended {
				t.Error("an event behind the end")
			}
			ended = err != nil
			size += len(data)
		}
		if size > len(in) {
			t.Errorf("%d bytes of %d", size, len(in))
		}
	})
}
