package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// validate checks what a caller sends, with the texts of the reference server; what is "input" or "resume".
func validate(what string, s *schema.Schema, data mastra.JSON) error {
	if s == nil {
		return nil
	}
	issues, message, err := check(s, data)
	if err != nil || len(issues) == 0 {
		return err
	}
	return &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid " + what + " data: \n" + message, Issues: issues}
}

// validateState checks the state that a run begins with. No state at all lacks what the declared one requires.
func validateState(s *schema.Schema, data mastra.JSON) error {
	if data == nil {
		data = mastra.JSON("{}")
	}
	if data.Kind() != '{' {
		return mastra.Invalid("initialState", "Invalid input: expected object")
	}
	return validate("initial", s, data)
}

// check validates data and says what is wrong with it, as a list and as a text of lines. No data at all lacks every
// required field.
func check(s *schema.Schema, data mastra.JSON) ([]mastra.Issue, string, error) {
	var value any
	if data != nil {
		if err := schema.Unmarshal(data, &value); err != nil {
			var invalid *schema.InvalidError
			if !errors.As(err, &invalid) {
				return nil, "", err
			}
			return invalid.Issues, lines(invalid.Issues), nil
		}
	}
	issues, err := s.Validate(value)
	if err != nil || len(issues) == 0 {
		return nil, "", err
	}
	if data != nil {
		return issues, lines(issues), nil
	}
	text := strings.Replace(lines(issues), "received null", "received undefined", 1)
	if fields, err := s.Validate(map[string]any{}); err == nil && len(fields) > 0 && fields[0].Field != "root" {
		return fields, text, nil
	}
	return []mastra.Issue{{Field: "root", Message: "Required"}}, text, nil
}

func lines(issues []mastra.Issue) string {
	var b strings.Builder
	for i, s := range issues {
		if i > 0 {
			b.WriteByte('\n')
		}
		field := s.Field
		if field == "root" || field == "body" {
			field = ""
		}
		b.WriteString("- " + field + ": " + s.Message)
	}
	return b.String()
}

// fingerprint is the same for inputs that are the same JSON value.
func fingerprint(data mastra.JSON) (string, error) {
	c := data.Clone()
	if len(c) > 0 {
		if err := c.Canonicalize(); err != nil {
			return "", mastra.Invalid("body", "Invalid JSON")
		}
	}
	sum := sha256.Sum256(c)
	return hex.EncodeToString(sum[:16]), nil
}
