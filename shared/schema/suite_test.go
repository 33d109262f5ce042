package schema

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The official suite of JSON Schema, of which github.com/google/jsonschema-go brings a copy. What is refused is refused by name: what
// refers to another document, and dynamic anchors that compete.
func TestSuite(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/jsonschema-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for folder, draft := range map[string]string{"draft7": Draft07, "draft2020-12": Draft202012} {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "jsonschema", "testdata", folder, "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatal("the suite is missing", err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var groups []struct {
				Description string `json:"description"`
				Schema      JSON   `json:"schema"`
				Tests       []struct {
					Description string `json:"description"`
					Data        JSON   `json:"data"`
					Valid       bool   `json:"valid"`
				} `json:"tests"`
			}
			if err := Unmarshal(data, &groups); err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				name := folder + "/" + filepath.Base(file) + ": " + g.Description
				var doc any
				if err := Unmarshal(g.Schema, &doc); err != nil {
					t.Fatal(err)
				}
				if m, ok := doc.(map[string]any); ok && m["$schema"] == nil {
					m["$schema"] = draft
				}
				r, err := compile(doc, true)
				if err != nil {
					if !strings.Contains(err.Error(), "is not part of the document") && !strings.Contains(err.Error(), "is there twice") {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				s := &Schema{compiled: func() (*rule, error) { return r, nil }, document: func() (document, error) { return document{}, nil }}
				for _, c := range g.Tests {
					cases++
					var value any
					if err := Unmarshal(c.Data, &value); err != nil {
						t.Fatal(err)
					}
					if issues, err := s.Validate(value); err != nil || (len(issues) == 0) != c.Valid {
						t.Errorf("%s: %s: %v %v, valid is %t", name, c.Description, issues, err, c.Valid)
					}
				}
			}
		}
	}
	if cases < 1900 {
		t.Errorf("only %d cases were tried", cases)
	}
}

// What a document must not say, and what it must not do to us.
func TestParse(t *testing.T) {
	for _, doc := range []string{`[]`, `{"type":"strin"}`, `{"type":5}`, `{"minLength":-1}`, `{"minLength":"1"}`, `{"pattern":"("}`, `{"required":"a"}`, `{"properties":[]}`, `{"anyOf":[]}`, `{"items":3}`,
		`{"enum":{}}`, `{"multipleOf":0}`, `{"$ref":"#/$defs/a"}`, `{"$ref":"file:///etc/passwd"}`, `{"$ref":"#"}`, `{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{"$ref":"#"}]}}}`,
		`{"$defs":{"a":{"type":"x"}}}`, `{"$schema":"https://example.com/mine"}`, `{"$recursiveRef":"#"}`, `{"exclusiveMinimum":true}`} {
		if _, err := Parse(JSON(doc)); err == nil {
			t.Errorf("%s passes", doc)
		}
	}
	// Each of 40 levels doubles the work.
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/l0","$defs":{`)
	for i := range 40 {
		fmt.Fprintf(&b, `"l%d":{"allOf":[{"$ref":"#/$defs/l%d"},{"$ref":"#/$defs/l%d"}]},`, i, i+1, i+1)
	}
	s, err := Parse(JSON(b.String() + `"l40":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	if issues, err := s.Validate(1.0); err != nil || len(issues) != 1 || issues[0].Message != "Too complex for its schema" {
		t.Errorf("%v %v", issues, err)
	}
}

// Formats are asserted where the draft does so.
func TestFormat(t *testing.T) {
	for format, texts := range map[string][2]string{"date-time": {"2026-01-02T03:04:05.6Z", "2026-01-02"}, "date": {"2026-01-02", "2026-02-30"}, "time": {"03:04:05Z", "25:00:00Z"}, "email": {"a@b.c", "a@"},
		"uri": {"https://a/b", "/b"}, "uri-reference": {"/b", "%"}, "ipv4": {"1.2.3.4", "1.2.3"}, "ipv6": {"::1", "1.2.3.4"}, "uuid": {"0190c2a0-0000-7000-8000-000000000000", "0190"},
		"hostname": {"a-b.c", "-a"}, "duration": {"P1DT2H", "PT"}, "json-pointer": {"/a~0", "a"}, "regex": {"a+", "("}} {
		for i, text := range texts {
			for draft, want := range map[string]bool{Draft07: i == 0, Draft202012: true} {
				s, err := Parse(JSON(fmt.Sprintf(`{"$schema":%q,"format":%q}`, draft, format)))
				if err != nil {
					t.Fatal(err)
				}
				if issues, err := s.Validate(text); err != nil || (len(issues) == 0) != want {
					t.Errorf("%s of %s: %q: %v %v", format, draft, text, issues, err)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#"}},"unevaluatedProperties":false}`), []byte(`{"a":{}}`))
	f.Add([]byte(`{"$id":"http://a/b","oneOf":[{"$anchor":"x","minimum":1},{"$ref":"#x"}]}`), []byte(`[1,2]`))
	f.Fuzz(func(t *testing.T, doc, data []byte) {
		s, err := Parse(doc)
		var value any
		if err != nil || Unmarshal(data, &value) != nil {
			return
		}
		first, err := s.Validate(value)
		if err != nil {
			t.Fatal(err)
		}
		if second, _ := s.Validate(value); !slices.Equal(first, second) {
			t.Errorf("%q %q", first, second)
		}
	})
}
