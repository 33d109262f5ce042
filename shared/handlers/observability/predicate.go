package observability

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// The language of trace queries: comparisons, memberships and presence over fields of a trace, of its spans, its scores and its
// feedback, put together with and, or and not. A value that is not there fulfils "ne" and "notIn" and no other comparison.

// Scopes of fields.
const (
	scopeTrace    = "trace"
	scopeSpans    = "spans"
	scopeScores   = "scores"
	scopeFeedback = "feedback"
)

// Kinds of fields.
const (
	kindString    = "string"
	kindNumber    = "number"
	kindEither    = "stringOrNumber"
	kindTimestamp = "timestamp"
	kindPresence  = "presence"
	kindArray     = "array"
)

const (
	maxNodes, maxLevels, maxRelated = 100, 12, 8
	maxSet                          = 100
	maxLiteral, maxPath             = 4096, 128 // bytes
)

type rule struct {
	path, kind  string
	suggestions bool
}

// rules are the fields of each scope, in the order in which they are shown.
var rules = map[string][]rule{
	scopeTrace: {{"traceId", kindString, false}, {"threadId", kindString, false}, {"resourceId", kindString, false}, {"startedAt", kindTimestamp, false},
		{"endedAt", kindTimestamp, false}, {"durationMs", kindNumber, false}, {"entityName", kindString, true}, {"entityType", kindString, true},
		{"environment", kindString, true}, {"status", kindString, true}, {"tags", kindArray, true}},
	scopeSpans: {{"name", kindString, true}, {"spanType", kindString, true}, {"model", kindString, true}, {"provider", kindString, true}, {"startedAt", kindTimestamp, false},
		{"endedAt", kindTimestamp, false}, {"durationMs", kindNumber, false}, {"status", kindString, true}, {"error", kindPresence, false}, {"entityType", kindString, true},
		{"entityId", kindString, false}, {"entityName", kindString, true}, {"entityVersionId", kindString, false}, {"parentEntityVersionId", kindString, false},
		{"rootEntityVersionId", kindString, false}},
	scopeScores: {{"scorerId", kindString, true}, {"scorerVersion", kindString, true}, {"scoreSource", kindString, true}, {"score", kindNumber, false},
		{"timestamp", kindTimestamp, false}, {"spanId", kindPresence, false}, {"entityVersionId", kindString, false}, {"parentEntityVersionId", kindString, false},
		{"rootEntityVersionId", kindString, false}},
	scopeFeedback: {{"feedbackType", kindString, true}, {"feedbackSource", kindString, true}, {"feedbackUserId", kindString, false}, {"sourceId", kindString, false},
		{"entityVersionId", kindString, false}, {"parentEntityVersionId", kindString, false}, {"rootEntityVersionId", kindString, false}, {"value", kindEither, false},
		{"timestamp", kindTimestamp, false}, {"comment", kindPresence, false}},
}

func (r rule) operators() []string {
	switch r.kind {
	case kindPresence:
		return []string{"exists", "notExists"}
	case kindArray:
		return []string{"includes", "notIncludes", "exists", "notExists"}
	case kindString:
		return []string{"eq", "ne", "in", "notIn", "exists", "notExists"}
	}
	return []string{"eq", "ne", "in", "notIn", "exists", "notExists", "lt", "lte", "gt", "gte"}
}

// candidate is what a predicate looks at. field answers a string, a float64 (also of times, in milliseconds), a []string or nil.
type candidate struct {
	field   func(path string) any
	related func(scope string) []candidate // of a trace
}

type predicate func(*candidate) bool

// QueryIssue is one thing that is wrong with a trace query.
type QueryIssue struct {
	Code    string `json:"code"`
	Path    []any  `json:"path"`
	Message string `json:"message"`
}

// compiler turns the JSON of a predicate into a predicate, and says all that is wrong.
type compiler struct {
	nodes, clauses int
	issues         []QueryIssue
	scopes         map[string]bool // what it looks at besides the traces themselves
	metadata       bool            // whether it looks into the metadata of traces
}

