package filter

import (
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// Metadata is read in place: decoding 20 000 small objects for one query would take longer than the query.

// lookup is the encoded value that path leads to, nil where there is none.
func lookup(v []byte, path []string) []byte {
	v = trim(v)
	for _, key := range path {
		if v = member(v, key); v == nil {
			return nil
		}
	}
	return v
}

// member is the value of a key of the encoded object v, nil without one.
func member(v []byte, key string) []byte {
	if len(v) == 0 || v[0] != '{' {
		return nil
	}
	v = trim(v[1:])
	for len(v) > 0 && v[0] == '"' {
		n := stringEnd(v)
		name := v[:n]
		v = trim(v[n:])
		if len(v) == 0 || v[0] != ':' {
			return nil
		}
		v = trim(v[1:])
		n = valueEnd(v)
		if n == 0 {
			return nil
		}
		if string(text(name)) == key {
			return v[:n]
		}
		if v = trim(v[n:]); len(v) == 0 || v[0] != ',' {
			return nil
		}
		v = trim(v[1:])
	}
	return nil
}

// elements are the encoded items of the encoded list v; none where v is no list.
func elements(v []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(v) == 0 || v[0] != '[' {
			return
		}
		for rest := trim(v[1:]); ; rest = trim(rest[1:]) {
			n := valueEnd(rest)
			if n == 0 || !yield(rest[:n]) {
				return
			}
			if rest = trim(rest[n:]); len(rest) == 0 || rest[0] != ',' {
				return
			}
		}
	}
}

func trim(v []byte) []byte {
	for len(v) > 0 && v[0] <= ' ' {
		v = v[1:]
	}
	return v
}

// stringEnd is the length of the string literal that v begins with.
func stringEnd(v []byte) int {
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(v)
}

// valueEnd is the length of the value that v begins with, 0 without one.
func valueEnd(v []byte) int {
	depth := 0
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			i += stringEnd(v[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return len(v)
}

// text is what a string literal says.
func text(v []byte) []byte {
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	for _, c := range v {
		if c == '\\' {
			out, err := jsontext.AppendUnquote(nil, v)
			if err != nil {
				return nil
			}
			return out
		}
	}
	return v[1 : len(v)-1]
}
