package pgvector

import (
	"fmt"
	"strings"

	"mastralambda/shared/vectorstore/filter"
)

// where compiles filters to SQL. Whatever a caller sent is a parameter; keys of metadata are as well.
//
// Unknown is NULL here, as it is unknown in filter.Match: a filter is true of the same entries in both. Where it does not
// matter whether a condition is false or unknown, which is everywhere but below a $not, the SQL is simpler, and such that
// the indexes of the metadata serve it.
type where struct {
	args []any
	err  error
	rows int // of jsonb_array_elements, to name them
}

// arg is the placeholder of a further parameter.
func (w *where) arg(v any, as string) string {
	w.args = append(w.args, v)
	return fmt.Sprintf("$%d::%s", len(w.args), as)
}

func (w *where) encode(v any) string {
	data, err := filter.Encode(v)
	if err != nil {
		w.err = err
	}
	return string(data)
}

// json is the placeholder of a value of an expression.
func (w *where) json(v any) string { return w.arg(w.encode(v), "text::jsonb") }

func (w *where) list(items []any) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = w.encode(item)
	}
	return w.arg(texts, "text[]::jsonb[]")
}

// condition is e as a boolean of SQL over doc, an expression of type jsonb. It is exact if it is NULL for unknown.
func (w *where) condition(e *filter.Expr, doc string, exact bool) string {
	switch e.Op {
	case filter.And, filter.Or:
		if len(e.Args) == 0 {
			return map[filter.Op]string{filter.And: "TRUE", filter.Or: "FALSE"}[e.Op]
		}
		parts := make([]string, len(e.Args))
		for i, a := range e.Args {
			parts[i] = w.condition(a, doc, exact)
		}
		return "(" + strings.Join(parts, map[filter.Op]string{filter.And: " AND ", filter.Or: " OR "}[e.Op]) + ")"
	case filter.Not:
		return "(NOT " + w.condition(e.Args[0], doc, true) + ")"
	}
	if items, ok := e.Value.([]any); ok && len(items) == 0 { // Postgres wants every parameter to be used
		switch e.Op {
		case filter.In, filter.All:
			return "FALSE"
		case filter.Nin:
			return "TRUE"
		}
	}
	if !exact {
		if c, ok := w.holds(e, doc); ok {
			return c
		}
	}
	for _, key := range e.Path {
		doc = "(" + doc + " -> " + w.arg(key, "text") + ")"
	}
	return "(" + w.compare(e, doc, exact) + ")"
}

// holds is an equality as what the document holds, which the index of the metadata finds. Of scalars it is the same.
func (w *where) holds(e *filter.Expr, doc string) (string, bool) {
	if len(e.Path) == 0 {
		return "", false
	}
	var forms []string
	switch e.Op {
	case filter.Eq:
		if e.Value == nil || !scalar(e.Value) {
			return "", false
		}
		return doc + " @> " + w.arg(w.at(e.Path, e.Value), "text::jsonb"), true
	case filter.In:
		for _, item := range e.Value.([]any) {
			if !scalar(item) {
				return "", false
			}
			if forms = append(forms, w.at(e.Path, []any{item})); item != nil { // a field that is null is missing
				forms = append(forms, w.at(e.Path, item))
			}
		}
		return doc + " @> ANY(" + w.arg(forms, "text[]::jsonb[]") + ")", true
	case filter.All:
		for _, item := range e.Value.([]any) {
			if !scalar(item) {
				return "", false
			}
		}
		return doc + " @> " + w.arg(w.at(e.Path, e.Value), "text::jsonb"), true
	}
	return "", false
}

func scalar(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return true
}

// at is an object that has v at a path.
func (w *where) at(path []string, v any) string {
	for i := len(path) - 1; i >= 0; i-- {
		v = map[string]any{path[i]: v}
	}
	return w.encode(v)
}

