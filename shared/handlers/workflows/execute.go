package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"iter"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// StartInput starts a run. RunID names it: one that was created, or one to join where it has the same input.
type StartInput struct {
	WorkflowID     string                `path:"workflowId" json:"-"`
	RunID          string                `query:"runId" json:"-" maxLength:"256"`
	ResourceID     string                `json:"resourceId,omitempty" maxLength:"256"`
	InputData      mastra.JSON           `json:"inputData,omitzero"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	Tracing        mastra.TracingOptions `json:"tracingOptions,omitzero"`
	InitialState   mastra.JSON           `json:"initialState,omitzero"`
	PerStep        bool                  `json:"perStep,omitzero"`
	CloseOnSuspend bool                  `json:"closeOnSuspend,omitzero"` // a stream ends at a suspension in any case
}

// RunInput is StartInput where the run must be named.
type RunInput struct {
	WorkflowID     string                `path:"workflowId" json:"-"`
	RunID          string                `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
	ResourceID     string                `json:"resourceId,omitempty" maxLength:"256"`
	InputData      mastra.JSON           `json:"inputData,omitzero"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	Tracing        mastra.TracingOptions `json:"tracingOptions,omitzero"`
	InitialState   mastra.JSON           `json:"initialState,omitzero"`
	PerStep        bool                  `json:"perStep,omitzero"`
	CloseOnSuspend bool                  `json:"closeOnSuspend,omitzero"`
}

// ExecuteInput is StartInput with its input as triggerData or as inputData.
type ExecuteInput struct {
	WorkflowID     string                `path:"workflowId" json:"-"`
	RunID          string                `query:"runId" json:"-" maxLength:"256"`
	ResourceID     string                `json:"resourceId,omitempty" maxLength:"256"`
	TriggerData    mastra.JSON           `json:"triggerData,omitzero"`
	InputData      mastra.JSON           `json:"inputData,omitzero"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	Tracing        mastra.TracingOptions `json:"tracingOptions,omitzero"`
}

// Execute runs a workflow to its end, or to a suspension. A step that fails is no error but a Result of status "failed".
func Execute(ctx context.Context, m *mastra.Mastra, in ExecuteInput) (Result, error) {
	data, field := in.TriggerData, "triggerData"
	if in.InputData != nil {
		data, field = in.InputData, "inputData"
	}
	return startAsync(ctx, m, StartInput{WorkflowID: in.WorkflowID, RunID: in.RunID, ResourceID: in.ResourceID, InputData: data,
		RequestContext: in.RequestContext, Tracing: in.Tracing}, field)
}

// StartAsync is Execute by the name that the reference server gives it.
func StartAsync(ctx context.Context, m *mastra.Mastra, in StartInput) (Result, error) {
	return startAsync(ctx, m, in, "inputData")
}

func startAsync(ctx context.Context, m *mastra.Mastra, in StartInput, field string) (Result, error) {
	ctx, w, call, err := prepare(ctx, m, in)
	if err != nil {
		return Result{}, err
	}
	run, err := m.Engine.Start(ctx, m, w, call)
	if err != nil {
		return Result{}, belowField(field, err)
	}
	return resultOf(run)
}

// Message says that something was begun or done.
type Message struct {
	Message string `json:"message"`
}

// Start starts a run that was created, and returns once that is durable.
func Start(ctx context.Context, m *mastra.Mastra, in RunInput) (Message, error) {
	ctx, w, call, err := prepare(ctx, m, StartInput(in))
	if err != nil {
		return Message{}, err
	}
	if _, err := stored(ctx, m, w, in.RunID); err != nil {
		return Message{}, err
	}
	if _, err := m.Engine.Background(ctx, m, w, call); err != nil {
		return Message{}, belowField("inputData", err)
	}
	return Message{"Workflow run started"}, nil
}

// Stream runs a workflow and answers its chunks: workflow-start, then workflow-step-start and workflow-step-result or
// workflow-step-suspended of each step, then workflow-finish.
func Stream(ctx context.Context, m *mastra.Mastra, in RunInput) (iter.Seq2[mastra.Chunk, error], error) {
	ctx, w, call, err := prepare(ctx, m, StartInput(in))
	if err != nil {
		return nil, err
	}
	chunks, err := m.Engine.Stream(ctx, m, w, call)
	return chunks, belowField("inputData", err)
}

func prepare(ctx context.Context, m *mastra.Mastra, in StartInput) (context.Context, mastra.Workflow, mastra.WorkflowCall, error) {
	var call mastra.WorkflowCall
	w, err := workflow(m, in.WorkflowID)
	switch {
	case err != nil:
		return nil, nil, call, err
	case string(in.InitialState) == "null":
		in.InitialState = nil
	}
	if in.RequestContext != nil {
		ctx = mastra.WithRequestContext(ctx, in.RequestContext)
	}
	return ctx, w, mastra.WorkflowCall{RunID: runID(ctx, w, in.RunID), ResourceID: in.ResourceID, Input: in.InputData, State: in.InitialState,
		PerStep: in.PerStep, Tracing: in.Tracing}, nil
}

