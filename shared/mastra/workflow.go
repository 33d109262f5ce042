package mastra

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"time"

	"mastralambda/shared/schema"
)

// NodeKind is the kind of a node of a workflow's graph, as it shows on the wire.
type NodeKind string

const (
	KindStep     NodeKind = "step"
	KindParallel NodeKind = "parallel"
	KindBranch   NodeKind = "conditional"
	KindForEach  NodeKind = "foreach"
	KindLoop     NodeKind = "loop"
	KindSleep    NodeKind = "sleep"
	KindUntil    NodeKind = "sleepUntil"
)

// Node is one place in a graph; which fields are set depends on Kind.
type Node struct {
	Kind        NodeKind
	ID          string // of a sleep
	Steps       []*Step
	Conditions  []Condition // of a branch: one a step
	Until       *Condition  // of a loop: it ends when this holds
	While       bool        // of a loop: it ends when Until does not hold
	Concurrency int         // of a foreach
	Sleep       time.Duration
	Wake        *Moment // of a sleepUntil
}

// Condition decides over JSON.
type Condition struct {
	Description string // shown in the graph
	Holds       func(JSON) (bool, error)
}

// Graph is a workflow without its types, as engines and handlers see it.
type Graph struct {
	ID          string
	Key         string // the name it is registered under; the ID where empty
	Description string
	In, Out     *schema.Schema
	State       *schema.Schema // nil where none is declared
	Retry       *Retry         // of the steps that say nothing else
	Nodes       []Node
}

// Name is what the workflow is registered under.
func (g *Graph) Name() string {
	if g.Key != "" {
		return g.Key
	}
	return g.ID
}

// Find is the step at a path of ids, through nested workflows, nil where there is none.
func (g *Graph) Find(path []string) *Step {
	for _, n := range g.Nodes {
		for _, s := range n.Steps {
			switch {
			case s.ID != path[0]:
			case len(path) == 1:
				return s
			case s.Workflow != nil:
				return s.Workflow.Find(path[1:])
			}
		}
	}
	return nil
}

// Workflow is what NewWorkflow makes, whatever its types.
type Workflow interface {
	Graph() *Graph
	Runnable
	Callable
}

// Flow is a workflow from In to Out. The compiler checks its callers, New the seams between its steps.
type Flow[In, Out any] struct{ graph Graph }

// NewWorkflow begins a workflow.
func NewWorkflow[In, Out any](id string) *Flow[In, Out] {
	return &Flow[In, Out]{Graph{ID: id, In: schema.For[In](), Out: schema.For[Out]()}}
}

func (f *Flow[In, Out]) add(n Node) *Flow[In, Out] {
	f.graph.Nodes = append(f.graph.Nodes, n)
	return f
}

// Named registers the workflow under a key of its own.
func (f *Flow[In, Out]) Named(key string) *Flow[In, Out] { f.graph.Key = key; return f }

// Describe says what the workflow is for.
func (f *Flow[In, Out]) Describe(text string) *Flow[In, Out] { f.graph.Description = text; return f }

// Then runs r on what came before.
func (f *Flow[In, Out]) Then(r Runnable) *Flow[In, Out] {
	return f.add(Node{Kind: KindStep, Steps: []*Step{r.Step()}})
}

// Parallel runs all on what came before; the next step gets their outputs as an object keyed by step.
func (f *Flow[In, Out]) Parallel(all ...Runnable) *Flow[In, Out] {
	n := Node{Kind: KindParallel}
	for _, r := range all {
		n.Steps = append(n.Steps, r.Step())
	}
	return f.add(n)
}

// Case is one arm of a branch.
type Case struct {
	Condition
	step *Step
	in   *schema.Schema
}

// When is an arm that runs where holds says so.
func When[In any](holds func(In) bool, r Runnable) Case {
	return Case{Condition: Cond(holds), step: r.Step(), in: schema.For[In]()}
}

// Describe says when the arm runs, for the graph.
func (c Case) Describe(text string) Case { c.Description = text; return c }

// Cond is a condition over a value.
func Cond[T any](holds func(T) bool) Condition {
	return Condition{Holds: func(data JSON) (bool, error) {
		var v T
		if err := schema.Unmarshal(data, &v); err != nil {
			return false, err
		}
		return holds(v), nil
	}}
}

// Branch runs every arm whose condition holds; the next step gets their outputs as an object keyed by step.
func (f *Flow[In, Out]) Branch(cases ...Case) *Flow[In, Out] {
	n := Node{Kind: KindBranch}
	for _, c := range cases {
		n.Steps, n.Conditions = append(n.Steps, c.step), append(n.Conditions, c.Condition)
	}
	return f.add(n)
}

