// Package scoring runs scorers after the answer: what they find is kept as a score, with a trace of its own. With a queue they
// run where its work is done.
package scoring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// atOnce is how many runs are judged at the same time.
const atOnce = 8

// Runner is the mastra.ScoreRunner. It is safe for concurrent use.
type Runner struct {
	runs  *runlog.Supervisor
	slots chan struct{}
}

// New makes a Runner whose goroutines s owns: an invocation, or the process, does not end before they do.
func New(s *runlog.Supervisor) *Runner { return &Runner{s, make(chan struct{}, atOnce)} }

// Score judges a run in the background. Each scorer sees its share of the runs. A run that has neither input nor output is
// read from its trace.
func (r *Runner) Score(ctx context.Context, m *mastra.Mastra, scorers []*mastra.Scorer, run mastra.ScorerRun) {
	scorers = slices.DeleteFunc(slices.Clone(scorers), func(s *mastra.Scorer) bool { return !s.Chosen() })
	if len(scorers) == 0 {
		return
	}
	failed := func(err error) {
		m.Logger.ErrorContext(ctx, "a run was not scored", "runId", run.RunID, "traceId", run.TraceID, "error", err)
	}
	task, err := r.runs.BeginAfter(ctx, "score-"+mastra.NewID())
	if err != nil {
		failed(err)
		return
	}
	task.Go(func(ctx context.Context) error {
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.Queue != nil && !m.Alone {
			err := send(ctx, m, scorers, run)
			if err == nil {
				return nil
			}
			m.Logger.WarnContext(ctx, "a run is scored without the queue", "runId", run.RunID, "traceId", run.TraceID, "error", err)
		}
		return all(ctx, m, scorers, run, mastra.NewID())
	}, func(err error) {
		if err != nil {
			failed(err)
		}
	})
}

// maxMessage is how large a run may be for the queue: SQS takes 256 KB.
const maxMessage = 200 << 10

// send leaves a run to whoever takes the queue's work.
func send(ctx context.Context, m *mastra.Mastra, scorers []*mastra.Scorer, run mastra.ScorerRun) error {
	what := mastra.ScoreWork{Run: run}
	what.Run.Input, what.Run.Output = mastra.Redact(run.Input), mastra.Redact(run.Output)
	for _, s := range scorers {
		what.Scorers = append(what.Scorers, s.ID)
	}
	data, err := schema.Marshal(what)
	if err != nil {
		return err
	}
	if data = mastra.Redact(data); len(data) > maxMessage {
		return fmt.Errorf("it has %d bytes, more than a message", len(data))
	}
	return m.Queue.Send(ctx, mastra.Work{Kind: mastra.WorkScore, Tenant: mastra.Tenant(ctx), ID: mastra.NewID(), Data: data})
}

// Handler does the work of kind mastra.WorkScore. A scorer that fails is a line of the log, as it is without a queue; the work fails
// where what was found cannot be stored.
func Handler(m *mastra.Mastra) func(context.Context, mastra.Work) error {
	return func(ctx context.Context, w mastra.Work) error {
		var what mastra.ScoreWork
		if err := schema.Unmarshal(w.Data, &what); err != nil {
			return err
		}
		var scorers []*mastra.Scorer
		for _, id := range what.Scorers {
			s, err := m.Scorer(id)
			if err != nil {
				return err
			}
			scorers = append(scorers, s)
		}
		err := all(mastra.WithPrincipal(ctx, &mastra.Principal{Tenant: w.Tenant}), m, scorers, what.Run, w.ID)
		if mastra.CodeOf(err) == mastra.CodeNotFound { // the trace was deleted
			return nil
		}
		return err
	}
}

// all lets scorers judge a run, one after the other. Their scores have ids that begin like id. What cannot be stored is the error.
func all(ctx context.Context, m *mastra.Mastra, scorers []*mastra.Scorer, run mastra.ScorerRun, id string) (err error) {
	ctx = mastra.WithRequest(mastra.NewContext(ctx, m), nil)
	source := ofRun
	if run.Input == nil && run.Output == nil {
		source = ofTrace
		if run, err = load(ctx, m, run); err != nil {
			return err
		}
	}
	for i, s := range scorers {
		failure, lost := judge(ctx, m, s, source, run, fmt.Sprintf("%s%02x", id[:len(id)-2], i))
		if failure != nil {
			m.Logger.ErrorContext(ctx, "a run was not scored", "runId", run.RunID, "traceId", run.TraceID, "scorer", s.ID, "error", failure)
		}
		err = errors.Join(err, lost)
	}
	return err
}

