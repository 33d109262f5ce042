package storagetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// finds compares what a query finds with those of all roots that are what it asks for, in as many a page.
func (e *env) finds(name string, all []mastra.Span, q mastra.TraceQuery, perPage int) {
	e.Helper()
	want := []mastra.Span{}
	for _, r := range all {
		ok := (q.From == 0 || r.StartedAt >= q.From) && (q.To == 0 || r.StartedAt <= q.To) && (q.Match == nil || q.Match(&r))
		for _, f := range [...][2]string{{q.EntityType, r.EntityType}, {q.EntityID, r.EntityID}, {q.EntityName, r.EntityName}, {q.SpanType, r.Type}, {q.Name, r.Name},
			{q.Status, r.Status()}, {q.RunID, r.RunID}, {q.ThreadID, r.ThreadID}, {q.ResourceID, r.ResourceID}} {
			ok = ok && (f[0] == "" || f[0] == f[1])
		}
		if ok && !slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) }) {
			want = append(want, r)
		}
	}
	slices.SortFunc(want, func(a, b mastra.Span) int {
		c := cmp.Compare(b.StartedAt, a.StartedAt)
		if q.OrderByEnd {
			c = cmp.Compare(b.EndedAt, a.EndedAt)
		}
		if q.Ascending {
			c = -c
		}
		return c
	})
	ids := []string{}
	for _, r := range want {
		ids = append(ids, r.TraceID)
	}
	var got []string
	if q.Uncounted {
		q.PerPage = perPage
		p, err := e.s.Traces(e.ctx, q)
		e.ok(err)
		for _, r := range p.Items {
			got = append(got, r.TraceID)
		}
		e.equal(p.HasMore, len(ids) > perPage)
		ids = ids[:min(len(ids), perPage)]
	} else {
		got = pages(e, perPage, func(s mastra.Span) string { return s.TraceID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
			q.Paging = p
			return e.s.Traces(e.ctx, q)
		})
	}
	if !slices.Equal(got, ids) {
		e.Errorf("%s, %d a page: %v, want %v", name, perPage, got, ids)
	}
}

