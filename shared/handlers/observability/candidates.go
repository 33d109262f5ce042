package observability

import (
	"context"
	"strings"

	"mastralambda/shared/mastra"
)

// evidence is what predicates over a range of traces look at beside the traces: it is read before them, once.
type evidence struct {
	m        *mastra.Mastra
	spans    map[string][]mastra.Span
	scores   map[string][]mastra.Score
	feedback map[string][]mastra.Feedback
}

// afterwards is how long after the range of a query spans of its traces may have been committed.
const afterwards = 24 * 60 * 60 * 1000

func newEvidence(m *mastra.Mastra) *evidence {
	return &evidence{m: m, spans: map[string][]mastra.Span{}, scores: map[string][]mastra.Score{}, feedback: map[string][]mastra.Feedback{}}
}

// add is for the spans of one trace.
func (e *evidence) add(spans []mastra.Span) bool {
	e.spans[spans[0].TraceID] = append(e.spans[spans[0].TraceID], spans...)
	return true
}

func (e *evidence) addScore(s mastra.Signal) bool {
	v := *s.(*mastra.Score)
	v.Run = nil
	e.scores[v.TraceID] = append(e.scores[v.TraceID], v)
	return false
}

func (e *evidence) addFeedback(s mastra.Signal) bool {
	v := *s.(*mastra.Feedback)
	e.feedback[v.TraceID] = append(e.feedback[v.TraceID], v)
	return false
}

// gather reads the evidence about all traces of a range that a predicate needs.
func (e *evidence) gather(ctx context.Context, scopes map[string]bool, from, to mastra.Time) error {
	return e.read(ctx, scopes, mastra.SpanQuery{From: from, To: to + afterwards}, mastra.ScoreQuery{From: from})
}

// of reads the evidence about some traces.
func (e *evidence) of(ctx context.Context, scopes map[string]bool, traces []string) error {
	if len(traces) == 0 {
		return nil
	}
	return e.read(ctx, scopes, mastra.SpanQuery{TraceIDs: traces}, mastra.ScoreQuery{TraceIDs: traces})
}

func (e *evidence) read(ctx context.Context, scopes map[string]bool, spans mastra.SpanQuery, scores mastra.ScoreQuery) error {
	if scopes[scopeSpans] {
		if err := e.m.Storage.Outlines(ctx, spans, e.add); err != nil {
			return err
		}
	}
	if scopes[scopeScores] {
		scores.Match = e.addScore
		if _, err := e.m.Storage.Scores(ctx, scores); err != nil {
			return err
		}
	}
	if scopes[scopeFeedback] {
		scores.Match = e.addFeedback
		if _, err := e.m.Storage.Feedback(ctx, scores); err != nil {
			return err
		}
	}
	return nil
}

func filled(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// span shows a predicate a trace (by its root) or one of its spans.
func (e *evidence) span(s *mastra.Span, scope string) candidate {
	c := candidate{field: func(path string) any {
		if key, ok := strings.CutPrefix(path, "metadata."); ok {
			return filled(strings.TrimSpace(aboutSpan(s, key)))
		}
		switch path {
		case "traceId":
			return filled(s.TraceID)
		case "threadId":
			return filled(s.ThreadID)
		case "resourceId":
			return filled(s.ResourceID)
		case "startedAt":
			return float64(s.StartedAt)
		case "endedAt":
			if s.EndedAt != 0 {
				return float64(s.EndedAt)
			}
		case "durationMs":
			if s.EndedAt != 0 {
				return float64(s.EndedAt - s.StartedAt)
			}
		case "entityName":
			return filled(s.EntityName)
		case "entityType":
			return filled(s.EntityType)
		case "entityId":
			return filled(s.EntityID)
		case "environment":
			return filled(e.m.Tracing.Environment)
		case "status":
			return s.Status()
		case "tags":
			return s.Tags
		case "name":
			return filled(s.Name)
		case "spanType":
			return filled(s.Type)
		case "error":
			if len(s.Error) > 0 {
				return "error"
			}
		case "model":
			if u := s.Use(); u != nil {
				return filled(u.Model)
			}
		case "provider":
			if u := s.Use(); u != nil {
				return filled(u.Provider)
			}
		}
		return nil
	}}
	if scope == scopeTrace {
		id := s.TraceID
		c.related = func(scope string) []candidate { return e.related(id, scope) }
	}
	return c
}

func (e *evidence) related(trace, scope string) (all []candidate) {
	switch scope {
	case scopeSpans:
		for i := range e.spans[trace] {
			all = append(all, e.span(&e.spans[trace][i], scopeSpans))
		}
	case scopeScores:
		for i := range e.scores[trace] {
			all = append(all, signalCandidate(&e.scores[trace][i]))
		}
	case scopeFeedback:
		for i := range e.feedback[trace] {
			all = append(all, signalCandidate(&e.feedback[trace][i]))
		}
	}
	return all
}

func signalCandidate(s mastra.Signal) candidate {
	return candidate{field: func(path string) any {
		switch path {
		case "score":
			n, _ := s.Number()
			return n
		case "timestamp":
			return float64(s.At())
		case "value":
			if n, ok := s.Number(); ok {
				return n
			}
			if f, ok := s.(*mastra.Feedback); ok {
				return filled(textOf(f.Value))
			}
		}
		text, _ := s.Field(path)
		return filled(text)
	}}
}
