package observability

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// groups are the threads of the traces that match.
func (p *plan) groups(ctx context.Context, m *mastra.Mastra, after cursor, bound string, limit int) (QueryResult, error) {
	threads := map[string]bool{}
	if err := p.each(ctx, m, func(s *mastra.Span) { threads[s.ThreadID] = true }); err != nil {
		return QueryResult{}, err
	}
	refs, next := threadPage(slices.Collect(maps.Keys(threads)), after, bound, limit)
	return QueryResult{Groups: &refs, Page: next}, nil
}

// each calls f with the root of every trace that matches.
func (p *plan) each(ctx context.Context, m *mastra.Mastra, f func(*mastra.Span)) error {
	q := p.TraceQuery
	q.Uncounted = false
	q.Match = func(s *mastra.Span) bool {
		if p.match(s) {
			f(s)
		}
		return false
	}
	_, err := m.Storage.Traces(ctx, q)
	return err
}

func threadPage(threads []string, after cursor, bound string, limit int) ([]ThreadRef, *NextPage) {
	slices.Sort(threads)
	refs, next := []ThreadRef{}, &NextPage{}
	for _, id := range threads {
		if id == "" || id <= after.Thread {
			continue
		}
		if len(refs) == limit {
			text := cursor{Binding: bound, Thread: refs[limit-1].ThreadID}.String()
			next.Next = &text
			break
		}
		refs = append(refs, ThreadRef{id})
	}
	return refs, next
}

// ThreadResult is a page of threads.
type ThreadResult struct {
	Threads []ThreadRef `json:"threads"`
	Page    *NextPage   `json:"page"`
}

// QueryThreads finds threads by a predicate over the traces of theirs that lie in a range of time.
func QueryThreads(ctx context.Context, m *mastra.Mastra, in QueryBody) (ThreadResult, error) {
	c := newCompiler()
	var q struct {
		Traces *selection   `json:"traces"`
		Where  mastra.JSON  `json:"where"`
		Page   *pageRequest `json:"page"`
	}
	decode(c, in.Body, &q)
	if len(c.issues) > 0 {
		return ThreadResult{}, invalidQuery(c.issues)
	}
	var from, to mastra.Time
	var traces, where predicate
	if q.Traces == nil {
		c.fail("invalid_request", []any{"traces"}, "Invalid input: expected object, received undefined")
	} else {
		from, to = c.within(q.Traces.TimeRange, []any{"traces", "timeRange"})
		traces = c.where(q.Traces.Where, []any{"traces", "where"})
	}
	if len(q.Where) > 0 {
		where = c.threads(q.Where, []any{"where"}, 1)
	}
	limit := 100
	if q.Page != nil {
		limit = c.limit(q.Page.Limit, []any{"page", "limit"}, 1000, 100)
	}
	if len(c.issues) > 0 {
		return ThreadResult{}, invalidQuery(c.issues)
	}
	bound, err := binding(ctx, "threads", q.Traces, q.Where)
	if err != nil {
		return ThreadResult{}, err
	}
	var after cursor
	if q.Page != nil {
		if after, err = readCursor(q.Page.After, bound); err != nil {
			return ThreadResult{}, err
		}
	}
	p := newPlan(ctx, m, c, traces, q.Traces.Where, from, to)
	if err := p.gather(ctx); err != nil {
		return ThreadResult{}, err
	}
	byThread := map[string][]candidate{}
	if err := p.each(ctx, m, func(s *mastra.Span) {
		root := *s
		root.Input, root.Output, root.Attributes = nil, nil, nil
		byThread[s.ThreadID] = append(byThread[s.ThreadID], p.e.span(&root, scopeTrace))
	}); err != nil {
		return ThreadResult{}, err
	}
	var found []string
	for thread, traces := range byThread {
		if where == nil || where(&candidate{related: func(string) []candidate { return traces }}) {
			found = append(found, thread)
		}
	}
	refs, next := threadPage(found, after, bound, limit)
	return ThreadResult{refs, next}, nil
}

// CanonicalField is a field that every trace query may name.
type CanonicalField struct {
	Path             string   `json:"path"`
	ValueKind        string   `json:"valueKind"`
	Operators        []string `json:"operators"`
	ValueSuggestions bool     `json:"valueSuggestions"`
}

// ObservedField is a key of metadata that traces have.
type ObservedField struct {
	CanonicalField
	Occurrences int `json:"occurrences"`
}

// FieldList lists fields.
type FieldList struct {
	CanonicalFields []CanonicalField `json:"canonicalFields"`
	ObservedFields  []ObservedField  `json:"observedFields"`
	Truncated       bool             `json:"observedFieldsTruncated"`
}

type discovery struct {
	TimeRange *timeRange `json:"timeRange"`
	Scope     string     `json:"predicateScope"`
	Path      *string    `json:"path"`
	Search    string     `json:"search"`
	Limit     *int       `json:"limit"`
}

