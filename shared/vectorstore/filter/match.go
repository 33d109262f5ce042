package filter

import (
	"bytes"
	"strings"

	"mastralambda/shared/mastra"
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
		return is(!missing && v[0] == '[' && n == e.Value)
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
		return is(e.equal(v))
	case Ne:
		return is(!e.equal(v))
	case In:
		return is(e.list.any(v))
	case Nin:
		return is(!e.list.any(v))
	case Contains:
		return is(e.contains(v))
	case Regex:
		return is(v[0] == '"' && e.pattern.Match(text(v)))
	}
	c, ok := e.order(v)
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

// contains: a text holds a text, whatever the case of its ASCII letters; a list holds a value, a text that holds it, or one
// of a list.
func (e *Expr) contains(v []byte) bool {
	if _, ok := e.Value.([]any); ok {
		return v[0] == '[' && e.list.any(v)
	}
	part, ok := e.Value.(string)
	holds := func(v []byte) bool {
		if ok && len(v) > 0 && v[0] == '"' {
			return strings.Contains(lower(string(text(v))), lower(part))
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

// lower folds ASCII letters, as Postgres does under the collation "C": full folding would differ from version to version.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func (e *Expr) equal(v []byte) bool {
	if _, ok := e.Value.(Number); ok {
		n, ok := number(v)
		return ok && n.cmp(e.number) == 0
	}
	return equal(v, e.Value)
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
	case Number:
		n, ok := number(v)
		if !ok {
			return false
		}
		m, ok := newDecimal([]byte(want))
		return ok && n.cmp(m) == 0
	}
	if v[0] != '[' && v[0] != '{' {
		return false
	}
	have, err := decode(v)
	return err == nil && same(have, want)
}

// order compares numbers, texts, and texts that read as numbers with numbers.
func (e *Expr) order(v []byte) (int, bool) {
	if v[0] != '"' {
		n, ok := number(v)
		if !ok || !e.numeric {
			return 0, false
		}
		return n.cmp(e.number), true
	}
	t := text(v)
	if e.numeric {
		if n, ok := readNumber(t); ok {
			return n.cmp(e.number), true
		}
	}
	s, ok := e.Value.(string)
	if !ok {
		return 0, false
	}
	return bytes.Compare(t, []byte(s)), true
}

// number is the number that v encodes.
func number(v []byte) (decimal, bool) {
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return decimal{}, false
	}
	return newDecimal(v)
}

// operands are the items of a list, found without walking it.
type operands struct {
	texts   map[string]int
	numbers map[float64][]int
	others  []int
	items   []any
}

func newOperands(list []any) operands {
	o := operands{items: list, texts: map[string]int{}, numbers: map[float64][]int{}}
	for i, v := range list {
		switch v := v.(type) {
		case string:
			o.texts[v] = i
		case Number:
			if n, ok := newDecimal([]byte(v)); ok {
				o.numbers[n.approximately] = append(o.numbers[n.approximately], i)
			}
		default:
			o.others = append(o.others, i)
		}
	}
	return o
}

// index calls found with the places of the items that v equals.
func (o *operands) index(v []byte, found func(int)) {
	if len(v) == 0 {
		return
	}
	if v[0] == '"' {
		if i, ok := o.texts[string(text(v))]; ok {
			found(i)
		}
		return
	}
	if n, ok := number(v); ok {
		for _, i := range o.numbers[n.approximately] {
			if equal(v, o.items[i]) {
				found(i)
			}
		}
		return
	}
	for _, i := range o.others {
		if equal(v, o.items[i]) {
			found(i)
		}
	}
}

// any: v is one of them, or a list that holds one.
func (o *operands) any(v []byte) bool {
	held := false
	found := func(int) { held = true }
	if o.index(v, found); held {
		return true
	}
	for item := range elements(v) {
		if o.index(item, found); held {
			return true
		}
	}
	return false
}

// all: v is a list that holds each of them.
func (o *operands) all(v []byte) bool {
	if len(v) == 0 || v[0] != '[' {
		return false
	}
	held := make([]bool, len(o.items))
	for item := range elements(v) {
		o.index(item, func(i int) { held[i] = true })
	}
	for i, item := range o.items {
		if text, ok := item.(string); ok {
			i = o.texts[text] // of equal ones the last is found
		}
		if !held[i] {
			return false
		}
	}
	return true
}

// Numeric says whether the Value is a number, or a text that reads as one.
func (e *Expr) Numeric() bool { return e.numeric }
