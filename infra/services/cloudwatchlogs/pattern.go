package cloudwatchlogs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// match says whether a message fits.
type match func(message string) bool

// parsePattern reads a filter pattern: an empty one, which everything fits, or one for JSON events. The grammar is that of the
// CloudWatch Logs user guide ("Using filter patterns to match terms in JSON log events").
func parsePattern(text string) (match, error) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return func(string) bool { return true }, nil
	}
	if !strings.HasPrefix(trimmed, "{") || !strings.HasSuffix(trimmed, "}") {
		return nil, fmt.Errorf("this stand-in knows filter patterns for JSON only, not %q", text)
	}
	p := &parser{in: trimmed[1 : len(trimmed)-1]}
	fits, err := p.or()
	if err == nil && p.skip() != "" {
		err = fmt.Errorf("invalid character(s) in term %q", p.in)
	}
	if err != nil {
		return nil, err
	}
	return func(message string) bool {
		d := json.NewDecoder(strings.NewReader(message))
		d.UseNumber()
		var event map[string]any
		return d.Decode(&event) == nil && fits(event)
	}, nil
}

// Match says whether a message fits a filter pattern.
func Match(pattern, message string) (bool, error) {
	fits, err := parsePattern(pattern)
	return err == nil && fits(message), err
}

type condition func(event any) bool

type parser struct{ in string }

func (p *parser) skip() string {
	p.in = strings.TrimLeft(p.in, " \t\r\n")
	return p.in
}

func (p *parser) take(token string) bool {
	if !strings.HasPrefix(p.skip(), token) {
		return false
	}
	p.in = p.in[len(token):]
	return true
}

func (p *parser) or() (condition, error) { return p.joined("||", p.and) }

func (p *parser) and() (condition, error) { return p.joined("&&", p.one) }

func (p *parser) joined(operator string, next func() (condition, error)) (condition, error) {
	left, err := next()
	for err == nil && p.take(operator) {
		a := left
		var b condition
		if b, err = next(); err != nil {
			break
		}
		if operator == "||" {
			left = func(e any) bool { return a(e) || b(e) }
		} else {
			left = func(e any) bool { return a(e) && b(e) }
		}
	}
	return left, err
}

func (p *parser) one() (condition, error) {
	if p.take("(") {
		inner, err := p.or()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a parenthesis is not closed before %q", p.in)
		}
		return inner, err
	}
	find, err := p.selector()
	if err != nil {
		return nil, err
	}
	switch {
	case p.take("IS TRUE"):
		return func(e any) bool { v, ok := find(e); return ok && v == true }, nil
	case p.take("IS FALSE"):
		return func(e any) bool { v, ok := find(e); return ok && v == false }, nil
	case p.take("IS NULL"):
		return func(e any) bool { v, ok := find(e); return ok && v == nil }, nil
	case p.take("NOT EXISTS"):
		return func(e any) bool { _, ok := find(e); return !ok }, nil
	}
	for _, operator := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.take(operator) {
			return p.comparison(find, operator)
		}
	}
	return nil, fmt.Errorf("no operator at %q", p.in)
}

var (
	name   = regexp.MustCompile(`^[A-Za-z0-9_-]+`)
	quoted = regexp.MustCompile(`^\['([^']+)'\]`)
	index  = regexp.MustCompile(`^\[(\d+)\]`)
)

// selector reads $.a['b.c'][0].
func (p *parser) selector() (func(event any) (any, bool), error) {
	if !p.take("$") {
		return nil, fmt.Errorf("no property selector at %q", p.in)
	}
	var path []any
	for {
		if m := index.FindStringSubmatch(p.in); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, err
			}
			path, p.in = append(path, n), p.in[len(m[0]):]
			continue
		}
		rest, dotted := strings.CutPrefix(p.in, ".")
		if m := quoted.FindStringSubmatch(rest); m != nil {
			path, p.in = append(path, m[1]), rest[len(m[0]):]
			continue
		}
		m := name.FindString(rest)
		if !dotted || m == "" {
			break
		}
		path, p.in = append(path, m), rest[len(m):]
	}
	if len(path) == 0 {
		return nil, fmt.Errorf("no property selector at %q", p.in)
	}
	return func(v any) (any, bool) {
		for _, step := range path {
			var ok bool
			switch step := step.(type) {
			case int:
				list, _ := v.([]any)
				if ok = step < len(list); ok {
					v = list[step]
				}
			case string:
				object, _ := v.(map[string]any)
				v, ok = object[step]
			}
			if !ok {
				return nil, false
			}
		}
		return v, true
	}, nil
}

var (
	number = regexp.MustCompile(`^-?\d+(\.\d+)?([eE][+-]?\d+)?$`)
	bare   = regexp.MustCompile(`^[A-Za-z0-9_.*+-]+`)
)

func (p *parser) comparison(find func(any) (any, bool), operator string) (condition, error) {
	p.skip()
	var equal func(v any) bool
	switch {
	case strings.HasPrefix(p.in, `"`):
		text, rest, err := unquote(p.in[1:])
		if err != nil {
			return nil, err
		}
		p.in = rest
		equal = wildcard(text)
	case strings.HasPrefix(p.in, "%"):
		end := strings.Index(p.in[1:], "%")
		if end < 0 {
			return nil, fmt.Errorf("a regular expression is not closed: %q", p.in)
		}
		expression, err := regexp.Compile(p.in[1 : end+1])
		if err != nil {
			return nil, err
		}
		p.in = p.in[end+2:]
		equal = func(v any) bool { s, ok := v.(string); return ok && expression.MatchString(s) }
	default:
		text := bare.FindString(p.in)
		if text == "" {
			return nil, fmt.Errorf("no value at %q", p.in)
		}
		p.in = p.in[len(text):]
		if number.MatchString(text) {
			return numeric(find, operator, text)
		}
		equal = wildcard(text)
	}
	switch operator {
	case "=":
		return func(e any) bool { v, ok := find(e); return ok && equal(v) }, nil
	case "!=":
		return func(e any) bool { v, ok := find(e); return ok && !equal(v) }, nil
	}
	return nil, fmt.Errorf("%s compares numbers only", operator)
}

func numeric(find func(any) (any, bool), operator, text string) (condition, error) {
	want, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, err
	}
	return func(e any) bool {
		v, ok := find(e)
		n, isNumber := v.(json.Number)
		if !ok || !isNumber {
			return false
		}
		have, err := n.Float64()
		if err != nil {
			return false
		}
		switch operator {
		case "=":
			return have == want
		case "!=":
			return have != want
		case "<":
			return have < want
		case "<=":
			return have <= want
		case ">":
			return have > want
		}
		return have >= want
	}, nil
}

// unquote reads a text up to its closing quote. A backslash takes the next character's meaning away.
func unquote(in string) (text, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(in); i++ {
		switch in[i] {
		case '"':
			return b.String(), in[i+1:], nil
		case '\\':
			if i++; i == len(in) {
				break
			}
			fallthrough
		default:
			b.WriteByte(in[i])
		}
	}
	return "", "", fmt.Errorf("a text is not closed: %q", in)
}

// wildcard matches texts; a * stands for any characters.
func wildcard(pattern string) func(any) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	expression := regexp.MustCompile(`(?s)^` + strings.Join(parts, `.*`) + `$`)
	return func(v any) bool { s, ok := v.(string); return ok && expression.MatchString(s) }
}
