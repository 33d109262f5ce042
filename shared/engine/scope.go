package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"

	"mastralambda/shared/mastra"
)

// scope is the mastra.StepScope of one call of a step.
type scope struct {
	x   *execution
	g   *mastra.Graph
	key string
	rec *mastra.StepResult

	mu    sync.Mutex
	state mastra.JSON // what the step set
	ended bool
}

var _ mastra.StepScope = (*scope)(nil)

func (s *scope) RunID() string      { return s.x.run.ID }
func (s *scope) RetryCount() int    { return s.rec.Retries }
func (s *scope) Input() mastra.JSON { return s.x.run.Input }
func (s *scope) Followed() bool     { return s.x.log != nil }

func (s *scope) IdempotencyKey() string {
	turn := 0
	if s.rec.Metadata != nil {
		turn = s.rec.Metadata.Iterations
	}
	return idempotencyKey(s.x.key.tenant, &s.x.run, s.key, turn)
}

// idempotencyKey is made of what names a step's effect and of nothing else.
func idempotencyKey(tenant string, run *mastra.Run, key string, turn int) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{tenant, run.ID, strconv.Itoa(run.Pass), key, strconv.Itoa(turn)}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func (s *scope) Output(step string) (mastra.JSON, bool) {
	rec, ok := s.x.result(mastra.StepKey(mastra.Around(s.key), step))
	return rec.Output, ok && rec.Status == mastra.StatusSuccess
}

func (s *scope) State() mastra.JSON {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != nil {
		return s.state
	}
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	return s.x.run.State
}

func (s *scope) SetState(data mastra.JSON) error {
	declared := s.g.State
	if declared == nil {
		declared = s.x.g.State
	}
	if declared != nil {
		issues, text, err := check(declared, data)
		if err != nil {
			return err
		}
		if len(issues) > 0 {
			return mastra.Errorf(mastra.CodeInvalid, "Step state validation failed: \n%s", text)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = data
	return nil
}

// close returns what the step set. A goroutine that it left behind writes nothing any more.
func (s *scope) close() mastra.JSON {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.state
}

// stepOutput is the payload of a workflow-step-output.
type stepOutput struct {
	StepName string      `json:"stepName"`
	Output   mastra.JSON `json:"output"`
	RunID    string      `json:"runId"`
}

func (s *scope) Write(data mastra.JSON) {
	s.send(mastra.Chunk{Type: "workflow-step-output", From: mastra.FromUser, Payload: stepOutput{mastra.StepName(s.key), data, s.x.run.ID}})
}

func (s *scope) WriteChunk(kind string, data mastra.JSON) {
	s.send(mastra.Chunk{Type: kind, From: mastra.FromWorkflow, Data: data})
}

func (s *scope) send(c mastra.Chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		c.RunID = s.x.run.ID
		s.x.send(c)
	}
}

func (s *scope) Spend(u mastra.Usage) {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	t := &s.x.usage
	t.Input, t.Output, t.Total = t.Input+u.InputTokens, t.Output+u.OutputTokens, t.Total+u.TotalTokens
	t.Reasoning, t.Cached = t.Reasoning+u.ReasoningTokens, t.Cached+u.CachedInputTokens
}
