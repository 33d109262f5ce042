package workflows

import (
	"context"
	"errors"
	"iter"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Resumed names a run that goes on.
type Resumed struct {
	RunID string `json:"runId"`
}

// ResumeNoWait is Resume that answers the run's id.
func ResumeNoWait(ctx context.Context, m *mastra.Mastra, in ResumeInput) (Resumed, error) {
	if _, err := Resume(ctx, m, in); err != nil {
		return Resumed{}, err
	}
	return Resumed{in.RunID}, nil
}

// TravelInput runs a run again from Step on. Context and Nested are results of the steps before it, instead of those on record.
type TravelInput struct {
	WorkflowID     string                                 `path:"workflowId" json:"-"`
	RunID          string                                 `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
	Step           StepPath                               `json:"step"`
	InputData      mastra.JSON                            `json:"inputData,omitzero"`
	ResumeData     mastra.JSON                            `json:"resumeData,omitzero"`
	InitialState   mastra.JSON                            `json:"initialState,omitzero"`
	Context        mastra.Object[Recorded]                `json:"context,omitempty"`
	Nested         mastra.Object[mastra.Object[Recorded]] `json:"nestedStepsContext,omitempty"`
	RequestContext mastra.RequestContext                  `json:"requestContext,omitempty"`
	Tracing        mastra.TracingOptions                  `json:"tracingOptions,omitzero"`
	PerStep        bool                                   `json:"perStep,omitzero"`
}

// Recorded is the result of a step as a caller says it.
type Recorded struct {
	Status         mastra.RunStatus `json:"status,omitempty" enum:"success,failed,suspended,running,waiting,canceled,bailed,paused,skipped"`
	Payload        mastra.JSON      `json:"payload,omitzero"`
	Output         mastra.JSON      `json:"output,omitzero"`
	SuspendPayload mastra.JSON      `json:"suspendPayload,omitzero"`
	ResumePayload  mastra.JSON      `json:"resumePayload,omitzero"`
	StartedAt      int64            `json:"startedAt,omitzero"`
	EndedAt        int64            `json:"endedAt,omitzero"`
	SuspendedAt    int64            `json:"suspendedAt,omitzero"`
	ResumedAt      int64            `json:"resumedAt,omitzero"`
}

func resultsOf(all mastra.Object[Recorded]) mastra.Object[mastra.StepResult] {
	var list mastra.Object[mastra.StepResult]
	for _, m := range all {
		if m.Value.Status == "skipped" {
			continue
		}
		r := m.Value
		list = append(list, mastra.Member[mastra.StepResult]{Key: m.Key, Value: mastra.StepResult{Status: r.Status, Payload: r.Payload, Output: r.Output,
			SuspendPayload: r.SuspendPayload, ResumePayload: r.ResumePayload, StartedAt: r.StartedAt, EndedAt: r.EndedAt, SuspendedAt: r.SuspendedAt, ResumedAt: r.ResumedAt}})
	}
	return list
}

func prepareTravel(ctx context.Context, m *mastra.Mastra, in TravelInput) (context.Context, mastra.Workflow, mastra.WorkflowTravel, error) {
	c := mastra.WorkflowTravel{RunID: in.RunID, Step: in.Step, Input: in.InputData, Data: in.ResumeData, State: in.InitialState,
		Context: resultsOf(in.Context), PerStep: in.PerStep, Tracing: in.Tracing}
	for _, n := range in.Nested {
		c.Nested = append(c.Nested, mastra.Member[mastra.Object[mastra.StepResult]]{Key: n.Key, Value: resultsOf(n.Value)})
	}
	w, err := workflow(m, in.WorkflowID)
	if in.RequestContext != nil {
		ctx = mastra.WithRequestContext(ctx, in.RequestContext)
	}
	return ctx, w, c, err
}

// TimeTravelAsync runs the part of the run to its end, or to a suspension.
func TimeTravelAsync(ctx context.Context, m *mastra.Mastra, in TravelInput) (Result, error) {
	ctx, w, c, err := prepareTravel(ctx, m, in)
	if err != nil {
		return Result{}, err
	}
	run, err := m.Engine.TimeTravel(ctx, m, w, c)
	if err != nil {
		return Result{}, belowTravel(err)
	}
	return resultOf(run)
}

// TimeTravel returns once that is durable.
func TimeTravel(ctx context.Context, m *mastra.Mastra, in TravelInput) (Message, error) {
	ctx, w, c, err := prepareTravel(ctx, m, in)
	if err != nil {
		return Message{}, err
	}
	if _, err := m.Engine.TimeTravelBackground(ctx, m, w, c); err != nil {
		return Message{}, belowTravel(err)
	}
	return Message{"Workflow run time travel started"}, nil
}

// TimeTravelStream is TimeTravelAsync as chunks.
func TimeTravelStream(ctx context.Context, m *mastra.Mastra, in TravelInput) (iter.Seq2[mastra.Chunk, error], error) {
	ctx, w, c, err := prepareTravel(ctx, m, in)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Engine.TimeTravelStream(ctx, m, w, c)
	return chunks, belowTravel(err)
}

func belowTravel(err error) error {
	var e *mastra.Error
	if !errors.As(err, &e) || e.Code != mastra.CodeInvalid {
		return err
	}
	switch {
	case strings.HasPrefix(e.Message, "Invalid inputData"):
		return below("inputData", err)
	case strings.HasPrefix(e.Message, "Invalid resume data"):
		return below("resumeData", err)
	case strings.HasPrefix(e.Message, "Invalid initial data"):
		return below("initialState", err)
	}
	return err
}

// RestartInput sees to it that a run goes on.
type RestartInput struct {
	WorkflowID     string                `path:"workflowId" json:"-"`
	RunID          string                `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"` // of the reference server: here the run keeps the one it has
	Tracing        mastra.TracingOptions `json:"tracingOptions,omitzero"`
}

// RestartAsync waits for the end of a run that goes on, and takes it over where nobody works on it. One that has ended is
// answered as it is.
func RestartAsync(ctx context.Context, m *mastra.Mastra, in RestartInput) (Result, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Result{}, err
	}
	before, err := stored(ctx, m, w, in.RunID)
	if err != nil {
		return Result{}, err
	}
	run, err := m.Engine.Restart(ctx, m, w, in.RunID)
	if err != nil {
		return Result{}, err
	}
	if !before.Status.Ended() {
		return resultOf(run)
	}
	return recordOf(run), nil
}

