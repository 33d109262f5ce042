package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Issue is one failure: a dotted field ("root" for the value itself, "body" for text that is no JSON) and what is wrong.
type Issue struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// InvalidError says that a value does not fit its schema; it holds every failure.
type InvalidError struct{ Issues []Issue }

func (e *InvalidError) Error() string {
	var b strings.Builder
	for i, s := range e.Issues {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(s.Field + ": " + s.Message)
	}
	return b.String()
}

// Validate checks a decoded JSON value (map[string]any, []any, string, float64, bool, nil) and returns every failure.
// The texts are those of zod 4, but for a missing field: "Required".
func (s *Schema) Validate(value any) ([]Issue, error) {
	r, err := s.compiled()
	if err != nil {
		return nil, err
	}
	c := check{}
	fits := c.apply(r, value, nil) == 0
	if c.work > maxWork {
		return []Issue{{"root", "Too complex for its schema"}}, nil
	}
	if fits {
		return nil, nil
	}
	c = check{listing: true}
	c.apply(r, value, nil)
	// Maps are walked in any order: one of our own keeps answers the same from call to call.
	slices.SortStableFunc(c.failures, func(a, b failure) int { return slices.Compare(a.at, b.at) })
	issues := make([]Issue, len(c.failures))
	for i, f := range c.failures {
		issues[i] = f.Issue
	}
	return s.declared(issues), nil
}

// declared sorts issues by the order in which their fields are declared, as the reference server lists them.
func (s *Schema) declared(issues []Issue) []Issue {
	d, err := s.document()
	if err != nil {
		return issues
	}
	slices.SortStableFunc(issues, func(a, b Issue) int { return slices.Compare(d.order.place(a.Field), d.order.place(b.Field)) })
	return issues
}

// place is the number of each part of a field's path: of a property among those declared, of an item in its list.
func (o *order) place(field string) (at []int) {
	for part := range strings.SplitSeq(field, ".") {
		var inner *order
		n, err := strconv.Atoi(part)
		if o != nil && err == nil && o.items != nil {
			inner = o.items
		} else if o != nil {
			n, inner = slices.Index(o.names, part), o.fields[part]
		}
		at, o = append(at, n), inner
	}
	return at
}

// DatePattern is what a date in ISO 8601 looks like, with or without a time.
const DatePattern = `^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$`

// wrongType is what is said of a value whose type is not one of those wanted.
func wrongType(want, is typeSet) string {
	names := strings.Join(want.names(), " | ")
	if names == "integer" && is == typeNumber {
		names = "int"
	} else if names == "integer" {
		names = "number"
	}
	return "Invalid input: expected " + names + ", received " + (is &^ typeInteger).names()[0]
}

// notAnyOf is what is said of a value that is none of the options.
func notAnyOf(options []any) string {
	texts := make([]string, len(options))
	for i, o := range options {
		texts[i] = fmt.Sprintf("%q", o)
	}
	if len(texts) == 1 {
		return "Invalid input: expected " + texts[0]
	}
	return "Invalid option: expected one of " + strings.Join(texts, "|")
}
