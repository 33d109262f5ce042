package mastra_test

import (
	"context"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

type name struct {
	Name string `json:"name"`
}
type number struct {
	N int `json:"n"`
}

func step[In, Out any](id string) *mastra.Step {
	return mastra.NewStep(id, func(context.Context, In) (out Out, err error) { return })
}

// What does not fit together is refused by New with the names of both sides.
func TestNewRefuses(t *testing.T) {
	tool := mastra.NewTool("tool", "", func(context.Context, name) (name, error) { return name{}, nil })
	twin := mastra.NewTool("tool", "", func(context.Context, name) (name, error) { return name{}, nil })
	workflow := func(w mastra.Workflow) mastra.Config { return mastra.Config{Workflows: []mastra.Workflow{w}} }
	agents := func(a ...*mastra.Agent) mastra.Config { return mastra.Config{Agents: a} }
	for _, c := range []struct {
		name   string
		config mastra.Config
		want   string // "": it fits
	}{
		{"a step that gets less than it needs", workflow(mastra.NewWorkflow[name, number]("w").Then(step[name, name]("a")).Then(step[number, number]("b"))), "workflow w: the output of step a does not fit step b: n is missing"},
		{"an output of another type", workflow(mastra.NewWorkflow[name, number]("w").Then(step[name, name]("a"))), "the output of step a is not the workflow's: n is missing"},
		{"one id twice", workflow(mastra.NewWorkflow[name, name]("w").Then(step[name, name]("a")).Then(step[name, name]("a"))), `two steps are named "a"`},
		{"no steps", workflow(mastra.NewWorkflow[name, name]("w")), "has no steps"},
		{"a foreach over no list", workflow(mastra.NewWorkflow[name, []name]("w").ForEach(step[name, name]("a"), 2)), "is no list"},
		{"a list", workflow(mastra.NewWorkflow[[]name, []number]("w").ForEach(step[name, number]("a"), 2)), ""},
		{"parallel", workflow(mastra.NewWorkflow[name, map[string]number]("w").Parallel(step[name, number]("a"), step[name, number]("b"))), ""},
		{"two agents of one name", agents(&mastra.Agent{ID: "a"}, &mastra.Agent{ID: "b", Key: "a"}), `two agents are named "a"`},
		{"two tools of one name", agents(&mastra.Agent{ID: "a", Tools: []mastra.Callable{tool, twin}}), `agent a: two tools are named "tool"`},
		{"one tool of two agents", agents(&mastra.Agent{ID: "a", Tools: []mastra.Callable{tool}}, &mastra.Agent{ID: "b", Tools: []mastra.Callable{tool}}), ""},
		{"a model without provider", agents(&mastra.Agent{ID: "a", Model: "gpt"}), `model "gpt" is not provider/model-id`},
	} {
		_, err := mastra.New(c.config)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestMessagesComeInManyForms(t *testing.T) {
	for in, want := range map[string]string{
		`"hi"`:                             "user: hi",
		`["hi"]`:                           "user: hi",
		`[{"role":"user","content":"hi"}]`: "user: hi",
		`[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`:     "assistant: a b",
		`[{"role":"user","parts":[{"type":"text","text":"ui"}]}]`:                                      "user: ui",
		`[{"role":"user","content":{"format":2,"parts":[{"type":"text","text":"db"}],"content":"x"}}]`: "user: db",
	} {
		var m mastra.Messages
		if err := schema.For[mastra.Messages]().Decode([]byte(in), &m); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := m[0].Role + ": " + (mastra.PromptMessage{Parts: m[0].All()}).Text(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		`42`:                                "root: Invalid input",
		`[null]`:                            "0: Invalid input",
		`[{"role":"wizard","content":"x"}]`: `0.role: Invalid option: expected one of "system"|"user"|"assistant"|"tool"`,
		`[{"content":"x"}]`:                 "0.role: Required",
	} {
		var m mastra.Messages
		if err := schema.For[mastra.Messages]().Decode([]byte(in), &m); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestTimeIsADate(t *testing.T) {
	data, err := schema.Marshal([]mastra.Time{1795436487182, 0})
	if err != nil || string(data) != `["2026-11-23T12:21:27.182Z",null]` {
		t.Errorf("%s %v", data, err)
	}
	var times []mastra.Time
	if err := schema.Unmarshal([]byte(`["2026-11-23T12:21:27.182Z",1795436487182,"2026-11-23T14:21:27.182+02:00",null]`), &times); err != nil ||
		times[0] != 1795436487182 || times[1] != times[0] || times[2] != times[0] || times[3] != 0 {
		t.Errorf("%v %v", times, err)
	}
}

func TestObjectKeepsItsOrder(t *testing.T) {
	in := `{"z":1,"a":2,"m":3}`
	var o mastra.Object[int]
	if err := schema.Unmarshal([]byte(in), &o); err != nil {
		t.Fatal(err)
	}
	if out, err := schema.Marshal(o); err != nil || string(out) != in {
		t.Errorf("%s %v", out, err)
	}
}

func TestPermissions(t *testing.T) {
	for _, c := range []struct {
		have []string
		want bool
	}{{nil, true}, {[]string{}, false}, {[]string{"agents:execute"}, true}, {[]string{"agents:*"}, true}, {[]string{"*"}, true}, {[]string{"agents:read"}, false}, {[]string{"agent:*"}, false}} {
		if got := (&mastra.Principal{Permissions: c.have}).May("agents:execute"); got != c.want {
			t.Errorf("%v: %v", c.have, got)
		}
	}
}
