package recall

import (
	"strings"
	"testing"
)

func FuzzChunks(f *testing.F) {
	f.Add("one two " + strings.Repeat("ä", chunkBytes) + strings.Repeat("words and blanks\n", 3000))
	f.Fuzz(func(t *testing.T, text string) {
		pieces := chunks(text)
		for _, p := range pieces {
			if p == "" || len(p) > chunkBytes {
				t.Errorf("a piece of %d bytes", len(p))
			}
		}
		squeezed := func(s string) string { return strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), "") }
		if squeezed(strings.Join(pieces, "")) != squeezed(text) {
			t.Error("something is lost")
		}
	})
}
