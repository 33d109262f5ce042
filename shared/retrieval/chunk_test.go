package retrieval

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mastralambda/shared/mastra"
)

func texts(chunks []Chunk) (out []string) {
	for _, c := range chunks {
		out = append(out, c.Text)
	}
	return out
}

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		chunking Chunking
		text     string
		want     []string
	}{
		"short":                 {Chunking{}, "  One line.\n", []string{"One line."}},
		"empty":                 {Chunking{}, " \n\t ", nil},
		"paragraphs":            {Chunking{MaxSize: 20}, "First one here.\n\nSecond one here.\n\nThird.", []string{"First one here.", "Second one here.", "Third."}},
		"paragraphs are joined": {Chunking{MaxSize: 40}, "First one here.\n\nSecond one here.\n\nThird.", []string{"First one here.\n\nSecond one here.", "Third."}},
		"words":                 {Chunking{MaxSize: 11}, "alpha beta gamma delta", []string{"alpha beta", "gamma delta"}},
		"overlap":               {Chunking{MaxSize: 11, Overlap: 6}, "alpha beta gamma delta", []string{"alpha beta", "beta gamma", "gamma delta"}},
		"one long word":         {Chunking{MaxSize: 4}, "äöüäöüä", []string{"äöüä", "öüä"}},
		"own separators":        {Chunking{MaxSize: 5, Separators: []string{"|"}}, "a b|c d|e f", []string{"a b|", "c d|", "e f"}},
		"sentences":             {Chunking{Strategy: Sentence, MaxSize: 30}, "Dr. Smith came. He left at 3.15 p.m. today! \"Why?\" she asked. Nobody knew.", []string{"Dr. Smith came.", "He left at 3.15 p.m. today!", "\"Why?\" she asked. Nobody knew."}},
		"sentences of Chinese":  {Chunking{Strategy: Sentence, MaxSize: 6}, "你好吗？我很好。谢谢！", []string{"你好吗？", "我很好。", "谢谢！"}},
		"tokens":                {Chunking{Strategy: Token, MaxSize: 3}, "one two three four five", []string{"one two three", "four five"}},
		"tokens overlap":        {Chunking{Strategy: Token, MaxSize: 3, Overlap: 1}, "one two three four five", []string{"one two three", "three four five"}},
		"own tokens":            {Chunking{Strategy: Token, MaxSize: 2, Tokenize: func(s string) []string { return strings.Split(s, "") }}, "abcde", []string{"ab", "cd", "e"}},
	} {
		got, err := c.chunking.Split(c.text)
		if err != nil || !slices.Equal(texts(got), c.want) {
			t.Errorf("%s: %q, %v, want %q", name, texts(got), err, c.want)
		}
	}
}

func TestSplitMarkdown(t *testing.T) {
	const text = "Intro.\n# Shop ##\nWelcome.\n## Returns\n" + "Within 30 days. Unused.\n```sh\n# no heading\n```\n### Where\nHere.\n## C#\nA note.\n####### seven\n#none\n"
	got, err := Chunking{Strategy: Markdown, MaxSize: 60}.Split(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ path, text string }{
		{"", "Intro."}, {"Shop", "# Shop ##\nWelcome."}, {"Shop/Returns", "## Returns\nWithin 30 days. Unused.\n```sh\n# no heading\n```"},
		{"Shop/Returns/Where", "### Where\nHere."}, {"Shop/C#", "## C#\nA note.\n####### seven\n#none"},
	}
	if len(got) != len(want) {
		t.Fatalf("%q", texts(got))
	}
	for i, w := range want {
		if path := strings.Join(got[i].Headings, "/"); path != w.path || got[i].Text != w.text || text[got[i].Start:got[i].End] != w.text {
			t.Errorf("chunk %d is %q under %q, want %q under %q", i, got[i].Text, path, w.text, w.path)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range []Chunking{{Strategy: "magic"}, {MaxSize: -1}, {MaxSize: 10, Overlap: 10}, {Overlap: -1}, {Separators: []string{""}}} {
		if _, err := c.Split("text"); mastra.CodeOf(err) != mastra.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := (Chunking{}).Split("\xff"); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("no UTF-8: %v", err)
	}
}

// FuzzSplit: chunks are parts of the text, in order and not too long, and no word is lost.
func FuzzSplit(f *testing.F) {
	f.Add("# A\n\nSome text. And more!\n\n```\n# x\n```\n## B\nc", 10, 3)
	f.Add("äöü 你好。\n\n\n a  b\tc", 2, 1)
	f.Add(strings.Repeat("word ", 100), 17, 16)
	f.Fuzz(func(t *testing.T, text string, size, overlap int) {
		for _, strategy := range []Strategy{Recursive, Markdown, Sentence, Token} {
			chunks, err := Chunking{Strategy: strategy, MaxSize: size, Overlap: overlap}.Split(text)
			if err != nil {
				continue
			}
			covered := make([]bool, len(text))
			last := Chunk{}
			for _, c := range chunks {
				if text[c.Start:c.End] != c.Text || c.Start < last.Start || c.End <= last.End {
					t.Fatalf("%s: %+v after %+v", strategy, c, last)
				}
				if n := utf8.RuneCountInString(c.Text); size > 0 && strategy != Token && n > size {
					t.Fatalf("%s: %d characters in %q, at most %d", strategy, n, c.Text, size)
				}
				if shared := last.End - c.Start; shared > 0 && strategy != Token && utf8.RuneCountInString(text[c.Start:last.End]) > overlap {
					t.Fatalf("%s: %q and %q overlap by more than %d", strategy, last.Text, c.Text, overlap)
				}
				for i := c.Start; i < c.End; i++ {
					covered[i] = true
				}
				last = c
			}
			for i, r := range text {
				if !covered[i] && !unicode.IsSpace(r) {
					t.Fatalf("%s: byte %d of %q is in no chunk: %q", strategy, i, text, texts(chunks))
				}
			}
		}
	})
}