var filterTests = []test{
	{"traces/filters combined", func(e *env) {
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("one", "ann"), thread("two", "ann"), thread("three", "bob")}})
		threads, owners := []string{"one", "two", "three", ""}, []string{"ann", "ann", "bob", "ann"}
		var ours string
		for i := range 32 {
			run := mastra.NewID()
			if i%3 == 0 {
				run = fmt.Sprint("given", i%6)
			}
			s := span(mastra.TraceOfRun(run), "root", "", base+mastra.Time(i))
			if s.TraceID == "" {
				s.TraceID = mastra.NewTraceID()
			} else {
				ours = run
			}
			s.EndedAt, s.RunID, s.ThreadID, s.ResourceID = base+mastra.Time(100-i*7%32), run, threads[i%4], owners[i%4]
			s.EntityType, s.EntityID, s.Type = "agent", fmt.Sprint("a", i%3), mastra.SpanAgentRun
			if i%5 == 0 {
				s.EntityType, s.Type = "workflow_run", mastra.SpanWorkflowRun
			}
			s.EntityName, s.Name = "name of "+s.EntityID, "agent run: '"+s.EntityID+"'"
			switch {
			case i%7 == 0:
				s.Name = "mine"
			case i%8 == 1:
				s.Name = "agent run: 'a0'" // a caller may call it like another one
			}
			switch {
			case i%4 == 1:
				s.Error = mastra.JSON(`{"message":"no"}`)
			case i == 30:
				s.EndedAt = 0
			}
			if i%2 == 0 {
				s.Tags = []string{"even", fmt.Sprint("#", i%3), "~%/'"}
			}
			b := mastra.Batch{Spans: []mastra.Span{s, span(s.TraceID, "child", "root", s.StartedAt)}}
			if s.ThreadID != "" && i%3 > 0 { // a run that fails stores no message
				b.Messages = []mastra.Message{message(fmt.Sprint("m", i), s.ThreadID, s.StartedAt)}
			}
			e.commit(b)
		}
		all := e.traces(mastra.TraceQuery{}).Items
		e.equal(len(all), 32)
		odd := func(r *mastra.Span) bool { return r.StartedAt%2 == 1 }
		for name, q := range map[string]mastra.TraceQuery{
			"status":                     {Status: "error"},
			"success":                    {Status: "success"},
			"running":                    {Status: "running"},
			"tag":                        {Tags: []string{"even"}},
			"odd tags":                   {Tags: []string{"~%/'", "#1"}},
			"tag that is none":           {Tags: []string{"even", "none"}},
			"tag twice":                  {Tags: []string{"even", "even"}},
			"run of ours":                {RunID: ours},
			"run that was given":         {RunID: "given3"},
			"run, failed":                {RunID: "given3", Status: "error"},
			"no run":                     {RunID: mastra.NewID()},
			"thread":                     {ThreadID: "one"},
			"thread, failed":             {ThreadID: "two", Status: "error"},
			"no thread":                  {ThreadID: "none"},
			"resource":                   {ResourceID: "ann"},
			"resource, tag":              {ResourceID: "ann", Tags: []string{"even"}},
			"resource, success":          {ResourceID: "bob", Status: "success"},
			"resource, condition":        {ResourceID: "ann", Match: odd},
			"resource, thread of others": {ResourceID: "ann", ThreadID: "three"},
			"no resource":                {ResourceID: "none"},
			"name":                       {Name: "agent run: 'a0'"},
			"own name":                   {Name: "mine"},
			"own name, tag, success":     {Name: "mine", Tags: []string{"even"}, Status: "success"},
			"no name":                    {Name: "none"},
			"entity":                     {EntityType: "agent", EntityID: "a1"},
			"entity, failed":             {EntityType: "agent", EntityID: "a1", Status: "error"},
			"entity, name":               {EntityType: "agent", EntityID: "a0", Name: "agent run: 'a0'"},
			"entity, tag, condition":     {EntityType: "agent", EntityID: "a1", Tags: []string{"even"}, Match: odd},
			"entity type":                {EntityType: "workflow_run"},
			"entity type, success":       {EntityType: "agent", Status: "success"},
			"entity id":                  {EntityID: "a2"},
			"entity name":                {EntityName: "name of a2"},
			"entity name, type":          {EntityName: "name of a2", SpanType: mastra.SpanWorkflowRun},
			"span type":                  {SpanType: mastra.SpanWorkflowRun},
			"span type, condition":       {SpanType: mastra.SpanAgentRun, Match: odd},
			"no span type":               {SpanType: mastra.SpanToolCall},
			"condition":                  {Match: odd},
		} {
			e.finds(name, all, q, 6)
			up := q
			up.From, up.To, up.Ascending = base+5, base+20, true
			e.finds(name+", up, in a range", all, up, 5)
			end := q
			end.OrderByEnd = true
			e.finds(name+", by end", all, end, 20)
			q.Uncounted = true
			e.finds(name+", uncounted", all, q, 3)
		}
	}},
	{"traces/equal times, filtered", func(e *env) {
		for i := range 12 {
			s := span(fmt.Sprint("t", i), "root", "", base)
			s.Tags, s.Error, s.EntityType, s.EntityID, s.RunID = []string{"x"}, mastra.JSON(`{}`), "agent", "a", "run"
			e.commit(mastra.Batch{Spans: []mastra.Span{s}})
		}
		for _, q := range []mastra.TraceQuery{{Tags: []string{"x"}}, {Status: "error"}, {EntityType: "agent", EntityID: "a"}, {EntityType: "agent"}, {RunID: "run"}, {Tags: []string{"x"}, Status: "error"}} {
			ids := pages(e, 5, func(s mastra.Span) string { return s.TraceID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
				q.Paging = p
				return e.s.Traces(e.ctx, q)
			})
			slices.Sort(ids)
			e.equal(len(slices.Compact(ids)), 12)
		}
	}},
	{"traces/filters follow what is committed last", func(e *env) {
		first := span("t", "root", "", base)
		first.Tags, first.Name, first.RunID, first.ResourceID, first.EntityID, first.EndedAt = []string{"old", "both"}, "old", "old", "old", "e", 0
		e.commit(mastra.Batch{Spans: []mastra.Span{first}})
		second := first
		second.Tags, second.Name, second.RunID, second.ResourceID, second.Error = []string{"new", "both"}, "new", "new", "new", mastra.JSON(`{}`)
		found := func() (n []int) {
			for _, q := range []mastra.TraceQuery{{Tags: []string{"old"}}, {Name: "old"}, {RunID: "old"}, {ResourceID: "old"}, {Status: "running"},
				{Tags: []string{"new"}}, {Name: "new"}, {RunID: "new"}, {ResourceID: "new"}, {Status: "error"}, {Tags: []string{"both"}}} {
				n = append(n, e.traces(q).Total)
			}
			return n
		}
		e.equal(found(), []int{1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1})
		e.commit(mastra.Batch{Spans: []mastra.Span{second}})
		e.equal(found(), []int{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1})
		e.equal(e.traces(mastra.TraceQuery{}).Total, 1)
		e.ok(e.s.DeleteTraces(e.ctx, []string{"t"}))
		e.equal(found(), []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		e.equal(e.traces(mastra.TraceQuery{}).Total, 0)
		e.commit(mastra.Batch{Spans: []mastra.Span{second}}) // an id may come again
		e.equal(found(), []int{0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1})
	}},
	{"traces/with a failed child", func(e *env) {
		failed, fine := func(trace, id string, at mastra.Time) mastra.Span {
			s := span(trace, id, "root", at)
			s.Error = mastra.JSON(`{"message":"no"}`)
			return s
		}, span
		root := func(trace string, at mastra.Time) mastra.Span { return span(trace, "root", "", at) }
		for i, commits := range [][][]mastra.Span{
			{{root("0", base), failed("0", "a", base)}},
			{{root("1", base), fine("1", "a", "root", base)}},
			{{failed("2", "a", base)}, {root("2", base)}},                               // its root comes later
			{{root("3", base)}, {failed("3", "a", base)}},                               // or sooner
			{{failed("4", "a", base)}, {root("4", base), fine("4", "a", "root", base)}}, // replaced by one that did not fail
			{{root("5", base), failed("5", "a", base)}, {fine("5", "a", "root", base)}}, // the same, without the root
			{{root("6", base), failed("6", "a", base), failed("6", "b", base)}, {fine("6", "a", "root", base)}},
			{{root("7", base), failed("7", "a", base)}, {root("7", base)}}, // the root again
			{{root("8", base), failed("8", "a", base)}, {root("8", base), fine("8", "a", "root", base)}},
			{{root("9", base), fine("9", "a", "root", base)}, {failed("9", "a", base)}},
		} {
			for _, spans := range commits {
				for j := range spans {
					spans[j].StartedAt += mastra.Time(i)
					spans[j].EntityType, spans[j].EntityID = "agent", fmt.Sprint("e", i%2)
				}
				e.commit(mastra.Batch{Spans: spans})
			}
		}
		show := func(q mastra.TraceQuery) string {
			return strings.Join(pages(e, 3, func(s mastra.Span) string { return s.TraceID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
				q.Paging = p
				return e.s.Traces(e.ctx, q)
			}), " ")
		}
		yes, no := true, false
		e.equal(show(mastra.TraceQuery{ChildError: &yes}), "9 7 6 3 2 0")
		e.equal(show(mastra.TraceQuery{ChildError: &no}), "8 5 4 1")
		e.equal(show(mastra.TraceQuery{ChildError: &yes, Ascending: true, From: base + 1, To: base + 6}), "2 3 6")
		e.equal(show(mastra.TraceQuery{ChildError: &no, Ascending: true, From: base + 1, To: base + 6}), "1 4 5")
		e.equal(show(mastra.TraceQuery{ChildError: &yes, EntityType: "agent", EntityID: "e1"}), "9 7 3")
		e.equal(show(mastra.TraceQuery{ChildError: &no, EntityType: "agent", EntityID: "e0", Status: "success"}), "8 4")
		e.ok(e.s.DeleteTraces(e.ctx, []string{"0", "1", "2", "3", "7"}))
		e.equal(show(mastra.TraceQuery{ChildError: &yes}), "9 6")
		e.equal(show(mastra.TraceQuery{ChildError: &no}), "8 5 4")
		e.commit(mastra.Batch{Spans: []mastra.Span{root("0", base)}}) // an id may come again
		e.equal(show(mastra.TraceQuery{ChildError: &yes}), "9 6")
	}},
	{"traces/branches", func(e *env) {
		of := func(trace, id, parent, kind, thread string, at mastra.Time) mastra.Span {
			s := span(trace, id, parent, at)
			s.Type, s.ThreadID = kind, thread
			return s
		}
		for i := range 30 { // long ones, so that many are under way at once
			id, at := fmt.Sprintf("t%02d", i), base+mastra.Time(i)*10
			thread := fmt.Sprint("thread", i%3)
			spans := []mastra.Span{of(id, "root", "", mastra.SpanAgentRun, thread, at), of(id, "model", "root", mastra.SpanModelGeneration, thread, at+1), of(id, "tool", "model", mastra.SpanToolCall, thread, at+25)}
			e.commit(mastra.Batch{Spans: spans[:2+i%2]})
			if i%2 == 0 { // a later commit
				e.commit(mastra.Batch{Spans: spans[2:]})
			}
		}
		list := func(q mastra.TraceQuery, perPage int) []string {
			q.Types = mastra.BranchTypes
			return pages(e, perPage, func(s mastra.Span) string { return s.TraceID + " " + s.SpanID }, func(p mastra.Paging) (*mastra.Page[mastra.Span], error) {
				q.Paging = p
				return e.s.Traces(e.ctx, q)
			})
		}
		up := list(mastra.TraceQuery{Ascending: true}, 7)
		e.equal(len(up), 60)
		e.equal(up[:5], []string{"t00 root", "t01 root", "t02 root", "t00 tool", "t03 root"})
		down := list(mastra.TraceQuery{}, 100)
		slices.Reverse(up)
		e.equal(down, up)
		e.equal(list(mastra.TraceQuery{}, 9), up)
		e.equal(list(mastra.TraceQuery{ThreadID: "thread1", To: base + 110}, 2), []string{"t10 root", "t07 tool", "t07 root", "t04 tool", "t04 root", "t01 tool", "t01 root"})
		run := mastra.NewID()
		for i, id := range []string{mastra.TraceOfRun(run), mastra.NewTraceID()} { // one that was sent back to a step has another trace
			s := of(id, "root", "", mastra.SpanWorkflowRun, "", base+1000+mastra.Time(i))
			s.RunID = run
			e.commit(mastra.Batch{Spans: []mastra.Span{s}})
			e.equal(len(list(mastra.TraceQuery{RunID: run}, 5)), i+1)
			e.equal(e.traces(mastra.TraceQuery{RunID: run}).Total, i+1)
		}
		q := mastra.TraceQuery{Types: mastra.BranchTypes, SpanType: mastra.SpanToolCall, Uncounted: true, Paging: mastra.Paging{Page: 1, PerPage: 3}}
		p, err := e.s.Traces(e.ctx, q)
		e.ok(err)
		e.equal([]any{len(p.Items), p.HasMore, p.Items[0].TraceID}, []any{3, true, "t26"})
		e.ok(e.s.DeleteTraces(e.ctx, []string{"t28", "t29"}))
		e.equal(len(list(mastra.TraceQuery{}, 20)), 56+2)
	}},
	{"traces/of a resource", func(e *env) {
		of := func(trace, thread string) mastra.Span {
			s := span(trace, "root", "", base)
			s.ThreadID, s.ResourceID = thread, "me"
			return s
		}
		total := func(q mastra.TraceQuery) int { return e.traces(q).Total }
		mine, one := mastra.TraceQuery{ResourceID: "me"}, mastra.TraceQuery{ThreadID: "one"}
		e.commit(mastra.Batch{Threads: []mastra.Thread{thread("one", "me"), thread("two", "me")}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m1", "one", base+1)}, Spans: []mastra.Span{of("named", "one"), of("beside", "one")}})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m2", "two", base+1)}, Spans: []mastra.Span{of("of two", "two")}})
		e.commit(mastra.Batch{Spans: []mastra.Span{of("of no thread", ""), of("of a thread that is not kept", "none")}})
		e.equal([]int{total(mine), total(one)}, []int{5, 2})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m1", "one", base+1)}}) // a client stores it again
		e.equal([]int{total(mine), total(one)}, []int{5, 2})
		e.commit(mastra.Batch{Messages: []mastra.Message{message("m1", "one", base+1)}, Spans: []mastra.Span{of("another", "one")}})
		e.equal([]int{total(mine), total(one)}, []int{6, 3})
		e.ok(e.s.TransferThread(e.ctx, "one", "me", "you")) // what was traced was traced of me
		e.equal([]int{total(mine), total(one), total(mastra.TraceQuery{ResourceID: "you"})}, []int{6, 3, 0})
		e.ok(e.s.TransferThread(e.ctx, "one", "you", "third"))
		e.equal([]int{total(mine), total(one)}, []int{6, 3})
		e.ok(e.s.DeleteThread(e.ctx, "one"))
		e.equal([]int{total(mine), total(one)}, []int{3, 0})
		e.ok(e.s.DeleteThread(e.ctx, "two"))
		e.equal(total(mine), 2)
	}},
}
