package observability

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

// scorerRoutes are those of the reference server's group "scores": the scorers, and the scores with what they were given for.
func scorerRoutes() []server.Route {
	read, write := server.Permission("scores:read"), server.Permission("scores:write")
	return []server.Route{
		server.JSON("GET /scores/scorers", Scorers, read, server.Summary("List all scorers")),
		server.JSON("GET /scores/scorers/:scorerId", GetScorer, read, server.Summary("Get a scorer")),
		server.JSON("GET /scores/run/:runId", ScoresOfRun, read, server.Summary("List the scores of a run")),
		server.JSON("GET /scores/scorer/:scorerId", ScoresOfScorer, read, server.Summary("List the scores of a scorer")),
		server.JSON("GET /scores/entity/:entityType/:entityId", ScoresOfEntity, read, server.Summary("List the scores of an agent or workflow")),
		server.JSON("POST /scores", SaveScore, write, server.Summary("Save a score")),
	}
}

// Scorer is a scorer and who has it.
type Scorer struct {
	WorkflowIDs  []string      `json:"workflowIds"`
	Scorer       ScorerDetails `json:"scorer"`
	Sampling     *Sampling     `json:"sampling,omitempty"`
	AgentNames   []string      `json:"agentNames"`
	AgentIDs     []string      `json:"agentIds"`
	IsRegistered bool          `json:"isRegistered"`
	Source       string        `json:"source"`
}

// ScorerDetails are a scorer's own.
type ScorerDetails struct {
	Config struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Description string `json:"description"`
	} `json:"config"`
	Steps                 []ScorerStep   `json:"steps"`
	OriginalPromptObjects map[string]any `json:"originalPromptObjects"`
	Source                string         `json:"source"`
}

// ScorerStep is a part of how a scorer judges.
type ScorerStep struct {
	Name           string `json:"name"`
	IsPromptObject bool   `json:"isPromptObject"`
}

// Sampling is the share of runs that a scorer sees.
type Sampling struct {
	Type string  `json:"type"`
	Rate float64 `json:"rate"`
}

// Scorers lists the scorers by their ids.
func Scorers(_ context.Context, m *mastra.Mastra, _ NothingAsked) (mastra.Object[Scorer], error) {
	out := mastra.Object[Scorer]{}
	for _, s := range m.AllScorers() {
		out.Set(s.ID, *describe(m, s))
	}
	return out, nil
}

func describe(m *mastra.Mastra, s *mastra.Scorer) *Scorer {
	d := &Scorer{WorkflowIDs: []string{}, AgentNames: []string{}, AgentIDs: []string{}, IsRegistered: true, Source: "code"}
	d.Scorer.Config.ID, d.Scorer.Config.Name, d.Scorer.Config.Description = s.ID, s.Name, s.Description
	d.Scorer.Steps = []ScorerStep{{"generateScore", s.Judge}, {"generateReason", s.Judge}}
	d.Scorer.OriginalPromptObjects, d.Scorer.Source = map[string]any{}, "code"
	has := func(scorers []*mastra.Scorer) bool {
		i := slices.IndexFunc(scorers, func(o *mastra.Scorer) bool { return o.ID == s.ID })
		if i >= 0 && d.Sampling == nil {
			d.Sampling = &Sampling{"ratio", scorers[i].Rate}
		}
		return i >= 0
	}
	for _, a := range m.AllAgents() {
		if has(a.Scorers) {
			d.AgentNames, d.AgentIDs = append(d.AgentNames, a.Name), append(d.AgentIDs, a.ID)
		}
	}
	for _, w := range m.AllWorkflows() {
		for _, scorers := range w.Graph().Scorers() {
			if id := w.Graph().ID; has(scorers) && !slices.Contains(d.WorkflowIDs, id) {
				d.WorkflowIDs = append(d.WorkflowIDs, id)
			}
		}
	}
	return d
}

// ScorerInput names a scorer.
type ScorerInput struct {
	ScorerID string `path:"scorerId" json:"-"`
}

// GetScorer is one scorer, null where there is none.
func GetScorer(_ context.Context, m *mastra.Mastra, in ScorerInput) (*Scorer, error) {
	for _, s := range m.AllScorers() {
		if s.ID == in.ScorerID {
			return describe(m, s), nil
		}
	}
	return nil, nil
}

// RunScores is a page of scores with what they were given for.
type RunScores struct {
	Pagination Pagination `json:"pagination"`
	Scores     []Record   `json:"scores"`
}

type pages struct {
	Page    int `query:"page" json:"-" minimum:"0"`
	PerPage int `query:"perPage" json:"-" minimum:"0" maximum:"100"`
}

