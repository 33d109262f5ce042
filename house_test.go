// The house: which folder may import which. Dependencies point inward.
package house_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "mastralambda/"

// allowed says of each folder what it may import of the project besides its own subfolders' twin rules: a prefix ends in "/".
// The first prefix that fits a package decides.
var allowed = []struct {
	folder  string
	imports []string
}{
	{"shared/schema", nil},
	{"shared/awsconfig", nil},
	{"shared/mastra", []string{"shared/schema"}},
	{"shared/processor", []string{"shared/mastra", "shared/schema"}},
	{"shared/retrieval", []string{"shared/mastra", "shared/schema"}},
	{"shared/app", []string{"shared/mastra", "shared/schema", "shared/retrieval", "shared/processor", "shared/voice/"}},
	{"shared/server", []string{"shared/mastra", "shared/schema"}},
	{"shared/handlers/", []string{"shared/mastra", "shared/schema", "shared/server", "shared/recall", "shared/handlers/"}},
	{"shared/recall", []string{"shared/mastra", "shared/schema"}},
	{"shared/runlog", []string{"shared/mastra", "shared/schema"}},
	{"shared/agentloop", []string{"shared/mastra", "shared/schema", "shared/recall", "shared/runlog"}},
	{"shared/telemetry", []string{"shared/mastra", "shared/schema"}},
	{"shared/scoring", []string{"shared/mastra", "shared/schema", "shared/runlog"}},
	{"shared/engine", []string{"shared/mastra", "shared/schema", "shared/runlog"}},
	{"shared/upstream", []string{"shared/mastra", "shared/schema"}},
	{"shared/model", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/upstream", "shared/model/"}},
	{"shared/voice/", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/upstream"}},
	{"shared/storage/", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/storage/outline"}},
	{"shared/vectorstore/", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/vectorstore/", "infra/migrations"}},
	{"shared/queue", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/queue"}},
	{"shared/webhook", []string{"shared/mastra", "shared/schema"}},
	{"shared/logstore/", []string{"shared/mastra", "shared/schema", "shared/awsconfig", "shared/logstore/"}},
	{"shared/lambdahttp", []string{"shared/mastra", "shared/schema", "shared/server"}},
	{"functions/", []string{"shared/", "functions/wire", "infra/migrations"}},
	{"infra/", []string{"shared/", "infra/"}},
}

func TestDependenciesPointInward(t *testing.T) {
	for pkg, imports := range projectImports(t) {
		rule := -1
		for i, a := range allowed {
			if under(pkg, a.folder) {
				rule = i
				break
			}
		}
		if rule < 0 {
			t.Errorf("%s has no rule here: say what it may import", pkg)
			continue
		}
		for _, imp := range imports {
			ok := false
			for _, a := range allowed[rule].imports {
				ok = ok || under(imp, a)
			}
			if !ok {
				t.Errorf("%s imports %s; it may import %v only", pkg, imp, allowed[rule].imports)
			}
		}
	}
}

// linked says which functions may link what weighs much; no function links what is not listed for it.
var linked = map[string][]string{
	"modernc.org/sqlite":                                  nil,
	module + "shared/vectorstore/embedded":                nil,
	module + "shared/model":                               {"agents", "workflows", "tools", "memory", "vectors", "worker"},
	module + "shared/agentloop":                           {"agents", "workflows", "tools", "worker"},
	module + "shared/engine":                              {"agents", "workflows", "tools", "worker"},
	"github.com/sashabaranov/go-openai":                   {"agents", "workflows", "tools", "memory", "vectors", "worker"},
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime": {"agents", "workflows", "tools", "memory", "vectors", "worker"},
	"github.com/jackc/pgx/v5":                             {"vectors", "migrate"},
	"github.com/aws/aws-sdk-go-v2/service/sqs":            {"agents", "workflows", "tools", "observability", "worker"},
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs": {"logs"},
	"github.com/aws/aws-sdk-go-v2/service/lambda":         {"agents", "workflows", "tools", "memory", "worker"},
	"github.com/aws/aws-sdk-go-v2/config":                 nil, // shared/awsconfig says why
	"go.opentelemetry.io/otel/exporters/otlp":             nil,
}

func TestFunctionsLinkOnlyWhatTheyNeed(t *testing.T) {
	mains, err := filepath.Glob("functions/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatal("there are no functions", err)
	}
	for _, file := range mains {
		folder := filepath.ToSlash(filepath.Dir(file))
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "lambda.norpc", "./"+folder)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderr.String())
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for heavy, functions := range linked {
				if under(dep, heavy) && !slices.Contains(functions, path.Base(folder)) {
					t.Errorf("%s links %s", folder, dep)
				}
			}
		}
	}
}

func TestNoFolderIsNamedAfterNothing(t *testing.T) {
	for pkg := range projectImports(t) {
		switch path.Base(pkg) {
		case "util", "utils", "common", "helpers", "types":
			t.Errorf("%s: name it after what it does", pkg)
		}
	}
}

func under(pkg, folder string) bool {
	return pkg == strings.TrimSuffix(folder, "/") || strings.HasPrefix(pkg, strings.TrimSuffix(folder, "/")+"/")
}

// projectImports is what each package imports of the project, outside of its tests.
func projectImports(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != "." || d.Name() == "build" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(file))
		all[pkg] = append(all[pkg], nil...)
		for _, i := range f.Imports {
			if name, _ := strconv.Unquote(i.Path.Value); strings.HasPrefix(name, module) {
				all[pkg] = append(all[pkg], strings.TrimPrefix(name, module))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