// runID is the run's given name. Without one, an explicit idempotency key names it: a repeat joins the run.
func runID(ctx context.Context, w mastra.Workflow, given string) string {
	r := mastra.RequestOf(ctx)
	if given != "" || r == nil || r.IdempotencyKey == "" {
		return given
	}
	caller := ""
	if p := mastra.Caller(ctx); p != nil {
		caller = p.ID
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{mastra.Tenant(ctx), caller, w.Graph().ID, r.IdempotencyKey}, "\x00")))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of version 8: made of a name in a way of our own
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// belowField is below for what Start validates: the input, or the state.
func belowField(field string, err error) error {
	var e *mastra.Error
	if errors.As(err, &e) && strings.HasPrefix(e.Message, "Invalid initial data") {
		field = "initialState"
	}
	return below(field, err)
}

// below moves what is wrong with data to the body's field that held it.
func below(field string, err error) error {
	var e *mastra.Error
	if !errors.As(err, &e) || e.Code != mastra.CodeInvalid {
		return err
	}
	moved := *e
	moved.Issues = make([]mastra.Issue, len(e.Issues))
	for i, s := range e.Issues {
		if s.Field == "root" || s.Field == "body" {
			s.Field = field
		} else {
			s.Field = field + "." + s.Field
		}
		moved.Issues[i] = s
	}
	return &moved
}

// CreateRunInput creates a run that is started later.
type CreateRunInput struct {
	WorkflowID     string `path:"workflowId" json:"-"`
	RunID          string `query:"runId" json:"-" maxLength:"256"`
	ResourceID     string `json:"resourceId,omitempty" maxLength:"256"`
	DisableScorers bool   `json:"disableScorers,omitzero"`
}

// Created names a run.
type Created struct {
	RunID string `json:"runId"`
}

// CreateRun makes a pending run. One of that name that exists is named again.
func CreateRun(ctx context.Context, m *mastra.Mastra, in CreateRunInput) (Created, error) {
	w, err := workflow(m, in.WorkflowID)
	if err != nil {
		return Created{}, err
	}
	run, err := m.Engine.Create(ctx, m, w, mastra.WorkflowCall{RunID: runID(ctx, w, in.RunID), ResourceID: in.ResourceID})
	if err != nil {
		return Created{}, err
	}
	return Created{run.ID}, nil
}

// ResumeInput answers a suspended step. Step may be left out where only one waits.
type ResumeInput struct {
	WorkflowID     string                `path:"workflowId" json:"-"`
	RunID          string                `query:"runId" required:"true" json:"-" minLength:"1" maxLength:"256"`
	Step           StepPath              `json:"step,omitempty"`
	Label          string                `json:"label,omitempty" maxLength:"256"` // instead of step: what it called its suspension
	ResumeData     mastra.JSON           `json:"resumeData,omitzero"`
	RequestContext mastra.RequestContext `json:"requestContext,omitempty"`
	Tracing        mastra.TracingOptions `json:"tracingOptions,omitzero"`
	PerStep        bool                  `json:"perStep,omitzero"`
	ForEachIndex   *int                  `json:"forEachIndex,omitempty" minimum:"0"`
}

// StepPath names a step, within nested workflows by the steps that lead to it: "step", "nested.step" or a list.
type StepPath []string

func (p *StepPath) UnmarshalJSON(data []byte) error {
	var one string
	if schema.Unmarshal(data, &one) == nil {
		*p = strings.Split(one, ".")
		return nil
	}
	return schema.Unmarshal(data, (*[]string)(p))
}

func (StepPath) JSONSchema() *schema.Doc {
	return &schema.Doc{AnyOf: []*schema.Doc{{Type: "string"}, {Type: "array", Items: &schema.Doc{Type: "string"}}}}
}

// ResumeAsync goes on to the end or to the next suspension. Of several at once for one step one wins, the others are conflicts.
func ResumeAsync(ctx context.Context, m *mastra.Mastra, in ResumeInput) (Result, error) {
	ctx, w, c, err := prepareResume(ctx, m, in)
	if err != nil {
		return Result{}, err
	}
	run, err := m.Engine.Resume(ctx, m, w, c)
	if err != nil {
		return Result{}, below("resumeData", err)
	}
	return resultOf(run)
}

// Resume goes on in the background, and returns once that is durable.
func Resume(ctx context.Context, m *mastra.Mastra, in ResumeInput) (Message, error) {
	ctx, w, c, err := prepareResume(ctx, m, in)
	if err != nil {
		return Message{}, err
	}
	if _, err := m.Engine.ResumeBackground(ctx, m, w, c); err != nil {
		return Message{}, below("resumeData", err)
	}
	return Message{"Workflow run resumed"}, nil
}

// ResumeStream is ResumeAsync as chunks.
func ResumeStream(ctx context.Context, m *mastra.Mastra, in ResumeInput) (iter.Seq2[mastra.Chunk, error], error) {
	ctx, w, c, err := prepareResume(ctx, m, in)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Engine.ResumeStream(ctx, m, w, c)
	return chunks, below("resumeData", err)
}

func prepareResume(ctx context.Context, m *mastra.Mastra, in ResumeInput) (context.Context, mastra.Workflow, mastra.WorkflowResume, error) {
	c := mastra.WorkflowResume{RunID: in.RunID, Step: in.Step, Label: in.Label, Index: in.ForEachIndex, Data: in.ResumeData, PerStep: in.PerStep, Tracing: in.Tracing}
	w, err := workflow(m, in.WorkflowID)
	if err == nil && in.Step != nil && in.Label != "" {
		err = mastra.Invalid("label", "A step is named by its path or by a label, not by both")
	}
	if err != nil {
		return nil, nil, c, err
	}
	if in.RequestContext != nil {
		ctx = mastra.WithRequestContext(ctx, in.RequestContext)
	}
	return ctx, w, c, nil
}