// judged lists the scores that a scorer gave, or that were saved in its form.
func judged(ctx context.Context, m *mastra.Mastra, q mastra.ScoreQuery, entityType string) (RunScores, error) {
	own := mastra.Resource(ctx, "")
	q.Match = func(v mastra.Signal) bool {
		s, ok := v.(*mastra.Score)
		if !ok || len(s.Run) == 0 || own != "" && s.ResourceID != own {
			return false
		}
		var run struct {
			EntityType string `json:"entityType"`
		}
		return entityType == "" || schema.Unmarshal(s.Run, &run) == nil && strings.EqualFold(run.EntityType, entityType)
	}
	page, err := m.Storage.Scores(ctx, q)
	if err != nil {
		return RunScores{}, err
	}
	out := RunScores{Pagination: Pagination{page.Total, q.Page, q.PerPage, page.HasMore}}
	out.Scores, err = records(page.Items, showRun)
	return out, err
}

// showRun is a score as the scores group shows it.
func showRun(s *mastra.Score) (Record, error) {
	var r Record
	if err := schema.Unmarshal(s.Run, &r); err != nil {
		return nil, err
	}
	for _, f := range [...]struct {
		key   string
		value any
		given bool
	}{{"id", s.ID, true}, {"traceId", s.TraceID, s.TraceID != ""}, {"spanId", s.SpanID, s.SpanID != ""}, {"createdAt", s.CreatedAt, true}, {"updatedAt", s.CreatedAt, true}} {
		if !f.given {
			continue
		}
		data, err := schema.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		r.Set(f.key, data)
	}
	return r, nil
}

// ScoresOfRunInput names a run.
type ScoresOfRunInput struct {
	RunID string `path:"runId" json:"-"`
	pages
}

// ScoresOfRun lists the scores of a run.
func ScoresOfRun(ctx context.Context, m *mastra.Mastra, in ScoresOfRunInput) (RunScores, error) {
	return judged(ctx, m, mastra.ScoreQuery{RunID: in.RunID, Paging: pageOf(in.Page, in.PerPage)}, "")
}

// ScoresOfScorerInput names a scorer, and what it judged.
type ScoresOfScorerInput struct {
	ScorerID   string `path:"scorerId" json:"-"`
	EntityID   string `query:"entityId" json:"-"`
	EntityType string `query:"entityType" json:"-"`
	pages
}

// ScoresOfScorer lists the scores of a scorer.
func ScoresOfScorer(ctx context.Context, m *mastra.Mastra, in ScoresOfScorerInput) (RunScores, error) {
	q := mastra.ScoreQuery{ScorerID: in.ScorerID, EntityID: in.EntityID, Paging: pageOf(in.Page, in.PerPage)}
	if in.EntityID != "" && in.EntityType != "" {
		q.EntityType = entityTypeOf(in.EntityType)
	}
	return judged(ctx, m, q, in.EntityType)
}

// ScoresOfEntityInput names an agent or workflow.
type ScoresOfEntityInput struct {
	EntityType string `path:"entityType" json:"-"`
	EntityID   string `path:"entityId" json:"-"`
	pages
}

// entityTypeOf is a type of the scores group ("AGENT", "WORKFLOW", "STEP") as spans have it.
func entityTypeOf(name string) string {
	switch name = strings.ToLower(name); name {
	case "workflow":
		return "workflow_run"
	case "step":
		return "workflow_step"
	}
	return name
}

// ScoresOfEntity lists the scores of an agent, a workflow or a span.
func ScoresOfEntity(ctx context.Context, m *mastra.Mastra, in ScoresOfEntityInput) (RunScores, error) {
	id := in.EntityID
	switch in.EntityType {
	case "AGENT":
		a, err := m.Agent(id)
		if err != nil {
			return RunScores{}, err
		}
		id = a.ID
	case "WORKFLOW":
		w, err := m.Workflow(id)
		if err != nil {
			return RunScores{}, err
		}
		id = w.Graph().ID
	}
	return judged(ctx, m, mastra.ScoreQuery{EntityType: entityTypeOf(in.EntityType), EntityID: id, Paging: pageOf(in.Page, in.PerPage)}, in.EntityType)
}

// ScoresOfSpanInput names a span.
type ScoresOfSpanInput struct {
	SpanInput
	pages
}

// ScoresOfSpan lists the scores of a span.
func ScoresOfSpan(ctx context.Context, m *mastra.Mastra, in ScoresOfSpanInput) (RunScores, error) {
	if err := readable(ctx, m, in.TraceID); err != nil {
		return RunScores{}, err
	}
	return judged(ctx, m, mastra.ScoreQuery{TraceID: in.TraceID, SpanID: in.SpanID, Paging: pageOf(in.Page, in.PerPage)}, "")
}

// SaveScoreInput is a score in the form of the scores group. What it has besides the fields that are needed is kept.
type SaveScoreInput struct {
	Score Record `json:"score"`
}