// load reads what a span, or the root of a trace, was given and made.
func load(ctx context.Context, m *mastra.Mastra, run mastra.ScorerRun) (mastra.ScorerRun, error) {
	spans, err := m.Storage.Trace(ctx, run.TraceID)
	if err != nil {
		return run, err
	}
	at := slices.IndexFunc(spans, func(s mastra.Span) bool {
		return run.SpanID == s.SpanID || run.SpanID == "" && s.Root()
	})
	if at < 0 {
		return run, mastra.Errorf(mastra.CodeNotFound, "Span not found")
	}
	s := &spans[at]
	run.Input, run.Output = s.Input, s.Output
	run.EntityType, run.EntityID, run.EntityName = s.EntityType, s.EntityID, s.EntityName
	run.RunID, run.SpanID, run.ThreadID, run.ResourceID, run.Metadata, run.Tags = s.RunID, s.SpanID, s.ThreadID, s.ResourceID, s.Metadata, s.Tags
	return run, nil
}

// Where what is judged comes from: a run that has just ended, or a trace that somebody has chosen.
const (
	ofRun   = "live"
	ofTrace = "trace"
)

// judge lets one scorer judge, and keeps its score and its trace in one commit. failure is the scorer's, lost the storage's.
func judge(ctx context.Context, m *mastra.Mastra, s *mastra.Scorer, source string, run mastra.ScorerRun, id string) (failure, lost error) {
	now := func() mastra.Time { return mastra.TimeOf(m.Now()) }
	var sink mastra.SpanSink
	traceID := cmp.Or(mastra.TraceOfRun(id), mastra.NewTraceID()) // the same where the work is done again
	root := mastra.Span{TraceID: traceID, SpanID: mastra.SpanIDFrom(traceID, s.ID), Name: "scorer run: '" + s.ID + "'", Type: mastra.SpanScorerRun, StartedAt: now(),
		EntityType: "scorer", EntityID: s.ID, ResourceID: run.ResourceID}
	kind := "code"
	if s.Judge {
		kind = "llm"
	}
	encode := func(v any) mastra.JSON { data, _ := schema.Marshal(v); return data } // texts, numbers and JSON always encode
	root.Attributes = encode(struct {
		ScorerID   string `json:"scorerId"`
		ScorerName string `json:"scorerName"`
		Source     string `json:"scoreSource"`
		Scope      string `json:"targetScope"`
		EntityType string `json:"targetEntityType,omitempty"`
		Definition string `json:"scorerDefinition"`
	}{s.ID, s.Name, source, "span", run.EntityType, kind})
	root.Metadata = encode(struct {
		TraceID string `json:"targetTraceId"`
		SpanID  string `json:"targetSpanId"`
	}{run.TraceID, run.SpanID})
	root.Input = encode(struct {
		Input  mastra.JSON `json:"input"`
		Output mastra.JSON `json:"output"`
	}{run.Input, run.Output})
	step := root
	step.SpanID, step.ParentID, step.Name, step.Type, step.Input = mastra.SpanIDFrom(root.SpanID, "generateScore"), root.SpanID, "scorer step: 'generateScore'", mastra.SpanScorerStep, nil
	step.Attributes = mastra.JSON(`{"step":"generateScore","stepType":"function"}`)
	if s.Judge {
		step.Attributes = mastra.JSON(`{"step":"generateScore","stepType":"prompt"}`)
	}
	var verdict mastra.Verdict
	inside := mastra.WithSpanSink(mastra.WithSpan(ctx, mastra.SpanRef{TraceID: root.TraceID, SpanID: step.SpanID}), &sink)
	failure = runlog.Safely(func() (err error) {
		verdict, err = s.Score(mastra.WithRequestContext(inside, run.Context), run)
		return err
	})
	root.EndedAt = now()
	step.EndedAt = root.EndedAt
	b := &mastra.Batch{}
	if failure != nil {
		root.Error = encode(mastra.RunError{Message: shown(failure), Name: "Error"})
		step.Error = root.Error
	} else {
		root.Output = encode(struct {
			Success bool `json:"success"`
			mastra.Verdict
		}{true, verdict})
		step.Output = encode(verdict.Score)
		judged := score(id, s, kind, source, run, verdict, root.TraceID, now())
		judged.ServiceName, judged.Environment = m.Tracing.ServiceName, m.Tracing.Environment
		b.Scores = []mastra.Score{judged}
	}
	called := sink.Take()
	for i := range called {
		called[i].Metadata = root.Metadata // but what a judge takes is none of what the resource took
		if use := called[i].Use(); s.Judge && use != nil {
			step.Attributes = encode(struct {
				Step  string `json:"step"`
				Type  string `json:"stepType"`
				Model string `json:"judgeModel"`
			}{"generateScore", "prompt", use.Model})
		}
	}
	b.Spans = m.Record(ctx, append([]mastra.Span{root, step}, called...))
	return failure, m.Storage.Commit(context.WithoutCancel(ctx), b)
}

