package observability

import (
	"cmp"
	"context"
	"slices"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Trajectory is what an agent or workflow did, step by step.
type Trajectory struct {
	Steps           []Record `json:"steps"`
	TotalDurationMs *int64   `json:"totalDurationMs,omitempty"`
}

// TraceTrajectory reads the steps out of a trace.
func TraceTrajectory(ctx context.Context, m *mastra.Mastra, in TraceInput) (Trajectory, error) {
	spans, err := visible(ctx, m, in.TraceID)
	if err != nil {
		return Trajectory{}, err
	}
	return trajectoryOf(spans), nil
}

type tree struct {
	*mastra.Span
	below []*tree
}

func trajectoryOf(spans []mastra.Span) Trajectory {
	nodes := make(map[string]*tree, len(spans))
	for i := range spans {
		nodes[spans[i].SpanID] = &tree{Span: &spans[i]}
	}
	var roots []*tree
	for i := range spans {
		n := nodes[spans[i].SpanID]
		if above := nodes[n.ParentID]; above != nil && above != n {
			above.below = append(above.below, n)
		} else {
			roots = append(roots, n)
		}
	}
	for _, n := range nodes {
		slices.SortStableFunc(n.below, func(a, b *tree) int { return cmp.Compare(a.StartedAt, b.StartedAt) })
	}
	out := Trajectory{}
	first := roots
	if len(roots) == 1 {
		root := roots[0]
		if root.EndedAt != 0 {
			took := int64(root.EndedAt - root.StartedAt)
			out.TotalDurationMs = &took
		}
		if root.Type == mastra.SpanWorkflowRun || root.Type == mastra.SpanAgentRun {
			first = root.below
		}
	}
	out.Steps = stepsOf(first, 0)
	return out
}

// maxDepth is how deep a trajectory nests: deeper spans are left out.
const maxDepth = 100

func stepsOf(nodes []*tree, depth int) []Record {
	out := []Record{}
	if depth < maxDepth {
		for _, n := range nodes {
			out = append(out, n.steps(depth)...)
		}
	}
	return out
}

// steps are what a span is in a trajectory. One that is none itself hands up those below it.
func (n *tree) steps(depth int) []Record {
	below := stepsOf(n.below, depth+1)
	var r Record
	set := func(key string, v any) {
		if data, err := schema.Marshal(v); err == nil {
			r.Set(key, data)
		}
	}
	object := func(key string, v mastra.JSON) {
		switch {
		case len(v) == 0 || v.Kind() == 'n':
		case v.Kind() == '{':
			r.Set(key, v)
		default:
			set(key, map[string]mastra.JSON{"value": v})
		}
	}
	set("name", n.Name)
	if n.EndedAt != 0 {
		set("durationMs", int64(n.EndedAt-n.StartedAt))
	}
	if len(n.Metadata) > 0 {
		r.Set("metadata", n.Metadata)
	} else {
		r.Set("metadata", nil)
	}
	if len(below) > 0 {
		set("children", below)
	}
	var attributes struct {
		Success      *bool  `json:"success"`
		MCPServer    string `json:"mcpServer"`
		FinishReason string `json:"finishReason"`
		Model        string `json:"model"`
	}
	if len(n.Attributes) > 0 {
		_ = schema.Unmarshal(n.Attributes, &attributes) // what is there is shown
	}
	switch n.Type {
	case mastra.SpanToolCall, "mcp_tool_call", "provider_tool_call":
		set("stepType", n.Type)
		set("name", cmp.Or(n.EntityID, n.EntityName, n.Name))
		object("toolArgs", n.Input)
		object("toolResult", n.Output)
		if attributes.MCPServer != "" {
			set("mcpServer", attributes.MCPServer)
		}
		if attributes.Success != nil {
			set("success", *attributes.Success)
		}
	case mastra.SpanModelGeneration:
		set("stepType", n.Type)
		if attributes.Model != "" {
			set("modelId", attributes.Model)
		}
		if use := n.Use(); use != nil {
			set("promptTokens", use.Usage.InputTokens)
			set("completionTokens", use.Usage.OutputTokens)
		}
		if attributes.FinishReason != "" {
			set("finishReason", attributes.FinishReason)
		}
	case mastra.SpanAgentRun:
		set("stepType", n.Type)
		set("agentId", n.EntityID)
	case mastra.SpanWorkflowRun:
		set("stepType", n.Type)
		set("workflowId", n.EntityID)
	case mastra.SpanWorkflowStep:
		set("stepType", n.Type)
		set("stepId", n.Name)
		object("output", n.Output)
	case "workflow_conditional", "workflow_parallel", "workflow_loop", "workflow_sleep", "workflow_wait_event", "processor_run":
		set("stepType", n.Type)
	default:
		return below
	}
	return []Record{r}
}
