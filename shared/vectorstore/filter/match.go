package filter

import (
	"bytes"
	"cmp"
	"reflect"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

type truth int8

const (
	no truth = iota
	unknown
	yes
)

func (t truth) not() truth { return yes - t }

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// Match says whether the filter holds for an encoded object; a nil Expr holds for all. The object is read in place:
// it should be valid JSON, and of what is not nothing matches.
func (e *Expr) Match(doc mastra.JSON) bool { return e == nil || e.eval(doc) == yes }

func (e *Expr) eval(doc []byte) truth {
	switch e.Op {
	case And:
		t := yes
		for _, a := range e.Args {
			if t = min(t, a.eval(doc)); t == no {
				break
			}
		}
		return t
	case Or:
		t := no
		for _, a := range e.Args {
			if t = max(t, a.eval(doc)); t == yes {
				break
			}
		}
		return t
	case Not:
		return e.Args[0].eval(doc).not()
	}
	return e.compare(lookup(doc, e.Path))
}

// compare applies a comparison to an encoded value, nil where there is none.
func (e *Expr) compare(v []byte) truth {
	missing := len(v) == 0 || v[0] == 'n'
	switch e.Op {
	case Exists:
		return is(missing != e.Value.(bool))
	case All:
		return is(!missing && len(e.Value.([]any)) > 0 && e.list.all(v))
	case ElemMatch:
		for item := range elements(v) {
			if e.Args[0].eval(item) == yes {
				return yes
			}
		}
		return no
	case Size:
		n := 0
		for range elements(v) {
			n++
		}
		return is(!missing && v[0] == '[' && float64(n) == e.Value)
	case In:
		if len(e.Value.([]any)) == 0 {
			return no
		}
	case Nin:
		if len(e.Value.([]any)) == 0 {
			return yes
		}
	case Eq:
		if e.Value == nil {
			return is(missing)
		}
	case Ne:
		if e.Value == nil {
			return is(!missing)
		}
	}
	if missing {
		return unknown
	}
	switch e.Op {
	case Eq:
		return is(equal(v, e.Value))
	case Ne:
		return is(!equal(v, e.Value))
	case In:
		return is(e.list.any(v))
	case Nin:
		return is(!e.list.any(v))
	case Contains:
		return is(e.contains(v))
	case Regex:
		return is(v[0] == '"' && e.pattern.Match(text(v)))
	}
	c, ok := order(v, e.Value)
	switch e.Op {
	case Gt:
		return is(ok && c > 0)
	case Gte:
		return is(ok && c >= 0)
	case Lt:
		return is(ok && c < 0)
	case Lte:
		return is(ok && c <= 0)
	}
	return no
}

// contains: a text holds a text, whatever its case; a list holds a value, a text that holds it, or one of a list.
func (e *Expr) contains(v []byte) bool {
	if e.list.n > 0 {
		return v[0] == '[' && e.list.any(v)
	}
	part, ok := e.Value.(string)
	holds := func(v []byte) bool {
		if ok && len(v) > 0 && v[0] == '"' {
			return strings.Contains(strings.ToLower(string(text(v))), strings.ToLower(part))
		}
		return equal(v, e.Value)
	}
	if v[0] != '[' {
		return holds(v)
	}
	for item := range elements(v) {
		if holds(item) {
			return true
		}
	}
	return false
}

func equal(v []byte, want any) bool {
	if len(v) == 0 {
		return false
	}
	switch want := want.(type) {
	case nil:
		return v[0] == 'n'
	case bool:
		return want && v[0] == 't' || !want && v[0] == 'f'
	case string:
		return v[0] == '"' && string(text(v)) == want
	case float64:
		n, ok := number(v)
		return ok && n == want
	}
	if v[0] != '[' && v[0] != '{' {
		return false
	}
	var have any
	return schema.Unmarshal(v, &have) == nil && reflect.DeepEqual(have, want)
}

// order compares numbers, texts, and texts that read as numbers with numbers.
func order(v []byte, want any) (int, bool) {
	if len(v) == 0 || v[0] != '"' && v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, false
	}
	a, numeric := number(v)
	b, wantNumeric := want.(float64)
	s, isText := want.(string)
	if v[0] == '"' {
		a, numeric = parse(text(v))
	}
	if isText {
		b, wantNumeric = parse([]byte(s))
	}
	switch {
	case numeric && wantNumeric:
		return cmp.Compare(a, b), true
	case isText && v[0] == '"':
		return bytes.Compare(text(v), []byte(s)), true
	}
	return 0, false
}

func number(v []byte) (float64, bool) {
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, false
	}
	return parse(v)
}

// parse reads a decimal number: no "NaN", "Infinity" or "0x1p4", which strconv would take.
func parse(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 64 {
		return 0, false
	}
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(string(b), 64)
	return n, err == nil
}

// operands are the items of a list, found without walking it.
type operands struct {
	n       int
	texts   map[string]int
	numbers map[float64]int
	others  map[int]any
}

func newOperands(list []any) operands {
	o := operands{n: len(list), texts: map[string]int{}, numbers: map[float64]int{}, others: map[int]any{}}
	for i, v := range list {
		switch v := v.(type) {
		case string:
			o.texts[v] = i
		case float64:
			o.numbers[v] = i
		default:
			o.others[i] = v
		}
	}
	return o
}

func (o *operands) index(v []byte) (int, bool) {
	if len(v) == 0 {
		return 0, false
	}
	if v[0] == '"' {
		i, ok := o.texts[string(text(v))]
		return i, ok
	}
	if n, ok := number(v); ok {
		i, ok := o.numbers[n]
		return i, ok
	}
	for i, want := range o.others {
		if equal(v, want) {
			return i, true
		}
	}
	return 0, false
}

// any: v is one of them, or a list that holds one.
func (o *operands) any(v []byte) bool {
	if _, ok := o.index(v); ok {
		return true
	}
	for item := range elements(v) {
		if _, ok := o.index(item); ok {
			return true
		}
	}
	return false
}

// all: v is a list that holds each of them.
func (o *operands) all(v []byte) bool {
	left := map[int]bool{}
	for _, i := range o.texts {
		left[i] = true
	}
	for _, i := range o.numbers {
		left[i] = true
	}
	for i := range o.others {
		left[i] = true
	}
	for item := range elements(v) {
		if i, ok := o.index(item); ok {
			delete(left, i)
		}
	}
	return len(left) == 0
}
