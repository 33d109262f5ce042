package schema_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// A text is written as the library would.
func FuzzAppendString(f *testing.F) {
	for c := range 256 {
		f.Add("long enough for a word" + string([]byte{byte(c)}) + "and what is behind")
	}
	f.Add("You said: \"hello\".\n<b>&amp;\u2028\u2029\x7f")
	f.Add("\xff\xfe\xed\xa0\x80\xf0\x9f\x98\x80 é")
	f.Fuzz(func(t *testing.T, s string) {
		want, _ := jsontext.AppendQuote([]byte("x"), s)
		if got := schema.AppendString([]byte("x"), s); string(got) != string(want) {
			t.Errorf("%q becomes %s, want %s", s, got, want)
		}
	})
}

func BenchmarkAppendString(b *testing.B) {
	text := strings.Repeat("You said: \"hello\". I am a program without a language model: I calculate, search, remember what you said and tell a story.\n", 8)
	b.SetBytes(int64(len(text)))
	out := make([]byte, 0, 2*len(text))
	for b.Loop() {
		out = schema.AppendString(out[:0], text)
	}
}
