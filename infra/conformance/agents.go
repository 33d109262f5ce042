package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"mastralambda/shared/mastra"
)

var memory = &mastra.Memory{
	LastMessages:   10,
	SemanticRecall: &mastra.SemanticRecall{TopK: 2, Range: mastra.EachSide(1), Scope: mastra.ScopeResource},
	WorkingMemory:  &mastra.WorkingMemory{Template: "# User\n- Name:\n"},
}

var (
	echoAgent = &mastra.Agent{
		ID: "echo-agent", Key: "echoAgent", Name: "Echo Agent", Description: "Echoes with memory", Instructions: "Echo the user.",
		Model: "mock/mock-echo", Memory: memory, Voice: voice{},
	}
	weatherAgent = &mastra.Agent{
		ID: "weather-agent", Key: "weatherAgent", Name: "Weather Agent", Instructions: "Answer weather questions with tools.",
		Model: "mock/mock-weather", Scorers: []*mastra.Scorer{lengthScorer}, Tools: []mastra.Callable{weatherTool, calculatorTool, contextTool, dangerousTool},
	}
	networkAgent = &mastra.Agent{
		ID: "network-agent", Key: "networkAgent", Name: "Network Agent", Description: "Routes", Instructions: "Route.",
		Model: "mock/mock-network", Tools: []mastra.Callable{calculatorTool, weatherAgent}, Memory: memory,
	}
)

type voice struct{}

func (voice) Speakers(context.Context) ([]mastra.Speaker, error) {
	return []mastra.Speaker{{VoiceID: "alice", Language: "en"}, {VoiceID: "bob", Language: "en"}}, nil
}

func (voice) Speak(_ context.Context, text, speaker string) (*mastra.Audio, error) {
	if speaker == "" {
		speaker = "alice"
	}
	return &mastra.Audio{MediaType: "audio/mpeg", Body: io.NopCloser(strings.NewReader("RIFFMOCK:" + speaker + ":" + text))}, nil
}

func (voice) Listen(_ context.Context, audio io.Reader, _ mastra.JSON) (string, error) {
	n, err := io.Copy(io.Discard, audio)
	return fmt.Sprintf("heard %d bytes", n), err
}

func (voice) Listener() bool { return true }
