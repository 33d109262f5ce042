package observability

import (
	"context"
	"slices"

	"mastralambda/shared/mastra"
)

// byTrace are the fields of a line that are known by its trace.
var byTrace = []string{"entityType", "entityName", "parentEntityType", "parentEntityName", "rootEntityType", "rootEntityName", "resourceId", "threadId", "userId",
	"organizationId", "sessionId", "experimentId"}

// line is a line of the log with what its trace says of it.
type line struct {
	*mastra.LogRecord
	of   mastra.Origin
	tags []string // of the run
}

// Field is what the line says itself, else what its trace does.
func (l line) Field(name string) (string, bool) {
	if text := l.Text(name); text != "" {
		return text, true
	}
	text, _ := l.of.Field(name)
	return text, true
}

func (l line) Number() (float64, bool) { return 0, false }
func (l line) At() mastra.Time         { return l.Time }
func (l line) Labels() []string        { return l.tags }
func (l line) About() mastra.JSON      { return nil }

// lineIn is a line with what is known of the span that it was written in, or of the root where the span is still open.
func lineIn(trace []mastra.Span, r *mastra.LogRecord) line {
	l := line{LogRecord: r}
	id := r.Text("spanId")
	at := slices.IndexFunc(trace, func(s mastra.Span) bool { return s.SpanID == id })
	if at < 0 {
		at = slices.IndexFunc(trace, func(s mastra.Span) bool { return s.Root() })
	}
	if at >= 0 {
		l.of, l.tags = mastra.OriginOf(trace, &trace[at])
	}
	return l
}

// tracesOf are the outlines of the traces that lines were written in.
func tracesOf(ctx context.Context, m *mastra.Mastra, lines []mastra.LogRecord) (map[string][]mastra.Span, error) {
	seen := map[string]bool{}
	var ids []string
	for i := range lines {
		if id := lines[i].Text("traceId"); id != "" && !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
	}
	if len(ids) == 0 || m.Storage == nil {
		return nil, nil
	}
	found := map[string][]mastra.Span{}
	err := m.Storage.Outlines(ctx, mastra.SpanQuery{TraceIDs: ids}, func(spans []mastra.Span) bool {
		found[spans[0].TraceID] = append(found[spans[0].TraceID], spans...)
		return true
	})
	return found, err
}

const (
	linesAtOnce = 1000
	maxLines    = 10_000 // that are looked through
)

// linesOf is a page of the lines whose traces match.
func linesOf(ctx context.Context, m *mastra.Mastra, q mastra.LogQuery, match *matcher) (*mastra.LogPage, error) {
	first := q.Page * q.PerPage
	end := first + q.PerPage
	q.Page, q.PerPage = 0, linesAtOnce
	var found []mastra.LogRecord
	for {
		page, err := m.Logs.Logs(ctx, q)
		if err != nil {
			return nil, err
		}
		traces, err := tracesOf(ctx, m, page.Records)
		if err != nil {
			return nil, err
		}
		for i := range page.Records {
			r := &page.Records[i]
			if match.match(lineIn(traces[r.Text("traceId")], r)) {
				found = append(found, *r)
			}
		}
		q.Page++
		switch {
		case len(found) > end || !page.HasMore:
			end = min(end, len(found))
			return &mastra.LogPage{Records: found[min(first, end):end], Total: len(found), HasMore: page.HasMore || end < len(found)}, nil
		case q.Page*q.PerPage >= maxLines:
			return nil, mastra.Errorf(mastra.CodeInvalid, "There are too many to look through: ask for a narrower range of time")
		}
	}
}
