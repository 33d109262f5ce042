package schema

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unsafe"
)

// rule is a compiled schema: what values it lets pass. Drafts 4 to 2020-12 are understood, but for a $dynamicRef that more than one
// anchor answers, and for $recursiveRef. It is a validator of our own because the library that it replaced parsed the schemas of
// schemas before main: a third of a function's start, a megabyte of its memory.
type rule struct {
	never bool
	types typeSet // none: any
	fixed *any    // const
	enum  []any
	form  string // format, where the draft asserts it
	refs  []*rule

	minimum, maximum, above, below, multipleOf *float64

	minLength, maxLength *int
	pattern              *regexp.Regexp

	minItems, maxItems, minContains, maxContains *int
	unique                                       bool
	prefix                                       []*rule
	items, contains, unseenItems                 *rule

	minProperties, maxProperties   *int
	required                       []string
	properties                     map[string]*rule
	patterns                       []patternRule
	additional, names, unseenProps *rule
	needs                          map[string][]string // dependentRequired
	brings                         map[string]*rule    // dependentSchemas

	all, any, one              []*rule
	not, when, then, otherwise *rule
}

type patternRule struct {
	name *regexp.Regexp
	rule *rule
}

// inPlace are the rules that apply to the same value.
func (r *rule) inPlace(yield func(*rule) bool) {
	for _, list := range [][]*rule{r.refs, r.all, r.any, r.one, {r.not, r.when, r.then, r.otherwise}} {
		for _, sub := range list {
			if sub != nil && !yield(sub) {
				return
			}
		}
	}
	for _, sub := range r.brings {
		if !yield(sub) {
			return
		}
	}
}

// typeSet is a set of JSON's types.
type typeSet uint8

const (
	typeNull typeSet = 1 << iota
	typeBoolean
	typeNumber
	typeInteger
	typeString
	typeArray
	typeObject
)

var typeNames = [...]string{"null", "boolean", "number", "integer", "string", "array", "object"}

func (t typeSet) names() (names []string) {
	for i, name := range typeNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// typeOf is the type of a decoded value; a whole number is typeNumber|typeInteger.
func typeOf(value any) typeSet {
	switch v := value.(type) {
	case nil:
		return typeNull
	case bool:
		return typeBoolean
	case float64:
		if v == math.Trunc(v) {
			return typeNumber | typeInteger
		}
		return typeNumber
	case string:
		return typeString
	case []any:
		return typeArray
	case map[string]any:
		return typeObject
	}
	return 0
}

// compiler makes the rules of one document.
type compiler struct {
	closed    bool // additionalProperties false is meant: zod publishes it and drops unknown keys
	draft     int
	resources map[string]any              // by URI: the document, and what has an $id
	anchors   map[string]any              // by URI#name
	dynamic   map[string]bool             // names of $dynamicAnchor
	bases     map[unsafe.Pointer]*url.URL // of each schema: what its references are relative to
	rules     map[unsafe.Pointer]*rule    // of each schema that is in use
	err       error                       // the first one
}

// compile compiles a decoded document. It refers to nothing but itself.
func compile(document any, closed bool) (*rule, error) {
	c := &compiler{closed: closed, draft: 2020, resources: map[string]any{}, anchors: map[string]any{}, dynamic: map[string]bool{}, bases: map[unsafe.Pointer]*url.URL{}, rules: map[unsafe.Pointer]*rule{}}
	if m, ok := document.(map[string]any); ok && m["$schema"] != nil {
		c.draft = draftOf(m["$schema"])
		if c.draft == 0 {
			return nil, fmt.Errorf("$schema: %v is no draft of JSON Schema", m["$schema"])
		}
	}
	base := &url.URL{Scheme: "mem", Path: "/schema"}
	c.resources[base.String()] = document
	c.index(document, base)
	root := c.rule(document)
	if c.err == nil {
		c.err = c.ends()
	}
	return root, c.err
}

func draftOf(uri any) int {
	text, _ := uri.(string)
	_, name, _ := strings.Cut(strings.TrimSuffix(text, "#"), "://json-schema.org/")
	switch name {
	case "draft-04/schema":
		return 4
	case "draft-06/schema":
		return 6
	case "draft-07/schema":
		return 7
	case "draft/2019-09/schema":
		return 2019
	case "draft/2020-12/schema", "schema":
		return 2020
	}
	return 0
}

// ends says which schema applies itself to the same value, which would never end.
func (c *compiler) ends() error {
	const under, over = 1, 2
	state := map[*rule]int{}
	var visit func(*rule) bool
	visit = func(r *rule) bool {
		if state[r] == 0 {
			state[r] = under
			for sub := range r.inPlace {
				if !visit(sub) {
					return false
				}
			}
			state[r] = over
		}
		return state[r] == over
	}
	for _, r := range c.rules {
		if !visit(r) {
			return fmt.Errorf("$ref: a schema refers to itself")
		}
	}
	return nil
}

func (c *compiler) fail(keyword, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", keyword, fmt.Sprintf(format, args...))
	}
}