// ForEach runs r on every item of the list that came before, up to concurrency at once.
func (f *Flow[In, Out]) ForEach(r Runnable, concurrency int) *Flow[In, Out] {
	return f.add(Node{Kind: KindForEach, Steps: []*Step{r.Step()}, Concurrency: max(1, concurrency)})
}

// Until repeats r on its own output until the condition holds of it.
func (f *Flow[In, Out]) Until(r Runnable, c Condition) *Flow[In, Out] {
	return f.add(Node{Kind: KindLoop, Steps: []*Step{r.Step()}, Until: &c})
}

// While repeats r on its own output as long as the condition holds of it.
func (f *Flow[In, Out]) While(r Runnable, c Condition) *Flow[In, Out] {
	return f.add(Node{Kind: KindLoop, Steps: []*Step{r.Step()}, Until: &c, While: true})
}

// Sleep waits.
func (f *Flow[In, Out]) Sleep(d time.Duration) *Flow[In, Out] {
	return f.add(Node{Kind: KindSleep, ID: fmt.Sprintf("sleep_%s_%d", f.graph.ID, len(f.graph.Nodes)), Sleep: d})
}

// Moment is when a workflow goes on.
type Moment struct {
	Description string // shown in the graph
	Fixed       time.Time
	of          func(JSON) (time.Time, error)
}

// At is a fixed moment.
func At(t time.Time) Moment { return Moment{Fixed: t} }

// When the run gets there, f says of what came before when it goes on. The answer is kept: a replay does not ask again.
func AtTime[T any](f func(T) time.Time) Moment {
	return Moment{of: func(data JSON) (time.Time, error) {
		var v T
		if err := schema.Unmarshal(data, &v); err != nil {
			return time.Time{}, err
		}
		return f(v), nil
	}}
}

// Describe says when that is, for the graph.
func (m Moment) Describe(text string) Moment { m.Description = text; return m }

// Of is the moment for what came before.
func (m *Moment) Of(data JSON) (time.Time, error) {
	if m.of == nil {
		return m.Fixed, nil
	}
	return m.of(data)
}

// SleepUntil waits for a moment.
func (f *Flow[In, Out]) SleepUntil(m Moment) *Flow[In, Out] {
	return f.add(Node{Kind: KindUntil, ID: fmt.Sprintf("sleep_%s_%d", f.graph.ID, len(f.graph.Nodes)), Wake: &m})
}

// Retries says how often a step that returns an error is tried again, where the step itself does not say.
func (f *Flow[In, Out]) Retries(r Retry) *Flow[In, Out] { f.graph.Retry = &r; return f }

// WithState declares what the state looks like that the steps of a run share: see State and SetState.
func WithState[T, In, Out any](f *Flow[In, Out]) *Flow[In, Out] {
	f.graph.State = schema.For[T]()
	return f
}

// Graph is the workflow without its types.
func (f *Flow[In, Out]) Graph() *Graph { return &f.graph }

// Step makes a workflow a Runnable: a step of another one.
func (f *Flow[In, Out]) Step() *Step {
	s := NewStep(f.graph.ID, f.Run)
	s.Description, s.Workflow = f.graph.Description, &f.graph
	return s
}

// Tool makes a workflow a Callable: agents are offered it as "workflow-<key>".
func (f *Flow[In, Out]) Tool() *Tool {
	t := NewTool("workflow-"+f.graph.Name(), cmp.Or(f.graph.Description, "Workflow: "+f.graph.Name()), f.Run)
	t.Workflow = f
	return t
}

// Run runs the workflow to its end, from within a tool, a step or a test under NewContext.
func (f *Flow[In, Out]) Run(ctx context.Context, in In) (out Out, err error) {
	m := From(ctx)
	if m == nil {
		return out, fmt.Errorf("workflow %s is run outside of a Mastra", f.graph.ID)
	}
	data, err := schema.Marshal(in)
	if err != nil {
		return out, err
	}
	r, err := m.Engine.Start(ctx, m, f, WorkflowCall{Input: data})
	switch {
	case err != nil:
		return out, err
	case r.Error != nil:
		return out, fmt.Errorf("workflow %s: %s", f.graph.ID, r.Error.Message)
	case r.Status != StatusSuccess:
		return out, fmt.Errorf("workflow %s is %s", f.graph.ID, r.Status)
	}
	return out, schema.Unmarshal(r.Result, &out)
}

