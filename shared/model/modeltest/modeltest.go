// Package modeltest asks models in tests, and checks what every one of them promises: see mastra.LanguageModel.
package modeltest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

// Answer is what a model's parts amount to.
type Answer struct {
	Text, Reasoning, Calls string // a call is its name and its arguments
	Metadata               string // of the reasoning
	Finish                 mastra.FinishReason
	Usage                  mastra.Usage
	Model                  string
}

// Ask asks m once. It fails the test where the parts come in an order that the contract does not allow.
func Ask(t testing.TB, m mastra.LanguageModel, r mastra.ModelRequest) (a Answer, err error) {
	t.Helper()
	open, inputs := "", map[string]string{}
	for p, e := range m.Stream(t.Context(), &r) {
		if a.Finish != "" || err != nil {
			t.Errorf("%s comes after the end", p.Type)
		}
		if err = e; err != nil {
			continue
		}
		switch p.Type {
		case mastra.ModelMetadata:
			a.Model = p.ModelID
		case mastra.ModelTextStart, mastra.ModelReasoningStart:
			if open != "" {
				t.Errorf("%s begins inside of %s", p.ID, open)
			}
			open = p.ID
		case mastra.ModelTextEnd, mastra.ModelReasoningEnd:
			if open != p.ID {
				t.Errorf("%q ends inside of %q", p.ID, open)
			}
			open = ""
			a.Metadata += string(p.Metadata)
		case mastra.ModelTextDelta, mastra.ModelReasoningDelta:
			if open != p.ID || p.Text == "" {
				t.Errorf("a delta %q of %q inside of %q", p.Text, p.ID, open)
			}
			if p.Type == mastra.ModelTextDelta {
				a.Text += p.Text
			} else {
				a.Reasoning += p.Text
			}
		case mastra.ModelToolInputStart:
			if _, ok := inputs[p.ID]; ok || open != "" {
				t.Errorf("call %s begins twice, or inside of %q", p.ID, open)
			}
			inputs[p.ID] = ""
		case mastra.ModelToolInputDelta:
			inputs[p.ID] += p.Text
		case mastra.ModelToolCall:
			if said := strings.TrimSpace(inputs[p.ID]); said != "" && said != strings.TrimSpace(string(p.Input)) {
				t.Errorf("call %s has input %s, its deltas said %s", p.ID, p.Input, said)
			}
			a.Calls += p.ToolName + string(p.Input)
		case mastra.ModelFinish:
			a.Finish, a.Usage = p.Finish, p.Usage
		}
	}
	if err == nil && (a.Finish == "" || open != "") {
		t.Errorf("the answer ends with %q, block %q is open", a.Finish, open)
	}
	return a, err
}

// Recordings are answers of real services, one event a line, by file name: from the folder that PROVIDER_RECORDINGS names,
// else from the one beside the project. There may be none: what testdata holds is always tested.
func Recordings(t testing.TB, service string) map[string][]byte {
	t.Helper()
	folder := os.Getenv("PROVIDER_RECORDINGS")
	for up := ".."; folder == "" && len(up) < 30; up += "/.." {
		if _, err := os.Stat(up + "/go.mod"); err == nil {
			folder = up + "/../shared/provider-recordings"
		}
	}
	files, _ := filepath.Glob(filepath.Join(folder, service, "*.chunks.txt"))
	found := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".chunks.txt")] = data
	}
	if len(found) == 0 {
		if os.Getenv("PROVIDER_RECORDINGS") != "" {
			t.Fatalf("no recordings of %s in %s", service, folder)
		}
		t.Logf("no recordings of %s lie beside the project", service)
	}
	return found
}
