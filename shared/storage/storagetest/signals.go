package storagetest

import (
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

func (e *env) outlines(q mastra.SpanQuery) (all []mastra.Span) {
	e.Helper()
	e.ok(e.s.Outlines(e.ctx, q, func(spans []mastra.Span) bool {
		all = append(all, spans...)
		return true
	}))
	return all
}

func (e *env) scores(q mastra.ScoreQuery) (ids []string) {
	e.Helper()
	q.PerPage = 100
	p, err := e.s.Scores(e.ctx, q)
	e.ok(err)
	for _, s := range p.Items {
		ids = append(ids, s.ID)
	}
	e.equal(p.Total, len(ids))
	return ids
}

var signalTests = []test{
	{"outlines/kept", func(e *env) {
		root := mastra.Span{TraceID: "01990000000070008000000000000001", SpanID: "00000000000000aa", ParentID: "00000000000000bb", Remote: true, Name: "agent run: 'a'", Type: mastra.SpanAgentRun,
			StartedAt: base, EndedAt: base + 9, EntityType: "agent", EntityID: "a", EntityName: "A", RunID: "run", ThreadID: "thread", ResourceID: "me", Tags: []string{"one", "two"},
			Attributes: mastra.JSON(`{"x":1}`), Metadata: mastra.JSON(`{"y":2}`), Input: text("in"), Output: text("out"), Error: mastra.JSON(`{"message":"no"}`), Context: mastra.JSON(`{"z":3}`)}
		model := mastra.Span{TraceID: root.TraceID, SpanID: "00000000000000cc", ParentID: root.SpanID, Name: "llm: 'm'", Type: mastra.SpanModelGeneration, IsEvent: true, StartedAt: base + 1,
			Attributes: mastra.JSON(`{"model":"m","provider":"p","usage":{"inputTokens":7,"outputTokens":5,"inputDetails":{"cacheRead":2,"cacheWrite":3},"outputDetails":{"reasoning":1}},"costContext":{"estimatedCost":0.25,"costUnit":"USD"},"responseModel":"m-1"}`)}
		e.commit(mastra.Batch{Spans: []mastra.Span{root, model}})
		root.Attributes, root.Metadata, root.Input, root.Output, root.Context, root.Error = nil, nil, nil, nil, nil, mastra.JSON(`{}`)
		model.Attributes = nil
		model.Model = &mastra.ModelUse{Provider: "p", Model: "m-1", Usage: mastra.Usage{InputTokens: 7, OutputTokens: 5, TotalTokens: 12, CachedInputTokens: 2, CacheCreationInputTokens: 3, ReasoningTokens: 1}, Cost: &mastra.Cost{Amount: 0.25, Unit: "USD"}}
		got := e.outlines(mastra.SpanQuery{})
		slices.SortFunc(got, func(a, b mastra.Span) int { return int(a.StartedAt - b.StartedAt) })
		e.equal(*got[1].Model.Cost, *model.Model.Cost)
		model.Model.Cost, got[1].Model.Cost = nil, nil
		e.equal(*got[1].Model, *model.Model)
		model.Model, got[1].Model = nil, nil
		e.equal(got, []mastra.Span{root, model})
		e.equal(e.traces(mastra.TraceQuery{}).Total, 1) // a caller's span above does not hide the root
	}},
	{"outlines/whom they are for", func(e *env) {
		root := mastra.Span{TraceID: "01990000000070008000000000000002", SpanID: "00000000000000aa", Name: "agent run: 'a'", Type: mastra.SpanAgentRun, StartedAt: base, EndedAt: base + 9,
			Tags: []string{"one", "\x00two", "\x00userId=bob", "\x00\x00"}, Metadata: mastra.JSON(`{"userId":"ann","sessionId":"s=1","organizationId":7,"plan":"userId"}`)}
		child := root
		child.SpanID, child.ParentID, child.Tags = "00000000000000bb", root.SpanID, nil
		e.commit(mastra.Batch{Spans: []mastra.Span{root, child}})
		for _, q := range []mastra.SpanQuery{{}, {TraceIDs: []string{root.TraceID}}} {
			got := e.outlines(q)
			slices.SortFunc(got, func(a, b mastra.Span) int { return strings.Compare(a.SpanID, b.SpanID) })
			o, tags := mastra.OriginOf(got, &got[1])
			e.equal(o.UserID+" "+o.SessionID+" "+o.OrganizationID, "ann s=1 ")
			e.equal(tags, root.Tags)
		}
		e.equal(e.traces(mastra.TraceQuery{Tags: []string{"one"}}).Items[0].Tags, root.Tags)
		whole, err := e.s.Trace(e.ctx, root.TraceID)
		e.ok(err)
		e.equal([]any{whole[0].Tags, string(whole[0].Metadata)}, []any{root.Tags, string(root.Metadata)})
	}},
	{"outlines/order and range", func(e *env) {
		for i := range 30 {
			at := base + mastra.Time(i)
			id := fmt.Sprintf("t%02d", i)
			switch i % 3 {
			case 0: // a trace of two commits: that of the root comes last
				e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "child", "root", at)}})
				e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "root", "", at)}})
			case 1: // one without a root
				e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "child", "elsewhere", at)}})
			default:
				e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "child", "root", at+500), span(id, "root", "", at)}})
			}
		}
		for _, ascending := range []bool{false, true} {
			var times []mastra.Time
			count := 0
			e.ok(e.s.Outlines(e.ctx, mastra.SpanQuery{From: base + 4, To: base + 20, Ascending: ascending}, func(spans []mastra.Span) bool {
				times = append(times, spans[0].StartedAt)
				count += len(spans)
				return true
			}))
			if !ascending {
				slices.Reverse(times)
			}
			e.equal(slices.IsSorted(times), true)
			e.equal([]mastra.Time{times[0], times[len(times)-1]}, []mastra.Time{base + 4, base + 20})
			e.equal(count, 5*2+6*1+6*2)
		}
		var of []string
		e.ok(e.s.Outlines(e.ctx, mastra.SpanQuery{TraceIDs: []string{"t04", "none", "t03", "t05"}}, func(spans []mastra.Span) bool {
			for _, s := range spans {
				of = append(of, s.TraceID+" "+s.SpanID)
			}
			return true
		}))
		slices.Sort(of)
		e.equal(of, []string{"t03 child", "t03 root", "t04 child", "t05 child", "t05 root"})
		seen := 0
		e.ok(e.s.Outlines(e.ctx, mastra.SpanQuery{}, func([]mastra.Span) bool { seen++; return seen < 3 }))
		e.equal(seen, 3)
	}},
	{"traces/conditions", func(e *env) {
		for i := range 9 {
			s := span(fmt.Sprint("t", i), "root", "", base+mastra.Time(i))
			s.Metadata = mastra.JSON(fmt.Sprintf(`{"n":%d,"long":%q}`, i, strings.Repeat("long ", 300)))
			s.EntityName = fmt.Sprint("name", i%2)
			e.commit(mastra.Batch{Spans: []mastra.Span{s}})
		}
		odd := func(s *mastra.Span) bool { return s.EntityName == "name1" }
		p := e.traces(mastra.TraceQuery{Match: odd})
		e.equal([]int{p.Total, len(p.Items)}, []int{4, 4})
		e.equal(p.Items[0].TraceID, "t7")
		e.equal(string(p.Items[0].Metadata[:6]), `{"n":7`) // what comes back is whole
		p, err := e.s.Traces(e.ctx, mastra.TraceQuery{Match: odd, Uncounted: true, Paging: mastra.Paging{PerPage: 2}})
		e.ok(err)
		e.equal([]any{len(p.Items), p.HasMore, p.Items[1].TraceID}, []any{2, true, "t5"})
		p, err = e.s.Traces(e.ctx, mastra.TraceQuery{Uncounted: true, From: base + 2, Ascending: true, Paging: mastra.Paging{PerPage: 7}})
		e.ok(err)
		e.equal([]any{len(p.Items), p.HasMore, p.Items[0].TraceID}, []any{7, false, "t2"})
		whole := e.traces(mastra.TraceQuery{Whole: true, Match: func(s *mastra.Span) bool { return len(s.Metadata) > 6 && string(s.Metadata[:6]) == `{"n":3` }})
		e.equal(whole.Total, 1)
	}},
	{"traces/spans of types", func(e *env) {
		ref := func(s mastra.Span) string { return s.TraceID + " " + s.SpanID }
		for i := range 12 {
			id, at := fmt.Sprintf("t%02d", i), base+mastra.Time(10*i)
			root, tool, model := span(id, "root", "", at), span(id, "tool", "root", at+1), span(id, "model", "root", at+2)
			root.Type, model.Type = mastra.SpanAgentRun, mastra.SpanModelGeneration
			root.EndedAt, tool.EndedAt = at+9-mastra.Time(i%2), at+3
			tool.EntityID, tool.EntityType, tool.ResourceID = fmt.Sprint("tool", i%3), "tool", fmt.Sprint("resource", i%2)
			if i%4 == 0 {
				tool.Error = mastra.JSON(`{"message":"no"}`)
			}
			if i%6 == 0 {
				tool.Tags = []string{"a", "b"}
			}
			if i == 7 { // a trace of two commits, of which the later says more of one span
				half := tool
				half.EndedAt, half.EntityID, half.Error = 0, "unknown", mastra.JSON(`{"message":"no"}`)
				e.commit(mastra.Batch{Spans: []mastra.Span{half, model}})
				e.commit(mastra.Batch{Spans: []mastra.Span{tool, root}})
			} else {
				e.commit(mastra.Batch{Spans: []mastra.Span{root, tool, model}})
			}
		}
		both := []string{mastra.SpanAgentRun, mastra.SpanToolCall}
		for name, c := range map[string]struct {
			q    mastra.TraceQuery
			want func(i int) (root, tool bool)
		}{
			"all":       {mastra.TraceQuery{}, func(int) (bool, bool) { return true, true }},
			"ascending": {mastra.TraceQuery{Ascending: true}, func(int) (bool, bool) { return true, true }},
			"by end":    {mastra.TraceQuery{OrderByEnd: true, Types: []string{mastra.SpanToolCall}}, func(int) (bool, bool) { return false, true }},
			"one type":  {mastra.TraceQuery{SpanType: mastra.SpanToolCall}, func(int) (bool, bool) { return false, true }},
			"entity":    {mastra.TraceQuery{EntityType: "tool", EntityID: "tool1"}, func(i int) (bool, bool) { return false, i%3 == 1 }},
			"replaced":  {mastra.TraceQuery{EntityID: "unknown"}, func(i int) (bool, bool) { return false, false }},
			"resource":  {mastra.TraceQuery{ResourceID: "resource1", Status: "error"}, func(i int) (bool, bool) { return false, i%2 == 1 && i%4 == 0 }},
			"error":     {mastra.TraceQuery{Status: "error"}, func(i int) (bool, bool) { return false, i%4 == 0 }},
			"tags":      {mastra.TraceQuery{Tags: []string{"b"}}, func(i int) (bool, bool) { return false, i%6 == 0 }},
			"from, to":  {mastra.TraceQuery{From: base + 31, To: base + 60}, func(i int) (bool, bool) { return i >= 4 && i <= 6, i >= 3 && i < 6 }},
			"match":     {mastra.TraceQuery{Match: func(s *mastra.Span) bool { return s.TraceID > "t08" }}, func(i int) (bool, bool) { return i > 8, i > 8 }},
		} {
			if c.q.Types == nil {
				c.q.Types = both
			}
			want := []string{}
			for i := range 12 {
				root, tool := c.want(i)
				if root {
					want = append(want, fmt.Sprintf("t%02d root", i))
				}
				if tool {
					want = append(want, fmt.Sprintf("t%02d tool", i))
				}
			}
			if !c.q.Ascending {
				slices.Reverse(want)
			}
			for _, perPage := range []int{1, 5, 30} {
				got := pages(e, perPage, ref, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
					c.q.Paging = p
					return e.s.Traces(e.ctx, c.q)
				})
				if !slices.Equal(got, want) {
					e.Errorf("%s, %d a page: %v, want %v", name, perPage, got, want)
				}
			}
		}
		// What a span of theirs is like narrows traces down, or is left to whoever asks.
		like := mastra.SpanMatch{SpanType: mastra.SpanToolCall, EntityID: "tool2"}
		p := e.traces(mastra.TraceQuery{Having: &like})
		e.equal(p.Total == 4 || p.Total == 12, true)
		for _, id := range []string{"t02", "t05", "t08", "t11"} {
			e.equal(slices.ContainsFunc(p.Items, func(s mastra.Span) bool { return s.TraceID == id && s.SpanID == "root" }), true)
		}
		for _, has := range []bool{true, false} {
			want := []string{}
			for i := range 12 {
				if (i%4 == 0) == has {
					want = append(want, fmt.Sprintf("t%02d root", i))
				}
			}
			slices.Reverse(want)
			e.equal(pages(e, 2, ref, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
				return e.s.Traces(e.ctx, mastra.TraceQuery{ChildError: &has, Paging: p})
			}), want)
		}
	}},
	{"traces/deleted", func(e *env) {
		for _, id := range []string{"gone", "stays"} {
			e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "early", "root", base)}})
			e.commit(mastra.Batch{Spans: []mastra.Span{span(id, "root", "", base), span(id, "child", "root", base+1)},
				Scores: []mastra.Score{{ID: "s-" + id, TraceID: id, ScorerID: "sc", CreatedAt: base, Origin: mastra.Origin{EntityType: "agent", EntityID: "a"}}}, Feedback: []mastra.Feedback{{ID: "f-" + id, TraceID: id, CreatedAt: base}}})
		}
		e.ok(e.s.DeleteTraces(e.ctx, []string{"gone", "none", "gone"}))
		_, err := e.s.Trace(e.ctx, "gone")
		e.refuses(mastra.CodeNotFound, err)
		e.equal(len(e.trace("stays")), 3)
		p := e.traces(mastra.TraceQuery{})
		e.equal([]any{p.Total, p.Items[0].TraceID}, []any{1, "stays"})
		e.equal(len(e.outlines(mastra.SpanQuery{})), 3)
		e.equal(e.scores(mastra.ScoreQuery{}), []string{"s-stays"})
		e.equal(e.scores(mastra.ScoreQuery{EntityType: "agent", EntityID: "a"}), []string{"s-stays"})
		f, err := e.s.Feedback(e.ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 9}})
		e.ok(err)
		e.equal([]any{f.Total, f.Items[0].ID}, []any{1, "f-stays"})
		e.commit(mastra.Batch{Spans: []mastra.Span{span("gone", "root", "", base)}}) // an id may come again
		e.equal(e.traces(mastra.TraceQuery{}).Total, 2)
	}},
	{"traces/deleted with their thread", func(e *env) {
		of := func(trace, thread string) mastra.Span {
			s := span(trace, "root", "", base)
			s.ThreadID = thread
			return s
		}
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("one", "me"), thread("two", "me")}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m1", "one", base+1)}, Spans: []mastra.Span{of("with-message", "one")}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m2", "one", base+2)}, Spans: []mastra.Span{of("message-gone", "one")}})
		e.commit(mastra.Batch{Spans: []mastra.Span{of("alone", "one")}}) // a run that failed stores no message
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m3", "two", base+3)}, Spans: []mastra.Span{of("other", "two")}})
		agent := span("of a workflow", "agent", "root", base+1) // which calls an agent that talks there
		agent.ThreadID = "one"
		e.commit(mastra.Batch{Spans: []mastra.Span{span("of a workflow", "root", "", base), agent}})
		if _, err := e.s.DeleteMessages(e.ctx, []string{"m2"}); err != nil {
			e.Fatal(err)
		}
		e.equal(e.traces(mastra.TraceQuery{}).Total, 5)
		for _, id := range []string{"with-message", "alone", "other"} { // what is said of a trace goes with it
			e.commit(mastra.Batch{Scores: []mastra.Score{{ID: "s-" + id, TraceID: id, ScorerID: "sc", CreatedAt: base}}, Feedback: []mastra.Feedback{{ID: "f-" + id, TraceID: id, CreatedAt: base}}})
		}
		e.ok(e.s.DeleteThread(e.ctx, "one"))
		p := e.traces(mastra.TraceQuery{})
		e.equal([]any{p.Total, p.Items[0].TraceID}, []any{1, "other"})
		e.equal(e.scores(mastra.ScoreQuery{}), []string{"s-other"})
		f, err := e.s.Feedback(e.ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 9}})
		e.ok(err)
		e.equal([]any{f.Total, f.Items[0].ID}, []any{1, "f-other"})
	}},
	{"scores/queries", func(e *env) {
		for i := range 8 {
			e.commit(mastra.Batch{Scores: []mastra.Score{{ID: fmt.Sprint("s", i), TraceID: fmt.Sprint("t", i%4), ScorerID: "sc", Score: float64(i), CreatedAt: base + mastra.Time(i),
				Origin: mastra.Origin{EntityType: []string{"agent", "workflow_run"}[i%2], EntityID: fmt.Sprint("e", i%4)}}}})
		}
		high := func(s mastra.Signal) bool { n, _ := s.Number(); return n >= 4 }
		for name, c := range map[string]struct {
			q    mastra.ScoreQuery
			want []string
		}{
			"of traces": {mastra.ScoreQuery{TraceIDs: []string{"t1", "none"}}, []string{"s5", "s1"}},
			"of none":   {mastra.ScoreQuery{TraceIDs: []string{}}, nil},
			"by id":     {mastra.ScoreQuery{ID: "s3"}, []string{"s3"}},
			"no id":     {mastra.ScoreQuery{ID: "none"}, nil},
			"entity":    {mastra.ScoreQuery{EntityType: "agent", EntityID: "e2"}, []string{"s6", "s2"}},
			"id alone":  {mastra.ScoreQuery{EntityID: "e1"}, []string{"s5", "s1"}},
			"range":     {mastra.ScoreQuery{From: base + 2, To: base + 4, Ascending: true}, []string{"s2", "s3", "s4"}},
			"condition": {mastra.ScoreQuery{ScorerID: "sc", Match: high, From: base + 5}, []string{"s7", "s6", "s5"}},
			"both":      {mastra.ScoreQuery{EntityType: "agent", EntityID: "e0", Match: high}, []string{"s4"}},
		} {
			if got := e.scores(c.q); !slices.Equal(got, c.want) {
				e.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
		moved := mastra.Score{ID: "s0", ScorerID: "other", CreatedAt: base + 50, Origin: mastra.Origin{EntityType: "agent", EntityID: "moved"}}
		e.commit(mastra.Batch{Scores: []mastra.Score{moved}})
		e.equal(e.scores(mastra.ScoreQuery{EntityType: "agent", EntityID: "e0"}), []string{"s4"})
		e.equal(e.scores(mastra.ScoreQuery{EntityType: "agent", EntityID: "moved"}), []string{"s0"})
		e.equal(len(e.scores(mastra.ScoreQuery{})), 8)
		e.ok(e.s.DeleteScores(e.ctx, []string{"s1", "none", "s1"}))
		e.ok(e.s.DeleteFeedback(e.ctx, []string{"s2"})) // of another kind
		e.equal(len(e.scores(mastra.ScoreQuery{})), 7)
		e.equal(e.scores(mastra.ScoreQuery{EntityID: "e1"}), []string{"s5"})
	}},
	{"names/kept", func(e *env) {
		for range 2 {
			s := span("t", "root", "", base)
			s.EntityType, s.EntityName, s.Tags = "agent", "A", []string{"x", "y"}
			c := span("t", "c", "root", base)
			c.EntityType, c.EntityName = "tool", "T"
			e.commit(mastra.Batch{Spans: []mastra.Span{s, c}})
		}
		got, err := e.s.Names(e.ctx)
		e.ok(err)
		e.equal(got, []mastra.Name{{Kind: "entity", EntityType: "agent", Text: "A"}, {Kind: "entity", EntityType: "tool", Text: "T"}, {Kind: "tag", EntityType: "agent", Text: "x"}, {Kind: "tag", EntityType: "agent", Text: "y"}})
		others, err := e.s.Names(newTenant(e.ctx))
		e.ok(err)
		e.equal(len(others), 0)
	}},
}
