package agentloop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// atOnce is how many tool calls of one step run at the same time.
const atOnce = 10

// runTools gives every call of step n an outcome, or has it wait for one. A call that cannot be run, and a tool that fails,
// are told to the model; an error is a processor's.
func (x *run) runTools(n int, parent span) error {
	s := &x.Steps[n]
	calls := slices.DeleteFunc(s.calls(), func(c *call) bool { return c.done() || c.Waits != "" })
	if len(calls) > 0 {
		if err := x.landed(); err != nil {
			return err
		}
	}
	x.clientToolsTraced(n)
	spans := make([]mastra.Span, len(calls))
	if len(calls) == 1 {
		spans[0] = x.runTool(calls[0], s.toolSpan(calls[0], parent.id), parent)
	} else {
		var all sync.WaitGroup
		slots := make(chan struct{}, cmp.Or(x.call.ToolsAtOnce, x.agent.ToolsAtOnce, atOnce))
		for i, c := range calls {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				spans[i] = x.runTool(c, s.toolSpan(c, parent.id), parent)
			})
		}
		all.Wait()
	}
	for _, s := range spans {
		if s.SpanID != "" {
			x.trace.add(s)
		}
	}
	for _, c := range s.calls() {
		if !slices.Contains(calls, c) || c.Client != "" {
			continue
		}
		if err := x.processTool(n, c); err != nil {
			return err
		}
		if x.log != nil {
			x.emitOutcome(c)
		}
	}
	return nil
}

func (x *run) runTool(c *call, id string, parent span) mastra.Span {
	began := x.ms()
	t := x.tool(c.Name)
	valid := true
	switch {
	case c.declined(): // not run; the model is told why
		c.EndAt = x.ms()
		return mastra.Span{}
	case t == nil:
		c.Error = &mastra.RunError{Name: "ToolNotFoundError", Message: x.unknownTool(c.Name)}
	case c.Args == nil:
		c.Error = &mastra.RunError{Name: "Error", Message: fmt.Sprintf("Tool %q received invalid arguments — the provided JSON could not be parsed. Please provide valid JSON arguments.", c.Name)}
	case t.OfClient():
		if c.Client == "" {
			c.Client = id
		}
		c.EndAt = x.ms()
		return mastra.Span{}
	case (t.RequireApproval || x.call.Approve) && c.Verdict == nil && c.Sub == nil && x.asks():
		c.Waits = waitsApproval
		return mastra.Span{}
	case t.RequireApproval && c.Verdict == nil && c.Sub == nil:
		c.Error = &mastra.RunError{Name: "Error", Message: fmt.Sprintf("Tool %q was not run: it requires a person's approval, which cannot be asked for here.", c.Name)}
	default:
		ctx := mastra.WithSpan(x.ctx, x.at(id))
		if t.Timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, t.Timeout)
			defer cancel()
		}
		err := runlog.Safely(func() (err error) {
			switch {
			case t.Agent != nil || t.Workflow != nil:
				return x.delegate(ctx, c, t)
			case c.Answer != nil:
				c.Result, err = t.CallAgain(ctx, c.Args, c.Answer)
			default:
				c.Result, err = t.Call(ctx, c.Args)
			}
			return err
		})
		if errors.Is(err, errSuspended) {
			return x.toolTraced(c, t, id, parent, began, valid)
		}
		if waits := mastra.Suspended(err); waits != nil && x.asks() {
			if c.Payload, err = schema.Marshal(waits.Payload); err == nil {
				c.Result, c.Waits, c.Answer = nil, waitsTool, nil
				return x.toolTraced(c, t, id, parent, began, valid)
			}
		}
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
	case errors.Is(err, context.DeadlineExceeded) && x.ctx.Err() == nil:
		return &mastra.RunError{Name: "TimeoutError", Message: fmt.Sprintf("Tool %q took too long", c.Name)}
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

// invalidInput is the result of a call whose arguments do not fit the tool's schema.
func invalidInput(c *call, issues []schema.Issue) mastra.JSON {
	out, err := schema.Marshal(mastra.Refuse(c.Name, c.Args, issues))
	if err != nil {
		return mastra.JSON(`{"error":true}`)
	}
	return out
}
