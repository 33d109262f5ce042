package mastra_test

import (
	"reflect"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// A result is written by hand as the encoder would write it: with every field set, and with none.
func TestResultJSON(t *testing.T) {
	var all mastra.AgentResult
	n := 0
	set(t, reflect.ValueOf(&all).Elem(), &n)
	for _, r := range []*mastra.AgentResult{&all, {}, {Steps: make([]mastra.AgentStep, 2)}} {
		got, err := r.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := schema.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if i >= len(got) || got[i] != want[i] || len(got) > len(want) {
				t.Fatalf("from byte %d on\n got %.200s\nwant %.200s", i, got[min(i, len(got)):], want[i:])
			}
		}
	}
}

// set gives every field below v a value of its own, and every list two.
func set(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				set(t, v.Field(i), n)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		set(t, v.Elem(), n)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[mastra.JSON]() {
			v.SetBytes([]byte(`{"k":"é"}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		set(t, v.Index(0), n)
		set(t, v.Index(1), n)
	case reflect.String:
		v.SetString("a\"b\u2028<c>\n")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Interface:
		v.Set(reflect.ValueOf(mastra.TextDelta{ID: "i", Text: "t"}))
	default:
		t.Fatalf("what is a %s?", v.Type())
	}
}

func TestTimeJSON(t *testing.T) {
	for _, at := range []mastra.Time{1, -1, 1_700_000_000_123, 951_782_399_999, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_000} {
		if got, want := at.String(), at.Time().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%d is %s, not %s", at, got, want)
		}
	}
}
