package mastra

import "mastralambda/shared/schema"

// Encoded is a value beside its JSON: an answer that stays the same is encoded once.
type Encoded[T any] struct {
	Value T
	json  JSON
}

// Encode encodes v.
func Encode[T any](v T) (Encoded[T], error) {
	data, err := schema.Marshal(v)
	return Encoded[T]{v, data}, err
}

// JSON is the encoded value. It must not be changed.
func (e Encoded[T]) JSON() JSON { return e.json }

func (e Encoded[T]) MarshalJSON() ([]byte, error) { return e.json, nil }

func (Encoded[T]) JSONSchema() *schema.Doc { return schema.DocOf(schema.For[T]()) }

// Once computes what follows from the application alone, once for each key; an error is not kept.
func Once[T any](m *Mastra, key any, compute func() (T, error)) (T, error) {
	if v, ok := m.computed.Load(key); ok {
		return v.(T), nil
	}
	v, err := compute()
	if err != nil {
		return v, err
	}
	kept, _ := m.computed.LoadOrStore(key, v)
	return kept.(T), nil
}
