// Package schema describes Go types as JSON Schema, validates JSON against it with every failure listed,
// and decodes what was validated with exact keys.
package schema

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	infer "github.com/google/jsonschema-go/jsonschema"
)

// JSON is one encoded JSON value. A nil JSON encodes as null.
type JSON = jsontext.Value

// Doc is a JSON Schema document, as a type's own JSONSchema method returns it.
type Doc = infer.Schema

// Describer is implemented by types that inference cannot describe: unions, recursive types, bodies accepted in two shapes.
// It is called on the zero value.
type Describer interface{ JSONSchema() *Doc }

// Schema is the JSON Schema (draft 2020-12) of a Go type.
// It is inferred and compiled at first use, and safe for concurrent use.
type Schema struct {
	typ      reflect.Type
	document func() (document, error)
	compiled func() (*rule, error)
	super    sync.Map // draft -> string, see SuperJSON
}

type document struct {
	json   JSON // as published: additionalProperties false on structs, as zod publishes objects
	closed bool // that is how values are validated, too: else unknown keys pass and are dropped
	order  *order
}

// order is in which order fields are declared: so the reference server lists what is wrong with them.
type order struct {
	names  []string
	fields map[string]*order
	items  *order
}

// orderOf is nil where doc declares no fields.
func orderOf(doc *Doc) *order {
	if doc == nil || doc.Properties == nil && doc.Items == nil {
		return nil
	}
	o := &order{names: doc.PropertyOrder, fields: map[string]*order{}, items: orderOf(doc.Items)}
	for name, p := range doc.Properties {
		if inner := orderOf(p); inner != nil {
			o.fields[name] = inner
		}
	}
	return o
}

var byType sync.Map // reflect.Type -> *Schema

// For returns the schema of T.
func For[T any]() *Schema { return Of(reflect.TypeFor[T]()) }

// Of returns the schema of t. A type that cannot be described shows at Check, not here.
func Of(t reflect.Type) *Schema {
	if s, ok := byType.Load(t); ok {
		return s.(*Schema)
	}
	got, _ := byType.LoadOrStore(t, build(t))
	return got.(*Schema)
}

// maxParsed is how many bytes a schema from outside may have, maxDepth how deep it may be.
const (
	maxParsed = 256 << 10
	maxDepth  = 100
)

// Parse reads a schema that came from outside. It refers to nothing but itself.
func Parse(data JSON) (*Schema, error) {
	if len(data) > maxParsed {
		return nil, fmt.Errorf("a schema of more than %d bytes", maxParsed)
	}
	depth := 0
	for _, b := range data {
		switch b {
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("a schema deeper than %d", maxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	data = data.Clone()
	if err := data.Compact(); err != nil || data.Kind() != '{' {
		return nil, fmt.Errorf("a schema is an object")
	}
	s := building(reflect.TypeFor[JSON](), func() (document, error) {
		var doc Doc
		_ = Unmarshal(data, &doc) // it only says in which order fields stand
		return document{json: data, closed: true, order: orderOf(&doc)}, nil
	})
	_, err := s.compiled()
	return s, err
}

func build(t reflect.Type) *Schema {
	return building(t, func() (document, error) { return describe(t) })
}

func building(t reflect.Type, describe func() (document, error)) *Schema {
	s := &Schema{typ: t, document: sync.OnceValues(describe)}
	s.compiled = sync.OnceValues(func() (*rule, error) {
		d, err := s.document()
		if err != nil {
			return nil, err
		}
		var v any
		if err := Unmarshal(d.json, &v); err != nil {
			return nil, err
		}
		return compile(v, d.closed)
	})
	return s
}

// Check infers and compiles the schema and returns why it cannot be.
func (s *Schema) Check() error {
	if _, err := s.compiled(); err != nil {
		return fmt.Errorf("schema of %s: %w", s.typ, err)
	}
	return nil
}

// Type is the Go type that the schema describes.
func (s *Schema) Type() reflect.Type { return s.typ }

// JSON is the schema as it is published; empty where Check fails.
func (s *Schema) JSON() JSON {
	d, err := s.document()
	if err != nil {
		return JSON("{}")
	}
	return d.json
}

// Published is the schema of a type that is only shown, as Schema.JSON; nothing of it is kept. One that cannot be inferred is
// that of any JSON.
func Published(t reflect.Type) JSON {
	d, err := describe(t)
	if err != nil {
		return JSON("{}")
	}
	return d.json
}

// MarshalJSON publishes the schema.
func (s *Schema) MarshalJSON() ([]byte, error) {
	d, err := s.document()
	return d.json, err
}

// describe infers the document of t and mends what inference cannot know.
func describe(t reflect.Type) (d document, err error) {
	known := map[reflect.Type]*Doc{reflect.TypeFor[JSON](): {}}
	described(t, known, map[reflect.Type]bool{})
	doc, err := infer.ForType(t, &infer.ForOptions{TypeSchemas: known})
	if err != nil {
		return d, err
	}
	if err := mend(doc, t, known); err != nil {
		return d, err
	}
	d.order = orderOf(doc)
	d.json, err = Marshal(doc)
	return d, err
}

// described collects the types below t that describe themselves, and the string types that encode as text.
func described(t reflect.Type, known map[reflect.Type]*Doc, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	if t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer && t.Implements(reflect.TypeFor[Describer]()) {
		known[t] = reflect.Zero(t).Interface().(Describer).JSONSchema()
		return
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		described(t.Elem(), known, seen)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			if name, _ := fieldName(f); name != "-" {
				described(f.Type, known, seen)
			}
		}
	}
}

// fieldName is a field's JSON name ("-" if it has none) and whether it may be absent.
func fieldName(f reflect.StructField) (name string, optional bool) {
	tag, ok := f.Tag.Lookup("json")
	if tag == "-" || !f.IsExported() && !f.Anonymous {
		return "-", true
	}
	name, opts, _ := strings.Cut(tag, ",")
	if !ok || name == "" {
		name = f.Name
	}
	for o := range strings.SplitSeq(opts, ",") {
		optional = optional || o == "omitempty" || o == "omitzero"
	}
	return name, optional
}
