package house_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.yaml.in/yaml/v3"

	"mastralambda/infra/local"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/handlers/system"
	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/handlers/voice"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/lambdahttp"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
)

// groups are the functions of template.yaml and their route tables.
var groups = map[string][]server.Route{"AgentsFunction": agents.Routes(), "WorkflowsFunction": workflows.Routes(), "ToolsFunction": tools.Routes(),
	"MemoryFunction": memory.Routes(), "ObservabilityFunction": observability.Routes(), "VoiceFunction": voice.Routes(), "LogsFunction": logs.Routes(), "VectorsFunction": vector.Routes(), "SystemFunction": system.Routes()}

type event struct {
	function string
	Type     string `yaml:"Type"`
	Props    struct {
		Path    string `yaml:"Path"`
		Method  string `yaml:"Method"`
		Mode    string `yaml:"ResponseTransferMode"`
		Timeout int    `yaml:"TimeoutInMillis"`
	} `yaml:"Properties"`
}

// events are those of template.yaml by path.
func events(t *testing.T) map[string]event {
	t.Helper()
	data, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	all := map[string]event{}
	for name, r := range template.Resources {
		if r.Type != "AWS::Serverless::Function" {
			continue
		}
		var properties struct {
			Events map[string]event `yaml:"Events"`
		}
		if err := r.Properties.Decode(&properties); err != nil {
			t.Fatal(err)
		}
		for _, e := range properties.Events {
			if e.Type != "Api" {
				continue
			}
			if other, ok := all[e.Props.Path]; ok {
				t.Errorf("%s belongs to %s and %s", e.Props.Path, other.function, name)
			}
			e.function = name
			all[e.Props.Path] = e
		}
	}
	return all
}

// resource is a node of API Gateway's tree. A literal wins, then a variable, then a greedy one; a literal that leads nowhere
// is not given up for a variable.
type resource struct {
	path     string
	children map[string]*resource
}

func tree(events map[string]event) *resource {
	root := &resource{}
	for path := range events {
		at := root
		for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			if segment == "" {
				break
			}
			if at.children == nil {
				at.children = map[string]*resource{}
			}
			if at.children[segment] == nil {
				at.children[segment] = &resource{}
			}
			at = at.children[segment]
		}
		at.path = path
	}
	return root
}

func (r *resource) match(segments []string) string {
	if len(segments) == 0 {
		return r.path
	}
	next, greedy := r.children[segments[0]], ""
	for name, child := range r.children {
		switch {
		case strings.HasSuffix(name, "+}"):
			greedy = child.path
		case strings.HasPrefix(name, "{") && next == nil:
			next = child
		}
	}
	if next == nil {
		return greedy
	}
	if found := next.match(segments[1:]); found != "" {
		return found
	}
	return greedy
}

// Every route is at its group's function, and streams exactly where it has to.
func TestTemplateHasEveryRoute(t *testing.T) {
	events := events(t)
	root := tree(events)
	byPath, used := map[string]map[string]*server.Route{}, map[string]bool{}
	whole := func(r server.Route) string {
		if r.Root {
			return r.Path
		}
		return "/api" + r.Path
	}
	for _, table := range local.Tables() {
		for _, r := range table {
			if byPath[whole(r)] == nil {
				byPath[whole(r)] = map[string]*server.Route{}
			}
			byPath[whole(r)][r.Method] = &r
		}
	}
	served := 0
	for function, table := range groups {
		for _, r := range table {
			path := whole(r)
			found := root.match(strings.Split(strings.Trim(path, "/"), "/"))
			e := events[found]
			served++
			if e.function != function {
				t.Errorf("%s %s goes to %q of %q, not to %s", r.Method, path, found, e.function, function)
			}
			used[found] = true
			streams := lambdahttp.Streams(byPath[path])
			if streams && (e.Props.Mode != "RESPONSE_STREAM" || e.Props.Timeout != 900000 || strings.Contains(found, "+}")) {
				t.Errorf("%s %s needs a streamed event of its own: %+v", r.Method, path, e.Props)
			}
			if !streams && (e.Props.Mode != "" || e.Props.Timeout != 0) {
				t.Errorf("%s %s needs no stream: %+v", r.Method, path, e.Props)
			}
		}
	}
	all := 0
	for _, table := range local.Tables() {
		all += len(table)
	}
	if served != all {
		t.Errorf("the functions have %d routes, the server %d", served, all)
	}
	for path, e := range events {
		if e.Props.Mode != "" && !used[path] {
			t.Errorf("%s streams, and no route is there", path)
		}
	}
}

