package observability_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/sqlite"
)

// A predicate over the spans of traces finds each of them once, page by page, in both orders, also where many began at once.
func TestQueryBySpans(t *testing.T) {
	m := empty(t)
	const traces = 700
	var b mastra.Batch
	var want []string
	for i := range traces {
		id, at := fmt.Sprintf("%032x", i), mastra.Time(1_790_000_000_000)+mastra.Time(i/90) // ninety at a moment
		tool := "quick"
		if i%7 == 3 {
			tool, want = "slow", append(want, id)
			b.Scores = append(b.Scores, mastra.Score{ID: id, TraceID: id, Score: 0.1, ScorerID: "s", CreatedAt: at + 5})
		}
		b.Spans = append(b.Spans, mastra.Span{TraceID: id, SpanID: "root", Name: "run", Type: mastra.SpanAgentRun, StartedAt: at, EndedAt: at + 9},
			mastra.Span{TraceID: id, SpanID: "tool", ParentID: "root", Name: tool, Type: mastra.SpanToolCall, StartedAt: at, EndedAt: at + 3})
	}
	if err := m.Storage.Commit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{
		`{"spans":{"some":{"op":"eq","left":{"path":"name"},"right":{"literal":"slow"}}}}`,
		`{"scores":{"some":{"op":"lt","left":{"path":"score"},"right":{"literal":0.5}}}}`,
		`{"op":"and","args":[{"spans":{"none":{"op":"eq","left":{"path":"name"},"right":{"literal":"quick"}}}},{"op":"exists","path":"startedAt"}]}`,
	} {
		for _, order := range []string{"startedAt", "endedAt"} {
			for _, direction := range []string{"asc", "desc"} {
				var found []string
				after := ""
				for page := 0; ; page++ {
					body := fmt.Sprintf(`{"timeRange":{"from":"2026-09-01T00:00:00Z","to":"2026-09-30T00:00:00Z"},"where":%s,"orderBy":[{"field":%q,"direction":%q}],"page":{"limit":13%s}}`, where, order, direction, after)
					r, err := observability.QueryTraces(t.Context(), m, observability.QueryBody{Body: mastra.JSON(body)})
					if err != nil {
						t.Fatalf("%s: %v", body, err)
					}
					for _, f := range *r.Traces {
						found = append(found, f.TraceID)
					}
					if r.Page.Next == nil || page > traces {
						break
					}
					after = fmt.Sprintf(`,"after":%q`, *r.Page.Next)
				}
				first := found[0]
				if (first < want[len(want)/2]) != (direction == "asc") {
					t.Errorf("%s %s begins with %s", order, direction, first)
				}
				if slices.Sort(found); !slices.Equal(found, want) {
					t.Errorf("%s, %s %s: %d traces, want %d", where, order, direction, len(found), len(want))
				}
			}
		}
	}
}

// empty is an application of nothing but a new storage.
func empty(t *testing.T) *mastra.Mastra {
	t.Helper()
	s, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Storage: s}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
