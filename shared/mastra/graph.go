package mastra

import (
	"strings"

	"mastralambda/shared/schema"
)

// graphNode is a node as the reference server serialises it. Where that server shows the source text of a condition or a
// mapping, this one shows its description, or the name of the step.
type graphNode struct {
	Type        string           `json:"type"`
	ID          string           `json:"id,omitempty"`
	WorkflowID  string           `json:"workflowId,omitempty"`
	AgentID     string           `json:"agentId,omitempty"`
	ToolID      string           `json:"toolId,omitempty"`
	Description *string          `json:"description,omitzero"`
	MapConfig   string           `json:"mapConfig,omitempty"`
	Duration    *int64           `json:"duration,omitempty"` // milliseconds
	Date        *Time            `json:"date,omitempty"`
	Fn          string           `json:"fn,omitempty"`
	Step        any              `json:"step,omitempty"` // a graphStep, or the graphNode that a loop or foreach repeats
	Steps       []graphNode      `json:"steps,omitempty"`
	Conditions  []graphCondition `json:"serializedConditions,omitempty"`
	Condition   *graphCondition  `json:"serializedCondition,omitempty"`
	LoopType    string           `json:"loopType,omitempty"`
	Options     *graphOptions    `json:"opts,omitempty"`
	Flow        []graphNode      `json:"serializedStepFlow,omitempty"`
}

type graphStep struct {
	ID          string `json:"id"`
	Description string `json:"description,omitempty"`
	CanSuspend  bool   `json:"canSuspend"`
}

type graphCondition struct {
	ID string `json:"id"`
	Fn string `json:"fn"`
}

type graphOptions struct {
	Concurrency int `json:"concurrency"`
}

// JSON is the graph as the reference server serialises it: a list of nodes.
func (g *Graph) JSON() (JSON, error) { return schema.Marshal(g.serialize()) }

func (g *Graph) serialize() []graphNode {
	list := make([]graphNode, 0, len(g.Nodes))
	for i := range g.Nodes {
		n := &g.Nodes[i]
		out := graphNode{Type: string(n.Kind)}
		switch n.Kind {
		case KindStep:
			out = g.serializeStep(n.Steps[0])
		case KindParallel, KindBranch:
			for j, s := range n.Steps {
				out.Steps = append(out.Steps, g.serializeStep(s))
				if n.Kind == KindBranch {
					out.Conditions = append(out.Conditions, conditionOf(s, n.Conditions[j]))
				}
			}
		case KindForEach:
			out.Step, out.Options = g.serializeStep(n.Steps[0]), &graphOptions{n.Concurrency}
		case KindLoop:
			c := conditionOf(n.Steps[0], *n.Until)
			out.Step, out.Condition, out.LoopType = g.serializeStep(n.Steps[0]), &c, n.LoopType()
		case KindSleep:
			ms := n.Sleep.Milliseconds()
			out.ID, out.Duration = n.ID, &ms
		case KindUntil:
			out.ID, out.Fn = n.ID, n.Wake.Description
			if at := TimeOf(n.Wake.Fixed); !n.Wake.Fixed.IsZero() {
				out.Date = &at
			}
		}
		list = append(list, out)
	}
	return list
}

func (g *Graph) serializeStep(s *Step) graphNode {
	switch {
	case s.Workflow != nil:
		n := graphNode{Type: "workflow", ID: s.ID, WorkflowID: s.Workflow.ID, Flow: s.Workflow.serialize()}
		if s.Description != "" {
			n.Description = &s.Description
		}
		return n
	case s.Agent != "":
		return graphNode{Type: "agent", ID: s.ID, AgentID: s.Agent, Description: &s.Description}
	case s.Tool != "":
		return graphNode{Type: "tool", ID: s.ID, ToolID: s.Tool, Description: &s.Description}
	case g.IsMapping(s):
		n := graphNode{Type: "mapping", ID: s.ID, MapConfig: s.Description}
		if n.MapConfig == "" {
			n.MapConfig = s.ID
		}
		return n
	}
	return graphNode{Type: "step", Step: graphStep{s.ID, s.Description, s.Resume != nil || s.Suspend != nil}}
}

// IsMapping says that s is a Map of g.
func (g *Graph) IsMapping(s *Step) bool { return strings.HasPrefix(s.ID, "mapping_"+g.ID+"_") }

func conditionOf(s *Step, c Condition) graphCondition {
	fn := c.Description
	if fn == "" {
		fn = s.ID
	}
	return graphCondition{s.ID + "-condition", fn}
}

// LoopType is the name of a loop's kind: "dowhile" or "dountil".
func (n *Node) LoopType() string {
	if n.While {
		return "dowhile"
	}
	return "dountil"
}

// Scorers are those of the graph's steps, and of the workflows within it, by the steps' ids.
func (g *Graph) Scorers() map[string][]*Scorer {
	all := map[string][]*Scorer{}
	for i := range g.Nodes {
		for _, s := range g.Nodes[i].Steps {
			if len(s.Scorers) > 0 {
				all[s.ID] = s.Scorers
			}
			if s.Workflow != nil {
				for id, scorers := range s.Workflow.Scorers() {
					all[s.ID+"."+id] = scorers
				}
			}
		}
	}
	return all
}
