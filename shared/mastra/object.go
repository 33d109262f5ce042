package mastra

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// Object is a JSON object that keeps its keys in the order they were set, as JavaScript does.
type Object[V any] []Member[V]

// Member is one key of an Object.
type Member[V any] struct {
	Key   string
	Value V
}

// Get is the value of key.
func (o Object[V]) Get(key string) (v V, ok bool) {
	for _, m := range o {
		if m.Key == key {
			return m.Value, true
		}
	}
	return v, false
}

// Set replaces the value of key, or adds it at the end.
func (o *Object[V]) Set(key string, v V) {
	for i := range *o {
		if (*o)[i].Key == key {
			(*o)[i].Value = v
			return
		}
	}
	*o = append(*o, Member[V]{key, v})
}

func (o Object[V]) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.Key)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.Value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}

func (o *Object[V]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	*o = nil
	if t.Kind() == 'n' {
		return nil
	}
	if t.Kind() != '{' {
		return Errorf(CodeInvalid, "expected object")
	}
	for d.PeekKind() != '}' {
		var m Member[V]
		if err := json.UnmarshalDecode(d, &m.Key); err != nil {
			return err
		}
		if err := json.UnmarshalDecode(d, &m.Value); err != nil {
			return err
		}
		*o = append(*o, m)
	}
	_, err = d.ReadToken()
	return err
}

func (Object[V]) JSONSchema() *schema.Doc { return schema.MapOf(schema.For[V]()) }
