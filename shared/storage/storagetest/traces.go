package storagetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

func span(trace, id, parent string, at mastra.Time) mastra.Span {
	return mastra.Span{TraceID: trace, SpanID: id, ParentID: parent, Name: "span " + id, Type: mastra.SpanToolCall, StartedAt: at, EndedAt: at + 5}
}

func (e *env) trace(id string) []mastra.Span {
	e.Helper()
	spans, err := e.s.Trace(e.ctx, id)
	e.ok(err)
	return spans
}

func spanIDs(spans []mastra.Span) (ids []string) {
	for _, s := range spans {
		ids = append(ids, s.SpanID)
	}
	return ids
}

func (e *env) traces(q mastra.TraceQuery) *mastra.Page[mastra.Span] {
	e.Helper()
	q.PerPage = max(q.PerPage, 100)
	p, err := e.s.Traces(e.ctx, q)
	e.ok(err)
	return p
}

var traceTests = []test{
	{"traces/kept", func(e *env) {
		want := mastra.Span{TraceID: "t", SpanID: "s", Name: "agent run: 'a'", Type: mastra.SpanAgentRun, IsEvent: true, StartedAt: base, EndedAt: base + 5, EntityType: "agent", EntityID: "a", EntityName: "A",
			RunID: "run", ThreadID: "thread", ResourceID: "me", Attributes: mastra.JSON(`{"x":1}`), Metadata: mastra.JSON(`{}`), Tags: []string{"one", "two"},
			Input: text("<in>"), Output: mastra.JSON(`""`), Error: mastra.JSON(`{"message":"no","name":"Error"}`)}
		e.commit(mastra.Batch{Spans: []mastra.Span{want, span("t", "c", "s", base+1)}})
		e.equal(e.trace("t")[0], want)
		e.equal(e.traces(mastra.TraceQuery{}).Items[0], want)
		_, err := e.s.Trace(e.ctx, "none")
		e.shows(mastra.CodeNotFound, "Trace with ID 'none' not found", err)
	}},
	{"traces/order of spans", func(e *env) {
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "late", "root", base+9), span("t", "a", "root", base), span("other", "x", "", base)}})
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "b", "root", base+3), span("t", "root", "", base)}})
		e.equal(spanIDs(e.trace("t")), []string{"root", "a", "b", "late"})
	}},
	{"traces/replaced spans", func(e *env) {
		first := span("t", "root", "", base)
		first.EndedAt = 0
		e.commit(mastra.Batch{Spans: []mastra.Span{first, span("t", "child", "root", base+1)}})
		e.equal(e.traces(mastra.TraceQuery{Status: "running"}).Total, 1)
		done, failed := span("t", "root", "", base), span("t", "child", "root", base+1)
		failed.Error = mastra.JSON(`{"message":"no"}`)
		e.commit(mastra.Batch{Spans: []mastra.Span{done}})
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "child", "root", base+1), failed}}) // of two in one batch the later
		spans := e.trace("t")
		e.equal(spanIDs(spans), []string{"root", "child"})
		e.equal([]string{spans[0].Status(), spans[1].Status()}, []string{"success", "error"})
		e.equal(e.traces(mastra.TraceQuery{Status: "running"}).Total, 0)
		p := e.traces(mastra.TraceQuery{Status: "success"})
		e.equal(p.Total, 1)
		e.equal(p.Items[0].EndedAt, base+5)
		e.equal(e.traces(mastra.TraceQuery{}).Total, 1)
	}},
	{"traces/listed with their root", func(e *env) {
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "child", "root", base+1)}})
		e.equal(e.traces(mastra.TraceQuery{}).Total, 0)
		e.equal(spanIDs(e.trace("t")), []string{"child"})
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "root", "", base)}})
		p := e.traces(mastra.TraceQuery{})
		e.equal(p.Total, 1)
		e.equal(p.Items[0].SpanID, "root")
	}},
	{"traces/two roots", func(e *env) {
		// Two runs under one trace id that a client chose: one line in the list, every span in the trace.
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "one", "", base), span("t", "child", "one", base+1)}})
		e.commit(mastra.Batch{Spans: []mastra.Span{span("t", "two", "", base+10)}})
		p := e.traces(mastra.TraceQuery{})
		e.equal(p.Total, 1)
		e.equal(p.Items[0].SpanID, "two")
		e.equal(spanIDs(e.trace("t")), []string{"one", "child", "two"})
	}},
	{"traces/list", func(e *env) {
		for i := range 24 {
			s := span(fmt.Sprintf("t%02d", i), "root", "", base+mastra.Time(i))
			s.EndedAt = base + mastra.Time(200-i)
			s.Type = []string{mastra.SpanAgentRun, mastra.SpanWorkflowRun}[i%2]
			s.EntityType, s.EntityID, s.EntityName = []string{"agent", "workflow"}[i%2], fmt.Sprint("id", i%3), fmt.Sprint("name", i%3)
			s.RunID, s.ThreadID, s.ResourceID, s.Name = fmt.Sprint("run", i), fmt.Sprint("thread", i%4), fmt.Sprint("resource", i%4), fmt.Sprint("span", i%6)
			switch i % 3 {
			case 1:
				s.Error = mastra.JSON(`{"message":"no"}`)
			case 2:
				s.Tags = []string{"all", fmt.Sprint("tag", i%2), `"'`}
			}
			e.commit(mastra.Batch{Spans: []mastra.Span{s, span(s.TraceID, "child", "root", s.StartedAt)}})
		}
		for name, c := range map[string]struct {
			q    mastra.TraceQuery
			want func(i int) bool
		}{
			"all":         {mastra.TraceQuery{}, func(int) bool { return true }},
			"ascending":   {mastra.TraceQuery{Ascending: true}, func(int) bool { return true }},
			"by end":      {mastra.TraceQuery{OrderByEnd: true}, func(int) bool { return true }},
			"by end up":   {mastra.TraceQuery{OrderByEnd: true, Ascending: true}, func(int) bool { return true }},
			"entity type": {mastra.TraceQuery{EntityType: "agent"}, func(i int) bool { return i%2 == 0 }},
			"entity id":   {mastra.TraceQuery{EntityID: "id1"}, func(i int) bool { return i%3 == 1 }},
			"entity name": {mastra.TraceQuery{EntityName: "name2"}, func(i int) bool { return i%3 == 2 }},
			"span type":   {mastra.TraceQuery{SpanType: mastra.SpanWorkflowRun}, func(i int) bool { return i%2 == 1 }},
			"name":        {mastra.TraceQuery{Name: "span5"}, func(i int) bool { return i%6 == 5 }},
			"error":       {mastra.TraceQuery{Status: "error"}, func(i int) bool { return i%3 == 1 }},
			"success":     {mastra.TraceQuery{Status: "success"}, func(i int) bool { return i%3 != 1 }},
			"run":         {mastra.TraceQuery{RunID: "run7"}, func(i int) bool { return i == 7 }},
			"thread":      {mastra.TraceQuery{ThreadID: "thread3"}, func(i int) bool { return i%4 == 3 }},
			"resource":    {mastra.TraceQuery{ResourceID: "resource0"}, func(i int) bool { return i%4 == 0 }},
			"from, to":    {mastra.TraceQuery{From: base + 3, To: base + 9}, func(i int) bool { return i >= 3 && i <= 9 }},
			"one tag":     {mastra.TraceQuery{Tags: []string{"all"}}, func(i int) bool { return i%3 == 2 }},
			"two tags":    {mastra.TraceQuery{Tags: []string{`"'`, "tag1"}}, func(i int) bool { return i%6 == 5 }},
			"part of one": {mastra.TraceQuery{Tags: []string{"tag"}}, func(int) bool { return false }},
			"several":     {mastra.TraceQuery{EntityType: "agent", Status: "error", From: base + 5}, func(i int) bool { return i%6 == 4 && i >= 5 }},
		} {
			want := []string{}
			for i := range 24 {
				if c.want(i) {
					want = append(want, fmt.Sprintf("t%02d", i))
				}
			}
			if c.q.Ascending == c.q.OrderByEnd { // what starts later ends sooner here
				slices.Reverse(want)
			}
			for _, perPage := range []int{1, 5, 24, 100} {
				got := pages(e, perPage, func(s mastra.Span) string { return s.TraceID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
					c.q.Paging = p
					return e.s.Traces(e.ctx, c.q)
				})
				if !slices.Equal(got, want) {
					e.Errorf("%s, %d a page: %v, want %v", name, perPage, got, want)
				}
			}
		}
	}},
	{"traces/equal times", func(e *env) {
		for i := range 10 {
			e.commit(mastra.Batch{Spans: []mastra.Span{span(fmt.Sprint("t", i), "root", "", base)}})
		}
		ids := pages(e, 3, func(s mastra.Span) string { return s.TraceID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
			return e.s.Traces(e.ctx, mastra.TraceQuery{Paging: p})
		})
		slices.Sort(ids)
		e.equal(len(slices.Compact(ids)), 10)
	}},
}

