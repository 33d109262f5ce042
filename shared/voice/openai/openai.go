// Package openai speaks and listens through an endpoint that speaks OpenAI's audio API: /audio/speech and
// /audio/transcriptions.
package openai

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	api "github.com/sashabaranov/go-openai"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/upstream"
)

// Config says which models speak and listen. What is empty is OpenAI's own, or comes from OPENAI_API_KEY and OPENAI_BASE_URL
// at the first call.
type Config struct {
	BaseURL, APIKey string
	Header          http.Header // added to each request
	SpeechModel     string      // "gpt-4o-mini-tts" where empty
	ListeningModel  string      // "gpt-4o-mini-transcribe" where empty
	Speaker         string      // who speaks where a call does not say; "alloy" where empty
	Speakers        []string    // those that there are; OpenAI's where nil
	Format          string      // mp3, opus, aac, flac, wav or pcm; mp3 where empty
	Transport       http.RoundTripper
}

// Voice is a mastra.Voice.
type Voice struct {
	Config
	client func() *api.Client
}

var _ mastra.Voice = (*Voice)(nil)

// New makes a voice. Nothing is read or sent before its first call.
func New(c Config) *Voice {
	c.SpeechModel = cmp.Or(c.SpeechModel, "gpt-4o-mini-tts")
	c.ListeningModel = cmp.Or(c.ListeningModel, "gpt-4o-mini-transcribe")
	c.Speaker, c.Format = cmp.Or(c.Speaker, "alloy"), cmp.Or(c.Format, "mp3")
	if c.Speakers == nil {
		c.Speakers = []string{"alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"}
	}
	return &Voice{c, sync.OnceValue(func() *api.Client {
		config := api.DefaultConfig(cmp.Or(c.APIKey, os.Getenv("OPENAI_API_KEY")))
		if base := cmp.Or(c.BaseURL, os.Getenv("OPENAI_BASE_URL")); base != "" {
			config.BaseURL = strings.TrimRight(base, "/")
		}
		config.HTTPClient = upstream.Client(c.Transport, c.Header)
		return api.NewClientWithConfig(config)
	})}
}

// Speakers lists the voices.
func (v *Voice) Speakers(context.Context) ([]mastra.Speaker, error) {
	out := make([]mastra.Speaker, len(v.Config.Speakers))
	for i, s := range v.Config.Speakers {
		out[i].VoiceID = s
	}
	return out, nil
}

var mediaTypes = map[string]string{"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}

// Speak turns text into audio, which comes as it is made.
func (v *Voice) Speak(ctx context.Context, text, speaker string) (*mastra.Audio, error) {
	speaker = cmp.Or(speaker, v.Speaker)
	if !slices.Contains(v.Config.Speakers, speaker) {
		return nil, mastra.Invalid("speakerId", "The agent has no such voice")
	}
	answer, err := v.client().CreateSpeech(ctx, api.CreateSpeechRequest{Model: api.SpeechModel(v.SpeechModel), Input: text,
		Voice: api.SpeechVoice(speaker), ResponseFormat: api.SpeechResponseFormat(v.Format)})
	if err != nil {
		return nil, failure(ctx, v.SpeechModel, err)
	}
	return &mastra.Audio{MediaType: cmp.Or(mediaTypes[v.Format], "application/octet-stream"), Body: answer.ReadCloser}, nil
}

// Listener says that it listens.
func (v *Voice) Listener() bool { return true }

// options of Listen.
type options struct {
	Language string `json:"language"` // ISO 639-1
	Prompt   string `json:"prompt"`
}

// Listen turns audio into text. Its options are language and prompt.
func (v *Voice) Listen(ctx context.Context, audio io.Reader, given mastra.JSON) (string, error) {
	var o options
	if given != nil {
		if err := schema.Unmarshal(given, &o); err != nil {
			return "", mastra.Invalid("options", "%v", err)
		}
	}
	data, err := io.ReadAll(audio)
	if err != nil {
		return "", err
	}
	if len(data) == 0 {
		return "", mastra.Invalid("audio", "It is empty")
	}
	answer, err := v.client().CreateTranscription(ctx, api.AudioRequest{Model: v.ListeningModel, FilePath: "audio." + extension(data), Reader: bytes.NewReader(data),
		Language: o.Language, Prompt: o.Prompt, Format: api.AudioResponseFormatJSON})
	if err != nil {
		return "", failure(ctx, v.ListeningModel, err)
	}
	return answer.Text, nil
}

// extension tells the endpoint what kind of file it gets, by how the file begins.
func extension(data []byte) string {
	for _, known := range []struct{ begin, name string }{{"RIFF", "wav"}, {"OggS", "ogg"}, {"fLaC", "flac"}, {"\x1aE\xdf\xa3", "webm"}} {
		if bytes.HasPrefix(data, []byte(known.begin)) {
			return known.name
		}
	}
	if len(data) > 12 && string(data[4:8]) == "ftyp" {
		return "m4a"
	}
	return "mp3"
}

// failure is what the caller may know of err. A refusal of what was sent is the caller's.
func failure(ctx context.Context, model string, err error) error {
	status := 0
	var known *api.APIError
	var request *api.RequestError
	switch {
	case errors.As(err, &known):
		status = known.HTTPStatusCode
	case errors.As(err, &request):
		status = request.HTTPStatusCode
	}
	failed := upstream.Failure(ctx, "voice "+model, status, err)
	if status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnsupportedMediaType {
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "The voice's provider does not take this text or this audio", Err: failed}
	}
	return failed
}
