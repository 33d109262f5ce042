package workflows

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
)

// GetRunInput names a run. Fields, separated by commas, chooses what of it is answered.
type GetRunInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
	RunID      string `path:"runId" json:"-"`
	Fields     string `query:"fields" json:"-"`
	Nested     string `query:"withNestedWorkflows" json:"-" enum:"true,false"` // "false" leaves the steps of nested workflows out
}

// State is where a run stands.
type State struct {
	RunID          string                            `json:"runId"`
	WorkflowName   string                            `json:"workflowName"`
	ResourceID     *string                           `json:"resourceId"`
	CreatedAt      mastra.Time                       `json:"createdAt"`
	UpdatedAt      mastra.Time                       `json:"updatedAt"`
	Status         mastra.RunStatus                  `json:"status"`
	InitialState   mastra.JSON                       `json:"initialState,omitzero"` // the state as it is
	Result         mastra.JSON                       `json:"result,omitzero"`
	Error          *mastra.RunError                  `json:"error,omitempty"`
	Payload        mastra.JSON                       `json:"payload,omitzero"`
	Steps          *mastra.Object[mastra.StepResult] `json:"steps,omitzero"`
	ActiveSteps    *mastra.Object[[]int]             `json:"activeStepsPath,omitzero"`
	Graph          mastra.JSON                       `json:"serializedStepGraph,omitzero"`
	SuspendedPaths *mastra.Object[[]int]             `json:"suspendedPaths,omitzero"`
	ResumeLabels   *mastra.Object[Label]             `json:"resumeLabels,omitzero"`
	WaitingPaths   *struct{}                         `json:"waitingPaths,omitzero"`
}

// fields are those that Fields may name; the others of a State come without being asked for, or only with all.
var fields = []string{"result", "error", "payload", "steps", "activeStepsPath", "serializedStepGraph"}

// Run answers where a run stands.
func Run(ctx context.Context, m *mastra.Mastra, in GetRunInput) (State, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return State{}, err
	}
	want := func(string) bool { return true }
	if in.Fields != "" {
		var asked []string
		for f := range strings.SplitSeq(in.Fields, ",") {
			f = strings.TrimSpace(f)
			if !slices.Contains(fields, f) {
				return State{}, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{
					{Field: "fields", Message: "Invalid field name. Available fields: " + strings.Join(fields, ", ")}}}
			}
			asked = append(asked, f)
		}
		want = func(f string) bool { return slices.Contains(asked, f) }
	}
	run, err := stored(ctx, m, w, in.RunID)
	if err != nil {
		return State{}, err
	}
	s := State{RunID: run.ID, WorkflowName: run.WorkflowID, ResourceID: resource(run), CreatedAt: run.CreatedAt, UpdatedAt: run.UpdatedAt, Status: run.Status}
	if want("result") {
		s.Result = run.Result
	}
	if want("error") {
		s.Error = run.Error
	}
	if want("payload") {
		s.Payload = run.Input
	}
	if want("steps") {
		steps := shown(run, in.Nested != "false")
		s.Steps = &steps
	}
	active, suspended := paths(w.Graph(), run)
	if want("activeStepsPath") {
		s.ActiveSteps = &active
	}
	if want("serializedStepGraph") {
		s.Graph = run.Graph
	}
	if in.Fields == "" {
		labels := labelsOf(run, "")
		s.SuspendedPaths, s.ResumeLabels, s.WaitingPaths = &suspended, &labels, new(struct{})
		if len(run.State) > 0 && string(run.State) != "{}" {
			s.InitialState = run.State
		}
	}
	return s, nil
}

func resource(run *mastra.Run) *string {
	if run.ResourceID == "" {
		return nil
	}
	return &run.ResourceID
}

// shown are the steps by the names they show under. Where the steps of nested workflows are among them, a workflow that
// waits for one of them shows as running: only the step itself can be resumed.
func shown(run *mastra.Run, nested bool) mastra.Object[mastra.StepResult] {
	list := make(mastra.Object[mastra.StepResult], 0, len(run.Steps))
	for _, s := range run.Steps {
		if mastra.IsTurn(s.Key) || !nested && mastra.IsNested(s.Key) {
			continue
		}
		if nested && s.Value.Status == mastra.StatusSuspended && slices.ContainsFunc(run.Steps, func(o mastra.Member[mastra.StepResult]) bool {
			return o.Value.Status == mastra.StatusSuspended && !mastra.IsTurn(o.Key) && strings.HasPrefix(o.Key, mastra.StepKey(s.Key, ""))
		}) {
			s.Value.Status = mastra.StatusRunning
		}
		list = append(list, mastra.Member[mastra.StepResult]{Key: mastra.StepName(s.Key), Value: withTurns(run, s.Key, s.Value).Shown()})
	}
	return list
}