// Restart does not wait.
func Restart(ctx context.Context, m *mastra.Mastra, in RestartInput) (Message, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Message{}, err
	}
	if _, err := m.Engine.RestartBackground(ctx, m, w, in.RunID); err != nil {
		return Message{}, err
	}
	return Message{"Workflow run restarted"}, nil
}

// RestartAllInput names a workflow.
type RestartAllInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
}

// restartAtOnce is how many runs one call looks at.
const restartAtOnce = 100

// RestartAll is Restart of every run of the workflow that goes on.
func RestartAll(ctx context.Context, m *mastra.Mastra, in RestartAllInput) (Message, error) {
	return restartAll(ctx, m, in, false)
}

// RestartAllAsync waits for their ends.
func RestartAllAsync(ctx context.Context, m *mastra.Mastra, in RestartAllInput) (Message, error) {
	return restartAll(ctx, m, in, true)
}

func restartAll(ctx context.Context, m *mastra.Mastra, in RestartAllInput, wait bool) (Message, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Message{}, err
	}
	var active []string // all of them before one is restarted: the list changes by that
	for _, status := range []mastra.RunStatus{mastra.StatusRunning, mastra.StatusWaiting} {
		for page, more := 0, true; more; page++ {
			found, err := m.Storage.Runs(ctx, mastra.RunQuery{WorkflowID: w.Graph().ID, ResourceID: mastra.Resource(ctx, ""), Status: status,
				Paging: mastra.Paging{Page: page, PerPage: restartAtOnce}})
			if err != nil {
				return Message{}, err
			}
			for i := range found.Items {
				active = append(active, found.Items[i].ID)
			}
			more = found.HasMore
		}
	}
	restart := m.Engine.RestartBackground
	if wait {
		restart = m.Engine.Restart
	}
	for _, id := range active {
		_, err := restart(ctx, m, w, id)
		if code := mastra.CodeOf(err); err != nil && code != mastra.CodeConflict && code != mastra.CodeNotFound { // it ended, or waits, meanwhile
			return Message{}, err
		}
	}
	return Message{"All active workflow runs restarted"}, nil
}

// DeleteInput names a run.
type DeleteInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
	RunID      string `path:"runId" json:"-"`
}

// DeleteRun forgets a run. One that goes on is a conflict: cancel it first.
func DeleteRun(ctx context.Context, m *mastra.Mastra, in DeleteInput) (Message, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Message{}, err
	}
	run, err := stored(ctx, m, w, in.RunID)
	if err != nil {
		return Message{}, err
	}
	if run.Status.Active() {
		return Message{}, mastra.Errorf(mastra.CodeConflict, "This workflow run is still running: cancel it first")
	}
	if err := m.Storage.DeleteRun(ctx, in.RunID); err != nil {
		return Message{}, err
	}
	return Message{"Workflow run deleted"}, nil
}

// RunCountsInput asks for all workflows.
type RunCountsInput struct{}