// What API Gateway refuses: siblings whose variables have different names, and literals that lack a method.
func TestTemplateKeepsAPIGatewaysRules(t *testing.T) {
	events := events(t)
	counts := map[string]int{}
	for path, e := range events {
		counts[e.function]++
		if e.Props.Method != "ANY" {
			t.Errorf("%s: a method of its own answers 403 to all others", path)
		}
		if path != "/{proxy+}" && path != "/" && !strings.HasPrefix(path, "/api/") {
			t.Errorf("%s is outside of the prefix", path)
		}
	}
	for function, n := range counts {
		if n*400 > 20480 {
			t.Errorf("%s: the resource policy of %d events exceeds 20 480 bytes", function, n)
		}
	}
	var siblings func(r *resource)
	siblings = func(r *resource) {
		variable := ""
		for name, child := range r.children {
			if strings.HasPrefix(name, "{") && !strings.HasSuffix(name, "+}") {
				if variable != "" {
					t.Errorf("%s and %s are siblings", name, variable)
				}
				variable = name
			}
			siblings(child)
		}
		if variable != "" && r.children["{proxy+}"] != nil {
			t.Errorf("{proxy+} is a sibling of %s", variable)
		}
	}
	siblings(tree(events))
}

// The tables of template.yaml are those that the DynamoDB backend works on.
func TestTemplateTablesAreTheBackends(t *testing.T) {
	data, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		AttributeName string `yaml:"AttributeName"`
		KeyType       string `yaml:"KeyType"`
	}
	var template struct {
		Resources map[string]struct {
			Type           string `yaml:"Type"`
			DeletionPolicy string `yaml:"DeletionPolicy"`
			Properties     struct {
				KeySchema              []key `yaml:"KeySchema"`
				GlobalSecondaryIndexes []struct {
					IndexName  string `yaml:"IndexName"`
					KeySchema  []key  `yaml:"KeySchema"`
					Projection struct {
						ProjectionType   string   `yaml:"ProjectionType"`
						NonKeyAttributes []string `yaml:"NonKeyAttributes"`
					} `yaml:"Projection"`
				} `yaml:"GlobalSecondaryIndexes"`
				TTL struct {
					AttributeName string `yaml:"AttributeName"`
				} `yaml:"TimeToLiveSpecification"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	want := dynamodb.Definition("x")
	keys := func(schema []types.KeySchemaElement) string {
		var out []key
		for _, k := range schema {
			out = append(out, key{*k.AttributeName, string(k.KeyType)})
		}
		return fmt.Sprint(out)
	}
	tables := 0
	for name, r := range template.Resources {
		if r.Type != "AWS::DynamoDB::Table" {
			continue
		}
		tables++
		p := r.Properties
		if fmt.Sprint(p.KeySchema) != keys(want.KeySchema) || len(p.GlobalSecondaryIndexes) != len(want.GlobalSecondaryIndexes) ||
			p.TTL.AttributeName != dynamodb.TTLAttribute || r.DeletionPolicy != "Retain" {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		for i, index := range p.GlobalSecondaryIndexes {
			w := want.GlobalSecondaryIndexes[i]
			if index.IndexName != *w.IndexName || fmt.Sprint(index.KeySchema) != keys(w.KeySchema) ||
				index.Projection.ProjectionType != string(w.Projection.ProjectionType) || !slices.Equal(index.Projection.NonKeyAttributes, w.Projection.NonKeyAttributes) {
				t.Errorf("%s: %+v", name, index)
			}
		}
	}
	if tables != 3 {
		t.Errorf("%d tables", tables)
	}
}