var scoreTests = []test{
	{"scores/kept", func(e *env) {
		s := mastra.Score{ID: "s", ScorerID: "scorer", ScorerName: "Scorer", TraceID: "t", SpanID: "p", Origin: mastra.Origin{RunID: "r"}, Score: 0.25, Reason: "why", Source: "test", Metadata: mastra.JSON(`{"a":1}`), CreatedAt: base}
		f := mastra.Feedback{ID: "f", Type: "rating", Source: "user", TraceID: "t", SpanID: "p", FromUserID: "u", Value: mastra.JSON(`5`), Comment: "good", Metadata: mastra.JSON(`{"a":1}`), CreatedAt: base}
		e.commit(mastra.Batch{Scores: []mastra.Score{s}, Feedback: []mastra.Feedback{f}})
		scores, err := e.s.Scores(e.ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 5}})
		e.ok(err)
		e.equal(scores.Items, []mastra.Score{s})
		feedback, err := e.s.Feedback(e.ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 5}})
		e.ok(err)
		e.equal(feedback.Items, []mastra.Feedback{f})
	}},
	{"scores/list", func(e *env) {
		for i := range 12 {
			id, at := fmt.Sprintf("s%02d", i), base+mastra.Time(i)
			e.commit(mastra.Batch{
				Scores:   []mastra.Score{{ID: id, TraceID: fmt.Sprint("t", i%2), SpanID: fmt.Sprint("p", i%4), ScorerID: fmt.Sprint("sc", i%3), Origin: mastra.Origin{RunID: fmt.Sprint("r", i%6)}, CreatedAt: at}},
				Feedback: []mastra.Feedback{{ID: id, TraceID: fmt.Sprint("t", i%2), SpanID: fmt.Sprint("p", i%4), CreatedAt: at}},
			})
		}
		for _, c := range []struct {
			q    mastra.ScoreQuery
			want func(i int) bool
			both bool // feedback too
		}{
			{mastra.ScoreQuery{}, func(int) bool { return true }, true},
			{mastra.ScoreQuery{TraceID: "t1"}, func(i int) bool { return i%2 == 1 }, true},
			{mastra.ScoreQuery{TraceID: "t1", SpanID: "p3"}, func(i int) bool { return i%4 == 3 }, true},
			{mastra.ScoreQuery{TraceID: "none"}, func(int) bool { return false }, true},
			{mastra.ScoreQuery{ScorerID: "sc2"}, func(i int) bool { return i%3 == 2 }, false},
			{mastra.ScoreQuery{RunID: "r4"}, func(i int) bool { return i%6 == 4 }, false},
			{mastra.ScoreQuery{RunID: "r4", ScorerID: "sc1", TraceID: "t0"}, func(i int) bool { return i%6 == 4 }, false},
		} {
			want := []string{}
			for i := 11; i >= 0; i-- {
				if c.want(i) {
					want = append(want, fmt.Sprintf("s%02d", i))
				}
			}
			for _, perPage := range []int{1, 4, 20} {
				e.equal(pages(e, perPage, func(s mastra.Score) string { return s.ID }, func(p mastra.Paging) (*mastra.Page[mastra.Score], error) {
					c.q.Paging = p
					return e.s.Scores(e.ctx, c.q)
				}), want)
				if c.both {
					e.equal(pages(e, perPage, func(f mastra.Feedback) string { return f.ID }, func(p mastra.Paging) (*mastra.Page[mastra.Feedback], error) {
						c.q.Paging = p
						return e.s.Feedback(e.ctx, c.q)
					}), want)
				}
			}
		}
	}},
}