func (c *compiler) discovery(body mastra.JSON) (d discovery, from, to mastra.Time, limit int) {
	if decode(c, body, &d); len(c.issues) > 0 {
		return d, 0, 0, 0
	}
	from, to = c.within(d.TimeRange, []any{"timeRange"})
	if rules[d.Scope] == nil {
		c.fail("invalid_request", []any{"predicateScope"}, `Invalid option: expected one of "trace"|"spans"|"scores"|"feedback"`)
	}
	if d.Search = strings.ToLower(strings.TrimSpace(d.Search)); len(d.Search) > 256 {
		c.fail("invalid_request", []any{"search"}, "Too big: expected string to have <=256 characters")
	}
	return d, from, to, c.limit(d.Limit, []any{"limit"}, 100, 25)
}

// QueryFields lists the fields that a predicate of a scope may name, and the keys of metadata that the traces of a range have.
func QueryFields(ctx context.Context, m *mastra.Mastra, in QueryBody) (FieldList, error) {
	c := newCompiler()
	d, from, to, limit := c.discovery(in.Body)
	if len(c.issues) > 0 {
		return FieldList{}, invalidQuery(c.issues)
	}
	out := FieldList{CanonicalFields: []CanonicalField{}, ObservedFields: []ObservedField{}}
	for _, r := range rules[d.Scope] {
		if strings.Contains(strings.ToLower(r.path), d.Search) {
			out.CanonicalFields = append(out.CanonicalFields, CanonicalField{r.path, r.kind, r.operators(), r.suggestions})
		}
	}
	c.metadata = true
	p := newPlan(ctx, m, c, nil, nil, from, to)
	if err := p.gather(ctx); err != nil {
		return FieldList{}, err
	}
	counts := map[string]int{}
	err := p.each(ctx, m, func(s *mastra.Span) {
		var all map[string]mastra.JSON
		if len(s.Metadata) == 0 || schema.Unmarshal(s.Metadata, &all) != nil {
			return
		}
		for key, data := range all {
			path := "metadata." + key
			text := textOf(data)
			if _, ok := ruleOf(scopeTrace, path); ok && strings.TrimSpace(text) != "" && len(text) <= maxLiteral && strings.Contains(strings.ToLower(path), d.Search) {
				counts[path]++
			}
		}
	})
	if err != nil && !tooMany(err) { // of too many traces those that were looked at tell enough
		return FieldList{}, err
	}
	for path, n := range counts {
		r := rule{path, kindString, true}
		out.ObservedFields = append(out.ObservedFields, ObservedField{CanonicalField{path, r.kind, r.operators(), true}, n})
	}
	slices.SortFunc(out.ObservedFields, func(a, b ObservedField) int {
		return cmp.Or(cmp.Compare(b.Occurrences, a.Occurrences), cmp.Compare(a.Path, b.Path))
	})
	if out.Truncated = len(out.ObservedFields) > limit; out.Truncated {
		out.ObservedFields = out.ObservedFields[:limit]
	}
	return out, nil
}

// CountedValue is a value and how often it was seen.
type CountedValue struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

// CountedValues lists values, the most frequent first.
type CountedValues struct {
	Values    []CountedValue `json:"values"`
	Truncated bool           `json:"valuesTruncated"`
}

// QueryValues lists the values that a field has in a range of traces.
func QueryValues(ctx context.Context, m *mastra.Mastra, in QueryBody) (CountedValues, error) {
	c := newCompiler()
	d, from, to, limit := c.discovery(in.Body)
	var path string
	if d.Path != nil {
		path = normal(*d.Path)
	}
	if r, ok := ruleOf(d.Scope, path); (!ok || !r.suggestions) && len(c.issues) == 0 {
		c.fail("invalid_request", []any{"path"}, "Value suggestions are not available for this path")
	}
	if len(c.issues) > 0 {
		return CountedValues{}, invalidQuery(c.issues)
	}
	c.metadata = strings.HasPrefix(path, "metadata.")
	if d.Scope != scopeTrace {
		c.scopes[d.Scope] = true
	}
	p := newPlan(ctx, m, c, nil, nil, from, to)
	if err := p.gather(ctx); err != nil {
		return CountedValues{}, err
	}
	counts := map[string]int{}
	count := func(c candidate) {
		switch v := c.field(path).(type) {
		case string:
			counts[v]++
		case []string:
			for _, text := range v {
				counts[text]++
			}
		}
	}
	err := p.each(ctx, m, func(s *mastra.Span) {
		if d.Scope == scopeTrace {
			count(p.e.span(s, scopeTrace))
			return
		}
		for _, r := range p.e.related(s.TraceID, d.Scope) {
			count(r)
		}
	})
	if err != nil && !tooMany(err) {
		return CountedValues{}, err
	}
	out := CountedValues{Values: []CountedValue{}}
	for value, n := range counts {
		if len(value) <= maxLiteral && strings.Contains(strings.ToLower(value), d.Search) {
			out.Values = append(out.Values, CountedValue{value, n})
		}
	}
	slices.SortFunc(out.Values, func(a, b CountedValue) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value))
	})
	if out.Truncated = len(out.Values) > limit; out.Truncated {
		out.Values = out.Values[:limit]
	}
	return out, nil
}
