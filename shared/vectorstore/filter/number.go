package filter

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Number is a number as JSON writes it. Numbers are compared exactly, as Postgres does: a float64 would take
// 9007199254740993 for 9007199254740992.
type Number string

// decode reads JSON with its numbers as they are written.
func decode(data []byte) (v any, err error) {
	err = json.Unmarshal(data, &v, json.WithUnmarshalers(json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
		if d.PeekKind() != '0' {
			return errors.ErrUnsupported
		}
		token, err := d.ReadToken()
		*v = Number(token.String())
		return err
	})))
	return v, err
}

// check refuses what no store can hold.
func check(v any) error {
	switch v := v.(type) {
	case string:
		if strings.IndexByte(v, 0) >= 0 {
			return invalid("The filter has a text with a NUL character")
		}
	case Number:
		if _, ok := newDecimal([]byte(v)); !ok {
			return invalid("The filter has a number out of range: %.40s", v)
		}
	case []any:
		for _, item := range v {
			if err := check(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := check(key); err != nil {
				return err
			}
			if err := check(v[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Encode is a value of an Expr as JSON.
func Encode(v any) ([]byte, error) {
	return json.Marshal(v, json.WithMarshalers(json.MarshalToFunc(func(e *jsontext.Encoder, n Number) error {
		return e.WriteValue(jsontext.Value(n))
	})), json.Deterministic(true))
}

// decimal is a number of any precision in the range of a float64.
type decimal struct {
	approximately float64
	text          []byte
}

func newDecimal(text []byte) (decimal, bool) {
	f, err := strconv.ParseFloat(string(text), 64)
	return decimal{f, text}, err == nil
}

func (d decimal) cmp(other decimal) int {
	a, b := d.approximately, other.approximately
	if a != b || a == 0 && b == 0 && len(d.text)+len(other.text) < 4 {
		return cmp.Compare(a, b)
	}
	if len(d.text) <= 15 && len(other.text) <= 15 && math.Abs(a) > 1e-300 { // so few digits survive in a float64
		return 0
	}
	x, ok1 := new(big.Rat).SetString(string(d.text))
	y, ok2 := new(big.Rat).SetString(string(other.text))
	if !ok1 || !ok2 {
		return 0
	}
	return x.Cmp(y)
}

// Texts that read as numbers are compared with numbers as such. Which do is this pattern, of at most maxNumber bytes:
// any database can be asked the same.
const (
	NumberPattern = `^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$`
	MaxNumber     = 64
)

// readNumber is NumberPattern by hand: it is asked for each text of a scan.
func readNumber(b []byte) (decimal, bool) {
	if len(b) == 0 || len(b) > MaxNumber {
		return decimal{}, false
	}
	digits := func(b []byte) int {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		return n
	}
	rest := b
	if rest[0] == '+' || rest[0] == '-' {
		rest = rest[1:]
	}
	whole := digits(rest)
	rest = rest[whole:]
	fraction := 0
	if len(rest) > 0 && rest[0] == '.' {
		fraction = digits(rest[1:])
		rest = rest[1+fraction:]
	}
	if whole+fraction == 0 {
		return decimal{}, false
	}
	if len(rest) > 0 {
		if rest[0] != 'e' && rest[0] != 'E' {
			return decimal{}, false
		}
		rest = bytes.TrimPrefix(rest[1:], []byte("+"))
		if len(rest) > 0 && rest[0] == '-' && b[len(b)-len(rest)-1] != '+' {
			rest = rest[1:]
		}
		if n := digits(rest); n < 1 || n > 2 || n != len(rest) {
			return decimal{}, false
		}
	}
	return newDecimal(b)
}

// same says whether two decoded values are equal.
func same(a, b any) bool {
	switch a := a.(type) {
	case Number:
		b, ok := b.(Number)
		if !ok {
			return false
		}
		x, ok1 := newDecimal([]byte(a))
		y, ok2 := newDecimal([]byte(b))
		return ok1 && ok2 && x.cmp(y) == 0
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}
