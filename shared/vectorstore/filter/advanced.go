package filter

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode"
)

// maxAdvanced are the bytes that a pattern may have in Postgres's syntax: one class such as \p{L} is thousands.
const maxAdvanced = 8 << 10

// Posix is the pattern of a $regex for Postgres, under the collation "C". It matches exactly what the pattern matches.
func (e *Expr) Posix() string { return e.posix }

// advanced writes a parsed pattern of RE2 as one of Postgres's advanced regular expressions, spelling out what the two
// read differently. Which of several matches is found does not matter: whether there is one does.
func advanced(re *syntax.Regexp) (string, bool) {
	var b strings.Builder
	b.WriteString("(?w)") // ^ and $ stand for lines, . for any character
	ok := write(&b, re.Simplify())
	return b.String(), ok && b.Len() <= maxAdvanced
}

func write(b *strings.Builder, re *syntax.Regexp) bool {
	if b.Len() > maxAdvanced {
		return false
	}
	group := func(sub *syntax.Regexp, after string) bool {
		b.WriteString("(?:")
		ok := write(b, sub)
		b.WriteString(")" + after)
		return ok
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		b.WriteString("(?:)")
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase == 0 || unicode.SimpleFold(r) == r {
				writeRune(b, r)
				continue
			}
			b.WriteByte('[')
			writeRune(b, r)
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				writeRune(b, f)
			}
			b.WriteByte(']')
		}
	case syntax.OpCharClass:
		empty := true
		b.WriteByte('[')
		for i := 0; i+1 < len(re.Rune); i += 2 {
			low, high := max(1, re.Rune[i]), re.Rune[i+1] // no text has a NUL
			if low > high {
				continue
			}
			empty = false
			writeRune(b, low)
			if high > low {
				b.WriteByte('-')
				writeRune(b, high)
			}
		}
		b.WriteByte(']')
		return !empty
	case syntax.OpAnyCharNotNL:
		b.WriteString(`[^\n]`)
	case syntax.OpAnyChar:
		b.WriteByte('.')
	case syntax.OpBeginLine:
		b.WriteByte('^')
	case syntax.OpEndLine:
		b.WriteByte('$')
	case syntax.OpBeginText:
		b.WriteString(`\A`)
	case syntax.OpEndText:
		b.WriteString(`\Z`)
	case syntax.OpWordBoundary:
		b.WriteString(`\y`)
	case syntax.OpNoWordBoundary:
		b.WriteString(`\Y`)
	case syntax.OpCapture:
		return group(re.Sub[0], "")
	case syntax.OpStar:
		return group(re.Sub[0], "*")
	case syntax.OpPlus:
		return group(re.Sub[0], "+")
	case syntax.OpQuest:
		return group(re.Sub[0], "?")
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if sub.Op == syntax.OpAlternate {
				if !group(sub, "") {
					return false
				}
			} else if !write(b, sub) {
				return false
			}
		}
	case syntax.OpAlternate:
		for i, sub := range re.Sub {
			if i > 0 {
				b.WriteByte('|')
			}
			if !write(b, sub) {
				return false
			}
		}
	default: // OpNoMatch: a class that is empty
		return false
	}
	return true
}

// writeRune writes a character so that it means itself, inside of brackets too.
func writeRune(b *strings.Builder, r rune) {
	switch {
	case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r > 0x7f && r <= unicode.MaxRune && unicode.IsLetter(r):
		b.WriteRune(r)
	case r <= 0xffff:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}
