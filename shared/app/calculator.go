package app

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
)

// A tool is a function from one struct to another. Their JSON Schemas come from the types: a tag jsonschema:"…" describes a
// field, and minLength, maxLength, minimum, enum and the like constrain it. What the model sends is checked against that
// before the function is called, and an error that the function returns is told to the model.
var calculator = mastra.NewTool("calculator", "Evaluates an arithmetic expression with + - * / ^ and parentheses.", calculate)

// Calculation is what the calculator takes.
type Calculation struct {
	Expression string `json:"expression" minLength:"1" maxLength:"1000" jsonschema:"for example 2+2 or (3 + 4) * 2"`
}

// Calculated is what it returns.
type Calculated struct {
	Result float64 `json:"result"`
}

func calculate(_ context.Context, in Calculation) (Calculated, error) {
	p := parser{text: strings.ReplaceAll(in.Expression, " ", "")}
	v := p.sum()
	if p.err == nil && p.text != "" {
		p.fail()
	}
	if p.err == nil && (math.IsInf(v, 0) || math.IsNaN(v)) {
		p.err = fmt.Errorf("the result of %q is not a number", in.Expression)
	}
	return Calculated{v}, p.err
}

// parser consumes its text from the left; the first error stays.
type parser struct {
	text  string
	depth int
	err   error
}

func (p *parser) fail() {
	if p.err == nil {
		p.err = fmt.Errorf("not an expression, from %q on", p.text)
	}
}

// take consumes one of the operators and returns it, 0 if none is next.
func (p *parser) take(operators string) byte {
	if p.text == "" || p.err != nil || strings.IndexByte(operators, p.text[0]) < 0 {
		return 0
	}
	op := p.text[0]
	p.text = p.text[1:]
	return op
}

func (p *parser) sum() float64 {
	v := p.product()
	for {
		switch p.take("+-") {
		case '+':
			v += p.product()
		case '-':
			v -= p.product()
		default:
			return v
		}
	}
}

func (p *parser) product() float64 {
	v := p.power()
	for {
		switch p.take("*/") {
		case '*':
			v *= p.power()
		case '/':
			v /= p.power()
		default:
			return v
		}
	}
}

func (p *parser) power() float64 {
	if p.depth++; p.depth > 100 {
		p.fail()
		return 0
	}
	defer func() { p.depth-- }()
	if p.take("-") != 0 {
		return -p.power()
	}
	v := p.value()
	if p.take("^") != 0 {
		return math.Pow(v, p.power())
	}
	return v
}

func (p *parser) value() float64 {
	if p.take("(") != 0 {
		v := p.sum()
		if p.take(")") == 0 {
			p.fail()
		}
		return v
	}
	end := 0
	for end < len(p.text) && (p.text[end] == '.' || p.text[end] >= '0' && p.text[end] <= '9') {
		end++
	}
	v, err := strconv.ParseFloat(p.text[:end], 64)
	if err != nil {
		p.fail()
		return 0
	}
	p.text = p.text[end:]
	return v
}
