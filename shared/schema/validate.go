package schema

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
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
	c, err := s.compiled()
	if err != nil {
		return nil, err
	}
	var invalid *jsonschema.ValidationError
	if err := c.Validate(value); errors.As(err, &invalid) {
		return s.declared(collect(invalid, nil)), nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// declared sorts issues by the order in which their fields are declared, as the reference server lists them.
func (s *Schema) declared(issues []Issue) []Issue {
	d, err := s.document()
	if err != nil {
		return issues
	}
	slices.SortStableFunc(issues, func(a, b Issue) int { return slices.Compare(place(d.tree, a.Field), place(d.tree, b.Field)) })
	return issues
}

// place is the number of each part of a field's path: of a property among those declared, of an item in its list.
func place(doc *Doc, field string) (at []int) {
	for part := range strings.SplitSeq(field, ".") {
		var inner *Doc
		n, err := strconv.Atoi(part)
		if doc != nil && err == nil && doc.Items != nil {
			inner = doc.Items
		} else if doc != nil {
			n, inner = slices.Index(doc.PropertyOrder, part), doc.Properties[part]
		}
		at, doc = append(at, n), inner
	}
	return at
}

func collect(e *jsonschema.ValidationError, out []Issue) []Issue {
	at := strings.Join(e.InstanceLocation, ".")
	field := at
	if at == "" {
		field = "root"
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, m := range k.Missing {
			out = append(out, Issue{strings.TrimPrefix(at+"."+m, "."), "Required"})
		}
		return out
	case *kind.AnyOf, *kind.OneOf:
		if c := likely(e); c != nil {
			return collect(c, out)
		}
		return append(out, Issue{field, "Invalid input"})
	}
	if len(e.Causes) == 0 {
		return append(out, Issue{field, text(e.ErrorKind)})
	}
	// The validator walks maps: an order of our own keeps answers the same from call to call.
	slices.SortStableFunc(e.Causes, func(a, b *jsonschema.ValidationError) int {
		return slices.Compare(a.InstanceLocation, b.InstanceLocation)
	})
	for _, c := range e.Causes {
		out = collect(c, out)
	}
	return out
}

// likely is the one branch of a union whose type the value has, so that its failures say more than "Invalid input".
func likely(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	var branches []*jsonschema.ValidationError
	for _, c := range e.Causes {
		if !wrongType(c, len(e.InstanceLocation)) {
			branches = append(branches, c)
		}
	}
	if len(branches) != 1 {
		return nil
	}
	return branches[0]
}

func wrongType(e *jsonschema.ValidationError, depth int) bool {
	if _, ok := e.ErrorKind.(*kind.Type); ok && len(e.InstanceLocation) == depth {
		return true
	}
	for _, c := range e.Causes {
		if wrongType(c, depth) {
			return true
		}
	}
	return false
}

// DatePattern is what a date in ISO 8601 looks like, with or without a time.
const DatePattern = `^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$`

var english = message.NewPrinter(language.English)

func text(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		want := strings.Join(k.Want, " | ")
		if want == "integer" && k.Got == "number" {
			want = "int"
		} else if want == "integer" {
			want = "number"
		}
		return "Invalid input: expected " + want + ", received " + k.Got
	case *kind.Enum:
		options := make([]string, len(k.Want))
		for i, w := range k.Want {
			options[i] = fmt.Sprintf("%q", w)
		}
		if len(options) == 1 {
			return "Invalid input: expected " + options[0]
		}
		return "Invalid option: expected one of " + strings.Join(options, "|")
	case *kind.Const:
		return fmt.Sprintf("Invalid input: expected %q", k.Want)
	case *kind.Minimum:
		return "Too small: expected number to be >=" + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		return "Too small: expected number to be >" + k.Want.RatString()
	case *kind.Maximum:
		return "Too big: expected number to be <=" + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		return "Too big: expected number to be <" + k.Want.RatString()
	case *kind.MinLength:
		return fmt.Sprintf("Too small: expected string to have >=%d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("Too big: expected string to have <=%d characters", k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("Too small: expected array to have >=%d items", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("Too big: expected array to have <=%d items", k.Want)
	case *kind.Pattern:
		if k.Want == DatePattern {
			return "Invalid input: expected date, received string"
		}
		return "Invalid string: must match pattern /" + k.Want + "/"
	}
	return k.LocalizedString(english)
}