func identity(m map[string]any) unsafe.Pointer { return reflect.ValueOf(m).UnsafePointer() }

// rule compiles one schema.
func (c *compiler) rule(node any) *rule {
	m, ok := node.(map[string]any)
	if !ok {
		pass, ok := node.(bool)
		if !ok {
			c.fail("schema", "neither an object nor a boolean")
		}
		return &rule{never: !pass}
	}
	at := identity(m)
	if r := c.rules[at]; r != nil {
		return r
	}
	r := &rule{}
	c.rules[at] = r
	if ref := m["$ref"]; ref != nil && c.draft < 2019 { // what stands beside it does not count
		r.refs = c.refer("$ref", m, ref)
		return r
	}
	for key, value := range m {
		c.keyword(r, m, key, value)
	}
	if list, ok := m["items"].([]any); ok { // before 2020-12
		r.prefix, r.items = c.list("items", list), nil
		if rest := m["additionalItems"]; rest != nil {
			r.items = c.rule(rest)
		}
	}
	if c.draft == 4 { // a boolean beside the limit
		if m["exclusiveMinimum"] == true {
			r.minimum, r.above = nil, r.minimum
		}
		if m["exclusiveMaximum"] == true {
			r.maximum, r.below = nil, r.maximum
		}
	}
	return r
}

func (c *compiler) keyword(r *rule, m map[string]any, key string, value any) {
	switch key {
	case "$ref", "$dynamicRef":
		r.refs = append(r.refs, c.refer(key, m, value)...)
	case "$recursiveRef":
		c.fail(key, "not supported")
	case "type":
		r.types = c.types(value)
	case "const":
		r.fixed = &value
	case "enum":
		if r.enum, _ = value.([]any); len(r.enum) == 0 {
			c.fail(key, "not a list")
		}
	case "format":
		if form := c.text(key, value); c.draft < 2019 {
			r.form = form
		}
	case "minimum":
		r.minimum = c.number(key, value)
	case "maximum":
		r.maximum = c.number(key, value)
	case "exclusiveMinimum", "exclusiveMaximum":
		if _, ok := value.(bool); ok && c.draft == 4 {
			break
		}
		if key == "exclusiveMinimum" {
			r.above = c.number(key, value)
		} else {
			r.below = c.number(key, value)
		}
	case "multipleOf":
		if r.multipleOf = c.number(key, value); r.multipleOf != nil && *r.multipleOf <= 0 {
			c.fail(key, "not above 0")
		}
	case "minLength":
		r.minLength = c.count(key, value)
	case "maxLength":
		r.maxLength = c.count(key, value)
	case "pattern":
		r.pattern = c.regexp(key, c.text(key, value))
	case "minItems":
		r.minItems = c.count(key, value)
	case "maxItems":
		r.maxItems = c.count(key, value)
	case "minContains":
		r.minContains = c.count(key, value)
	case "maxContains":
		r.maxContains = c.count(key, value)
	case "uniqueItems":
		var ok bool
		if r.unique, ok = value.(bool); !ok {
			c.fail(key, "not a boolean")
		}
	case "prefixItems":
		r.prefix = c.list(key, value)
	case "items":
		if _, old := value.([]any); !old {
			r.items = c.rule(value)
		}
	case "contains":
		r.contains = c.rule(value)
	case "unevaluatedItems":
		r.unseenItems = c.rule(value)
	case "minProperties":
		r.minProperties = c.count(key, value)
	case "maxProperties":
		r.maxProperties = c.count(key, value)
	case "required":
		r.required = c.texts(key, value)
	case "properties":
		r.properties = c.named(key, value)
	case "patternProperties":
		named := c.named(key, value)
		for _, name := range slices.Sorted(maps.Keys(named)) {
			r.patterns = append(r.patterns, patternRule{c.regexp(key, name), named[name]})
		}
	case "additionalProperties":
		if value != false || c.closed {
			r.additional = c.rule(value)
		}
	case "propertyNames":
		r.names = c.rule(value)
	case "unevaluatedProperties":
		r.unseenProps = c.rule(value)
	case "dependentRequired", "dependentSchemas", "dependencies":
		if (key == "dependencies") == (c.draft < 2019) {
			c.dependent(r, key, value)
		}
	case "allOf":
		r.all = c.list(key, value)
	case "anyOf":
		r.any = c.list(key, value)
	case "oneOf":
		r.one = c.list(key, value)
	case "not":
		r.not = c.rule(value)
	case "if":
		r.when = c.rule(value)
	case "then":
		r.then = c.rule(value)
	case "else":
		r.otherwise = c.rule(value)
	case "$defs", "definitions":
		c.named(key, value) // what nobody refers to is to be right, too
	}
}

