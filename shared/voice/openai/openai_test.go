package openai

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// The requests and answers are those of OpenAI's API reference.
func TestVoice(t *testing.T) {
	status, answer := 200, ""
	var path, sent, file string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path + " " + r.Header.Get("Authorization")
		if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
			if err := r.ParseMultipartForm(1 << 20); err != nil {
				t.Error(err)
			}
			f, h, err := r.FormFile("file")
			if err != nil {
				t.Error(err)
				return
			}
			data, _ := io.ReadAll(f)
			file, sent = h.Filename+" "+string(data), r.FormValue("model")+" "+r.FormValue("language")
		} else {
			body, _ := io.ReadAll(r.Body)
			sent = string(body)
		}
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	defer s.Close()
	v := New(Config{BaseURL: s.URL + "/v1/", APIKey: "sk-secret"})

	answer = "mp3 bytes"
	audio, err := v.Speak(t.Context(), "The quick brown fox jumped over the lazy dog.", "")
	if err != nil {
		t.Fatal(err)
	}
	spoken, err := io.ReadAll(audio.Body)
	if err != nil || audio.MediaType != "audio/mpeg" || string(spoken) != answer || path != "/v1/audio/speech Bearer sk-secret" ||
		sent != `{"model":"gpt-4o-mini-tts","input":"The quick brown fox jumped over the lazy dog.","voice":"alloy","response_format":"mp3"}` {
		t.Errorf("%s %s: %q, %v", path, sent, spoken, err)
	}
	audio.Body.Close()

	answer = `{"text": "Imagine the wildest idea that you've ever had."}`
	text, err := v.Listen(t.Context(), strings.NewReader("RIFF1234"), mastra.JSON(`{"language":"en"}`))
	if err != nil || text != "Imagine the wildest idea that you've ever had." || path != "/v1/audio/transcriptions Bearer sk-secret" || file != "audio.wav RIFF1234" || sent != "gpt-4o-mini-transcribe en" {
		t.Errorf("%s %s %s: %q, %v", path, sent, file, text, err)
	}

	for _, c := range []struct {
		status int
		speaks bool
		text   string
		want   mastra.Code
	}{
		{401, true, "x", mastra.CodeUpstream}, {429, true, "x", mastra.CodeUpstream}, {500, false, "x", mastra.CodeUpstream},
		{400, false, "x", mastra.CodeInvalid}, {400, true, "x", mastra.CodeInvalid}, {200, false, "", mastra.CodeInvalid},
	} {
		status, answer = c.status, `{"error":{"message":"no","type":"invalid_request_error"}}`
		var err error
		if c.speaks {
			_, err = v.Speak(t.Context(), c.text, "")
		} else {
			_, err = v.Listen(t.Context(), strings.NewReader(c.text), nil)
		}
		if mastra.CodeOf(err) != c.want || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := v.Speak(t.Context(), "x", "nobody"); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Error(err)
	}
	if speakers, err := v.Speakers(t.Context()); err != nil || len(speakers) != 11 || !v.Listener() {
		t.Errorf("%v, %v", speakers, err)
	}
}
