package vectorstore

import (
	"slices"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func TestSources(t *testing.T) {
	for list, want := range map[string][]Source{
		"":                                  nil,
		"embedded":                          {{"default", "embedded"}},
		" docs=postgres://a@b/c  embedded ": {{"docs", "postgres://a@b/c"}, {"default", "embedded"}},
		"postgres://a@b/c?sslmode=disable":  {{"default", "postgres://a@b/c?sslmode=disable"}}, // no name
	} {
		if got, err := Sources(list, "default"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %+v, %v", list, got, err)
		}
	}
	for _, list := range []string{"embedded embedded:///x", "a=embedded a=postgres://a@b/c"} {
		if _, err := Sources(list, ""); err == nil || !strings.Contains(err.Error(), "two vector stores") {
			t.Errorf("%q: %v", list, err)
		}
	}
}

// FuzzMetadata: what passes the quick look passes the close one, and what is accepted is compact JSON that is accepted again.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{ "a" : [1e5, "\u0041", {"b":null}] }`, `{"a":1e999}`, `{"a":"\u0000"}`, `{"e1":1}`, `{"a":-0.0}`, `[]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := CheckMetadata("id", mastra.JSON(s))
		if err != nil {
			if mastra.CodeOf(err) != mastra.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if plain(got) && checkTokens("id", got) != nil {
			t.Errorf("%s passes the quick look only", got)
		}
		if again, err := CheckMetadata("id", got); err != nil || string(again) != string(got) {
			t.Errorf("%s becomes %s, %v", got, again, err)
		}
	})
}
