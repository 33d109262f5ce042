package lambdalocal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"mastralambda/infra/apitest"
	"mastralambda/infra/services"
)

// rights are what the roles of template.yaml allow in DynamoDB.
type rights struct {
	roles    map[string][]string // function: its policies
	policies map[string][]allowed
}

type allowed struct {
	actions, resources []string
	leading            string // what a key begins with
}

func readRights(t *testing.T) rights {
	t.Helper()
	data, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Resources map[string]map[string]any `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(data, &template); err != nil { // a short intrinsic reads as its argument
		t.Fatal(err)
	}
	r := rights{map[string][]string{}, map[string][]allowed{}}
	texts := func(v any) (out []string) {
		if one, ok := v.(string); ok {
			return []string{one}
		}
		list, _ := v.([]any)
		for _, item := range list {
			if inner, ok := item.([]any); ok && len(inner) == 3 { // !If
				item = inner[1]
			}
			out = append(out, fmt.Sprint(item))
		}
		return out
	}
	for name, resource := range template.Resources {
		p, _ := resource["Properties"].(map[string]any)
		switch resource["Type"] {
		case "AWS::IAM::Role":
			r.roles[strings.TrimSuffix(name, "Role")+"Function"] = texts(p["ManagedPolicyArns"])
		case "AWS::IAM::ManagedPolicy":
			document, _ := p["PolicyDocument"].(map[string]any)
			statements, _ := document["Statement"].([]any)
			for _, s := range statements {
				s, _ := s.(map[string]any)
				a := allowed{actions: texts(s["Action"]), resources: texts(s["Resource"])}
				if condition, ok := s["Condition"].(map[string]any); ok {
					keys, _ := condition["ForAllValues:StringLike"].(map[string]any)
					a.leading = strings.TrimSuffix(fmt.Sprint(keys["dynamodb:LeadingKeys"]), "*")
				}
				r.policies[name] = append(r.policies[name], a)
			}
		}
	}
	return r
}

// access is one thing done to DynamoDB.
type access struct{ function, action, table, index, key string }

func (r rights) allow(a access) bool {
	resource := a.table + ".Arn"
	if a.index != "" {
		resource = "${" + a.table + ".Arn}/index/*"
	}
	for _, policy := range r.roles[a.function] {
		for _, s := range r.policies[policy] {
			if slices.Contains(s.actions, a.action) && slices.Contains(s.resources, resource) && (s.leading == "" || strings.HasPrefix(a.key, s.leading)) {
				return true
			}
		}
	}
	return false
}

var signer = regexp.MustCompile(`Credential=([^/]+)/`)

type key struct{ PK struct{ S string } }

// accesses are what a request does; functions sign with their names.
func accesses(r *http.Request, body []byte) (all []access) {
	m := signer.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return nil
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var in struct {
		TableName, IndexName string
		Key, Item            key
		RequestItems         map[string]any
		TransactItems        []map[string]struct {
			TableName string
			Key, Item key
		}
	}
	_ = json.Unmarshal(body, &in) // what is not of these shapes is seen as a whole
	add := func(action, table, index, k string) {
		table, _, _ = strings.Cut(table, "-")
		all = append(all, access{m[1], "dynamodb:" + action, strings.ToUpper(table[:1]) + table[1:] + "Table", index, k})
	}
	switch {
	case in.TransactItems != nil:
		for _, item := range in.TransactItems {
			for kind, what := range item {
				action := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem"}[kind]
				add(action, what.TableName, "", what.Key.PK.S+what.Item.PK.S)
			}
		}
	case in.RequestItems != nil:
		for table := range in.RequestItems {
			add(operation, table, "", "")
		}
	case in.TableName != "":
		add(operation, in.TableName, in.IndexName, in.Key.PK.S+in.Item.PK.S)
	}
	return all
}

// Every route does only what the role of its function allows.
func TestRolesAllowWhatFunctionsDo(t *testing.T) {
	backend, err := url.Parse(services.DynamoDB(t))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[access]bool{}
	proxy := httputil.NewSingleHostReverseProxy(backend)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		for _, a := range accesses(r, body) {
			seen[a] = true
		}
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close) // after the functions have ended: a frozen one may hold a request
	d := deployOver(t, front.URL, nil)
	apitest.Groups(t, d.call, nil)
	apitest.Document(t, d.call, nil)
	r := readRights(t)
	refused, uses := map[access]bool{}, map[string]bool{}
	for a := range seen {
		if !strings.HasSuffix(a.function, "Function") { // the test's own
			continue
		}
		uses[a.function+" "+a.table] = true
		if !r.allow(a) {
			a.key = "" // one of each kind
			refused[a] = true
		}
	}
	for a := range refused {
		t.Errorf("%s may not %s %s %s", a.function, a.action, a.table, a.index)
	}
	if len(uses) < 8 {
		t.Errorf("only %v were seen", slices.Sorted(maps.Keys(uses)))
	}
}
