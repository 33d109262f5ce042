package mastra

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

// Refusal is what a caller of a tool is answered whose input does not fit, a model or a person: it lets them try again.
type Refusal struct {
	Error            bool          `json:"error"`
	Message          string        `json:"message"`
	ValidationErrors *RefusalField `json:"validationErrors"`
}

// RefusalField is a place in the input, with what is wrong there and below.
type RefusalField struct {
	Errors []string              `json:"errors"`
	Fields Object[*RefusalField] `json:"fields"`
}

func (RefusalField) JSONSchema() *schema.Doc { return &schema.Doc{Type: "object"} } // it holds itself

// Refuse is the refusal of input for the tool of that name, in the words of the reference server.
func Refuse(name string, input JSON, issues []Issue) Refusal {
	var root RefusalField
	lines := make([]string, len(issues))
	for i, issue := range issues {
		lines[i] = "- " + issue.Field + ": " + issue.Message
		var path []string
		if issue.Field != "root" && issue.Field != "body" {
			path = strings.Split(issue.Field, ".")
		}
		root.add(path, issue.Message)
	}
	pretty := input.Clone()
	if pretty.Indent(jsontext.WithIndent("  ")) != nil {
		pretty = input
	}
	shown := string(pretty)
	if runes := []rune(shown); len(runes) > 200 {
		shown = string(runes[:200]) + "... (truncated)"
	}
	return Refusal{true, fmt.Sprintf("Tool input validation failed for %s. Please fix the following errors and try again:\n%s\n\nProvided arguments: %s",
		name, strings.Join(lines, "\n"), shown), &root}
}

func (f *RefusalField) add(path []string, message string) {
	if len(path) == 0 {
		f.Errors = append(f.Errors, message)
		return
	}
	below, ok := f.Fields.Get(path[0])
	if !ok {
		below = &RefusalField{}
		f.Fields = append(f.Fields, Member[*RefusalField]{Key: path[0], Value: below})
	}
	below.add(path[1:], message)
}
