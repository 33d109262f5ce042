package mastra

import (
	"context"
	"io"
)

// Voice speaks and listens for an agent. What it cannot do it refuses with CodeInvalid; a provider's failure is an Error of
// CodeUpstream. It is safe for concurrent use.
type Voice interface {
	Speakers(ctx context.Context) ([]Speaker, error)
	// Speak turns text into audio; the empty speaker is the voice's own choice.
	Speak(ctx context.Context, text, speaker string) (*Audio, error)
	// Listen turns audio, a whole file, into text. What the options mean depends on the provider.
	Listen(ctx context.Context, audio io.Reader, options JSON) (string, error)
	Listener() bool // whether Listen works
}

// Speaker is one voice.
type Speaker struct {
	VoiceID  string `json:"voiceId"`
	Language string `json:"language,omitempty"`
}

// Audio is spoken text. The caller closes Body.
type Audio struct {
	MediaType string
	Body      io.ReadCloser
}

// CompositeVoice speaks with one provider and listens with another.
type CompositeVoice struct{ Output, Input Voice }

func (v CompositeVoice) Speakers(ctx context.Context) ([]Speaker, error) {
	return v.Output.Speakers(ctx)
}

func (v CompositeVoice) Speak(ctx context.Context, text, speaker string) (*Audio, error) {
	return v.Output.Speak(ctx, text, speaker)
}

func (v CompositeVoice) Listen(ctx context.Context, audio io.Reader, options JSON) (string, error) {
	return v.Input.Listen(ctx, audio, options)
}

func (v CompositeVoice) Listener() bool { return v.Input.Listener() }
