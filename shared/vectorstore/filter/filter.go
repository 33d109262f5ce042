// Package filter is the filter language of the vector routes, a subset of MongoDB's: it parses a filter once and
// evaluates it over encoded metadata. A store on SQL compiles the same parse.
package filter

import (
	"maps"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
)

// Op is what an Expr does.
type Op string

const (
	And       Op = "$and" // of Args; true of none
	Or        Op = "$or"  // of Args; false of none
	Not       Op = "$not" // of one of Args
	Eq        Op = "$eq"
	Ne        Op = "$ne"
	Gt        Op = "$gt"
	Gte       Op = "$gte"
	Lt        Op = "$lt"
	Lte       Op = "$lte"
	In        Op = "$in"        // Value is []any
	Nin       Op = "$nin"       // Value is []any
	All       Op = "$all"       // Value is []any
	Exists    Op = "$exists"    // Value is bool
	ElemMatch Op = "$elemMatch" // one of Args, whose paths begin at the element
	Size      Op = "$size"      // Value is an int
	Contains  Op = "$contains"  // ignores the case of ASCII letters
	Regex     Op = "$regex"     // Value is the pattern in RE2's syntax, its options in front: "(?i)^a"
)

// Limits of what Parse takes.
const (
	MaxBytes   = 64 << 10
	MaxDepth   = 32
	MaxNodes   = 512  // conditions
	MaxList    = 1000 // items of a $in, $nin or $all
	MaxPattern = 256  // bytes of a $regex
	maxProgram = 2000 // instructions that it compiles to: `(a{9}){99}` is short
)

// Expr is a parsed filter, or a part of one. It does not change and is safe for concurrent use.
//
// It follows SQL where a field is missing or null: a comparison is then unknown, so is its negation, and neither
// matches. Only {$exists: false} and {$eq: null} ask for such fields.
type Expr struct {
	Op    Op
	Path  []string // of a comparison: the keys that lead to its field; empty for the element of an $elemMatch
	Value any      // its operand: string, Number, bool, nil, []any or map[string]any
	Args  []*Expr

	list    operands
	number  decimal // of a Value that is, or reads as, a number
	numeric bool
	pattern *regexp.Regexp
	posix   string
}

// Parse reads a filter. It returns nil for one that matches all: nil, null or {}.
// What is wrong is an Error of CodeInvalid that names the operator.
func Parse(data mastra.JSON) (*Expr, error) {
	if len(data) > MaxBytes {
		return nil, invalid("The filter is larger than %d bytes", MaxBytes)
	}
	if len(data) == 0 {
		return nil, nil
	}
	v, err := decode(data)
	if err != nil {
		return nil, invalid("The filter is not valid JSON")
	}
	if err := check(v); err != nil {
		return nil, err
	}
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("The filter must be an object")
	}
	if len(m) == 0 {
		return nil, nil
	}
	var p parser
	return p.object(m, nil, false, 0)
}

func invalid(format string, args ...any) error {
	return mastra.Errorf(mastra.CodeInvalid, format, args...)
}

type parser struct{ nodes int }

// object reads all conditions of m, which stands at path; element is whether operators may stand without a path.
func (p *parser) object(m map[string]any, path []string, element bool, depth int) (*Expr, error) {
	if depth > MaxDepth {
		return nil, invalid("The filter is nested deeper than %d", MaxDepth)
	}
	all := &Expr{Op: And}
	operators := false
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var e *Expr
		var err error
		switch {
		case !strings.HasPrefix(key, "$"):
			if operators && len(path) > 0 {
				return nil, invalid("Invalid operator: %s", key)
			}
			e, err = p.field(key, m[key], path, depth)
		case key == "$options":
			if _, ok := m["$regex"]; !ok {
				return nil, invalid("$options needs a $regex beside it")
			}
			continue
		default:
			operators = true
			e, err = p.operator(key, m, path, element, depth)
		}
		if err != nil {
			return nil, err
		}
		if p.nodes++; p.nodes > MaxNodes {
			return nil, invalid("The filter has more than %d conditions", MaxNodes)
		}
		all.Args = append(all.Args, e)
	}
	if len(all.Args) == 1 {
		return all.Args[0], nil
	}
	return all, nil
}

func (p *parser) field(key string, v any, path []string, depth int) (*Expr, error) {
	path = slices.Concat(path, strings.Split(key, "."))
	if len(path) > MaxDepth || slices.Contains(path, "") {
		return nil, invalid("Invalid field key: %s", key)
	}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return nil, invalid("No condition on the field %s", strings.Join(path, "."))
		}
		return p.object(v, path, false, depth+1)
	case []any:
		return p.compare(In, v, path)
	}
	return p.compare(Eq, v, path)
}