// Counts are the runs of a workflow that have not ended.
type Counts struct {
	Running   int `json:"running"`
	Suspended int `json:"suspended"`
}

// RunCounts counts the runs that go on and those that wait for an answer, by the key of their workflow.
func RunCounts(ctx context.Context, m *mastra.Mastra, _ RunCountsInput) (mastra.Object[Counts], error) {
	all := make(mastra.Object[Counts], 0, len(m.AllWorkflows()))
	for _, w := range m.AllWorkflows() {
		count := func(s mastra.RunStatus) (int, error) {
			if m.Storage == nil {
				return 0, nil
			}
			p, err := m.Storage.Runs(ctx, mastra.RunQuery{WorkflowID: w.Graph().ID, ResourceID: mastra.Resource(ctx, ""), Status: s, Paging: mastra.Paging{PerPage: 1}})
			if err != nil {
				return 0, err
			}
			return p.Total, nil
		}
		running, err := count(mastra.StatusRunning)
		if err != nil {
			return nil, err
		}
		suspended, err := count(mastra.StatusSuspended)
		if err != nil {
			return nil, err
		}
		all = append(all, mastra.Member[Counts]{Key: w.Graph().Name(), Value: Counts{running, suspended}})
	}
	return all, nil
}

// ExecuteStepInput runs one step by itself. StepResults are those of other steps, and the run's input under "input".
type ExecuteStepInput struct {
	WorkflowID     string                     `path:"workflowId" json:"-"`
	RunID          string                     `path:"runId" json:"-"`
	StepID         string                     `json:"stepId"`
	Path           []int                      `json:"executionPath"`
	Results        mastra.Object[mastra.JSON] `json:"stepResults"`
	State          mastra.Object[mastra.JSON] `json:"state"`
	RequestContext mastra.RequestContext      `json:"requestContext"`
	Input          mastra.JSON                `json:"input,omitzero"`
	ResumeData     mastra.JSON                `json:"resumeData,omitzero"`
	RetryCount     int                        `json:"retryCount,omitzero" minimum:"0"`
	ForEachIndex   *int                       `json:"foreachIdx,omitempty" minimum:"0"`
	Format         string                     `json:"format,omitempty" enum:"legacy,vnext"`
	PerStep        bool                       `json:"perStep,omitzero"`
	Validate       *bool                      `json:"validateInputs,omitempty"`
}

// Executed is what came of a step that ran by itself.
type Executed struct {
	mastra.StepResult `json:",inline"`
	State             mastra.JSON `json:"__state"`
}

// ExecuteStep runs one step by itself, beside any run: nothing is stored. A step that fails is no error.
func ExecuteStep(ctx context.Context, m *mastra.Mastra, in ExecuteStepInput) (Executed, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Executed{}, err
	}
	c := mastra.StepCall{RunID: in.RunID, Step: in.StepID, Path: in.Path, Input: in.Input, Data: in.ResumeData, Retry: in.RetryCount, Index: in.ForEachIndex}
	if len(in.Path) == 0 {
		c.Path = nil
	}
	if c.State, err = schema.Marshal(in.State); err != nil {
		return Executed{}, err
	}
	for _, r := range in.Results {
		var known Recorded
		if r.Key == "input" {
			known = Recorded{Status: mastra.StatusSuccess, Output: r.Value}
		} else if err := schema.For[Recorded]().Decode(r.Value, &known); err != nil {
			return Executed{}, mastra.Invalid("stepResults."+r.Key, "Invalid input: expected the result of a step")
		}
		c.Results = append(c.Results, resultsOf(mastra.Object[Recorded]{{Key: r.Key, Value: known}})...)
	}
	rec, state, err := m.Engine.ExecuteStep(mastra.WithRequestContext(ctx, in.RequestContext), m, w, c)
	if err != nil {
		return Executed{}, below("resumeData", err)
	}
	return Executed{rec.Shown(), state}, nil
}

// ObserveInput follows a run: from chunk Offset on, or behind the event that Last-Event-ID names.
type ObserveInput struct {
	WorkflowID string `path:"workflowId" json:"-"`
	RunID      string `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
	Offset     int    `query:"offset" json:"-" minimum:"0"`
}

// Observe follows a run from any process, while it goes on and after it.
func Observe(ctx context.Context, m *mastra.Mastra, in ObserveInput) (iter.Seq2[mastra.Chunk, error], error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return nil, err
	}
	var after mastra.Position
	if r := mastra.RequestOf(ctx); r != nil {
		if after, err = mastra.ParsePosition(r.LastEventID); err != nil {
			return nil, err
		}
	}
	return m.Engine.Observe(ctx, m, w, in.RunID, after, in.Offset)
}
