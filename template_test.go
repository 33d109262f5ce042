package house_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.yaml.in/yaml/v3"

	"mastralambda/infra/lambdalocal"
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

// event is an Api event of template.yaml.
type event struct {
	function string
	lambdalocal.Route
}

// front is API Gateway's before the functions of template.yaml, none of which runs, and the events by path.
func front(t *testing.T) (*lambdalocal.Gateway, map[string]event) {
	t.Helper()
	template, err := lambdalocal.Load("template.yaml", lambdalocal.Given{})
	if err != nil {
		t.Fatal(err)
	}
	stack, err := lambdalocal.Up(template, lambdalocal.Options{Bootstraps: func(string) string { return "" }}) // refuses what API Gateway refuses
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]event{}
	for _, f := range template.Functions {
		for _, r := range f.Routes {
			if other, ok := all[r.Path]; ok {
				t.Errorf("%s belongs to %s and %s", r.Path, other.function, f.Name)
			}
			all[r.Path] = event{f.Name, r}
		}
	}
	return stack.Gateway, all
}

func events(t *testing.T) map[string]event {
	t.Helper()
	_, all := front(t)
	return all
}

// Every route is at its group's function, and streams exactly where it has to.
func TestTemplateHasEveryRoute(t *testing.T) {
	gateway, events := front(t)
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
			at, by, _ := gateway.Leads(r.Method, path)
			served++
			if at != function {
				t.Errorf("%s %s goes to %q of %q, not to %s", r.Method, path, by.Path, at, function)
			}
			used[by.Path] = true
			streams := lambdahttp.Streams(byPath[path])
			if streams && (!by.Streamed || by.Timeout != 15*time.Minute || strings.Contains(by.Path, "+}")) {
				t.Errorf("%s %s needs a streamed event of its own: %+v", r.Method, path, by)
			}
			if !streams && (by.Streamed || by.Timeout != 29*time.Second) {
				t.Errorf("%s %s needs no stream: %+v", r.Method, path, by)
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
		if e.Streamed && !used[path] {
			t.Errorf("%s streams, and no route is there", path)
		}
	}
}

// What API Gateway would do: answer 403 where a literal lacks a method, and refuse a policy that is too long.
func TestTemplateKeepsAPIGatewaysRules(t *testing.T) {
	events := events(t)
	counts := map[string]int{}
	for path, e := range events {
		counts[e.function]++
		if e.Method != "ANY" {
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
