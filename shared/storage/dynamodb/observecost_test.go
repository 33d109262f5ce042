package dynamodb

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// What it costs to look at traces, scores and metrics, of 300 traces with six spans each: the table of the README comes from here.
// A list reads what its page shows, one that is filtered by what no index knows the summaries of its range.
func TestCostOfObserving(t *testing.T) {
	var m meter
	s, fast, ctx := openTest(t, m.attach), openTest(t), newTenant(t)
	const traces = 300
	base := mastra.Time(1_790_000_000_000)
	var threads mastra.Batch
	for i := range 30 {
		threads.Threads = append(threads.Threads, mastra.Thread{ID: fmt.Sprint("thread", i), ResourceID: "me", CreatedAt: base, UpdatedAt: base})
	}
	if err := fast.Commit(ctx, &threads); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < traces; from += 50 {
		var b mastra.Batch
		for i := from; i < from+50; i++ {
			id, at := fmt.Sprintf("%032x", i), base+mastra.Time(i)*1000
			for k := range 6 {
				sp := mastra.Span{TraceID: id, SpanID: fmt.Sprintf("%016x", k+1), ParentID: fmt.Sprintf("%016x", 1), Name: fmt.Sprint("span ", k), Type: mastra.SpanModelStep, StartedAt: at, EndedAt: at + 100,
					EntityType: "agent", EntityID: fmt.Sprint("agent", i%10), EntityName: fmt.Sprint("Agent ", i%10), RunID: fmt.Sprint("run", i), ThreadID: fmt.Sprint("thread", i%30), ResourceID: "me",
					Metadata: mastra.JSON(`{"runId":"x"}`), Input: mastra.JSON(`"` + strings.Repeat("What is the weather like? ", 10) + `"`), Output: mastra.JSON(`{"text":"Fine."}`)}
				switch k {
				case 0:
					sp.ParentID, sp.Type = "", mastra.SpanAgentRun
				case 1:
					sp.Type, sp.Attributes = mastra.SpanModelGeneration, mastra.JSON(`{"model":"m","provider":"p","usage":{"inputTokens":7,"outputTokens":5}}`)
				}
				b.Spans = append(b.Spans, sp)
			}
			b.Scores = append(b.Scores, mastra.Score{ID: "s" + id, TraceID: id, ScorerID: fmt.Sprint("scorer", i%10), Score: 0.5, CreatedAt: at, Origin: mastra.Origin{EntityType: "agent", EntityID: fmt.Sprint("agent", i%10), RunID: fmt.Sprint("run", i)}})
			b.Feedback = append(b.Feedback, mastra.Feedback{ID: "f" + id, TraceID: id, Type: "thumbs", Value: mastra.JSON(`1`), CreatedAt: at})
		}
		if err := fast.Commit(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	app, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: s}})
	if err != nil {
		t.Fatal(err)
	}
	twenty := mastra.Paging{PerPage: 20}
	check := func(name string, want int, calls, trips int, read float64, f func() (int, error)) {
		t.Helper()
		c := m.reading(t, trips, func() error {
			n, err := f()
			if err == nil && n != want {
				t.Errorf("%s: %d, want %d", name, n, want)
			}
			return err
		})
		t.Logf("%-52s %v", name, c)
		if c.calls > calls || c.trips > trips || c.read > read || c.write > 0 {
			t.Errorf("%s takes more than %d requests, %d in sequence, %v RRU", name, calls, trips, read)
		}
	}
	list := func(q mastra.TraceQuery) func() (int, error) {
		return func() (int, error) {
			if q.Paging == (mastra.Paging{}) {
				q.Paging = twenty
			}
			p, err := s.Traces(ctx, q)
			if err != nil {
				return 0, err
			}
			return len(p.Items), nil
		}
	}
	scores := func(q mastra.ScoreQuery) func() (int, error) {
		return func() (int, error) {
			q.Paging = twenty
			p, err := s.Scores(ctx, q)
			if err != nil {
				return 0, err
			}
			return len(p.Items), nil
		}
	}
	query := func(where string) func() (int, error) {
		return func() (int, error) {
			r, err := observability.QueryTraces(ctx, app, observability.QueryBody{Body: mastra.JSON(`{"timeRange":{"from":"2026-09-01T00:00:00Z","to":"2026-09-30T00:00:00Z"},"page":{"limit":20}` + where + `}`)})
			if err != nil {
				return 0, err
			}
			return len(*r.Traces), nil
		}
	}
	check("a trace with six spans", 6, 1, 1, 1, func() (int, error) { spans, err := s.Trace(ctx, fmt.Sprintf("%032x", 7)); return len(spans), err })
	check("20 traces", 20, 5, 1, 10, list(mastra.TraceQuery{}))
	check("20 traces, the last page", 20, 5, 2, 10, list(mastra.TraceQuery{Paging: mastra.Paging{Page: 14, PerPage: 20}}))
	check("20 traces of an agent, of 30", 20, 5, 2, 18, list(mastra.TraceQuery{EntityType: "agent", EntityID: "agent3"}))
	check("20 traces of the one type of entities, a middle page", 20, 8, 3, 14, list(mastra.TraceQuery{EntityType: "agent", Paging: mastra.Paging{Page: 6, PerPage: 20}}))
	check("traces of a thread, of 300", 10, 3, 2, 8, list(mastra.TraceQuery{ThreadID: "thread3"}))
	check("traces of a resource, of 300 that are all its", 20, 9, 3, 22, list(mastra.TraceQuery{ResourceID: "me"}))
	check("a query for 20 traces", 20, 4, 1, 11, query(""))
	check("a query for 20 traces by their spans", 20, 25, 2, 37, query(`,"where":{"spans":{"some":{"op":"eq","left":{"path":"name"},"right":{"literal":"span 3"}}}}`))
	check("a query for 20 traces by their scores", 20, 25, 2, 37, query(`,"where":{"scores":{"some":{"op":"gt","left":{"path":"score"},"right":{"literal":0.1}}}}`))
	check("20 scores", 20, 6, 2, 30, scores(mastra.ScoreQuery{}))
	check("the scores of a trace", 1, 1, 1, 1, scores(mastra.ScoreQuery{TraceID: fmt.Sprintf("%032x", 7)}))
	check("the scores of a run", 1, 2, 2, 2, scores(mastra.ScoreQuery{RunID: "run7"}))
	check("20 scores of a scorer, of 30", 20, 5, 2, 34, scores(mastra.ScoreQuery{ScorerID: "scorer3"}))
	check("20 scores of an agent, of 30", 20, 5, 2, 36, scores(mastra.ScoreQuery{EntityType: "agent", EntityID: "agent3"}))
	check("20 pieces of feedback", 20, 6, 2, 30, func() (int, error) {
		p, err := s.Feedback(ctx, mastra.ScoreQuery{Paging: twenty})
		if err != nil {
			return 0, err
		}
		return len(p.Items), nil
	})
	metrics := func(from, to int) func() (int, error) {
		return func() (int, error) {
			var in observability.AggregateMetricsInput
			body := fmt.Sprintf(`{"name":["mastra_agent_duration_ms"],"aggregation":"count","filters":{"timestamp":{"start":%q,"end":%q}}}`,
				(base + mastra.Time(from)*1000).Time().Format("2006-01-02T15:04:05.000Z"), (base + mastra.Time(to)*1000 - 1).Time().Format("2006-01-02T15:04:05.000Z"))
			if err := schema.Unmarshal([]byte(body), &in); err != nil {
				return 0, err
			}
			return aggregated(ctx, app, in)
		}
	}
	check("an aggregate over 100 traces", 100, 9, 2, 65, metrics(0, 100))
	check("an aggregate over 300 traces", 300, 11, 3, 190, metrics(0, 300))
	check("an aggregate over 25 traces by their ids", 25, 25, 1, 25, func() (int, error) {
		ids := make([]string, 25)
		for i := range ids {
			ids[i] = fmt.Sprintf("%032x", 10*i)
		}
		var in observability.AggregateMetricsInput
		if err := schema.Unmarshal([]byte(`{"name":["mastra_agent_duration_ms"],"aggregation":"count","filters":{"traceIds":["`+strings.Join(ids, `","`)+`"]}}`), &in); err != nil {
			return 0, err
		}
		return aggregated(ctx, app, in)
	})
	check("the names of entities", 10, 1, 1, 1, func() (int, error) { names, err := s.Names(ctx); return len(names), err })
}

// aggregated is the one number of an aggregate.
func aggregated(ctx context.Context, app *mastra.Mastra, in observability.AggregateMetricsInput) (int, error) {
	out, err := observability.AggregateMetrics(ctx, app, in)
	if err != nil {
		return 0, err
	}
	data, err := schema.Marshal(out)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Value float64 `json:"value"`
	}
	err = schema.Unmarshal(data, &answer)
	return int(answer.Value), err
}