func (p *parser) operator(key string, m map[string]any, path []string, element bool, depth int) (*Expr, error) {
	v := m[key]
	switch key {
	case "$and", "$or", "$nor":
		if len(path) > 0 {
			return nil, invalid("Logical operator %s cannot be used at field level: %s", key, strings.Join(path, ".")+"."+key)
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		e := &Expr{Op: Or}
		if key == "$and" {
			e.Op = And
		}
		for _, item := range list {
			m, ok := item.(map[string]any)
			if !ok {
				return nil, invalid("%s needs a list of conditions", key)
			}
			arg, err := p.object(m, nil, element, depth+1)
			if err != nil {
				return nil, err
			}
			e.Args = append(e.Args, arg)
		}
		if p.nodes += len(list); p.nodes > MaxNodes {
			return nil, invalid("The filter has more than %d conditions", MaxNodes)
		}
		if key == "$nor" {
			e = &Expr{Op: Not, Args: []*Expr{e}}
		}
		return e, nil
	case "$not":
		m, ok := v.(map[string]any)
		switch {
		case !ok:
			return nil, invalid("$not operator requires an object")
		case len(m) == 0:
			return nil, invalid("$not operator cannot be empty")
		}
		arg, err := p.object(m, path, element, depth+1)
		if err != nil {
			return nil, err
		}
		return &Expr{Op: Not, Args: []*Expr{arg}}, nil
	case "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$exists", "$elemMatch", "$size", "$contains", "$regex":
		if len(path) == 0 && !element {
			return nil, invalid("Invalid top-level operator: %s", key)
		}
	default:
		return nil, invalid("Unsupported operator: %s", key)
	}
	switch Op(key) {
	case ElemMatch:
		m, ok := v.(map[string]any)
		if !ok || len(m) == 0 {
			return nil, invalid("$elemMatch requires an object with conditions")
		}
		arg, err := p.object(m, nil, true, depth+1)
		if err != nil {
			return nil, err
		}
		return &Expr{Op: ElemMatch, Path: path, Args: []*Expr{arg}}, nil
	case Regex:
		return regex(v, m["$options"], path)
	}
	return p.compare(Op(key), v, path)
}

func (p *parser) compare(op Op, v any, path []string) (*Expr, error) {
	e := &Expr{Op: op, Path: path, Value: v}
	switch v := v.(type) {
	case Number:
		e.number, e.numeric = newDecimal([]byte(v))
	case string:
		e.number, e.numeric = readNumber([]byte(v))
	}
	switch op {
	case Gt, Gte, Lt, Lte:
		switch v.(type) {
		case string, Number:
		default:
			return nil, invalid("%s needs a number or a text", op)
		}
	case In, Nin, All:
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		if len(list) > MaxList {
			return nil, invalid("%s takes at most %d items", op, MaxList)
		}
		e.Value, e.list = list, newOperands(list)
	case Contains:
		if list, ok := v.([]any); ok {
			if len(list) > MaxList {
				return nil, invalid("%s takes at most %d items", op, MaxList)
			}
			e.list = newOperands(list)
		}
	case Exists:
		if _, ok := v.(bool); !ok {
			return nil, invalid("$exists needs true or false")
		}
	case Size:
		text, _ := v.(Number)
		n, err := strconv.Atoi(string(text))
		if err != nil || n < 0 || n > math.MaxInt32 {
			return nil, invalid("$size needs a count")
		}
		e.Value = n
	}
	return e, nil
}

func regex(v, options any, path []string) (*Expr, error) {
	text, ok := v.(string)
	if !ok {
		return nil, invalid("$regex needs a text")
	}
	if options != nil {
		flags, ok := options.(string)
		if !ok || strings.Trim(flags, "ims") != "" {
			return nil, invalid("$options may be of i, m and s")
		}
		if flags != "" {
			text = "(?" + flags + ")" + text
		}
	}
	if len(text) > MaxPattern {
		return nil, invalid("The $regex is longer than %d bytes", MaxPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, invalid("Invalid $regex: %v", err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil, invalid("The $regex is too large")
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, invalid("Invalid $regex: %v", err)
	}
	posix, ok := advanced(tree)
	if !ok {
		return nil, invalid("The $regex is too large")
	}
	return &Expr{Op: Regex, Path: path, Value: text, pattern: compiled, posix: posix}, nil
}
