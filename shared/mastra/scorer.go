package mastra

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// Scorer judges what an agent or a step made of its input, after the answer. It is declared once and given to any number of
// agents and steps.
type Scorer struct {
	ID          string
	Name        string
	Description string
	Judge       bool    // a model judges
	Rate        float64 // the share of runs that it sees, see Sampled
	score       func(context.Context, ScorerRun) (Verdict, error)
}

// ScorerRun is what a scorer is shown of a run.
type ScorerRun struct {
	Input  JSON `json:"input,omitzero"`  // of an agent: {inputMessages, rememberedMessages, systemMessages}; of a step or a span its input
	Output JSON `json:"output,omitzero"` // of an agent: its messages; of a step or a span its output
	// Of what was run, and where.
	EntityType string         `json:"entityType,omitempty"` // "agent", "workflow_step"…
	EntityID   string         `json:"entityId,omitempty"`
	EntityName string         `json:"entityName,omitempty"`
	RunID      string         `json:"runId,omitempty"`
	TraceID    string         `json:"traceId,omitempty"`
	SpanID     string         `json:"spanId,omitempty"`
	Metadata   JSON           `json:"metadata,omitzero"` // of the span: its scores have it too
	Tags       []string       `json:"tags,omitempty"`
	ThreadID   string         `json:"threadId,omitempty"`
	ResourceID string         `json:"resourceId,omitempty"`
	Context    RequestContext `json:"context,omitempty"`
}

// WorkScore is the kind of a Queue's work that says: have a run judged. Its ID begins those of the scores, so that work that is
// done twice leaves each once; its Data is a ScoreWork.
const WorkScore = "score"

// ScoreWork is what a message of kind WorkScore says besides.
type ScoreWork struct {
	Scorers []string  `json:"scorers"` // by id
	Run     ScorerRun `json:"run"`     // without secrets
}

// Verdict is what a scorer finds.
type Verdict struct {
	Score  float64 `json:"score"`
	Reason string  `json:"reason,omitempty"`
}

// NewScorer makes a scorer of f.
func NewScorer(id, name, description string, f func(context.Context, ScorerRun) (Verdict, error)) *Scorer {
	return &Scorer{ID: id, Name: name, Description: description, Rate: 1, score: f}
}

// NewJudge makes a scorer that asks a model ("provider/model-id"; empty is the deployment's MODEL) for a score from 0 to 1.
func NewJudge(id, name, description, model, instructions string) *Scorer {
	s := NewScorer(id, name, description, func(ctx context.Context, r ScorerRun) (Verdict, error) { return judge(ctx, model, instructions, r) })
	s.Judge = true
	return s
}

// Sampled is the scorer as it sees a share of the runs, from 0 to 1.
func (s *Scorer) Sampled(rate float64) *Scorer {
	c := *s
	c.Rate = rate
	return &c
}

// Chosen says by chance whether a run is among the scorer's share.
func (s *Scorer) Chosen() bool { return s.Rate >= 1 || rand.Float64() < s.Rate }

// Score judges a run.
func (s *Scorer) Score(ctx context.Context, r ScorerRun) (Verdict, error) { return s.score(ctx, r) }

func (s *Scorer) check() error {
	switch {
	case s.ID == "":
		return errors.New("a scorer has no ID")
	case s.score == nil:
		return fmt.Errorf("scorer %s: it was not made by NewScorer or NewJudge", s.ID)
	case s.Rate < 0 || s.Rate > 1:
		return fmt.Errorf("scorer %s: its share of runs is not from 0 to 1", s.ID)
	}
	return nil
}

// ScoreRunner runs scorers after the answer. Score returns at once; the caller's context may end.
type ScoreRunner interface {
	Score(ctx context.Context, m *Mastra, scorers []*Scorer, r ScorerRun)
}