// paths are the places in the graph of the steps that run and of those that are suspended.
func paths(g *mastra.Graph, run *mastra.Run) (active, suspended mastra.Object[[]int]) {
	for i, n := range g.Nodes {
		for j, s := range n.Steps {
			at := []int{i}
			if n.Kind == mastra.KindParallel || n.Kind == mastra.KindBranch {
				at = append(at, j)
			}
			switch step, _ := run.Steps.Get(s.ID); {
			case step.Status == mastra.StatusRunning && run.Status.Active():
				active = append(active, mastra.Member[[]int]{Key: s.ID, Value: at})
			case step.Status == mastra.StatusSuspended:
				suspended = append(suspended, mastra.Member[[]int]{Key: s.ID, Value: at})
			}
		}
		if step, ok := run.Steps.Get(n.ID); ok && n.ID != "" && step.Status == mastra.StatusWaiting && run.Status.Active() {
			active = append(active, mastra.Member[[]int]{Key: n.ID, Value: []int{i}})
		}
	}
	return active, suspended
}

// ListRunsInput asks for runs of a workflow, newest first.
type ListRunsInput struct {
	WorkflowID string           `path:"workflowId" json:"-"`
	Page       *int             `query:"page" json:"-" minimum:"0"`
	PerPage    *int             `query:"perPage" json:"-" minimum:"0"`
	Offset     *int             `query:"offset" json:"-" minimum:"0"`
	Limit      *int             `query:"limit" json:"-" minimum:"0"`
	From       mastra.Time      `query:"fromDate" json:"-"`
	To         mastra.Time      `query:"toDate" json:"-"`
	ResourceID string           `query:"resourceId" json:"-"`
	Status     mastra.RunStatus `query:"status" json:"-" enum:"running,waiting,suspended,success,failed,canceled,pending,bailed,tripwire,paused,skipped"`
}

// Page is a list of runs.
type Page struct {
	Runs    []Entry `json:"runs"`
	Total   int     `json:"total"`
	HasMore bool    `json:"hasMore,omitzero"` // the page was cut: it would have been too large
}

// Entry is a run in a list.
type Entry struct {
	WorkflowName string      `json:"workflowName"`
	RunID        string      `json:"runId"`
	Snapshot     Snapshot    `json:"snapshot"`
	ResourceID   *string     `json:"resourceId"`
	CreatedAt    mastra.Time `json:"createdAt"`
	UpdatedAt    mastra.Time `json:"updatedAt"`
}

// Snapshot is a run as the reference server stores it.
type Snapshot struct {
	RunID          string                `json:"runId"`
	Status         mastra.RunStatus      `json:"status"`
	Value          mastra.JSON           `json:"value"` // the state
	Context        mastra.Object[any]    `json:"context"`
	ActivePaths    []int                 `json:"activePaths"`
	Path           []string              `json:"stepExecutionPath,omitzero"`
	ActiveSteps    mastra.Object[[]int]  `json:"activeStepsPath"`
	Graph          mastra.JSON           `json:"serializedStepGraph"`
	SuspendedPaths mastra.Object[[]int]  `json:"suspendedPaths"`
	WaitingPaths   struct{}              `json:"waitingPaths"`
	ResumeLabels   mastra.Object[Label]  `json:"resumeLabels"`
	Result         mastra.JSON           `json:"result,omitzero"`
	Error          *mastra.RunError      `json:"error,omitempty"`
	RequestContext mastra.RequestContext `json:"requestContext,omitzero"`
	Timestamp      int64                 `json:"timestamp"`
	Tracing        *Place                `json:"tracingContext,omitempty"`
}

// Place is where a suspended run stands in its trace.
type Place struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
}

const (
	maxPerPage   = 100
	maxPageBytes = 4 << 20 // of inputs, results and steps: an answer stays below 6 MB
)

