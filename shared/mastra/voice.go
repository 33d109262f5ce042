package mastra

import (
	"context"
	"io"
)

// Voice speaks and listens for an agent.
type Voice interface {
	Speakers(ctx context.Context) ([]Speaker, error)
	Speak(ctx context.Context, text, speaker string) (*Audio, error)
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
