package agentloop

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// atOnce is how many tool calls of one step run at the same time.
const atOnce = 10

// runTools gives every call of a step an outcome. A call that cannot be run, and a tool that fails, are told to the model.
func (x *run) runTools(s *step, parent span) {
	calls := s.calls()
	spans := make([]mastra.Span, len(calls))
	if len(calls) == 1 {
		spans[0] = x.runTool(calls[0], parent)
	} else {
		var all sync.WaitGroup
		slots := make(chan struct{}, atOnce)
		for i, c := range calls {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				spans[i] = x.runTool(c, parent)
			})
		}
		all.Wait()
	}
	x.trace.spans = append(x.trace.spans, spans...)
	if x.log == nil {
		return
	}
	for _, c := range calls {
		x.emitOutcome(c)
	}
}

func (x *run) runTool(c *call, parent span) mastra.Span {
	began := x.ms()
	id := mastra.NewSpanID()
	t := x.tool(c.Name)
	valid := true
	switch {
	case t == nil:
		c.Error = &mastra.RunError{Name: "ToolNotFoundError", Message: x.unknownTool(c.Name)}
	case c.Args == nil:
		c.Error = &mastra.RunError{Name: "Error", Message: fmt.Sprintf("Tool %q received invalid arguments — the provided JSON could not be parsed. Please provide valid JSON arguments.", c.Name)}
	case t.RequireApproval:
		c.Error = &mastra.RunError{Name: "Error", Message: fmt.Sprintf("Tool %q was not run: it requires a person's approval, which cannot be asked for here.", c.Name)}
	default:
		ctx := mastra.WithSpan(x.ctx, mastra.SpanRef{TraceID: x.TraceID, SpanID: id})
		err := runlog.Safely(func() (err error) {
			c.Result, err = t.Call(ctx, c.Args)
			return err
		})
		var invalid *schema.InvalidError
		if errors.As(err, &invalid) {
			c.Result, valid = invalidInput(c, invalid.Issues), false
		} else if err != nil {
			c.Result, c.Error = nil, x.toolError(c, err)
		}
	}
	c.EndAt = x.ms()
	return x.toolTraced(c, t, id, parent, began, valid)
}

func (x *run) unknownTool(name string) string {
	available := ""
	if len(x.tools) > 0 {
		names := make([]string, len(x.tools))
		for i, t := range x.tools {
			names[i] = t.Name()
		}
		available = " Available tools: " + strings.Join(names, ", ") + "."
	}
	return fmt.Sprintf("Tool %q not found.%s Call tools by their exact name only — never add prefixes, namespaces, or colons.", name, available)
}

// toolError is what the model and the client are told of a tool's error: its text, but nothing of a panic.
func (x *run) toolError(c *call, err error) *mastra.RunError {
	var panicked *runlog.PanicError
	var known *mastra.Error
	switch {
	case errors.As(err, &panicked):
		x.m.Logger.ErrorContext(x.ctx, "a tool panicked", "runId", x.RunID, "tool", c.Name, "panic", fmt.Sprint(panicked.Value), "stack", string(panicked.Stack))
		return &mastra.RunError{Name: "Error", Message: "Tool execution failed"}
	case errors.As(err, &known):
		x.m.Logger.WarnContext(x.ctx, "a tool failed", "runId", x.RunID, "tool", c.Name, "error", err)
		return &mastra.RunError{Name: "Error", Message: cmp.Or(known.Message, "Tool execution failed")}
	}
	x.m.Logger.WarnContext(x.ctx, "a tool failed", "runId", x.RunID, "tool", c.Name, "error", err)
	return &mastra.RunError{Name: "Error", Message: cmp.Or(err.Error(), "Tool execution failed")}
}

// field is a place in a value, with what is wrong there and below.
type field struct {
	Errors []string              `json:"errors"`
	Fields mastra.Object[*field] `json:"fields"`
}

func (f *field) add(path []string, message string) {
	if len(path) == 0 {
		f.Errors = append(f.Errors, message)
		return
	}
	below, ok := f.Fields.Get(path[0])
	if !ok {
		below = &field{}
		f.Fields = append(f.Fields, mastra.Member[*field]{Key: path[0], Value: below})
	}
	below.add(path[1:], message)
}

// invalidInput is the result of a call whose arguments do not fit the tool's schema: it lets the model try again.
func invalidInput(c *call, issues []schema.Issue) mastra.JSON {
	var root field
	var lines []string
	for _, i := range issues {
		lines = append(lines, "- "+i.Field+": "+i.Message)
		var path []string
		if i.Field != "root" && i.Field != "body" {
			path = strings.Split(i.Field, ".")
		}
		root.add(path, i.Message)
	}
	pretty := slices.Clone(c.Args)
	if pretty.Indent(jsontext.WithIndent("  ")) != nil {
		pretty = c.Args
	}
	shown := string(pretty)
	if runes := []rune(shown); len(runes) > 200 {
		shown = string(runes[:200]) + "... (truncated)"
	}
	out, err := schema.Marshal(struct {
		Error            bool   `json:"error"`
		Message          string `json:"message"`
		ValidationErrors *field `json:"validationErrors"`
	}{true, fmt.Sprintf("Tool input validation failed for %s. Please fix the following errors and try again:\n%s\n\nProvided arguments: %s", c.Name, strings.Join(lines, "\n"), shown), &root})
	if err != nil {
		return mastra.JSON(`{"error":true}`)
	}
	return out
}