func at(path []any, more ...any) []any { return append(slices.Clip(path), more...) }

func (c *compiler) fail(code string, path []any, format string, args ...any) predicate {
	c.issues = append(c.issues, QueryIssue{code, path, fmt.Sprintf(format, args...)})
	return func(*candidate) bool { return false }
}

func (c *compiler) deep(level int, path []any) bool {
	if c.nodes++; level <= maxLevels && c.nodes <= maxNodes {
		return false
	}
	if !slices.ContainsFunc(c.issues, func(i QueryIssue) bool { return i.Code == "predicate_too_complex" }) {
		c.fail("predicate_too_complex", path, "Predicates are limited to %d nodes and %d levels", maxNodes, maxLevels)
	}
	return true
}

// node is a predicate as it is sent.
type node struct {
	Op       string                 `json:"op"`
	Left     *operand               `json:"left"`
	Right    *operand               `json:"right"`
	Value    mastra.JSON            `json:"value"`
	Set      []mastra.JSON          `json:"set"`
	Path     *string                `json:"path"`
	Args     []mastra.JSON          `json:"args"`
	Arg      mastra.JSON            `json:"arg"`
	Spans    map[string]mastra.JSON `json:"spans"`
	Scores   map[string]mastra.JSON `json:"scores"`
	Feedback map[string]mastra.JSON `json:"feedback"`
	Traces   map[string]mastra.JSON `json:"traces"`
}

type operand struct {
	Path    *string     `json:"path"`
	Literal mastra.JSON `json:"literal"`
}

// compile reads a predicate of a scope.
func (c *compiler) compile(data mastra.JSON, scope string, path []any, level int) predicate {
	if c.deep(level, path) {
		return nil
	}
	var n node
	if data.Kind() != '{' || schema.Unmarshal(data, &n) != nil {
		return c.fail("invalid_request", path, "Invalid input")
	}
	for name, clause := range map[string]map[string]mastra.JSON{scopeSpans: n.Spans, scopeScores: n.Scores, scopeFeedback: n.Feedback} {
		if clause != nil {
			return c.relation(scope, name, clause, path, level)
		}
	}
	switch n.Op {
	case "and", "or", "not":
		return c.boolean(&n, path, level, func(data mastra.JSON, path []any, level int) predicate { return c.compile(data, scope, path, level) })
	case "exists", "notExists":
		return c.presence(&n, scope, path)
	case "includes", "notIncludes":
		return c.includes(&n, scope, path)
	case "in", "notIn":
		return c.membership(&n, scope, path)
	case "eq", "ne", "lt", "lte", "gt", "gte":
		return c.comparison(&n, scope, path)
	}
	return c.fail("invalid_request", path, "Invalid input")
}

// boolean puts predicates together, whatever they are about.
func (c *compiler) boolean(n *node, path []any, level int, compile func(mastra.JSON, []any, int) predicate) predicate {
	if n.Op == "not" {
		inner := compile(n.Arg, at(path, "arg"), level+1)
		return func(v *candidate) bool { return !inner(v) }
	}
	if len(n.Args) == 0 {
		return c.fail("invalid_request", at(path, "args"), "Too small: expected array to have >=1 items")
	}
	all := make([]predicate, len(n.Args))
	for i, arg := range n.Args {
		all[i] = compile(arg, at(path, "args", i), level+1)
	}
	and := n.Op == "and"
	return func(v *candidate) bool {
		for _, p := range all {
			if p(v) != and {
				return !and
			}
		}
		return and
	}
}

// quantified is the predicate within {some: …} or {none: …}.
func quantified(clause map[string]mastra.JSON) (quantifier string, inner mastra.JSON) {
	if len(clause) != 1 {
		return "", nil
	}
	for _, q := range []string{"some", "none"} {
		if clause[q] != nil {
			return q, clause[q]
		}
	}
	return "", nil
}

