package schema

import (
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxWork is how many rules may be applied to one value: a schema from outside may double its work with each of a few dozen levels.
const maxWork = 10_000_000

// check applies rules to one value.
type check struct {
	listing  bool // failures are wanted, not only whether there are any
	at       []string
	failures []failure
	work     int
}

type failure struct {
	at []string // where the value stands
	Issue
}

// verdict is what became of one value and one rule.
type verdict uint8

const (
	invalid  verdict = 1
	mistyped verdict = 2 // it is not even of a type that was meant
)

// seen is which parts of a value a rule has applied rules to: what unevaluatedItems and unevaluatedProperties leave alone.
type seen struct {
	properties map[string]bool
	items      map[int]bool
}

func (s *seen) add(of *seen) {
	for name := range of.properties {
		s.property(name)
	}
	for i := range of.items {
		s.item(i)
	}
}

func (s *seen) property(name string) {
	if s == nil {
		return
	}
	if s.properties == nil {
		s.properties = map[string]bool{}
	}
	s.properties[name] = true
}

func (s *seen) item(i int) {
	if s == nil {
		return
	}
	if s.items == nil {
		s.items = map[int]bool{}
	}
	s.items[i] = true
}

func (c *check) fail(format string, args ...any) verdict {
	if c.listing {
		c.note(strings.Join(c.at, "."), fmt.Sprintf(format, args...))
	}
	return invalid
}

func (c *check) note(field, message string) {
	if field == "" {
		field = "root"
	}
	c.failures = append(c.failures, failure{slices.Clone(c.at), Issue{field, message}})
}

// enter is apply for a part of the value.
func (c *check) enter(r *rule, value any, name string) verdict {
	if !c.listing {
		return c.apply(r, value, nil) & invalid
	}
	c.at = append(c.at, name)
	v := c.apply(r, value, nil)
	c.at = c.at[:len(c.at)-1]
	return v & invalid
}

// apply says whether value fits r. Where parts is not nil, what r has looked at is noted there, if it fits.
func (c *check) apply(r *rule, value any, parts *seen) (v verdict) {
	if c.work++; c.work > maxWork {
		return invalid
	}
	if r.never {
		return c.fail("false schema")
	}
	is := typeOf(value)
	if r.types != 0 && r.types&is == 0 {
		if c.listing {
			c.fail("%s", wrongType(r.types, is))
		}
		return invalid | mistyped
	}
	if r.fixed != nil && !reflect.DeepEqual(*r.fixed, value) {
		return c.fail("Invalid input: expected %q", *r.fixed)
	}
	if r.enum != nil && !slices.ContainsFunc(r.enum, func(e any) bool { return reflect.DeepEqual(e, value) }) {
		if c.listing {
			c.fail("%s", notAnyOf(r.enum))
		}
		return invalid
	}
	own := parts
	if own == nil && (r.unseenItems != nil || r.unseenProps != nil) {
		own = &seen{}
	}
	switch value := value.(type) {
	case map[string]any:
		v = c.object(r, value, own)
	case []any:
		v = c.array(r, value, own)
	case string:
		v = c.text(r, value)
	case float64:
		v = c.number(r, value)
	}
	if v == 0 || c.listing {
		v |= c.inPlace(r, value, own)
	}
	if v == 0 || c.listing {
		v |= c.unseen(r, value, own)
	}
	return v
}

// same is apply for a rule of the same value.
func (c *check) same(r *rule, value any, parts *seen) verdict {
	if parts == nil {
		return c.apply(r, value, nil)
	}
	inner := &seen{}
	v := c.apply(r, value, inner)
	if v == 0 {
		parts.add(inner)
	}
	return v
}

// fits is same without a list of failures.
func (c *check) fits(r *rule, value any, parts *seen) bool {
	listing := c.listing
	c.listing = false
	v := c.same(r, value, parts)
	c.listing = listing
	return v == 0
}

func (c *check) inPlace(r *rule, value any, parts *seen) (v verdict) {
	for _, sub := range r.refs {
		v |= c.same(sub, value, parts)
	}
	if r.not != nil && c.fits(r.not, value, nil) {
		v |= c.fail("'not' failed")
	}
	for _, sub := range r.all {
		v |= c.same(sub, value, parts)
	}
	if r.any != nil {
		v |= c.union(r.any, value, parts, false)
	}
	if r.one != nil {
		v |= c.union(r.one, value, parts, true)
	}
	if r.when != nil {
		then := r.otherwise
		if c.fits(r.when, value, parts) {
			then = r.then
		}
		if then != nil {
			v |= c.same(then, value, parts)
		}
	}
	return v
}

// union applies anyOf or, where only one branch may fit, oneOf. Where only one branch has the type of the value, its failures say
// more than "Invalid input".
func (c *check) union(branches []*rule, value any, parts *seen, single bool) (v verdict) {
	begin, fit := len(c.failures), 0
	var likely []failure
	alike := 0
	for _, sub := range branches {
		mark := len(c.failures)
		if fit > 0 {
			if !single && parts == nil {
				break
			}
			if c.fits(sub, value, parts) {
				fit++
			}
			continue
		}
		got := c.same(sub, value, parts)
		switch {
		case got == 0:
			fit++
		case got&mistyped == 0:
			alike++
			likely = c.failures[mark:]
		}
		v |= got
	}
	if fit == 1 || fit > 0 && !single {
		c.failures = c.failures[:begin]
		return 0
	}
	if fit == 0 && alike == 1 && c.listing {
		c.failures = append(c.failures[:begin], likely...)
		return v
	}
	c.failures = c.failures[:begin]
	return v | c.fail("Invalid input")
}

func (c *check) unseen(r *rule, value any, parts *seen) (v verdict) {
	switch value := value.(type) {
	case map[string]any:
		if r.unseenProps == nil {
			return 0
		}
		for name, p := range value {
			if !parts.properties[name] {
				v |= c.enter(r.unseenProps, p, name)
				parts.property(name)
			}
		}
	case []any:
		if r.unseenItems == nil {
			return 0
		}
		for i, item := range value {
			if !parts.items[i] {
				v |= c.enter(r.unseenItems, item, strconv.Itoa(i))
				parts.item(i)
			}
		}
	}
	return v
}

func (c *check) object(r *rule, object map[string]any, parts *seen) (v verdict) {
	if r.minProperties != nil && len(object) < *r.minProperties {
		v |= c.fail("minProperties: got %d, want %d", len(object), *r.minProperties)
	}
	if r.maxProperties != nil && len(object) > *r.maxProperties {
		v |= c.fail("maxProperties: got %d, want %d", len(object), *r.maxProperties)
	}
	for _, name := range r.required {
		if _, ok := object[name]; !ok {
			if v |= invalid; !c.listing {
				return v
			}
			c.note(strings.Join(append(slices.Clone(c.at), name), "."), "Required")
		}
	}
	var foreign []string
	if r.properties != nil || r.patterns != nil || r.additional != nil {
		for name, value := range object {
			sub, known := r.properties[name]
			if known {
				v |= c.enter(sub, value, name)
			}
			for _, p := range r.patterns {
				if p.name.MatchString(name) {
					known = true
					v |= c.enter(p.rule, value, name)
				}
			}
			switch {
			case known || r.additional == nil:
			case r.additional.never:
				foreign = append(foreign, name)
			default:
				known = true
				v |= c.enter(r.additional, value, name)
			}
			if known {
				parts.property(name)
			}
			if v != 0 && !c.listing {
				return v
			}
		}
	}
	if len(foreign) > 0 {
		v |= c.fail("additional properties %s not allowed", quoted(foreign))
	}
	if r.names != nil {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if !c.fits(r.names, name, nil) {
				v |= c.fail("invalid propertyName '%s'", name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.needs)) {
		if _, ok := object[name]; !ok {
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(r.needs[name]), func(n string) bool { _, ok := object[n]; return ok })
		if len(missing) > 0 {
			v |= c.fail("properties %s required, if '%s' exists", quoted(missing), name)
		}
	}
	for name, sub := range r.brings {
		if _, ok := object[name]; ok {
			v |= c.same(sub, object, parts)
		}
	}
	return v
}

func quoted(names []string) string {
	slices.Sort(names)
	return "'" + strings.Join(names, "', '") + "'"
}

func (c *check) array(r *rule, array []any, parts *seen) (v verdict) {
	if r.minItems != nil && len(array) < *r.minItems {
		v |= c.fail("Too small: expected array to have >=%d items", *r.minItems)
	}
	if r.maxItems != nil && len(array) > *r.maxItems {
		v |= c.fail("Too big: expected array to have <=%d items", *r.maxItems)
	}
	if r.unique {
		if i, j := twice(array); j > 0 {
			v |= c.fail("items at %d and %d are equal", i, j)
		}
	}
	matched := 0
	for i, item := range array {
		sub := r.items
		if i < len(r.prefix) {
			sub = r.prefix[i]
		}
		if sub != nil {
			v |= c.enter(sub, item, strconv.Itoa(i))
			parts.item(i)
		}
		if r.contains != nil && c.fits(r.contains, item, nil) {
			matched++
			parts.item(i)
		}
		if v != 0 && !c.listing {
			return v
		}
	}
	if r.contains != nil {
		least := 1
		if r.minContains != nil {
			least = *r.minContains
		}
		if matched < least {
			v |= c.fail("min %d items required to match contains schema, but matched %d items", least, matched)
		}
		if r.maxContains != nil && matched > *r.maxContains {
			v |= c.fail("max %d items required to match contains schema, but matched %d items", *r.maxContains, matched)
		}
	}
	return v
}

// twice is where an array holds the same value twice; j is 0 where it does not.
func twice(array []any) (i, j int) {
	first := make(map[string]int, len(array))
	for j, item := range array {
		text, err := Marshal(item) // keys are sorted: equal values have equal texts
		if err != nil {
			continue
		}
		if i, ok := first[string(text)]; ok {
			return i, j
		}
		first[string(text)] = j
	}
	return 0, 0
}

func (c *check) text(r *rule, text string) (v verdict) {
	if r.minLength != nil || r.maxLength != nil {
		n := utf8.RuneCountInString(text)
		if r.minLength != nil && n < *r.minLength {
			v |= c.fail("Too small: expected string to have >=%d characters", *r.minLength)
		}
		if r.maxLength != nil && n > *r.maxLength {
			v |= c.fail("Too big: expected string to have <=%d characters", *r.maxLength)
		}
	}
	if r.pattern != nil && !r.pattern.MatchString(text) {
		if r.pattern.String() == DatePattern {
			return v | c.fail("Invalid input: expected date, received string")
		}
		v |= c.fail("Invalid string: must match pattern /%s/", r.pattern)
	}
	if r.form != "" && !formatted(r.form, text) {
		v |= c.fail("'%s' is not valid %s", text, r.form)
	}
	return v
}

func (c *check) number(r *rule, n float64) (v verdict) {
	if r.minimum != nil && n < *r.minimum {
		v |= c.fail("Too small: expected number to be >=%s", decimal(*r.minimum))
	}
	if r.above != nil && n <= *r.above {
		v |= c.fail("Too small: expected number to be >%s", decimal(*r.above))
	}
	if r.maximum != nil && n > *r.maximum {
		v |= c.fail("Too big: expected number to be <=%s", decimal(*r.maximum))
	}
	if r.below != nil && n >= *r.below {
		v |= c.fail("Too big: expected number to be <%s", decimal(*r.below))
	}
	if r.multipleOf != nil && !multiple(n, *r.multipleOf) {
		v |= c.fail("multipleOf: got %s, want %s", decimal(n), decimal(*r.multipleOf))
	}
	return v
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// multiple says whether n is a multiple of unit as they are written: 0.3 is one of 0.1.
func multiple(n, unit float64) bool {
	a, ok := new(big.Rat).SetString(decimal(n))
	b, okUnit := new(big.Rat).SetString(decimal(unit))
	return ok && okUnit && a.Quo(a, b).IsInt()
}