// Runs lists the runs of a workflow.
func Runs(ctx context.Context, m *mastra.Mastra, in ListRunsInput) (Page, error) {
	paging, err := in.paging()
	if err != nil {
		return Page{}, err
	}
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Page{}, err
	}
	found, err := m.Storage.Runs(ctx, mastra.RunQuery{WorkflowID: w.Graph().ID, ResourceID: mastra.Resource(ctx, in.ResourceID), Status: in.Status,
		From: in.From, To: in.To, Paging: paging})
	if err != nil {
		return Page{}, err
	}
	page := Page{Runs: make([]Entry, 0, len(found.Items)), Total: found.Total}
	size := 0
	for _, head := range found.Items {
		run, err := m.Storage.Run(ctx, head.ID)
		if mastra.CodeOf(err) == mastra.CodeNotFound {
			continue // deleted meanwhile
		} else if err != nil {
			return Page{}, err
		}
		size += len(run.Input) + len(run.Result) + len(run.Graph)
		for _, s := range run.Steps {
			size += len(s.Value.Payload) + len(s.Value.Output) + len(s.Value.SuspendPayload) + len(s.Value.ResumePayload)
		}
		if size > maxPageBytes && len(page.Runs) > 0 {
			page.HasMore = true
			break
		}
		page.Runs = append(page.Runs, entryOf(w.Graph(), run))
	}
	return page, nil
}

// paging takes page and perPage, or offset and limit.
func (in ListRunsInput) paging() (mastra.Paging, error) {
	perPage, page := in.PerPage, in.Page
	if perPage == nil {
		perPage = in.Limit
	}
	p := mastra.Paging{PerPage: maxPerPage}
	if perPage != nil {
		if *perPage <= 0 {
			return p, mastra.Errorf(mastra.CodeInvalid, "perPage must be a positive integer")
		}
		p.PerPage = min(*perPage, maxPerPage)
	}
	switch {
	case page != nil:
		p.Page = *page
	case in.Offset != nil && perPage != nil:
		p.Page = *in.Offset / p.PerPage
	}
	return p, nil
}

func entryOf(g *mastra.Graph, run *mastra.Run) Entry {
	s := Snapshot{RunID: run.ID, Status: run.Status, Context: mastra.Object[any]{}, ActivePaths: []int{}, Graph: run.Graph, Value: mastra.JSON("{}"), ResumeLabels: labelsOf(run, ""),
		Result: run.Result, Error: run.Error, Timestamp: int64(run.UpdatedAt)}
	if run.Input != nil {
		s.Context = append(s.Context, mastra.Member[any]{Key: "input", Value: run.Input})
	}
	for _, step := range shown(run, false) {
		s.Context = append(s.Context, mastra.Member[any]{Key: step.Key, Value: step.Value})
	}
	if run.State != nil {
		s.Value = run.State
	}
	s.ActiveSteps, s.SuspendedPaths = paths(g, run)
	for i, n := range g.Nodes {
		_, slept := run.Steps.Get(n.ID)
		if slept || slices.ContainsFunc(n.Steps, func(step *mastra.Step) bool { _, ok := run.Steps.Get(step.ID); return ok }) {
			s.ActivePaths = []int{i}
		}
	}
	if run.Status != mastra.StatusPending {
		s.Path, s.RequestContext = append([]string{}, run.Path...), mastra.RequestContext{}
		for k, v := range run.Context {
			s.RequestContext[k] = v
		}
	}
	if run.Status == mastra.StatusSuspended {
		s.Tracing = &Place{run.TraceID, run.SpanID}
	}
	return Entry{WorkflowName: run.WorkflowID, RunID: run.ID, Snapshot: s, ResourceID: resource(run), CreatedAt: run.CreatedAt, UpdatedAt: run.UpdatedAt}
}

// CancelInput names a run.
type CancelInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
	RunID      string `path:"runId" json:"-"`
}

// CancelRun ends a run; one that has ended is a conflict.
func CancelRun(ctx context.Context, m *mastra.Mastra, in CancelInput) (Message, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Message{}, err
	}
	if err := m.Engine.Cancel(ctx, m, w, in.RunID); err != nil {
		return Message{}, err
	}
	return Message{"Workflow run cancelled"}, nil
}