// shown is what a trace may say of an error.
func shown(err error) string {
	var p *runlog.PanicError
	var e *mastra.Error
	switch {
	case errors.As(err, &p):
		return "The scorer panicked"
	case errors.As(err, &e):
		return e.Message
	}
	return err.Error()
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// score is the score as it is kept, with what the scores group shows of it.
func score(id string, s *mastra.Scorer, kind, source string, run mastra.ScorerRun, v mastra.Verdict, trace string, at mastra.Time) mastra.Score {
	encode := func(v any) mastra.JSON { data, _ := schema.Marshal(v); return data }
	var about mastra.Object[mastra.JSON]
	if schema.Unmarshal(run.Metadata, &about) != nil {
		about = nil
	}
	if _, ok := about.Get("runId"); !ok && run.RunID != "" {
		about.Set("runId", encode(run.RunID))
	}
	about.Set("hasGroundTruth", mastra.JSON("false"))
	about.Set("targetScope", mastra.JSON(`"span"`))
	about.Set("scorerDefinition", encode(kind))
	entity := map[string]string{"workflow_run": "WORKFLOW", "workflow_step": "STEP"}[run.EntityType]
	if entity == "" {
		entity = strings.ToUpper(run.EntityType)
	}
	shown := struct {
		ID       string                `json:"id"`
		ScorerID string                `json:"scorerId"`
		TraceID  string                `json:"traceId,omitempty"`
		SpanID   string                `json:"spanId,omitempty"`
		RunID    string                `json:"runId"`
		Scorer   any                   `json:"scorer"`
		Score    float64               `json:"score"`
		Reason   string                `json:"reason,omitempty"`
		Metadata any                   `json:"metadata"`
		Input    mastra.JSON           `json:"input"`
		Output   mastra.JSON           `json:"output"`
		Context  mastra.RequestContext `json:"requestContext,omitempty"`
		Type     string                `json:"entityType"`
		Entity   named                 `json:"entity"`
		EntityID string                `json:"entityId"`
		Resource string                `json:"resourceId,omitempty"`
		Thread   string                `json:"threadId,omitempty"`
		Source   string                `json:"source"`
	}{id, s.ID, run.TraceID, run.SpanID, run.RunID, struct {
		named
		Description string `json:"description"`
		HasJudge    bool   `json:"hasJudge"`
	}{named{s.ID, s.Name}, s.Description, s.Judge}, v.Score, v.Reason, map[string]bool{"structuredOutput": false}, mastra.Redact(run.Input), mastra.Redact(run.Output), run.Context,
		entity, named{run.EntityID, run.EntityName}, run.EntityID, run.ResourceID, run.ThreadID, map[string]string{ofRun: "LIVE", ofTrace: "TEST"}[source]}
	return mastra.Score{ID: shown.ID, CreatedAt: at, TraceID: run.TraceID, SpanID: run.SpanID, ScorerID: s.ID, ScorerName: s.Name, Source: source, Score: v.Score, Reason: v.Reason,
		ScoreTraceID: trace, Metadata: mastra.Redact(encode(about)), Run: mastra.Redact(encode(shown)),
		Tags: run.Tags, Origin: origin(&run)}
}

// origin says of whom and what a score is: of what was judged.
func origin(run *mastra.ScorerRun) mastra.Origin {
	o := mastra.Origin{EntityType: run.EntityType, EntityID: run.EntityID, EntityName: run.EntityName, RootEntityType: run.EntityType, RootEntityID: run.EntityID,
		RootEntityName: run.EntityName, RunID: run.RunID, ThreadID: run.ThreadID, ResourceID: run.ResourceID}
	if c := mastra.CorrelationOf(run.Metadata); c != nil {
		o.UserID, o.OrganizationID, o.SessionID, o.RequestID, o.ExperimentID = c.UserID, c.OrganizationID, c.SessionID, c.RequestID, c.ExperimentID
	}
	return o
}
