package lambdalocal

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// resolver evaluates CloudFormation's intrinsic functions. What it does not know is an error: nothing is guessed.
type resolver struct {
	templateSource
	given Given
}

// pseudo are CloudFormation's own parameters.
var pseudo = map[string]string{"AWS::Region": Region, "AWS::AccountId": Account, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com",
	"AWS::StackName": "local", "AWS::StackId": "arn:aws:cloudformation:" + Region + ":" + Account + ":stack/local/0"}

// Region and Account are where functions believe to be.
const (
	Region  = "us-east-1"
	Account = "000000000000"
)

// noValue is what !Ref AWS::NoValue is: the property is left out.
type noValue struct{}

// value is a node as JSON would hold it: string, []any, map[string]any. Scalars stay as they are written.
func (r *resolver) value(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return r.value(n.Alias)
	case yaml.DocumentNode:
		return r.value(n.Content[0])
	}
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		bare := *n
		bare.Tag = ""
		v, err := r.intrinsic(strings.TrimPrefix(n.Tag, "!"), &bare)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
		return v, nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		out := []any{}
		for _, c := range n.Content {
			v, err := r.value(c)
			if err != nil {
				return nil, err
			}
			if v != (any)(noValue{}) {
				out = append(out, v)
			}
		}
		return out, nil
	}
	if len(n.Content) == 2 {
		if name := n.Content[0].Value; name == "Ref" || strings.HasPrefix(name, "Fn::") {
			v, err := r.intrinsic(strings.TrimPrefix(name, "Fn::"), n.Content[1])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n.Line, err)
			}
			return v, nil
		}
	}
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v, err := r.value(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if _, none := v.(noValue); !none {
			out[n.Content[i].Value] = v
		}
	}
	return out, nil
}

func (r *resolver) intrinsic(name string, n *yaml.Node) (any, error) {
	switch name { // those that do not evaluate all of their arguments
	case "If":
		if len(n.Content) != 3 {
			return nil, errors.New("!If takes three arguments")
		}
		yes, err := r.condition(n.Content[0].Value)
		if err != nil {
			return nil, err
		}
		if yes {
			return r.value(n.Content[1])
		}
		return r.value(n.Content[2])
	case "Condition":
		return r.condition(n.Value)
	}
	v, err := r.value(n)
	if err != nil {
		return nil, err
	}
	args := list(v)
	switch name {
	case "Ref":
		return r.ref(text(v))
	case "GetAtt":
		if len(args) > 0 {
			v = text(args[0]) + "." + text(args[len(args)-1])
		}
		return r.attribute(text(v)), nil
	case "Sub":
		return r.sub(v)
	case "Join":
		if len(args) == 2 {
			var parts []string
			for _, p := range list(args[1]) {
				parts = append(parts, text(p))
			}
			return strings.Join(parts, text(args[0])), nil
		}
	case "Split":
		if len(args) == 2 {
			out := []any{}
			for _, p := range strings.Split(text(args[1]), text(args[0])) {
				out = append(out, p)
			}
			return out, nil
		}
	case "Select":
		if len(args) == 2 {
			i, err := strconv.Atoi(text(args[0]))
			if from := list(args[1]); err == nil && i >= 0 && i < len(from) {
				return from[i], nil
			}
		}
	case "FindInMap":
		if len(args) == 3 {
			if found, ok := r.Mappings[text(args[0])][text(args[1])][text(args[2])]; ok {
				return r.value(&found)
			}
		}
	case "Equals":
		if len(args) == 2 {
			return text(args[0]) == text(args[1]), nil
		}
	case "Not":
		if len(args) == 1 {
			return args[0] != true, nil
		}
	case "And":
		return !slices.Contains(args, any(false)), nil
	case "Or":
		return slices.Contains(args, any(true)), nil
	}
	return nil, fmt.Errorf("%s is not known here, or its arguments are wrong", name)
}

func (r *resolver) condition(name string) (bool, error) {
	if name == "" {
		return true, nil
	}
	n, ok := r.Conditions[name]
	if !ok {
		return false, fmt.Errorf("there is no condition %q", name)
	}
	v, err := r.value(&n)
	if err != nil {
		return false, fmt.Errorf("condition %s: %w", name, err)
	}
	return v == true, nil
}

func (r *resolver) ref(name string) (any, error) {
	if name == "AWS::NoValue" {
		return noValue{}, nil
	}
	if v, ok := pseudo[name]; ok {
		return v, nil
	}
	if p, ok := r.Parameters[name]; ok {
		v, set := r.given.Parameters[name]
		if !set {
			v = p.Default
		}
		if p.AllowedValues != nil && !slices.Contains(p.AllowedValues, v) {
			return nil, fmt.Errorf("parameter %s=%q: one of %v", name, v, p.AllowedValues)
		}
		return v, nil
	}
	if v, ok := r.given.Refs[name]; ok {
		return v, nil
	}
	logical, _, _ := strings.Cut(name, ".") // Function.Alias, Function.Version
	if res, ok := r.Resources[logical]; ok {
		switch res.Type {
		case "AWS::SQS::Queue":
			return r.given.Queues + "/" + Account + "/" + r.given.QueuePrefix + logical, nil
		case "AWS::Scheduler::ScheduleGroup":
			return r.given.QueuePrefix + logical, nil
		}
		return logical, nil
	}
	return nil, fmt.Errorf("there is no %q to refer to", name)
}

// attribute is what a run has given, else a name that shows where it came from.
func (r *resolver) attribute(name string) string {
	if v, ok := r.given.Attributes[name]; ok {
		return v
	}
	logical, attribute, _ := strings.Cut(name, ".")
	switch {
	case attribute == "Arn" && r.Resources[logical].Type == "AWS::Serverless::Function":
		return functionARN(logical)
	case attribute == "Arn" && r.Resources[logical].Type == "AWS::SQS::Queue":
		return "arn:aws:sqs:" + Region + ":" + Account + ":" + r.given.QueuePrefix + logical
	case attribute == "QueueName":
		return r.given.QueuePrefix + logical
	case attribute == "Version.Version": // here all are $LATEST
		return "0"
	case attribute == "Arn":
		return "arn:aws:local:" + Region + ":" + Account + ":" + logical
	}
	return name
}

var placeholder = regexp.MustCompile(`\$\{(!?)([^}]+)\}`)

func (r *resolver) sub(v any) (any, error) {
	own := map[string]any{}
	if args := list(v); len(args) == 2 {
		v, own = args[0], object(args[1])
	}
	var errs []error
	out := placeholder.ReplaceAllStringFunc(text(v), func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		name := strings.TrimSpace(m[2])
		if m[1] != "" {
			return "${" + name + "}"
		}
		if value, ok := own[name]; ok {
			return text(value)
		}
		if _, resource := r.Resources[strings.SplitN(name, ".", 2)[0]]; resource && strings.Contains(name, ".") {
			return r.attribute(name)
		}
		value, err := r.ref(name)
		errs = append(errs, err)
		return text(value)
	})
	return out, errors.Join(errs...)
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

func number(v any) (float64, error) { return strconv.ParseFloat(text(v), 64) }
