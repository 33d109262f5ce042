package schema_test

import (
	"errors"
	"slices"
	"testing"

	"mastralambda/shared/schema"
)

type inner struct {
	Kind string `json:"kind" enum:"a,b"`
}
type sample struct {
	Name  string      `json:"name" minLength:"2" jsonschema:"who it is"`
	Max   int8        `json:"max,omitzero" minimum:"1"`
	Items []inner     `json:"items"`
	Extra schema.JSON `json:"extra,omitempty"`
	Ptr   *inner      `json:"ptr"`
	Skip  string      `json:"-"`
}

func TestPublishedDocument(t *testing.T) {
	got := string(schema.For[sample]().JSON())
	want := `{"type":"object","properties":{"name":{"type":"string","description":"who it is","minLength":2},"max":{"type":"integer","minimum":1,"maximum":127},"items":{"type":"array","items":{"type":"object","properties":{"kind":{"type":"string","enum":["a","b"]}},"required":["kind"],"additionalProperties":false}},"extra":true,"ptr":{"type":["null","object"],"properties":{"kind":{"type":"string","enum":["a","b"]}},"required":["kind"],"additionalProperties":false}},"required":["name","items","ptr"],"additionalProperties":false}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []schema.Issue
	}{
		{"valid", `{"name":"ab","items":[{"kind":"a"}],"ptr":null,"unknown":1}`, nil},
		{"all at once", `{"name":"a","max":0,"items":[{"kind":"c"},{}]}`, []schema.Issue{
			{"name", "Too small: expected string to have >=2 characters"}, {"max", "Too small: expected number to be >=1"},
			{"items.0.kind", `Invalid option: expected one of "a"|"b"`}, {"items.1.kind", "Required"}, {"ptr", "Required"}}},
		{"root", `null`, []schema.Issue{{"root", "Invalid input: expected object, received null"}}},
		{"cut", `{"name":`, []schema.Issue{{"body", "Unexpected end of JSON input"}}},
		{"other case is another key", `{"name":"ab","items":[],"ptr":null,"MAX":-5}`, nil},
		{"two of one name", `{"name":"ab","name":"cd","items":[],"ptr":null}`, []schema.Issue{{"body", "Invalid JSON: duplicate object member name"}}},
		{"out of range", `{"name":"ab","max":1e3,"items":[],"ptr":null}`, []schema.Issue{{"max", "Too big: expected number to be <=127"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v sample
			err := schema.For[sample]().Decode([]byte(c.in), &v)
			var invalid *schema.InvalidError
			if errors.As(err, &invalid) {
				if !slices.Equal(invalid.Issues, c.want) {
					t.Errorf("got  %v\nwant %v", invalid.Issues, c.want)
				}
			} else if err != nil || c.want != nil {
				t.Errorf("err = %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"ab","max":1,"items":[{"kind":"a"}],"ptr":null}`))
	f.Add([]byte(`{"name":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v sample
		err := schema.For[sample]().Decode(data, &v)
		var invalid *schema.InvalidError
		if err != nil && (!errors.As(err, &invalid) || len(invalid.Issues) == 0) {
			t.Errorf("%q: %v", data, err)
		}
	})
}
