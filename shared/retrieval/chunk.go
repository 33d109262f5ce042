// Package retrieval puts documents into a vector store, in chunks, and finds the chunks that answer a question: what an
// agent's retrieval tool needs.
package retrieval

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"mastralambda/shared/mastra"
)

// Strategy is where a document may be cut.
type Strategy string

const (
	Recursive Strategy = "recursive" // at paragraphs, else lines, sentences, words
	Markdown  Strategy = "markdown"  // at headings; a long section as Recursive does
	Sentence  Strategy = "sentence"  // between sentences
	Token     Strategy = "token"     // between tokens; sizes are tokens, not characters
)

// Chunking is how documents are cut. Sizes are characters, of Token tokens.
type Chunking struct {
	Strategy   Strategy // Recursive where empty
	MaxSize    int      // of a chunk; 1000 where 0, of Token 256
	Overlap    int      // how much of a chunk's end the next one begins with, at most
	Separators []string // of Recursive and Markdown: where to cut, the best first

	// Tokenize cuts a text into tokens, whose concatenation it is, as the embedding model's tokenizer does; where nil, Token
	// estimates them: a word, and of a long one every four letters.
	Tokenize func(text string) []string
}

// Chunk is a part of a document: the text from byte Start to before byte End.
type Chunk struct {
	Text       string
	Start, End int
	Headings   []string // of Markdown: those that it stands under, the outermost first
}

var separators = []string{"\n\n", "\n", ". ", "? ", "! ", " "}

// fence keeps code together as long as that is possible.
var markdownSeparators = []string{"\n```\n", "\n\n", "\n", ". ", "? ", "! ", " "}

// Split cuts a document. Every word of it is in a chunk; chunks are in order, not longer than MaxSize, and cut nothing that
// a better place to cut could have kept together.
func (c Chunking) Split(text string) ([]Chunk, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if !utf8.ValidString(text) {
		return nil, mastra.Errorf(mastra.CodeInvalid, "The document is not UTF-8")
	}
	var out []Chunk
	switch c.Strategy {
	case Markdown:
		for _, s := range sections(text) {
			for _, chunk := range c.merge(text, c.pieces(span{s.start, s.end}, text, c.Separators)) {
				chunk.Headings = s.headings
				out = append(out, chunk)
			}
		}
	case Sentence:
		var all []span
		for _, s := range sentences(text) {
			all = append(all, c.pieces(s, text, []string{" "})...)
		}
		out = c.merge(text, all)
	case Token:
		var all []span
		at := 0
		for _, t := range c.Tokenize(text) {
			all = append(all, span{at, at + len(t)})
			at += len(t)
		}
		if at != len(text) {
			return nil, mastra.Errorf(mastra.CodeInternal, "the tokens are not the text")
		}
		out = c.merge(text, all)
	default:
		out = c.merge(text, c.pieces(span{0, len(text)}, text, c.Separators))
	}
	return out, nil
}

// complete fills in what is left open.
func (c *Chunking) complete() error {
	if c.Strategy == "" {
		c.Strategy = Recursive
	}
	if c.MaxSize == 0 {
		if c.MaxSize = 1000; c.Strategy == Token {
			c.MaxSize = 256
		}
	}
	if c.Separators == nil {
		if c.Separators = separators; c.Strategy == Markdown {
			c.Separators = markdownSeparators
		}
	}
	if c.Tokenize == nil {
		c.Tokenize = estimate
	}
	switch c.Strategy {
	case Recursive, Markdown, Sentence, Token:
	default:
		return mastra.Errorf(mastra.CodeInvalid, "Unknown chunking strategy %q", c.Strategy)
	}
	if c.MaxSize < 1 || c.Overlap < 0 || c.Overlap >= c.MaxSize {
		return mastra.Errorf(mastra.CodeInvalid, "A chunk's overlap must be smaller than its maximal size")
	}
	for _, s := range c.Separators {
		if s == "" {
			return mastra.Errorf(mastra.CodeInvalid, "A separator must not be empty")
		}
	}
	return nil
}

// span is a part of a text, in bytes.
type span struct{ start, end int }

// size is that of a span: characters, or 1 for a token.
func (c *Chunking) size(text string, s span) int {
	if c.Strategy == Token {
		return 1
	}
	return utf8.RuneCountInString(text[s.start:s.end])
}

// pieces cuts a span into ones that are not too long: after the first separator that is in it, and what is too long then
// after the next.
func (c *Chunking) pieces(s span, text string, separators []string) []span {
	if c.size(text, s) <= c.MaxSize {
		return []span{s}
	}
	for i, separator := range separators {
		if !strings.Contains(text[s.start:s.end], separator) {
			continue
		}
		var out []span
		for at := s.start; at < s.end; {
			end := s.end
			if n := strings.Index(text[at:s.end], separator); n >= 0 {
				end = at + n + len(separator)
			}
			out = append(out, c.pieces(span{at, end}, text, separators[i+1:])...)
			at = end
		}
		return out
	}
	var out []span
	for at := s.start; at < s.end; {
		end, n := at, 0
		for end < s.end && n < c.MaxSize {
			_, width := utf8.DecodeRuneInString(text[end:s.end])
			end += width
			n++
		}
		out = append(out, span{at, end})
		at = end
	}
	return out
}

// merge joins neighbouring pieces into chunks as long as they may be.
func (c *Chunking) merge(text string, pieces []span) []Chunk {
	var out []Chunk
	first, size, fresh := 0, 0, 0 // the chunk begins with the piece first; fresh is the first that no chunk has
	emit := func(end int) {
		if strings.TrimSpace(text[pieces[fresh].start:pieces[end-1].end]) == "" {
			return
		}
		s := span{pieces[first].start, pieces[end-1].end}
		body := text[s.start:s.end]
		trimmed := strings.TrimLeftFunc(body, unicode.IsSpace)
		s.start += len(body) - len(trimmed)
		trimmed = strings.TrimRightFunc(trimmed, unicode.IsSpace)
		out = append(out, Chunk{Text: trimmed, Start: s.start, End: s.start + len(trimmed)})
	}
	sizes := make([]int, len(pieces))
	for i, p := range pieces {
		sizes[i] = c.size(text, p)
		if size+sizes[i] > c.MaxSize && fresh < i {
			emit(i)
			for fresh = i; first < i && (size > c.Overlap || size+sizes[i] > c.MaxSize); first++ {
				size -= sizes[first]
			}
		}
		size += sizes[i]
	}
	if fresh < len(pieces) {
		emit(len(pieces))
	}
	return out
}
