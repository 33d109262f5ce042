// Package voice is the voice group: an agent that speaks and listens.
package voice

import (
	"bytes"
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table. The paths without /voice are the deprecated ones of the reference server.
func Routes() []server.Route {
	read, run := server.Permission("agents:read"), server.Permission("agents:execute")
	return []server.Route{
		server.JSON("GET /agents/:agentId/voice/speakers", Speakers, read, server.Summary("List an agent's voices")),
		server.JSON("GET /agents/:agentId/speakers", Speakers, read, server.Summary("List an agent's voices (deprecated path)")),
		server.JSON("GET /agents/:agentId/voice/listener", Listener, read, server.Summary("Whether an agent listens")),
		server.Bytes("POST /agents/:agentId/voice/speak", Speak, run, server.Long, server.Summary("Turn text into speech")),
		server.Bytes("POST /agents/:agentId/speak", Speak, run, server.Long, server.Summary("Turn text into speech (deprecated path)")),
		server.JSON("POST /agents/:agentId/voice/listen", Listen, run, server.Long, server.Summary("Turn speech into text")),
		server.JSON("POST /agents/:agentId/listen", Listen, run, server.Long, server.Summary("Turn speech into text (deprecated path)")),
	}
}

// AgentInput names an agent.
type AgentInput struct {
	AgentID string `path:"agentId" json:"-"`
}

// Speakers lists an agent's voices; it is empty where the agent has none.
func Speakers(ctx context.Context, m *mastra.Mastra, in AgentInput) ([]mastra.Speaker, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil || a.Voice == nil {
		return nil, err
	}
	return a.Voice.Speakers(ctx)
}

// Enabled says whether something works.
type Enabled struct {
	Enabled bool `json:"enabled"`
}

// Listener says whether an agent listens.
func Listener(_ context.Context, m *mastra.Mastra, in AgentInput) (Enabled, error) {
	a, err := m.Agent(in.AgentID)
	if err != nil {
		return Enabled{}, err
	}
	return Enabled{a.Voice != nil && a.Voice.Listener()}, nil
}

// SpeakInput is a text to be spoken.
type SpeakInput struct {
	AgentID   string `path:"agentId" json:"-"`
	Text      string `json:"text" minLength:"1"`
	SpeakerID string `json:"speakerId,omitempty"`
}

// Speak turns text into audio. The caller closes its body.
func Speak(ctx context.Context, m *mastra.Mastra, in SpeakInput) (*mastra.Audio, error) {
	v, err := voiceOf(m, in.AgentID)
	if err != nil {
		return nil, err
	}
	return v.Speak(ctx, in.Text, in.SpeakerID)
}

// ListenInput is speech, as a file of a multipart form or in base64 in JSON.
type ListenInput struct {
	AgentID string      `path:"agentId" json:"-"`
	Audio   []byte      `upload:"audio" json:"-"`
	Options mastra.JSON `json:"options,omitempty"`
}

// Transcript is what was heard.
type Transcript struct {
	Text string `json:"text"`
}

// Listen turns speech into text.
func Listen(ctx context.Context, m *mastra.Mastra, in ListenInput) (Transcript, error) {
	v, err := voiceOf(m, in.AgentID)
	if err != nil {
		return Transcript{}, err
	}
	text, err := v.Listen(ctx, bytes.NewReader(in.Audio), in.Options)
	return Transcript{text}, err
}

func voiceOf(m *mastra.Mastra, agentID string) (mastra.Voice, error) {
	a, err := m.Agent(agentID)
	if err != nil {
		return nil, err
	}
	if a.Voice == nil {
		return nil, mastra.Errorf(mastra.CodeInvalid, "Agent does not have voice capabilities")
	}
	return a.Voice, nil
}
