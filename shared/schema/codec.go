package schema

import (
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Text that is not valid UTF-8 is kept with replacement characters: a model's bytes are not the caller's fault.
var (
	encoding = json.JoinOptions(jsontext.AllowInvalidUTF8(true), json.Deterministic(true), json.MatchCaseInsensitiveNames(false))
	decoding = json.JoinOptions(jsontext.AllowInvalidUTF8(true))
)

// Marshal encodes v as JavaScript would: no HTML escapes, a nil slice as [], map keys sorted.
func Marshal(v any) (JSON, error) { return json.Marshal(v, encoding) }

// MarshalWrite is Marshal into w.
func MarshalWrite(w io.Writer, v any) error { return json.MarshalWrite(w, v, encoding) }

// Unmarshal decodes data into v without validation: keys are exact, unknown ones are dropped, two of one name refused.
// What does not fit comes back as *InvalidError.
func Unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v, decoding)
	if err == nil {
		return nil
	}
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return &InvalidError{[]Issue{{"body", "Unexpected end of JSON input"}}}
		}
		return &InvalidError{[]Issue{{"body", "Invalid JSON: " + strings.TrimPrefix(syntax.Err.Error(), "jsontext: ")}}}
	case errors.As(err, &semantic):
		field := "root"
		if semantic.JSONPointer != "" {
			var parts []string
			for t := range semantic.JSONPointer.Tokens() {
				parts = append(parts, t)
			}
			field = strings.Join(parts, ".")
		}
		message := "Invalid input"
		if semantic.JSONKind == '0' {
			message = "Invalid input: the number is out of range"
		}
		return &InvalidError{[]Issue{{field, message}}}
	}
	return err
}

// Decode validates data and decodes it into v. What does not fit comes back as *InvalidError with every failure;
// v must not be used then.
func (s *Schema) Decode(data []byte, v any) error {
	var value any
	if err := Unmarshal(data, &value); err != nil {
		return err
	}
	issues, err := s.Validate(value)
	if err != nil {
		return err
	}
	if len(issues) > 0 {
		return &InvalidError{issues}
	}
	return Unmarshal(data, v)
}
