package schema

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	infer "github.com/google/jsonschema-go/jsonschema"
)

// mend walks doc beside t: a slice is an array and not null (a nil one encodes as []), a field that may be absent is not
// null either, a duration is a string, and the tags enum, minimum, maximum, minLength, maxLength, minItems, maxItems,
// pattern and format become their keywords.
func mend(doc *Doc, t reflect.Type, known map[reflect.Type]*Doc) error {
	nullable := t.Kind() == reflect.Pointer
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known[t] != nil {
		return nil
	}
	if t == reflect.TypeFor[time.Duration]() {
		*doc = infer.Schema{Type: "string", Description: doc.Description}
	}
	if !nullable {
		notNull(doc)
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		if doc.Items != nil {
			return mend(doc.Items, t.Elem(), known)
		}
	case reflect.Map:
		if doc.AdditionalProperties != nil {
			return mend(doc.AdditionalProperties, t.Elem(), known)
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			name, optional := fieldName(f)
			p := doc.Properties[name]
			if p == nil || f.Anonymous {
				continue
			}
			if err := mend(p, f.Type, known); err != nil {
				return err
			}
			if optional {
				notNull(p)
			}
			if err := constrain(p, f); err != nil {
				return fmt.Errorf("%s.%s: %w", t, f.Name, err)
			}
		}
	}
	return nil
}

func notNull(doc *Doc) {
	if len(doc.Types) == 2 && doc.Types[0] == "null" {
		doc.Type, doc.Types = doc.Types[1], nil
	}
}

func constrain(doc *Doc, f reflect.StructField) error {
	var err error
	number := func(tag string) *float64 {
		if v, ok := f.Tag.Lookup(tag); ok {
			n, e := strconv.ParseFloat(v, 64)
			if e != nil {
				err = e
			}
			return &n
		}
		return nil
	}
	count := func(tag string) *int {
		if n := number(tag); n != nil {
			i := int(*n)
			return &i
		}
		return nil
	}
	set(&doc.Minimum, number("minimum"))
	set(&doc.Maximum, number("maximum"))
	set(&doc.MinLength, count("minLength"))
	set(&doc.MaxLength, count("maxLength"))
	set(&doc.MinItems, count("minItems"))
	set(&doc.MaxItems, count("maxItems"))
	if e := f.Tag.Get("enum"); e != "" {
		for v := range strings.SplitSeq(e, ",") {
			doc.Enum = append(doc.Enum, v)
		}
	}
	if p := f.Tag.Get("pattern"); p != "" {
		doc.Pattern = p
	}
	if p := f.Tag.Get("format"); p != "" {
		doc.Format = p
	}
	return err
}

func set[T any](at **T, v *T) {
	if v != nil {
		*at = v
	}
}

// MapOf describes an object whose values are described by s.
func MapOf(s *Schema) *Doc { return &Doc{Type: "object", AdditionalProperties: DocOf(s)} }

// DocOf is the document of s; empty where it cannot be described.
func DocOf(s *Schema) *Doc {
	doc := &Doc{}
	if d, err := s.document(); err == nil {
		_ = Unmarshal(d.json, doc)
	}
	return doc
}
