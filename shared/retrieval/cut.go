package retrieval

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// section is a part of a Markdown document under one heading.
type section struct {
	span
	headings []string
}

// sections cuts a Markdown document at its headings. A heading in a block of code is none.
func sections(text string) []section {
	var out []section
	var headings []string // by level; "" where a level was left out
	start, fence := 0, ""
	end := func(at int) {
		if strings.TrimSpace(text[start:at]) == "" {
			return
		}
		s := section{span: span{start, at}}
		for _, h := range headings {
			if h != "" {
				s.headings = append(s.headings, h)
			}
		}
		out = append(out, s)
	}
	at := 0
	for line := range strings.Lines(text) {
		if marker := fenceOf(line); marker != "" {
			if fence == "" {
				fence = marker
			} else if strings.HasPrefix(marker, fence) {
				fence = ""
			}
		}
		if level, title := headingOf(line); level > 0 && fence == "" {
			end(at)
			start = at
			headings = append(headings[:min(level-1, len(headings))], make([]string, max(0, level-1-len(headings)))...)
			headings = append(headings, title)
		}
		at += len(line)
	}
	end(len(text))
	return out
}

// headingOf is the level and the text of a line that is a heading, 0 of another one.
func headingOf(line string) (level int, title string) {
	for level < len(line) && line[level] == '#' {
		level++
	}
	if level == 0 || level > 6 || level == len(line) || line[level] != ' ' && line[level] != '\t' {
		return 0, ""
	}
	title = strings.TrimSpace(line[level:])
	if bare := strings.TrimRight(title, "#"); bare == "" || strings.HasSuffix(bare, " ") {
		title = strings.TrimSpace(bare)
	}
	return level, title
}

// fenceOf is the marker that opens or closes a block of code.
func fenceOf(line string) string {
	line = strings.TrimLeft(line, " ")
	for _, c := range []string{"`", "~"} {
		if n := len(line) - len(strings.TrimLeft(line, c)); n >= 3 {
			return line[:n]
		}
	}
	return ""
}

// sentences cuts a text after each sentence, with the space that follows.
func sentences(text string) []span {
	var out []span
	start, ended := 0, false
	for at, r := range text {
		switch {
		case strings.ContainsRune("。！？", r): // nothing follows these
			out = append(out, span{start, at + utf8.RuneLen(r)})
			start, ended = at+utf8.RuneLen(r), false
		case strings.ContainsRune(".!?…", r):
			ended = true
		case strings.ContainsRune(`"'”’»)]`, r) && !unicode.IsSpace(before(text, at)): // stays with the sentence that it closes
		case !unicode.IsSpace(r):
			if ended && at > start && unicode.IsSpace(before(text, at)) && !abbreviated(text[start:at]) && !unicode.IsLower(r) {
				out = append(out, span{start, at})
				start = at
			}
			ended = false
		}
	}
	if start < len(text) {
		out = append(out, span{start, len(text)})
	}
	return out
}

func before(text string, at int) rune {
	r, _ := utf8.DecodeLastRuneInString(text[:at])
	return r
}

// abbreviated says whether a text seems to end in an abbreviation: "Dr.", "e.g.", an initial.
func abbreviated(text string) bool {
	word := strings.TrimSpace(text)
	if !strings.HasSuffix(word, ".") {
		return false
	}
	if i := strings.LastIndexFunc(word, unicode.IsSpace); i >= 0 {
		word = word[i+1:]
	}
	word = strings.ToLower(strings.Trim(word, `("'.`))
	switch word {
	case "dr", "mr", "mrs", "ms", "prof", "st", "vs", "etc", "approx", "fig", "no", "vol", "inc", "ltd", "cf", "ca", "bzw", "z.b", "d.h", "nr", "art", "abs":
		return true
	}
	return utf8.RuneCountInString(word) == 1 || strings.Contains(word, ".") && len(word) <= 5 // "J.", "e.g."
}

// estimate cuts a text into about what tokenizers of language models make of it: words with the space before them, four
// letters of a long one at a time, three digits, each other character.
func estimate(text string) []string {
	var out []string
	for len(text) > 0 {
		n := 0
		if text[0] == ' ' && len(text) > 1 && text[1] != ' ' {
			n = 1
		}
		r, _ := utf8.DecodeRuneInString(text[n:])
		most := 1
		kind := func(o rune) bool { return o == r }
		switch {
		case unicode.IsLetter(r) && r < 0x2e80:
			kind, most = unicode.IsLetter, 4
			if word := strings.IndexFunc(text[n:], func(r rune) bool { return !unicode.IsLetter(r) }); word >= 0 && word <= 7 || word < 0 && len(text[n:]) <= 7 {
				most = 7 // a short word is one
			}
		case unicode.IsDigit(r):
			kind, most = unicode.IsDigit, 3
		case unicode.IsSpace(r):
			kind, most = unicode.IsSpace, 16
		}
		for i := 0; i < most && n < len(text); i++ {
			next, width := utf8.DecodeRuneInString(text[n:])
			if !kind(next) {
				break
			}
			n += width
		}
		out, text = append(out, text[:n]), text[n:]
	}
	return out
}
