package house_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"mastralambda/infra/migrations"
	"mastralambda/infra/services"
)

// object is a part of a template as CloudFormation gets it.
type object = map[string]any

type made struct {
	Type           string
	Condition      string
	DeletionPolicy string
	DependsOn      any
	UpdatePolicy   object
	Properties     object
}

// transformed is what SAM makes of template.yaml, with every condition true.
func transformed(t *testing.T, parameters ...string) map[string]made {
	t.Helper()
	out := transform(t, parameters...)
	if len(out) > 1_000_000 {
		t.Errorf("the template is %d bytes: CloudFormation takes 1 MB", len(out))
	}
	var template struct{ Resources map[string]any }
	if err := json.Unmarshal(out, &template); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(yes(template.Resources))
	if err != nil {
		t.Fatal(err)
	}
	var resources map[string]made
	if err := json.Unmarshal(data, &resources); err != nil {
		t.Fatal(err)
	}
	return resources
}

// made once: SAM takes seconds.
var transforms sync.Map

// transform is what SAM makes of template.yaml, as JSON.
func transform(t *testing.T, parameters ...string) []byte {
	t.Helper()
	if out, ok := transforms.Load(fmt.Sprint(parameters)); ok {
		return out.([]byte) //nolint:forcetypeassert // nothing else is stored
	}
	for _, file := range []string{"template.yaml", "infra/sam/transform.py"} { // so that go test knows what its result depends on
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), services.SAM(t), append([]string{"infra/sam/transform.py"}, parameters...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	transforms.Store(fmt.Sprint(parameters), out)
	return out
}

// yes takes the first branch of each Fn::If.
func yes(v any) any {
	switch v := v.(type) {
	case object:
		if branches, ok := v["Fn::If"].([]any); ok {
			return yes(branches[1])
		}
		for k, child := range v {
			v[k] = yes(child)
		}
	case []any:
		for i, child := range v {
			v[i] = yes(child)
		}
	}
	return v
}

func ofType(resources map[string]made, kind string) map[string]made {
	out := maps.Clone(resources)
	maps.DeleteFunc(out, func(_ string, r made) bool { return r.Type != kind })
	return out
}

// at walks objects and lists, "" where it leads nowhere.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			o, _ := v.(object)
			v = o[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

func text(v any) string { data, _ := json.Marshal(v); return string(data) }

// The API's integrations are what its events ask for.
func TestTransformedAPI(t *testing.T) {
	resources, events := transformed(t), events(t)
	apis := ofType(resources, "AWS::ApiGateway::RestApi")
	if len(apis) != 1 {
		t.Fatalf("%d APIs", len(apis))
	}
	api := apis["Api"].Properties
	if text(api["EndpointConfiguration"]) != `{"Types":["REGIONAL"]}` || text(api["BinaryMediaTypes"]) != `["*/*"]` && text(at(api, "Body", "x-amazon-apigateway-binary-media-types")) != `["*/*"]` {
		t.Errorf("endpoint %s, binary types %s", text(api["EndpointConfiguration"]), text(api["BinaryMediaTypes"]))
	}
	paths, _ := at(api, "Body", "paths").(object)
	nodes := map[string]bool{}
	for path, methods := range paths {
		for i := range strings.Split(path, "/") {
			nodes[strings.Join(strings.Split(path, "/")[:i+1], "/")] = true
		}
		for method, m := range methods.(object) {
			i, streams := at(m, "x-amazon-apigateway-integration"), events[path].Streamed
			mode, timeout, uri := at(i, "responseTransferMode"), at(i, "timeoutInMillis"), text(at(i, "uri"))
			if method != "x-amazon-apigateway-any-method" {
				t.Errorf("%s: %s answers 403 to all other methods", path, method)
			}
			if streams && (mode != "STREAM" || timeout != 900000.0 || !strings.Contains(uri, "/response-streaming-invocations")) ||
				!streams && (mode != nil || timeout != nil || !strings.Contains(uri, "/invocations")) {
				t.Errorf("%s: mode %v, timeout %v, %s", path, mode, timeout, uri)
			}
			if function := events[path].function; !strings.Contains(uri, "${"+function+"Aliaslive}") {
				t.Errorf("%s: %s is not the alias of %s", path, uri, function)
			}
		}
	}
	if len(paths) != len(events) || len(nodes) > 300 {
		t.Errorf("%d paths of %d events, %d resources", len(paths), len(events), len(nodes))
	}
	for kind, response := range at(api, "Body", "x-amazon-apigateway-gateway-responses").(object) {
		if at(response, "responseParameters", "gatewayresponse.header.Access-Control-Allow-Origin") != "'*'" {
			t.Errorf("%s cannot be read by a browser: %s", kind, text(response))
		}
	}
	if resources["Api"].DependsOn != "ApiAccount" {
		t.Errorf("the API may come before the account's role for its access logs: %v", resources["Api"].DependsOn)
	}
	stages := ofType(resources, "AWS::ApiGateway::Stage")
	for name, s := range stages {
		if at(s.Properties, "TracingEnabled") != true || at(s.Properties, "AccessLogSetting", "DestinationArn") == nil || at(s.Properties, "MethodSettings", 0, "ThrottlingRateLimit") == nil {
			t.Errorf("%s: %s", name, text(s.Properties))
		}
	}
	if len(stages) != 1 {
		t.Errorf("%d stages", len(stages))
	}
}

// What bounds a stack: resources, policies, and no circle of dependencies.
func TestTransformedStackFits(t *testing.T) {
	resources := transformed(t)
	if len(resources) > 500 {
		t.Errorf("%d resources", len(resources))
	}
	policies := map[string]int{}
	for _, p := range ofType(resources, "AWS::Lambda::Permission") {
		policies[text(p.Properties["FunctionName"])] += 400
	}
	for function, bytes := range policies {
		if bytes > 20480 {
			t.Errorf("the resource policy of %s is about %d bytes, Lambda takes 20 480", function, bytes)
		}
	}
	var circle func(name string, path []string) []string
	done := map[string]bool{}
	circle = func(name string, path []string) []string {
		if i := slices.Index(path, name); i >= 0 {
			return append(path[i:], name)
		}
		if done[name] {
			return nil
		}
		for _, next := range dependencies(resources[name]) {
			if _, ok := resources[next]; ok {
				if found := circle(next, append(slices.Clone(path), name)); found != nil {
					return found
				}
			}
		}
		done[name] = true
		return nil
	}
	for name := range resources {
		if found := circle(name, nil); found != nil {
			t.Fatalf("resources depend on each other: %s", strings.Join(found, " -> "))
		}
	}
}

// dependencies are the resources that one names by Ref, GetAtt, Sub and DependsOn.
func dependencies(r made) (names []string) {
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case object:
			for key, child := range v {
				switch name, isText := child.(string); {
				case key == "Ref" && isText:
					names = append(names, name)
				case key == "Fn::GetAtt":
					if list, ok := child.([]any); ok {
						name, _ = list[0].(string)
					}
					names = append(names, strings.Split(name, ".")[0])
				case key == "Fn::Sub":
					if list, ok := child.([]any); ok {
						name, _ = list[0].(string)
						walk(list[1])
					}
					for _, part := range strings.Split(name, "${")[1:] {
						inner, _, _ := strings.Cut(part, "}")
						names = append(names, strings.Split(inner, ".")[0])
					}
				default:
					walk(child)
				}
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(r.Properties)
	walk(r.UpdatePolicy)
	switch d := r.DependsOn.(type) {
	case string:
		names = append(names, d)
	case []any:
		for _, name := range d {
			names = append(names, fmt.Sprint(name))
		}
	}
	return names
}

// Functions: what they are built for, whose rights they have, and how a new version takes over.
func TestTransformedFunctions(t *testing.T) {
	resources, events := transformed(t), events(t)
	folders, err := os.ReadDir("functions")
	if err != nil {
		t.Fatal(err)
	}
	functions := ofType(resources, "AWS::Lambda::Function")
	for _, f := range folders {
		if name := strings.ToUpper(f.Name()[:1]) + f.Name()[1:] + "Function"; f.Name() != "wire" && functions[name].Type == "" {
			t.Errorf("functions/%s is not deployed", f.Name())
		}
	}
	roles := map[string]string{}
	for name, f := range functions {
		p := f.Properties
		role := text(at(p, "Role", "Fn::GetAtt", 0))
		if other, ok := roles[role]; ok || role == "null" {
			t.Errorf("%s has the role %s of %q", name, role, other)
		}
		roles[role] = name
		if p["Runtime"] != "provided.al2023" || text(p["Architectures"]) != `[{"Ref":"Architecture"}]` || p["ReservedConcurrentExecutions"] != nil ||
			at(p, "LoggingConfig", "LogFormat") != "JSON" || at(p, "TracingConfig", "Mode") != "Active" {
			t.Errorf("%s: %s", name, text(p))
		}
		if at(p, "VpcConfig") != nil && name != "VectorsFunction" {
			t.Errorf("%s is in a VPC", name)
		}
		if env := text(p["Environment"]); len(env) > 4096 || strings.Contains(env, `"Ref":"Api"`) {
			t.Errorf("%s: its environment is %d bytes or names the API", name, len(env))
		}
		streams := slices.ContainsFunc(slices.Collect(maps.Values(events)), func(e event) bool { return e.function == name && e.Streamed })
		if timeout := p["Timeout"]; streams && timeout != 900.0 {
			t.Errorf("%s streams and ends after %v s", name, timeout)
		}
		alias, group := resources[name+"Aliaslive"], resources[name+"DeploymentGroup"]
		switch shift := text(at(group.Properties, "DeploymentConfigName")); {
		case alias.Type == "":
			t.Errorf("%s has no alias", name)
		case name == "MigrateFunction": // CloudFormation calls it, at each deployment
		case name == "WorkerFunction" && !strings.Contains(shift, "AllAtOnce"), name != "WorkerFunction" && !strings.Contains(shift, "Canary10Percent5Minutes"):
			t.Errorf("%s: traffic shifts by %s", name, shift)
		case len(at(group.Properties, "AlarmConfiguration", "Alarms").([]any)) < 2:
			t.Errorf("%s: which alarms take an update back? %s", name, text(group.Properties))
		}
	}
	// Runs are marked with the version of the worker that they are for; all else of what runs them is the same everywhere.
	worker, _ := at(functions["WorkerFunction"].Properties, "Environment", "Variables").(object)
	for _, name := range []string{"AgentsFunction", "WorkflowsFunction", "ToolsFunction"} {
		env, _ := at(functions[name].Properties, "Environment", "Variables").(object)
		env = maps.Clone(env)
		version := text(env["CODE_VERSION"])
		delete(env, "CODE_VERSION")
		if !strings.HasPrefix(version, `{"Fn::GetAtt":["WorkerFunctionVersion`) || !strings.HasSuffix(version, `"Version"]}`) || text(env) != text(worker) {
			t.Errorf("%s: version %s, environment %s, the worker's %s", name, version, text(env), text(worker))
		}
	}
	for name, r := range ofType(resources, "AWS::IAM::Role") {
		if strings.Contains(text(r.Properties["ManagedPolicyArns"]), "iam::aws:policy") && name != "ApiAccountRole" && name != "ShiftRole" {
			t.Errorf("%s has a policy of AWS's: %s", name, text(r.Properties["ManagedPolicyArns"]))
		}
	}
	// A change of parameters alone publishes new versions where DeployId changes.
	versions := func(all map[string]made) []string {
		return slices.Sorted(maps.Keys(ofType(all, "AWS::Lambda::Version")))
	}
	one, two := versions(transformed(t, "DeployId=aaaaaaaaaaaa")), versions(transformed(t, "DeployId=bbbbbbbbbbbb"))
	if len(one) != len(functions) || slices.ContainsFunc(one, func(v string) bool { return slices.Contains(two, v) }) {
		t.Errorf("versions %v, then %v", one, two)
	}
}

// Rights name what they are for: a star only where AWS knows no resources.
func TestTransformedPoliciesAreNarrow(t *testing.T) {
	without := []string{"xray:PutTraceSegments", "xray:PutTelemetryRecords", "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces",
		"ec2:DescribeSubnets", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses", "polly:DescribeVoices", "polly:SynthesizeSpeech", "transcribe:StartStreamTranscription"}
	check := func(name string, document any) {
		statements, _ := at(document, "Statement").([]any)
		for _, s := range statements {
			actions, ok := at(s, "Action").([]any)
			if !ok {
				actions = []any{at(s, "Action")}
			}
			for _, a := range actions {
				action := fmt.Sprint(a)
				if strings.Contains(action, "*") {
					t.Errorf("%s allows %s", name, action)
				}
				if at(s, "Resource") == "*" && !slices.Contains(without, action) {
					t.Errorf("%s allows %s on everything", name, action)
				}
			}
		}
	}
	resources := transformed(t)
	for name, p := range ofType(resources, "AWS::IAM::ManagedPolicy") {
		check(name, p.Properties["PolicyDocument"])
	}
	for name, r := range ofType(resources, "AWS::IAM::Role") {
		policies, _ := r.Properties["Policies"].([]any)
		for _, p := range policies {
			check(name, at(p, "PolicyDocument"))
		}
	}
}

// Data stays, is backed up, costs nothing while nothing happens; and somebody is told when something does.
func TestTransformedDataAndAlarms(t *testing.T) {
	resources := transformed(t)
	for name, table := range ofType(resources, "AWS::DynamoDB::Table") {
		p := table.Properties
		if table.DeletionPolicy != "Retain" || p["BillingMode"] != "PAY_PER_REQUEST" || p["TableName"] != nil ||
			at(p, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") != true || at(p, "TimeToLiveSpecification", "Enabled") != true {
			t.Errorf("%s: %s", name, text(table))
		}
	}
	for name, group := range ofType(resources, "AWS::Logs::LogGroup") {
		if group.Properties["RetentionInDays"] == nil {
			t.Errorf("%s keeps lines for ever", name)
		}
	}
	if have, want := resources["VectorMigrations"].Properties["Migrations"], migrations.Hash(); have != want {
		t.Errorf("template.yaml: VectorMigrations has Migrations: %v; infra/migrations is %s now", have, want)
	}
	// The database stays, and what it is in; nothing else of the VPC, which could not be deleted by hand then, or would keep the stack.
	cluster := resources["VectorCluster"]
	for name, r := range resources {
		if r.Type == "AWS::Lambda::Version" { // SAM's, which go with their functions
			continue
		}
		stays := strings.HasSuffix(name, "Table") || slices.Contains([]string{"VectorCluster", "VectorSubnets", "DatabaseGroup", "SubnetA", "SubnetB", "Vpc", "ApiAccount", "ApiAccountRole"}, name)
		if stays != (r.DeletionPolicy == "Retain") {
			t.Errorf("%s has the deletion policy %q", name, r.DeletionPolicy)
		}
		for _, needed := range dependencies(r) {
			if r.DeletionPolicy == "Retain" && resources[needed].Type != "" && resources[needed].DeletionPolicy != "Retain" {
				t.Errorf("%s stays, and %s, which it is in, does not", name, needed)
			}
		}
	}
	if p := cluster.Properties; at(p, "ServerlessV2ScalingConfiguration", "MinCapacity") != 0.0 || p["EnableIAMDatabaseAuthentication"] != true ||
		p["EnableHttpEndpoint"] != true || p["StorageEncrypted"] != true || len(ofType(resources, "AWS::RDS::DBProxy")) != 0 {
		t.Errorf("the cluster does not pause, or is open: %s", text(cluster))
	}
	if at(resources["VectorsFunction"].Properties, "VpcConfig", "SubnetIds") == nil || at(resources["DynamoDBEndpoint"].Properties, "VpcEndpointType") != "Gateway" {
		t.Error("the vectors function has no way to its database, or to the API keys")
	}
	queue, mapping := resources["Queue"].Properties, resources["WorkerFunctionQueue"].Properties
	if timeout, _ := resources["WorkerFunction"].Properties["Timeout"].(float64); queue["VisibilityTimeout"].(float64) < timeout || at(queue, "RedrivePolicy", "deadLetterTargetArn") == nil ||
		at(queue, "RedrivePolicy", "maxReceiveCount").(float64) < 50 || resources["DeadQueue"].Properties["MessageRetentionPeriod"] != 14*24*3600.0 {
		t.Errorf("the queue: %s", text(queue)) // the worker itself gives work up after eight failures, and a run whose workers die after ten
	}
	if mapping["BatchSize"] != 1.0 || text(mapping["FunctionResponseTypes"]) != `["ReportBatchItemFailures"]` || at(mapping, "ScalingConfig", "MaximumConcurrency") == nil {
		t.Errorf("the worker's mapping: %s", text(mapping))
	}
	for _, kind := range []string{"AWS::EC2::InternetGateway", "AWS::EC2::NatGateway"} {
		if len(ofType(resources, kind)) != 0 {
			t.Errorf("the VPC has a way out: %s", kind)
		}
	}
	alarmed := map[string]bool{}
	for name, a := range ofType(resources, "AWS::CloudWatch::Alarm") {
		if actions, ok := a.Properties["AlarmActions"].([]any); !ok || len(actions) == 0 {
			t.Errorf("%s tells nobody", name)
		}
		if strings.Contains(text(a.Properties), "Aliaslive") || strings.Contains(text(a.Properties), `"Ref":"Api"`) {
			t.Errorf("%s names an alias or the API, which makes a circle", name)
		}
		alarmed[fmt.Sprint(a.Properties["MetricName"], text(at(a.Properties, "Dimensions", 0, "Value")))] = true
	}
	for name := range ofType(resources, "AWS::Lambda::Function") {
		for _, metric := range []string{"Errors", "Throttles"} {
			if !alarmed[metric+`{"Ref":"`+name+`"}`] && name != "MigrateFunction" {
				t.Errorf("nobody is told of %s of %s", metric, name)
			}
		}
	}
	if !alarmed[`ApproximateNumberOfMessagesVisible{"Fn::GetAtt":["DeadQueue","QueueName"]}`] || !alarmed[`ApproximateAgeOfOldestMessage{"Fn::GetAtt":["Queue","QueueName"]}`] {
		t.Errorf("nobody is told of dead letters, or of a queue that stands still: %v", alarmed)
	}
	body, _ := at(resources["Board"].Properties, "DashboardBody", "Fn::Sub").(string)
	if err := json.Unmarshal([]byte(body), &struct{ Widgets []object }{}); err != nil {
		t.Errorf("the dashboard: %v", err)
	}
	if b := resources["Budget"].Properties; at(b, "Budget", "BudgetLimit", "Unit") != "USD" || at(b, "NotificationsWithSubscribers", 1, "Subscribers", 0, "SubscriptionType") != "EMAIL" {
		t.Errorf("nobody is told of the budget: %s", text(b))
	}
	if !alarmed[`5XXError{"Fn::Sub":"${AWS::StackName}-${Stage}"}`] {
		t.Errorf("nobody is told of 5xx: %v", alarmed)
	}
}