func (c *compiler) dependent(r *rule, key string, value any) {
	m, ok := value.(map[string]any)
	if !ok {
		c.fail(key, "not an object")
	}
	for name, v := range m {
		if _, list := v.([]any); list || key == "dependentRequired" {
			if r.needs == nil {
				r.needs = map[string][]string{}
			}
			r.needs[name] = c.texts(key, v)
			continue
		}
		if r.brings == nil {
			r.brings = map[string]*rule{}
		}
		r.brings[name] = c.rule(v)
	}
}

func (c *compiler) types(value any) (set typeSet) {
	names, ok := value.([]any)
	if !ok {
		names = []any{value}
	}
	for _, name := range names {
		found := false
		for i, n := range typeNames {
			if n == name {
				set, found = set|1<<i, true
			}
		}
		if !found {
			c.fail("type", "%v is no type", name)
		}
	}
	return set
}

func (c *compiler) number(key string, value any) *float64 {
	n, ok := value.(float64)
	if !ok {
		c.fail(key, "not a number")
		return nil
	}
	return &n
}

func (c *compiler) count(key string, value any) *int {
	f, ok := value.(float64)
	if !ok || f < 0 || f != math.Trunc(f) {
		c.fail(key, "not a count")
		return nil
	}
	n := int(min(f, math.MaxInt32))
	return &n
}

func (c *compiler) text(key string, value any) string {
	text, ok := value.(string)
	if !ok {
		c.fail(key, "not a string")
	}
	return text
}

func (c *compiler) texts(key string, value any) []string {
	list, ok := value.([]any)
	if !ok {
		c.fail(key, "not a list")
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = c.text(key, v)
	}
	return texts
}

func (c *compiler) regexp(key, text string) *regexp.Regexp {
	expression, err := regexp.Compile(text)
	if err != nil {
		c.fail(key, "%v", err)
	}
	return expression
}

func (c *compiler) list(key string, value any) []*rule {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		c.fail(key, "not a list")
	}
	rules := make([]*rule, len(list))
	for i, sub := range list {
		rules[i] = c.rule(sub)
	}
	return rules
}

func (c *compiler) named(key string, value any) map[string]*rule {
	m, ok := value.(map[string]any)
	if !ok {
		c.fail(key, "not an object")
	}
	rules := make(map[string]*rule, len(m))
	for name, sub := range m {
		rules[name] = c.rule(sub)
	}
	return rules
}
