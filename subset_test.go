package house_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// template is what SAM makes of template.yaml, before its conditions are decided.
type template struct {
	Parameters map[string]struct {
		Default     any
		Description string
	}
	Conditions map[string]any
	Resources  map[string]any
	Outputs    map[string]any
}

// decide takes of each Fn::If the branch that the parameters choose, and leaves out what is conditional and not there.
func (tp template) decide(given map[string]string) (resources map[string]made, outputs any, err error) {
	value := func(name string) string {
		if v, ok := given[name]; ok {
			return v
		}
		return fmt.Sprint(tp.Parameters[name].Default)
	}
	var holds func(v any) bool
	holds = func(v any) bool {
		o, _ := v.(object)
		for key, arg := range o {
			list, _ := arg.([]any)
			switch key {
			case "Condition":
				return holds(tp.Conditions[fmt.Sprint(arg)])
			case "Fn::Not":
				return !holds(list[0])
			case "Fn::And":
				return !slices.ContainsFunc(list, func(v any) bool { return !holds(v) })
			case "Fn::Or":
				return slices.ContainsFunc(list, holds)
			case "Fn::Equals":
				side := func(v any) string {
					if name, ok := at(v, "Ref").(string); ok {
						return value(name)
					}
					return fmt.Sprint(v)
				}
				return side(list[0]) == side(list[1])
			}
		}
		return false
	}
	nothing := object{"Ref": "AWS::NoValue"}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case object:
			if branches, ok := v["Fn::If"].([]any); ok {
				if holds(object{"Condition": branches[0]}) {
					return walk(branches[1])
				}
				return walk(branches[2])
			}
			out := object{}
			for k, child := range v {
				if child = walk(child); text(child) != text(nothing) {
					out[k] = child
				}
			}
			return out
		case []any:
			out := []any{}
			for _, child := range v {
				if child = walk(child); text(child) != text(nothing) {
					out = append(out, child)
				}
			}
			return out
		}
		return v
	}
	there := func(all map[string]any) object {
		out := object{}
		for name, r := range all {
			if condition := at(r, "Condition"); condition == nil || holds(object{"Condition": condition}) {
				out[name] = walk(r)
			}
		}
		return out
	}
	data, err := json.Marshal(there(tp.Resources))
	if err == nil {
		err = json.Unmarshal(data, &resources)
	}
	return resources, there(tp.Outputs), err
}

// Whatever groups, databases and extras are chosen: nothing refers to what is not there.
func TestSubsetsOfTheStack(t *testing.T) {
	var tp template
	if err := json.Unmarshal(transform(t), &tp); err != nil {
		t.Fatal(err)
	}
	for name, p := range tp.Parameters { // an empty account needs no answer but yes
		if p.Default == nil || p.Description == "" {
			t.Errorf("%s has no default or no description", name)
		}
	}
	groups := []string{"Agents", "Workflows", "Tools", "Memory", "Observability", "Logs", "Voice"}
	cases := map[string]map[string]string{
		"as it is":             {},
		"no vectors":           {"Vectors": "none"},
		"a database elsewhere": {"Vectors": "existing", "VectorUrlSecret": "s"},
		"everything": {"DomainName": "api.example.com", "CertificateArn": "arn", "HostedZoneId": "Z", "AlarmEmail": "a@example.com", "MonthlyBudget": "10",
			"Bedrock": "yes", "OpenAIKeySecret": "s", "AnthropicKeySecret": "s"},
		"a domain without a zone": {"DomainName": "api.example.com", "CertificateArn": "arn", "CreateApiGatewayAccount": "no", "Dashboard": "no"},
		"system alone":            {"Vectors": "none"},
	}
	for _, g := range groups {
		cases["without "+g] = map[string]string{g: "no"}
		cases["system alone"][g] = "no"
	}
	for name, parameters := range cases {
		for p := range parameters {
			if _, ok := tp.Parameters[p]; !ok {
				t.Errorf("there is no parameter %s", p)
			}
		}
		resources, outputs, err := tp.decide(parameters)
		if err != nil {
			t.Fatal(err)
		}
		check := func(from string, names []string) {
			for _, to := range names {
				_, resource := resources[to]
				_, parameter := tp.Parameters[to]
				if !resource && !parameter && !strings.HasPrefix(to, "AWS::") && !strings.HasPrefix(to, "__") && to != "ConfigName" {
					t.Errorf("%s: %s refers to %s", name, from, to)
				}
			}
		}
		for from, r := range resources {
			r.DependsOn = nil // CloudFormation leaves out what is not there
			check(from, dependencies(r))
		}
		check("an output", dependencies(made{Properties: object{"outputs": outputs}}))
		functions := ofType(resources, "AWS::Lambda::Function")
		paths := at(resources["Api"].Properties, "Body", "paths")
		for _, g := range groups {
			_, deployed := functions[g+"Function"]
			if wanted := parameters[g] != "no"; deployed != wanted || strings.Contains(text(paths), "${"+g+"FunctionAliaslive}") != wanted {
				t.Errorf("%s: %s is deployed: %t", name, g, deployed)
			}
		}
		for extra, wanted := range map[string]bool{"Domain": parameters["DomainName"] != "", "DomainMapping": parameters["DomainName"] != "", "DomainRecord": parameters["HostedZoneId"] != "",
			"AlarmTopic": parameters["AlarmEmail"] != "", "Budget": parameters["MonthlyBudget"] != "", "Board": parameters["Dashboard"] != "no",
			"VectorCluster": parameters["Vectors"] == "", "Vpc": parameters["Vectors"] == "", "ApiAccount": parameters["CreateApiGatewayAccount"] != "no", "Queue": true, "WorkerFunction": true} {
			if _, there := resources[extra]; there != wanted {
				t.Errorf("%s: %s is there: %t", name, extra, there)
			}
		}
		if len(functions) == 0 || !strings.Contains(text(paths), "SystemFunctionAliaslive") {
			t.Errorf("%s: %v", name, slices.Sorted(maps.Keys(functions)))
		}
	}
}
