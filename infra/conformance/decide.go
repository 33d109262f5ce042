package main

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// epoch stands for new Date(0). The vocabulary's zero Time encodes as null, so that it is a millisecond later.
const epoch mastra.Time = 1

// decision is what the model does: it says text or calls tool with input.
type decision struct {
	text, tool string
	input      mastra.JSON
	asked      string // the last text of the user
}

// The patterns are ASCII in JavaScript, whatever Unicode folds.
var (
	weatherIn = regexp.MustCompile(`(?i:weather in )([A-Za-z ]+)`)
	addition  = regexp.MustCompile(`(?i:add )(-?[0-9]+)(?i: and )(-?[0-9]+)`)
	deletion  = regexp.MustCompile(`(?i:delete )([0-9A-Za-z_]+)`)
	memorize  = regexp.MustCompile(`(?i:remember )([^\n\r\x{2028}\x{2029}]+)`)
)

// decide applies the rules of APP.md, the first that fits wins.
func decide(r *mastra.ModelRequest) (decision, error) {
	var last mastra.PromptMessage
	if n := len(r.Messages); n > 0 {
		last = r.Messages[n-1]
	}
	ut := ""
	for _, m := range slices.Backward(r.Messages) {
		if m.Role == "user" {
			ut = m.Text()
			break
		}
	}
	say := func(text string) (decision, error) { return decision{text: text, asked: ut}, nil }
	call := func(t *mastra.Tool, input any) (decision, error) {
		data, err := schema.Marshal(input)
		return decision{tool: t.Name(), input: data, asked: ut}, err
	}
	if containsFold(ut, "boom") && last.Role == "user" {
		return decision{}, mastra.Errorf(mastra.CodeUpstream, "mock model exploded")
	}
	if len(r.Schema) > 0 {
		text, err := fill(r.Schema)
		if err != nil {
			return decision{}, err
		}
		return say(text)
	}
	if last.Role == "tool" {
		text, err := resultOf(last)
		if err != nil {
			return decision{}, err
		}
		return say("Result: " + text)
	}
	if t := find(r.Tools, "weather"); t != nil {
		if g := weatherIn.FindStringSubmatch(ut); g != nil {
			return call(t, struct {
				City string `json:"city"`
			}{strings.TrimSpace(g[1])})
		}
	}
	if t := find(r.Tools, "calculator"); t != nil {
		if g := addition.FindStringSubmatch(ut); g != nil {
			return call(t, struct {
				Op string      `json:"op"`
				A  mastra.JSON `json:"a"`
				B  mastra.JSON `json:"b"`
			}{"add", numeral(g[1]), numeral(g[2])})
		}
	}
	if t := find(r.Tools, "dangerous"); t != nil {
		if g := deletion.FindStringSubmatch(ut); g != nil {
			return call(t, struct {
				Target string `json:"target"`
			}{g[1]})
		}
	}
	if t := find(r.Tools, "updateWorkingMemory"); t != nil {
		if g := memorize.FindStringSubmatch(ut); g != nil {
			return call(t, struct {
				Memory string `json:"memory"`
			}{"# User\n- Note: " + g[1]})
		}
	}
	return say("Echo: " + ut)
}

// find is the first tool whose name contains name.
func find(tools []*mastra.Tool, name string) *mastra.Tool {
	for _, t := range tools {
		if containsFold(t.Name(), name) {
			return t
		}
	}
	return nil
}

// containsFold looks for an ASCII word, ignoring the case of ASCII letters.
func containsFold(s, word string) bool {
	return strings.Contains(strings.Map(lowerASCII, s), strings.Map(lowerASCII, word))
}

func lowerASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// numeral is digits as JSON.stringify writes the number: null where it is too large.
func numeral(digits string) mastra.JSON {
	v, _ := strconv.ParseFloat(digits, 64)
	if math.IsInf(v, 0) {
		return mastra.JSON("null")
	}
	data, err := schema.Marshal(v + 0) // no -0
	if err != nil {
		return mastra.JSON("null")
	}
	return data
}

// resultOf is the JSON of the outputs of a tool message: the bare output if there is one, a list if more.
func resultOf(m mastra.PromptMessage) (string, error) {
	outs := []mastra.JSON{}
	for _, p := range m.Parts {
		if p.Type != mastra.PartToolResult {
			continue
		}
		out := p.Output
		var typed struct {
			Value mastra.JSON `json:"value"`
		}
		if out.Kind() == '{' {
			if err := schema.Unmarshal(out, &typed); err != nil {
				return "", err
			}
			if len(typed.Value) > 0 && typed.Value.Kind() != 'n' {
				out = typed.Value
			}
		}
		out = out.Clone()
		if err := out.Compact(); err != nil {
			return "", err
		}
		outs = append(outs, out)
	}
	if len(outs) == 1 {
		return string(outs[0]), nil
	}
	list, err := schema.Marshal(outs)
	return string(list), err
}

// fill is the smallest value that fits a JSON Schema, as compact JSON.
func fill(data mastra.JSON) (string, error) {
	if data.Kind() != '{' {
		return `{"answer":"mock"}`, nil
	}
	var s struct {
		Enum       []mastra.JSON              `json:"enum"`
		Const      mastra.JSON                `json:"const"`
		AnyOf      []mastra.JSON              `json:"anyOf"`
		Properties mastra.Object[mastra.JSON] `json:"properties"`
	}
	if err := schema.Unmarshal(data, &s); err != nil {
		return "", err
	}
	switch {
	case len(s.Enum) > 0:
		return compact(s.Enum[0])
	case s.Const != nil:
		return compact(s.Const)
	case len(s.AnyOf) > 0:
		for _, one := range s.AnyOf {
			if typ, err := typeOf(one); err != nil || typ != "null" {
				return fill(one)
			}
		}
		return fill(s.AnyOf[0])
	}
	switch typ, err := typeOf(data); typ {
	case "object":
		var b strings.Builder
		b.WriteByte('{')
		for i, p := range s.Properties {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := schema.Marshal(p.Key)
			if err != nil {
				return "", err
			}
			value, err := fill(p.Value)
			if err != nil {
				return "", err
			}
			b.WriteString(string(key) + ":" + value)
		}
		return b.String() + "}", nil
	case "array":
		return "[]", nil
	case "number", "integer":
		return "4", nil
	case "boolean":
		return "true", nil
	default:
		return `"mock"`, err
	}
}

func compact(data mastra.JSON) (string, error) {
	data = data.Clone()
	err := data.Compact()
	return string(data), err
}

// typeOf is the type that a schema names; of a list the first that is not null.
func typeOf(data mastra.JSON) (string, error) {
	var named struct {
		Type mastra.JSON `json:"type"`
	}
	if err := schema.Unmarshal(data, &named); err != nil {
		return "", err
	}
	switch named.Type.Kind() {
	case '"':
		var one string
		err := schema.Unmarshal(named.Type, &one)
		return one, err
	case '[':
		var list []string
		err := schema.Unmarshal(named.Type, &list)
		for _, one := range list {
			if one != "null" {
				return one, err
			}
		}
		return "", err
	}
	return "", nil
}
