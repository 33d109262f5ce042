package schema

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// AppendString appends a text in JSON, as the encoder writes it: no more is escaped than must be, and what is not UTF-8 becomes replacement
// characters. It copies what needs nothing of that, which is most of what models say, in one go: jsontext.AppendQuote looks at byte after byte.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	for {
		n := plain(s)
		if b = append(b, s[:n]...); n == len(s) {
			return append(b, '"')
		}
		size := 1
		switch c := s[n]; {
		case c >= utf8.RuneSelf:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[n:]); r == utf8.RuneError && size == 1 {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, s[n:n+size]...)
			}
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		s = s[n+size:]
	}
}

// plain is how many bytes at the beginning of s are ASCII that JSON has as it is, by eight at a time.
func plain(s string) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	n := 0
	for ; n+8 <= len(s); n += 8 {
		w := binary.LittleEndian.Uint64([]byte(s[n : n+8]))
		quote, slash := w^'"'*ones, w^'\\'*ones
		if found := ((w-' '*ones)&^w | (quote-ones)&^quote | (slash-ones)&^slash | w) & highs; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(s) && s[n] >= ' ' && s[n] < utf8.RuneSelf && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}
