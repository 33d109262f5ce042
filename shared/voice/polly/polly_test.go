package polly

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, status int, kind, body string) *http.Response {
	return &http.Response{StatusCode: status, Request: r, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// The requests and answers are those of Polly's API reference.
func TestVoice(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var sent []string
	v := New(Config{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body := ""
		if r.Body != nil {
			data, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			body = string(data)
		}
		sent = append(sent, r.Method+" "+r.URL.Host+r.URL.RequestURI()+" "+body)
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") {
			t.Errorf("%v", r.Header)
		}
		switch {
		case r.Method == "GET" && r.URL.Query().Get("NextToken") == "":
			return answer(r, 200, "application/json", `{"NextToken":"more","Voices":[{"Gender":"Female","Id":"Joanna","LanguageCode":"en-US","LanguageName":"US English","Name":"Joanna","SupportedEngines":["neural"]}]}`), nil
		case r.Method == "GET":
			return answer(r, 200, "application/json", `{"Voices":[{"Id":"Vicki","LanguageCode":"de-DE"}]}`), nil
		case strings.Contains(body, `"VoiceId":"Nobody"`):
			return answer(r, 400, "application/json", `{"__type":"ValidationException","message":"1 validation error detected"}`), nil
		case strings.Contains(body, "forbidden"):
			return answer(r, 403, "application/json", `{"__type":"AccessDeniedException","message":"x"}`), nil
		}
		return answer(r, 200, "audio/mpeg", "<"+body[strings.Index(body, `"Text":"`)+8:][:5]+">"), nil
	})})

	speakers, err := v.Speakers(t.Context())
	if err != nil || len(speakers) != 2 || speakers[1] != (mastra.Speaker{VoiceID: "Vicki", Language: "de-DE"}) {
		t.Errorf("%v, %v", speakers, err)
	}
	sent = nil
	audio, err := v.Speak(t.Context(), "All Gaul is divided into three parts", "")
	if err != nil {
		t.Fatal(err)
	}
	spoken, err := io.ReadAll(audio.Body)
	if err != nil || string(spoken) != "<All G>" || audio.MediaType != "audio/mpeg" || audio.Body.Close() != nil {
		t.Errorf("%q, %v", spoken, err)
	}
	if sent[0] != `POST polly.us-east-1.amazonaws.com/v1/speech {"Engine":"neural","OutputFormat":"mp3","Text":"All Gaul is divided into three parts","TextType":"text","VoiceId":"Joanna"}` {
		t.Errorf("%s", sent[0])
	}

	// A long text is spoken in pieces, the second when the first has been heard.
	sent = nil
	audio, err = v.Speak(t.Context(), strings.Repeat("first ", 400)+"end. "+strings.Repeat("secön ", 400), "")
	if err != nil || len(sent) != 1 {
		t.Fatal(len(sent), err)
	}
	spoken, err = io.ReadAll(audio.Body)
	if err != nil || string(spoken) != "<first><sec\xc3>" && string(spoken) != "<first><secö>" || len(sent) != 2 {
		t.Errorf("%q in %d requests, %v", spoken, len(sent), err)
	}

	for text, want := range map[string]mastra.Code{"hello": mastra.CodeInvalid, "forbidden": mastra.CodeUpstream, " \n": mastra.CodeInvalid} {
		speaker := "Nobody"
		if text == "forbidden" {
			speaker = ""
		}
		if _, err := v.Speak(t.Context(), text, speaker); mastra.CodeOf(err) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := v.Listen(t.Context(), nil, nil); mastra.CodeOf(err) != mastra.CodeInvalid || v.Listener() {
		t.Error(err)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("One. Two! " + strings.Repeat("three ", 1000))
	f.Fuzz(func(t *testing.T, text string) {
		whole := strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), "")
		var pieces []string
		for _, p := range cut(text) {
			if n := len([]rune(p)); n == 0 || n > atOnce {
				t.Errorf("a piece of %d characters", n)
			}
			pieces = append(pieces, p)
		}
		if got := strings.Join(strings.Fields(strings.Join(pieces, "")), ""); got != whole {
			t.Errorf("%q became %q", text, pieces)
		}
	})
}
