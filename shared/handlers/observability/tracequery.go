package observability

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const maxRange = 31 * 24 * 60 * 60 * 1000 // milliseconds

// QueryBody is a trace query as it is sent. What is wrong with it comes back in the form that its clients know: a 422 with
// code, message and issues.
type QueryBody struct {
	Body mastra.JSON `json:"body"`
}

func (q *QueryBody) UnmarshalJSON(data []byte) error {
	q.Body = mastra.JSON(data).Clone()
	return nil
}

func (QueryBody) JSONSchema() *schema.Doc { return &schema.Doc{} }

// refused is the answer to a query that is wrong.
func refused(code mastra.Code, name, message string, issues []QueryIssue) error {
	body := struct {
		Code    string       `json:"code"`
		Message string       `json:"message"`
		Issues  []QueryIssue `json:"issues,omitempty"`
	}{name, message, issues}
	data, err := schema.Marshal(body)
	if err != nil {
		return err
	}
	return &mastra.Error{Code: code, Message: message, Shown: data}
}

func invalidQuery(issues []QueryIssue) error {
	return refused(mastra.CodeUserCode, "TRACE_QUERY_INVALID", "The trace query is invalid", issues)
}

func malformedCursor() error {
	return refused(mastra.CodeInvalid, "TRACE_QUERY_CURSOR_MALFORMED", "The trace query cursor is malformed", nil)
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// selection is a range of traces and a condition.
type selection struct {
	TimeRange *timeRange  `json:"timeRange"`
	Where     mastra.JSON `json:"where"`
}

type pageRequest struct {
	Limit *int    `json:"limit"`
	After *string `json:"after"`
}

type traceQuery struct {
	selection
	Group *struct {
		By []string `json:"by"`
	} `json:"group"`
	OrderBy []struct {
		Field     string `json:"field"`
		Direction string `json:"direction"`
	} `json:"orderBy"`
	Page       *pageRequest `json:"page"`
	Pagination *struct {
		Page    int  `json:"page"`
		PerPage *int `json:"perPage"`
	} `json:"pagination"`
	Mode  string  `json:"mode"`
	After *string `json:"after"`
	Limit *int    `json:"limit"`
}

// decode reads a body; one of the wrong shape is an issue with its place.
func decode(c *compiler, body mastra.JSON, v any) {
	if body.Kind() != '{' {
		c.fail("invalid_request", []any{}, "Invalid input: expected object")
		return
	}
	if err := schema.Unmarshal(body, v); err != nil {
		c.fail("invalid_request", []any{}, "Invalid input: %v", err)
	}
}

// within checks a range of time.
func (c *compiler) within(r *timeRange, path []any) (from, to mastra.Time) {
	if r == nil {
		c.fail("invalid_request", path, "Invalid input: expected object, received undefined")
		return 0, 0
	}
	var ok [2]bool
	from, ok[0] = instant(r.From)
	to, ok[1] = instant(r.To)
	for i, name := range [...]string{"from", "to"} {
		if !ok[i] {
			c.fail("invalid_request", at(path, name), "Invalid ISO datetime")
		}
	}
	switch {
	case !ok[0] || !ok[1]:
	case from >= to:
		c.fail("invalid_time_range", path, "`from` must be earlier than `to`")
	case to-from > maxRange:
		c.fail("time_range_too_large", path, "The time range cannot exceed 31 days")
	}
	return from, to
}

func (c *compiler) where(data mastra.JSON, path []any) predicate {
	if len(data) == 0 {
		return nil
	}
	return c.compile(data, scopeTrace, path, 1)
}

func (c *compiler) limit(p *int, path []any, most, none int) int {
	if p == nil {
		return none
	}
	if *p < 1 {
		c.fail("invalid_request", path, "Too small: expected number to be >=1")
	} else if *p > most {
		c.fail("invalid_request", path, "Too big: expected number to be <=%d", most)
	}
	return *p
}

func newCompiler() *compiler { return &compiler{scopes: map[string]bool{}} }

// cursor is where a page ended, bound to its query.
type cursor struct {
	Binding string      `json:"binding"`
	At      mastra.Time `json:"at,omitzero"`
	IDs     []string    `json:"ids,omitempty"` // the traces of that moment that were shown
	Thread  string      `json:"thread,omitempty"`
}

// binding is the same for the pages of one query of one caller.
func binding(ctx context.Context, kind string, parts ...any) (string, error) {
	data, err := schema.Marshal(append([]any{kind, mastra.Tenant(ctx), mastra.Resource(ctx, "")}, parts...))
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

func (c cursor) String() string {
	data, _ := schema.Marshal(c) // texts and a number always encode
	return base64.RawURLEncoding.EncodeToString(data)
}

func readCursor(after *string, binding string) (c cursor, err error) {
	if after == nil || *after == "" {
		return c, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(*after)
	if err != nil || schema.Unmarshal(data, &c) != nil || c.Binding == "" {
		return c, malformedCursor()
	}
	if c.Binding != binding {
		return c, refused(mastra.CodeConflict, "TRACE_QUERY_CURSOR_CONFLICT", "The cursor does not match the query", nil)
	}
	return c, nil
}

// FoundTrace is a trace that a query found.
type FoundTrace struct {
	TraceID      string      `json:"traceId"`
	RootSpanID   string      `json:"rootSpanId"`
	Name         string      `json:"name"`
	EntityID     *string     `json:"entityId"`
	ParentSpanID *string     `json:"parentSpanId"`
	CreatedAt    mastra.Time `json:"createdAt"`
	Metadata     mastra.JSON `json:"metadata"`
	InputPreview *string     `json:"inputPreview"`
	ThreadID     *string     `json:"threadId"`
	ResourceID   *string     `json:"resourceId"`
	StartedAt    mastra.Time `json:"startedAt"`
	EndedAt      mastra.Time `json:"endedAt"`
	EntityName   *string     `json:"entityName"`
	EntityType   *string     `json:"entityType"`
	Environment  *string     `json:"environment"`
	Status       string      `json:"status"`
}

// NextPage is the cursor of the next page, null where there is none.
type NextPage struct {
	Next *string `json:"next"`
}

// QueryResult is what a trace query found: traces, or groups of them.
type QueryResult struct {
	Traces      *[]FoundTrace `json:"traces,omitempty"`
	Groups      *[]ThreadRef  `json:"groups,omitempty"`
	Page        *NextPage     `json:"page,omitempty"`
	Pagination  *Pagination   `json:"pagination,omitempty"`
	Delta       *Delta        `json:"delta,omitempty"`
	DeltaCursor string        `json:"deltaCursor,omitempty"`
}

// ThreadRef names a thread.
type ThreadRef struct {
	ThreadID string `json:"threadId"`
}

// plan is a query ready to be asked.
type plan struct {
	mastra.TraceQuery
	where  predicate
	scopes map[string]bool // what where looks at beside traces
	beside func(*mastra.Span) bool
	e      *evidence
}

// newPlan makes a plan. Equalities that stand at the predicate's top go to the storage, which has indexes for them.
func newPlan(ctx context.Context, m *mastra.Mastra, c *compiler, where predicate, data mastra.JSON, from, to mastra.Time) *plan {
	p := &plan{TraceQuery: mastra.TraceQuery{From: from, To: to - 1, ResourceID: mastra.Resource(ctx, ""), Whole: c.metadata, Uncounted: true}, where: where, scopes: c.scopes, e: newEvidence(m)}
	p.push(data)
	if where != nil {
		p.Match = p.match
	}
	return p
}

// gather reads all evidence there is.
func (p *plan) gather(ctx context.Context) error { return p.e.gather(ctx, p.scopes, p.From, p.To+1) }

// match leaves out what has not ended.
func (p *plan) match(s *mastra.Span) bool {
	c := p.e.span(s, scopeTrace)
	return s.EndedAt != 0 && (p.where == nil || p.where(&c))
}

// also adds a condition.
func (p *plan) also(f func(*mastra.Span) bool) {
	p.beside = f
	p.Match = func(s *mastra.Span) bool { return p.match(s) && f(s) }
}

func (p *plan) moment(s *mastra.Span) mastra.Time {
	if p.OrderByEnd {
		return s.EndedAt
	}
	return s.StartedAt
}

// behind narrows the plan to what comes behind a place: a moment, and the traces of it that were seen.
func (p *plan) behind(at mastra.Time, seen []string) func(*mastra.Span) bool {
	switch {
	case p.OrderByEnd:
	case p.Ascending:
		p.From = max(p.From, at)
	default:
		p.To = min(p.To, at)
	}
	return func(s *mastra.Span) bool {
		switch c := cmp.Compare(p.moment(s), at); {
		case c == 0:
			return !slices.Contains(seen, s.TraceID)
		case p.Ascending:
			return c > 0
		default:
			return c < 0
		}
	}
}

// atLast is the moment of the last of some traces, and those of that moment.
func (p *plan) atLast(roots []mastra.Span) (at mastra.Time, ids []string) {
	at = p.moment(&roots[len(roots)-1])
	for i := range roots {
		if p.moment(&roots[i]) == at {
			ids = append(ids, roots[i].TraceID)
		}
	}
	return at, ids
}

// find finds a page of p.PerPage traces. Where the predicate looks at more than them, it reads that of some traces after the
// other until the page is full.
func (p *plan) find(ctx context.Context) (*mastra.Page[mastra.Span], error) {
	storage := p.e.m.Storage
	if len(p.scopes) == 0 {
		return storage.Traces(ctx, p.TraceQuery)
	}
	limit, found := p.PerPage, &mastra.Page[mastra.Span]{}
	beside := p.beside
	for part := max(20, limit+1); ; part = min(4*part, 2000) {
		q := p.TraceQuery
		q.PerPage = part
		q.Match = func(s *mastra.Span) bool { return s.EndedAt != 0 && (beside == nil || beside(s)) }
		page, err := storage.Traces(ctx, q)
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(page.Items))
		for i := range page.Items {
			ids[i] = page.Items[i].TraceID
		}
		if err := p.e.of(ctx, p.scopes, ids); err != nil {
			return nil, err
		}
		for i := range page.Items {
			if s := &page.Items[i]; p.match(s) {
				if found.HasMore = len(found.Items) == limit; found.HasMore {
					return found, nil
				}
				found.Items = append(found.Items, *s)
			}
		}
		if !page.HasMore || len(page.Items) == 0 {
			return found, nil
		}
		at, seen := p.atLast(page.Items)
		before := beside
		behind := p.behind(at, seen)
		beside = func(s *mastra.Span) bool { return behind(s) && (before == nil || before(s)) }
		clear(p.e.spans)
		clear(p.e.scores)
		clear(p.e.feedback)
	}
}

func (p *plan) push(data mastra.JSON) {
	var n node
	if len(data) == 0 || schema.Unmarshal(data, &n) != nil {
		return
	}
	if n.Op == "and" {
		for _, arg := range n.Args {
			p.push(arg)
		}
	}
	if some := n.Spans["some"]; some != nil && p.Having == nil {
		var like mastra.SpanMatch
		if having(some, &like); like != (mastra.SpanMatch{}) {
			p.Having = &like
		}
	}
	n.equal(map[string]*string{"entityName": &p.EntityName, "entityType": &p.EntityType, "threadId": &p.ThreadID, "resourceId": &p.ResourceID, "status": &p.Status})
}

// having reads the equalities of a predicate over spans.
func having(data mastra.JSON, to *mastra.SpanMatch) {
	var n node
	if schema.Unmarshal(data, &n) != nil {
		return
	}
	if n.Op == "and" {
		for _, arg := range n.Args {
			having(arg, to)
		}
	}
	n.equal(map[string]*string{"entityName": &to.EntityName, "entityType": &to.EntityType, "entityId": &to.EntityID, "name": &to.Name, "spanType": &to.SpanType, "status": &to.Status})
}

// equal keeps what a field is to be equal to.
func (n *node) equal(fields map[string]*string) {
	if n.Op != "eq" || n.Left == nil || n.Left.Path == nil || n.Right == nil {
		return
	}
	if to := fields[normal(*n.Left.Path)]; to != nil && *to == "" {
		*to = textOf(n.Right.Literal)
	}
}

func textOf(data mastra.JSON) (text string) {
	if len(data) > 0 && data.Kind() == '"' {
		_ = schema.Unmarshal(data, &text) // it is a text
	}
	return text
}

// QueryTraces finds traces by a predicate, by pages with a cursor, by numbered pages, or as what is new.
func QueryTraces(ctx context.Context, m *mastra.Mastra, in QueryBody) (QueryResult, error) {
	c := newCompiler()
	var q traceQuery
	decode(c, in.Body, &q)
	if len(c.issues) > 0 {
		return QueryResult{}, invalidQuery(c.issues)
	}
	from, to := c.within(q.TimeRange, []any{"timeRange"})
	where := c.where(q.Where, []any{"where"})
	order, ascending := "startedAt", false
	if len(q.OrderBy) > 0 {
		order, ascending = q.OrderBy[0].Field, q.OrderBy[0].Direction == "asc"
		if len(q.OrderBy) > 1 || order != "startedAt" && order != "endedAt" || !ascending && q.OrderBy[0].Direction != "desc" {
			c.fail("invalid_request", []any{"orderBy"}, "Invalid input: one of startedAt or endedAt, asc or desc")
		}
	}
	limit := 100
	if q.Page != nil {
		limit = c.limit(q.Page.Limit, []any{"page", "limit"}, 1000, 100)
	}
	perPage := 10
	if q.Pagination != nil {
		perPage = c.limit(q.Pagination.PerPage, []any{"pagination", "perPage"}, 100, 10)
		if q.Pagination.Page < 0 {
			c.fail("invalid_request", []any{"pagination", "page"}, "Too small: expected number to be >=0")
		}
	}
	if q.Mode != "" && q.Mode != "delta" {
		c.fail("invalid_request", []any{"mode"}, `Invalid input: expected "delta"`)
	}
	for name, given := range map[string]bool{"page": q.Page != nil, "pagination": q.Pagination != nil, "group": q.Group != nil, "orderBy": q.OrderBy != nil} {
		if q.Mode == "delta" && given {
			c.fail("invalid_request", []any{name}, "Delta trace queries do not support %s", name)
		}
	}
	for name, given := range map[string]bool{"after": q.After != nil, "limit": q.Limit != nil} {
		if q.Mode != "delta" && given {
			c.fail("invalid_request", []any{name}, "%s requires delta mode", name)
		}
	}
	if q.Pagination != nil && q.Page != nil {
		c.fail("pagination_mode_conflict", []any{"pagination"}, "Trace queries cannot combine keyset and page pagination")
	}
	if q.Group != nil {
		switch {
		case q.Pagination != nil:
			c.fail("group_pagination_not_supported", []any{"pagination"}, "Grouped trace queries do not support page pagination")
		case q.OrderBy != nil:
			c.fail("group_order_not_supported", []any{"orderBy"}, "Grouped trace queries use fixed threadId ordering")
		case !slices.Equal(q.Group.By, []string{"threadId"}):
			c.fail("invalid_request", []any{"group", "by"}, `Invalid input: expected ["threadId"]`)
		}
	}
	deltaLimit := c.limit(q.Limit, []any{"limit"}, 100, 10)
	if len(c.issues) > 0 {
		return QueryResult{}, invalidQuery(c.issues)
	}
	bound, err := binding(ctx, "traces", q.TimeRange, q.Where, order, ascending, q.Group != nil)
	if err != nil {
		return QueryResult{}, err
	}
	var after cursor
	if q.Page != nil {
		if after, err = readCursor(q.Page.After, bound); err != nil {
			return QueryResult{}, err
		}
	}
	p := newPlan(ctx, m, c, where, q.Where, from, to)
	p.OrderByEnd, p.Ascending = order == "endedAt", ascending
	if q.Group != nil || q.Mode == "delta" || q.Pagination != nil {
		if err := p.gather(ctx); err != nil {
			return QueryResult{}, err
		}
	}
	switch {
	case q.Group != nil:
		return p.groups(ctx, m, after, bound, limit)
	case q.Mode == "delta":
		return p.delta(ctx, m, q.After, deltaLimit)
	case q.Pagination != nil:
		p.Uncounted, p.Paging = false, mastra.Paging{Page: q.Pagination.Page, PerPage: perPage}
		p.also(func(*mastra.Span) bool { return true })
		page, err := m.Storage.Traces(ctx, p.TraceQuery)
		if err != nil {
			return QueryResult{}, err
		}
		found := foundTraces(m, page.Items)
		return QueryResult{Traces: &found, Pagination: &Pagination{page.Total, q.Pagination.Page, perPage, page.HasMore}, DeltaCursor: cursorAt(m)}, nil
	}
	return p.page(ctx, m, after, bound, limit)
}

// page is a page from a cursor on.
func (p *plan) page(ctx context.Context, m *mastra.Mastra, after cursor, bound string, limit int) (QueryResult, error) {
	if after.At != 0 {
		p.also(p.behind(after.At, after.IDs))
	}
	p.PerPage = limit
	page, err := p.find(ctx)
	if err != nil {
		return QueryResult{}, err
	}
	found := foundTraces(m, page.Items)
	out := QueryResult{Traces: &found, Page: &NextPage{}}
	if n := len(page.Items); page.HasMore && n > 0 {
		next := cursor{Binding: bound}
		next.At, next.IDs = p.atLast(page.Items)
		if next.At == after.At {
			next.IDs = append(next.IDs, after.IDs...)
		}
		text := next.String()
		out.Page.Next = &text
	}
	return out, nil
}

func foundTraces(m *mastra.Mastra, roots []mastra.Span) []FoundTrace {
	out := []FoundTrace{}
	for i := range roots {
		s := &roots[i]
		if s.EndedAt == 0 {
			continue
		}
		out = append(out, FoundTrace{TraceID: s.TraceID, RootSpanID: s.SpanID, Name: s.Name, EntityID: orNull(s.EntityID), ParentSpanID: orNull(s.ParentID), CreatedAt: s.StartedAt,
			Metadata: s.Metadata, InputPreview: orNull(preview(s.Input)), ThreadID: orNull(s.ThreadID), ResourceID: orNull(s.ResourceID), StartedAt: s.StartedAt, EndedAt: s.EndedAt,
			EntityName: orNull(s.EntityName), EntityType: orNull(s.EntityType), Environment: orNull(m.Tracing.Environment), Status: s.Status()})
	}
	return out
}

// delta is what has ended since a cursor.
func (p *plan) delta(ctx context.Context, m *mastra.Mastra, after *string, limit int) (QueryResult, error) {
	l := Listing{Mode: "delta", Limit: limit}
	if after != nil {
		l.After = *after
	}
	since, until, first, err := l.since(m)
	if err != nil {
		return QueryResult{}, malformedCursor()
	}
	page := &mastra.Page[mastra.Span]{}
	if !first {
		p.From, p.Uncounted, p.PerPage = max(p.From, since-longest), false, 1000
		p.also(func(s *mastra.Span) bool { return s.EndedAt > since && s.EndedAt <= until })
		if page, err = m.Storage.Traces(ctx, p.TraceQuery); err != nil {
			return QueryResult{}, err
		}
	}
	items, d, next := step(&l, page.Items, until, func(s *mastra.Span) mastra.Time { return s.EndedAt })
	found := foundTraces(m, items)
	return QueryResult{Traces: &found, Delta: d, DeltaCursor: next}, nil
}