func (c *compiler) relation(scope, name string, clause map[string]mastra.JSON, path []any, level int) predicate {
	if c.clauses++; c.clauses > maxRelated {
		return c.fail("predicate_too_complex", path, "Trace queries are limited to %d related collection clauses", maxRelated)
	}
	if scope != scopeTrace {
		return c.fail("invalid_request", path, "Related collections cannot be nested inside related-record predicates")
	}
	quantifier, data := quantified(clause)
	if quantifier == "" {
		return c.fail("invalid_request", at(path, name), "Invalid input")
	}
	c.scopes[name] = true
	inner := c.compile(data, name, at(path, name, quantifier), level+1)
	return func(v *candidate) bool {
		return slices.ContainsFunc(v.related(name), func(r candidate) bool { return inner(&r) }) == (quantifier == "some")
	}
}

// normal is a path as clients may write it: ${path}, with blanks around.
func normal(path string) string {
	path = strings.TrimSpace(path)
	if inner, ok := strings.CutPrefix(path, "${"); ok && strings.HasSuffix(inner, "}") {
		path = strings.TrimSpace(inner[:len(inner)-1])
	}
	return path
}

func ruleOf(scope, path string) (rule, bool) {
	if key, ok := strings.CutPrefix(path, "metadata."); ok && scope == scopeTrace && key != "" && !strings.Contains(key, ".") && len(path) <= maxPath {
		return rule{path, kindString, true}, true
	}
	for _, r := range rules[scope] {
		if r.path == path {
			return r, true
		}
	}
	return rule{}, false
}

// field finds the rule of a path and whether the operator fits.
func (c *compiler) field(written *string, op, scope string, path, pathOfPath []any) (r rule, ok bool) {
	if written == nil || *written == "" || len(*written) > maxPath {
		c.fail("invalid_request", pathOfPath, "Invalid input")
		return r, false
	}
	name := normal(*written)
	if r, ok = ruleOf(scope, name); !ok {
		if scope == scopeTrace && strings.HasPrefix(name, "metadata.") {
			c.fail("invalid_metadata_key", pathOfPath, "Metadata predicates require one non-empty top-level key")
		} else {
			c.fail("field_not_allowed", pathOfPath, "The predicate field is not allowed here")
		}
		return r, false
	}
	c.metadata = c.metadata || strings.HasPrefix(name, "metadata.")
	if !slices.Contains(r.operators(), op) {
		c.fail("operator_not_allowed", at(path, "op"), "Operator %s is not supported for field %s", op, name)
		return r, false
	}
	return r, true
}

var never predicate = func(*candidate) bool { return false }

func (c *compiler) presence(n *node, scope string, path []any) predicate {
	r, ok := c.field(n.Path, n.Op, scope, path, at(path, "path"))
	if !ok {
		return never
	}
	want := n.Op == "exists"
	return func(v *candidate) bool {
		value := v.field(r.path)
		if list, ok := value.([]string); ok {
			return (len(list) > 0) == want
		}
		return (value != nil) == want
	}
}

func (c *compiler) includes(n *node, scope string, path []any) predicate {
	r, ok := c.field(n.Path, n.Op, scope, path, at(path, "path"))
	var text string
	if schema.Unmarshal(n.Value, &text) != nil || strings.TrimSpace(text) == "" || len(text) > maxLiteral {
		return c.fail("invalid_request", at(path, "value"), "Collection predicates require a non-empty string value")
	}
	if !ok {
		return never
	}
	want := n.Op == "includes"
	return func(v *candidate) bool {
		list, _ := v.field(r.path).([]string)
		return slices.Contains(list, text) == want
	}
}