// compare is a comparison of v, which is NULL or 'null' where the field is missing.
func (w *where) compare(e *filter.Expr, v string, exact bool) string {
	missing := fmt.Sprintf("coalesce(jsonb_typeof(%s), 'null') = 'null'", v)
	known := v
	if exact || e.Op != filter.Eq {
		known = fmt.Sprintf("nullif(%s, 'null'::jsonb)", v)
	}
	// anyItem is whether v is a list with an item that holds says something true of.
	anyItem := func(holds func(item string) string) string {
		w.rows++
		item := fmt.Sprintf("item%d", w.rows)
		return fmt.Sprintf("CASE WHEN jsonb_typeof(%s) = 'array' THEN EXISTS (SELECT FROM jsonb_array_elements(%s) AS %s WHERE %s) ELSE FALSE END", v, v, item, holds(item))
	}
	switch e.Op {
	case filter.Exists:
		if e.Value == true {
			return "NOT (" + missing + ")"
		}
		return missing
	case filter.Eq, filter.Ne:
		if e.Value == nil {
			if e.Op == filter.Eq {
				return missing
			}
			return "NOT (" + missing + ")"
		}
		return known + map[filter.Op]string{filter.Eq: " = ", filter.Ne: " <> "}[e.Op] + w.json(e.Value)
	case filter.In, filter.Nin:
		list := w.list(e.Value.([]any))
		any := fmt.Sprintf("%s = ANY(%s) OR %s", known, list, anyItem(func(item string) string { return item + " = ANY(" + list + ")" }))
		if e.Op == filter.Nin {
			return "NOT (" + any + ")"
		}
		return any
	case filter.All:
		return fmt.Sprintf("CASE WHEN jsonb_typeof(%s) = 'array' THEN NOT EXISTS (SELECT FROM unnest(%s) AS wanted WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(%s) AS item WHERE item = wanted)) ELSE FALSE END",
			v, w.list(e.Value.([]any)), v)
	case filter.ElemMatch:
		return anyItem(func(item string) string { return w.condition(e.Args[0], item, false) })
	case filter.Size:
		return fmt.Sprintf("CASE WHEN jsonb_typeof(%s) = 'array' THEN jsonb_array_length(%s) = %s ELSE FALSE END", v, v, w.arg(e.Value, "int"))
	case filter.Contains:
		return w.contains(e, v, missing, anyItem)
	case filter.Regex:
		return fmt.Sprintf(`CASE WHEN jsonb_typeof(%s) = 'string' THEN (%s #>> '{}') COLLATE "C" ~ %s WHEN %s THEN NULL ELSE FALSE END`, v, v, w.arg(e.Posix(), "text"), missing)
	}
	return w.order(e, v, missing, exact)
}

func (w *where) contains(e *filter.Expr, v, missing string, anyItem func(func(string) string) string) string {
	var found string
	switch want := e.Value.(type) {
	case []any:
		if len(want) == 0 {
			found = "FALSE"
			break
		}
		list := w.list(want)
		found = fmt.Sprintf("CASE WHEN jsonb_typeof(%s) = 'array' THEN %s = ANY(%s) OR (%s) ELSE FALSE END", v, v, list, anyItem(func(item string) string { return item + " = ANY(" + list + ")" }))
	case string:
		part := w.arg(want, "text")
		holds := func(v string) string {
			return fmt.Sprintf(`CASE WHEN jsonb_typeof(%s) = 'string' THEN strpos(lower((%s #>> '{}') COLLATE "C"), lower(%s COLLATE "C")) > 0 ELSE FALSE END`, v, v, part)
		}
		found = fmt.Sprintf("%s OR %s", holds(v), anyItem(holds))
	default:
		value := w.json(want)
		holds := func(v string) string { return v + " = " + value }
		found = fmt.Sprintf("CASE WHEN jsonb_typeof(%s) = 'array' THEN FALSE ELSE %s END OR %s", v, holds(v), anyItem(holds))
	}
	return fmt.Sprintf("CASE WHEN %s THEN NULL ELSE %s END", missing, found)
}

// number is the number that a value is, or reads as, else NULL. Fields that hold numbers are indexed by it.
func number(v string) string {
	text := "(" + v + " #>> '{}')"
	return fmt.Sprintf(`(CASE jsonb_typeof(%s) WHEN 'number' THEN %s::numeric WHEN 'string' THEN CASE WHEN octet_length(%s) <= %d AND %s COLLATE "C" ~ '%s' THEN %s::numeric END END)`,
		v, v, text, filter.MaxNumber, text, filter.NumberPattern, text)
}

// order compares numbers, texts, and texts that read as numbers with numbers.
func (w *where) order(e *filter.Expr, v, missing string, exact bool) string {
	op := map[filter.Op]string{filter.Gt: ">", filter.Gte: ">=", filter.Lt: "<", filter.Lte: "<="}[e.Op]
	otherwise := "FALSE" // of what is no number
	var operand string
	if s, ok := e.Value.(string); ok {
		otherwise = fmt.Sprintf(`CASE WHEN jsonb_typeof(%s) = 'string' THEN (%s #>> '{}') COLLATE "C" %s %s ELSE FALSE END`, v, v, op, w.arg(s, "text"))
		operand = s
	} else {
		operand = string(e.Value.(filter.Number))
	}
	if !e.Numeric() {
		return fmt.Sprintf("CASE WHEN %s THEN NULL ELSE %s END", missing, otherwise)
	}
	n, limit := number(v), w.arg(operand, "text::numeric")
	if !exact && otherwise == "FALSE" {
		return n + " " + op + " " + limit
	}
	return fmt.Sprintf("CASE WHEN %s THEN NULL WHEN %s IS NOT NULL THEN %s %s %s ELSE %s END", missing, n, n, op, limit, otherwise)
}
