package sam_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// deploy runs deploy.sh over a samconfig.toml and a binary, with a sam that says what it is asked for.
func deploy(t *testing.T, config, binary string) (asked []string) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is missing")
	}
	script, err := os.ReadFile("deploy.sh")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, text := range map[string]string{"infra/sam/deploy.sh": string(script), "samconfig.toml": config, "bin/sam": "#!/bin/sh\n" +
		`if [ "$1" = build ]; then mkdir -p .aws-sam/build/F && echo t > .aws-sam/build/template.yaml && echo ` + binary + ` > .aws-sam/build/F/bootstrap; fi
for a in "$@"; do echo "$a"; done; echo .` + "\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "infra/sam/deploy.sh"), "dev")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, last, _ := strings.Cut(string(out), "\n.\n")
	return strings.Split(strings.TrimSuffix(last, "\n.\n"), "\n")
}

func TestDeploy(t *testing.T) {
	text := "[dev.deploy.parameters]\nparameter_overrides = \"Stage=\\\"dev\\\" CorsOrigins=\\\"\\\" DeployId=\\\"old\\\"\"\n"
	list := "[dev.deploy.parameters]\nparameter_overrides = [\"Stage=dev\", \"CorsOrigins=\"]\n"
	first := deploy(t, text, "one")
	want := `deploy --config-env dev --parameter-overrides Stage="dev" CorsOrigins="" DeployId="`
	if got := strings.Join(first, " "); !strings.HasPrefix(got, want) {
		t.Fatalf("%s", got)
	}
	id := func(asked []string) string { return asked[len(asked)-1] }
	if id(deploy(t, list, "one")) != id(first) {
		t.Error("the same deployment has another id")
	}
	if id(deploy(t, list, "two")) == id(first) || id(deploy(t, strings.Replace(list, "Stage=dev", "Stage=d2", 1), "one")) == id(first) {
		t.Error("other code, or other parameters, have the same id")
	}
	if asked := deploy(t, "", "one"); len(asked) != 5 {
		t.Errorf("without parameters: %q", asked)
	}
}