// WorkflowCall starts a run.
type WorkflowCall struct {
	RunID      string // "": made up; one that exists and is pending is started, one with the same input is joined
	ResourceID string
	Input      JSON
	State      JSON // what the steps share, to begin with
	PerStep    bool // pause after each step
	Tracing    TracingOptions
}

// WorkflowResume goes on with a suspended run.
type WorkflowResume struct {
	RunID   string
	Step    []string // the path of the step; nil where only one is suspended
	Label   string   // instead of Step: what the step called its suspension
	Index   *int     // which turn of a foreach; nil: all that are suspended
	Data    JSON
	PerStep bool
	Tracing TracingOptions // see Anew
}

// WorkflowTravel runs a part of a run again, from the step at Step on. What came before stays as it is recorded, or is
// as Context says.
type WorkflowTravel struct {
	RunID   string
	Step    []string                   // the path of the step
	Input   JSON                       // of the step; nil: as recorded
	Data    JSON                       // an answer for the step; nil: none
	State   JSON                       // nil: as recorded
	Context Object[StepResult]         // results of earlier steps, by their ids
	Nested  Object[Object[StepResult]] // the same within nested workflows, by the ids of their steps
	PerStep bool
	Tracing TracingOptions
}

// StepCall runs one step by itself, beside any run: nothing is stored.
type StepCall struct {
	RunID    string
	Step     string // its id
	Path     []int  // its place in the graph: the node, and the arm of a parallel or branch; nil: found by Step
	Input    JSON
	Data     JSON // an answer; nil: none
	State    JSON
	Results  Object[StepResult] // of other steps, which it may read
	Retry    int
	Index    *int // of the turn of a foreach
	Validate bool
}

// WorkflowEngine runs workflows. It is an interface so that Lambda durable functions could be one.
// Input that does not fit is an Error of CodeInvalid; a step that fails is no error but a run of StatusFailed.
type WorkflowEngine interface {
	// Create makes a pending run and returns it.
	Create(ctx context.Context, m *Mastra, w Workflow, c WorkflowCall) (*Run, error)
	// Start runs to the end or to a suspension and returns the run with its steps. The run goes on where ctx ends.
	Start(ctx context.Context, m *Mastra, w Workflow, c WorkflowCall) (*Run, error)
	// Background starts and returns once the run is durable; it goes on under the engine's care.
	Background(ctx context.Context, m *Mastra, w Workflow, c WorkflowCall) (*Run, error)
	// Stream starts and returns the run's chunks. Leaving the loop leaves the run running.
	Stream(ctx context.Context, m *Mastra, w Workflow, c WorkflowCall) (iter.Seq2[Chunk, error], error)
	// Resume goes on to the end or the next suspension. One of two resumes at once wins, the other is a CodeConflict.
	Resume(ctx context.Context, m *Mastra, w Workflow, c WorkflowResume) (*Run, error)
	// ResumeBackground resumes and returns once that is durable.
	ResumeBackground(ctx context.Context, m *Mastra, w Workflow, c WorkflowResume) (*Run, error)
	ResumeStream(ctx context.Context, m *Mastra, w Workflow, c WorkflowResume) (iter.Seq2[Chunk, error], error)
	// TimeTravel, TimeTravelBackground and TimeTravelStream are Start, Background and Stream of a part of a run. A run that
	// goes on is a CodeConflict.
	TimeTravel(ctx context.Context, m *Mastra, w Workflow, c WorkflowTravel) (*Run, error)
	TimeTravelBackground(ctx context.Context, m *Mastra, w Workflow, c WorkflowTravel) (*Run, error)
	TimeTravelStream(ctx context.Context, m *Mastra, w Workflow, c WorkflowTravel) (iter.Seq2[Chunk, error], error)
	// Restart sees to it that somebody carries the run out, and waits for its end; RestartBackground does not wait. One that
	// has ended is returned as it is, one that waits for an answer is a CodeConflict.
	Restart(ctx context.Context, m *Mastra, w Workflow, runID string) (*Run, error)
	RestartBackground(ctx context.Context, m *Mastra, w Workflow, runID string) (*Run, error)
	// Observe follows a run from anywhere: its stream behind a place in it, or behind the first skip chunks.
	Observe(ctx context.Context, m *Mastra, w Workflow, runID string, after Position, skip int) (iter.Seq2[Chunk, error], error)
	// ExecuteStep runs one step by itself and returns its result and the state behind it.
	ExecuteStep(ctx context.Context, m *Mastra, w Workflow, c StepCall) (StepResult, JSON, error)
	// Cancel ends a run; one that has ended is a CodeConflict.
	Cancel(ctx context.Context, m *Mastra, w Workflow, runID string) error
}