type savedScore struct {
	ID       string                 `json:"id,omitempty" maxLength:"256"`
	ScorerID string                 `json:"scorerId" minLength:"1" maxLength:"256"`
	EntityID string                 `json:"entityId" maxLength:"1024"`
	RunID    string                 `json:"runId" maxLength:"1024"`
	Output   anything               `json:"output"`
	Score    float64                `json:"score"`
	Scorer   map[string]mastra.JSON `json:"scorer"`
	Source   string                 `json:"source" enum:"LIVE,TEST"`
	Entity   map[string]mastra.JSON `json:"entity"`

	EntityType string `json:"entityType,omitempty"`
	TraceID    string `json:"traceId,omitempty"`
	SpanID     string `json:"spanId,omitempty"`
	ResourceID string `json:"resourceId,omitempty"`
	ThreadID   string `json:"threadId,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// anything is any JSON value, which has to be there.
type anything mastra.JSON

func (a *anything) UnmarshalJSON(data []byte) error {
	*a = anything(mastra.JSON(data).Clone())
	return nil
}

func (anything) JSONSchema() *schema.Doc { return &schema.Doc{} }

func (SaveScoreInput) JSONSchema() *schema.Doc {
	var score schema.Doc
	if err := schema.Unmarshal(schema.For[savedScore]().JSON(), &score); err != nil {
		return nil
	}
	score.AdditionalProperties = &schema.Doc{}
	return &schema.Doc{Type: "object", Required: []string{"score"}, Properties: map[string]*schema.Doc{"score": &score}}
}

// SaveOutput is the score that was saved.
type SaveOutput struct {
	Score Record `json:"score"`
}

// SaveScore keeps a score in the form of the scores group.
func SaveScore(ctx context.Context, m *mastra.Mastra, in SaveScoreInput) (SaveOutput, error) {
	data, err := schema.Marshal(in.Score)
	if err != nil {
		return SaveOutput{}, err
	}
	var given savedScore
	if err := schema.Unmarshal(data, &given); err != nil {
		return SaveOutput{}, err
	}
	if err := readable(ctx, m, given.TraceID); err != nil {
		return SaveOutput{}, err
	}
	var name struct {
		Name string `json:"name"`
	}
	scorer, err := schema.Marshal(given.Scorer)
	if err == nil {
		err = schema.Unmarshal(scorer, &name)
	}
	if err != nil {
		name.Name = ""
	}
	s := mastra.Score{ID: cmp.Or(given.ID, mastra.NewID()), CreatedAt: mastra.TimeOf(m.Now()), TraceID: given.TraceID, SpanID: given.SpanID, ScorerID: given.ScorerID,
		ScorerName: name.Name, Source: strings.ToLower(given.Source), Score: given.Score, Reason: given.Reason, Run: data,
		Origin: mastra.Origin{EntityType: entityTypeOf(given.EntityType), EntityID: given.EntityID, RunID: given.RunID, ThreadID: given.ThreadID, ResourceID: mastra.Resource(ctx, given.ResourceID)}}
	if given.ID != "" {
		if err := mayReplace(ctx, m.Storage.Scores, given.ID); err != nil {
			return SaveOutput{}, err
		}
	}
	if err := m.Storage.Commit(ctx, &mastra.Batch{Scores: []mastra.Score{s}}); err != nil {
		return SaveOutput{}, err
	}
	r, err := showRun(&s)
	return SaveOutput{r}, err
}

// ScoreTracesInput names a scorer and what it is to judge: a trace by its root, or a span.
type ScoreTracesInput struct {
	ScorerName string `json:"scorerName" minLength:"1"`
	Targets    []struct {
		TraceID string `json:"traceId"`
		SpanID  string `json:"spanId,omitempty"`
	} `json:"targets" minItems:"1" maxItems:"1000"`
}

// ScoringStarted says that traces are being scored.
type ScoringStarted struct {
	Status     string `json:"status"`
	Message    string `json:"message"`
	TraceCount int    `json:"traceCount"`
}

// ScoreTraces has a scorer judge traces. It answers before they are judged; a trace that is not there is passed over.
func ScoreTraces(ctx context.Context, m *mastra.Mastra, in ScoreTracesInput) (ScoringStarted, error) {
	s, err := m.Scorer(in.ScorerName)
	if err != nil {
		return ScoringStarted{}, err
	}
	if m.Scoring == nil {
		return ScoringStarted{}, mastra.Errorf(mastra.CodeUnavailable, "No scorer runs here")
	}
	if s.Judge && m.Models == nil && m.Queue == nil {
		return ScoringStarted{}, mastra.Errorf(mastra.CodeUnavailable, "Scorer '%s' asks a model, and there is none here", s.ID)
	}
	for _, t := range in.Targets {
		if mastra.Resource(ctx, "") != "" {
			if err := readable(ctx, m, t.TraceID); err != nil {
				return ScoringStarted{}, err
			}
		}
		m.Scoring.Score(ctx, m, []*mastra.Scorer{s.Sampled(1)}, mastra.ScorerRun{TraceID: t.TraceID, SpanID: t.SpanID})
	}
	noun := "trace"
	if len(in.Targets) != 1 {
		noun = "traces"
	}
	return ScoringStarted{"success", fmt.Sprintf("Scoring started for %d %s", len(in.Targets), noun), len(in.Targets)}, nil
}