func (c *compiler) membership(n *node, scope string, path []any) predicate {
	var value operand
	if n.Value.Kind() != '{' || schema.Unmarshal(n.Value, &value) != nil || len(n.Set) == 0 || len(n.Set) > maxSet {
		return c.fail("invalid_request", path, "Invalid input")
	}
	if value.Path == nil {
		return c.fail("invalid_operands", at(path, "value"), "Membership predicates require an allowlisted field path")
	}
	r, ok := c.field(value.Path, n.Op, scope, path, at(path, "value", "path"))
	if !ok {
		return never
	}
	set := make([]any, len(n.Set))
	for i, data := range n.Set {
		literal, ok := literalOf(data, r.kind, "")
		if ok && i > 0 {
			_, first := set[0].(string)
			_, this := literal.(string)
			ok = first == this
		}
		if !ok {
			return c.fail("invalid_literal", at(path, "set"), "Membership values must be homogeneous and match the selected field type")
		}
		set[i] = literal
	}
	want := n.Op == "in"
	return func(v *candidate) bool { return slices.Contains(set, v.field(r.path)) == want }
}

func (c *compiler) comparison(n *node, scope string, path []any) predicate {
	if n.Left == nil || n.Right == nil {
		return c.fail("invalid_request", path, "Invalid input")
	}
	if n.Left.Path == nil || n.Right.Literal == nil {
		return c.fail("invalid_operands", path, "Comparison predicates require a field on the left and a literal on the right")
	}
	r, ok := c.field(n.Left.Path, n.Op, scope, path, at(path, "left", "path"))
	if !ok {
		return never
	}
	want, ok := literalOf(n.Right.Literal, r.kind, n.Op)
	if !ok {
		return c.fail("invalid_literal", at(path, "right", "literal"), "The literal does not match the selected field type")
	}
	op := n.Op
	return func(v *candidate) bool {
		have := v.field(r.path)
		switch op {
		case "eq":
			return have == want
		case "ne":
			return have != want
		}
		a, ok := have.(float64)
		b, number := want.(float64)
		if !ok || !number {
			return false
		}
		switch op {
		case "lt":
			return a < b
		case "lte":
			return a <= b
		case "gt":
			return a > b
		}
		return a >= b
	}
}

// literalOf is a literal as a field of that kind has it.
func literalOf(data mastra.JSON, kind, op string) (any, bool) {
	var text string
	var n float64
	isText := data.Kind() == '"' && schema.Unmarshal(data, &text) == nil && len(text) <= maxLiteral
	isNumber := data.Kind() == '0' && schema.Unmarshal(data, &n) == nil
	switch kind {
	case kindNumber:
		return n, isNumber
	case kindEither:
		if isText && (op == "" || op == "eq" || op == "ne") {
			return text, true
		}
		return n, isNumber
	case kindTimestamp:
		t, ok := instant(text)
		return float64(t), isText && ok
	}
	return text, isText
}

// instant reads a date with a time and an offset.
func instant(text string) (mastra.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	return mastra.TimeOf(t), err == nil
}

// threads compiles a predicate over threads, whose related scope is "traces".
func (c *compiler) threads(data mastra.JSON, path []any, level int) predicate {
	if c.deep(level, path) {
		return nil
	}
	var n node
	if data.Kind() != '{' || schema.Unmarshal(data, &n) != nil {
		return c.fail("invalid_request", path, "Invalid input")
	}
	switch {
	case n.Traces != nil:
		if c.clauses++; c.clauses > maxRelated {
			return c.fail("predicate_too_complex", path, "Trace queries are limited to %d related collection clauses", maxRelated)
		}
		quantifier, inner := quantified(n.Traces)
		if quantifier == "" {
			return c.fail("invalid_request", at(path, "traces"), "Invalid input")
		}
		p := c.compile(inner, scopeTrace, at(path, "traces", quantifier), level+1)
		return func(v *candidate) bool {
			return slices.ContainsFunc(v.related("traces"), func(r candidate) bool { return p(&r) }) == (quantifier == "some")
		}
	case n.Op == "and" || n.Op == "or" || n.Op == "not":
		return c.boolean(&n, path, level, c.threads)
	}
	return c.fail("invalid_request", path, "Invalid input")
}
