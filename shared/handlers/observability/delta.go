package observability

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"mastralambda/shared/mastra"
)

// A cursor is a moment: what ended later is new. What ended a moment ago may not be stored yet, so an answer never reaches
// further than that: nothing is passed over.
const (
	settling = 2_000           // milliseconds from a run's end until its trace can be read
	longest  = 60 * 60 * 1_000 // a run that took longer is not found by its end
)

// Delta says how much an answer of mode "delta" shows.
type Delta struct {
	Limit   int  `json:"limit"`
	HasMore bool `json:"hasMore"`
}

func (l *Listing) check() error {
	if l.Mode == "delta" {
		return nil
	}
	var issues []mastra.Issue
	if l.After != "" {
		issues = append(issues, mastra.Issue{Field: "after", Message: "after is only allowed in delta mode"})
	}
	if l.Limit != 0 {
		issues = append(issues, mastra.Issue{Field: "limit", Message: "limit is only allowed in delta mode"})
	}
	if issues != nil {
		return &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: issues}
	}
	return nil
}

func cursorAt(m *mastra.Mastra) string {
	return strconv.FormatInt(int64(mastra.TimeOf(m.Now())-settling), 10)
}

// since is the range of time that a delta shows. first says that there is no cursor yet: nothing is shown then.
func (l *Listing) since(m *mastra.Mastra) (after, until mastra.Time, first bool, err error) {
	until = mastra.TimeOf(m.Now()) - settling
	if l.After == "" {
		return 0, until, true, nil
	}
	n, err := strconv.ParseInt(l.After, 10, 64)
	if err != nil || n < 0 {
		return 0, 0, false, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{{Field: "after", Message: "Invalid cursor"}}}
	}
	return mastra.Time(n), max(until, mastra.Time(n)), false, nil
}

// step cuts what is new down to the limit, in order of time, and makes the next cursor. What ended in one millisecond stays
// together, so an answer may be a little longer than its limit.
func step[T any](l *Listing, all []T, until mastra.Time, at func(*T) mastra.Time) ([]T, *Delta, string) {
	d := &Delta{Limit: cmp.Or(l.Limit, 10)}
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(at(&a), at(&b)) })
	n := min(len(all), d.Limit)
	for n > 0 && n < len(all) && at(&all[n]) == at(&all[n-1]) {
		n++
	}
	if n < len(all) {
		d.HasMore, until = true, at(&all[n-1])
	}
	return all[:n], d, strconv.FormatInt(int64(until), 10)
}

func (in *TracesInput) delta(ctx context.Context, m *mastra.Mastra) ([]mastra.Span, *Delta, string, error) {
	q, none, err := in.query(ctx, m)
	if err != nil {
		return nil, nil, "", err
	}
	return in.deltaOf(ctx, m, q, none)
}

// deltaOf is what of a list has ended since the cursor.
func (in *TracesInput) deltaOf(ctx context.Context, m *mastra.Mastra, q mastra.TraceQuery, none bool) ([]mastra.Span, *Delta, string, error) {
	after, until, first, err := in.since(m)
	if err != nil {
		return nil, nil, "", err
	}
	var found []mastra.Span
	if !none && !first {
		q.From = max(q.From, after-longest)
		also := q.Match
		q.Match = func(s *mastra.Span) bool { return s.EndedAt > after && s.EndedAt <= until && (also == nil || also(s)) }
		q.OrderByEnd, q.Ascending, q.Paging = false, false, mastra.Paging{PerPage: 1000}
		page, err := in.find(ctx, m, &q)
		if err != nil {
			return nil, nil, "", err
		}
		found = page.Items
	}
	found, d, cursor := step(&in.Listing, found, until, func(s *mastra.Span) mastra.Time { return s.EndedAt })
	return found, d, cursor, nil
}