// RunKeys checks every promise of mastra.KeyStore.
func RunKeys(t *testing.T, open func(t *testing.T) mastra.KeyStore) {
	s := open(t)
	e := &env{T: t, ctx: context.WithoutCancel(t.Context())}
	prefix := mastra.Tenant(newTenant(e.ctx)) // keys belong to no tenant: the ids keep tests apart
	key := func(name string, permissions []string) mastra.APIKey {
		return mastra.APIKey{ID: prefix + name, Hash: prefix + "hash-of-" + name, Name: name, CreatedAt: base,
			Principal: mastra.Principal{ID: name, Tenant: "tenant", Resource: "resource", Permissions: permissions}}
	}
	all, some, none := key("all", nil), key("some", []string{"agents:*"}), key("none", []string{})
	for _, k := range []mastra.APIKey{all, some, none} {
		e.ok(s.AddAPIKey(e.ctx, k))
		got, err := s.APIKey(e.ctx, k.Hash)
		e.ok(err)
		e.equal(*got, k)
		for _, p := range []string{"agents:execute", "memory:read"} {
			e.equal(got.Principal.May(p), k.Principal.May(p)) // no permissions are not all permissions
		}
	}
	twice := key("twice", nil)
	twice.ID = all.ID
	e.refuses(mastra.CodeConflict, s.AddAPIKey(e.ctx, twice))
	twice = key("twice", nil)
	twice.Hash = all.Hash
	e.refuses(mastra.CodeConflict, s.AddAPIKey(e.ctx, twice))

	e.ok(s.RevokeAPIKey(e.ctx, some.ID))
	e.refuses(mastra.CodeNotFound, s.RevokeAPIKey(e.ctx, some.ID))
	_, err := s.APIKey(e.ctx, some.Hash)
	e.refuses(mastra.CodeNotFound, err)
	keys, err := s.APIKeys(newTenant(e.ctx)) // whoever asks
	e.ok(err)
	names := []string{}
	for _, k := range keys {
		if k.ID == prefix+k.Name {
			names = append(names, k.Name)
		}
	}
	slices.Sort(names)
	e.equal(names, []string{"all", "none"})
}
