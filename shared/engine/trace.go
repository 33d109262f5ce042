package engine

import (
	"context"
	"fmt"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// trace gathers the spans of an execution. They are written with the run's end, or with its suspension.
type trace struct {
	x        *execution
	root     mastra.Span
	metadata mastra.JSON
	since    int64 // where recalls: steps that ended from then on have no span yet
	recalls  bool  // the run was taken over: the spans of the process before are lost

	sink  mastra.SpanSink // what steps and stores add
	mu    sync.Mutex
	spans []mastra.Span
}

// span is one that is open; of the zero one only id is set, and closing it does nothing.
type span struct {
	*mastra.Span
	id string
}

func newTrace(ctx context.Context, x *execution) *trace {
	r := &x.run
	t := &trace{x: x, recalls: x.taken}
	input, resumed := r.Input, x.resumed
	if x.sent != nil {
		input = x.sent
	}
	for _, m := range r.Steps {
		if at := m.Value.ResumedAt; at > 0 && at >= t.since {
			input, resumed, t.since = m.Value.ResumePayload, true, at
		}
	}
	started := mastra.TimeOf(x.m.Now())
	switch {
	case x.taken && t.since > 0:
		started = mastra.Time(t.since)
	case x.taken:
		started = r.CreatedAt
	case x.resumed:
		r.Tracing.ParentSpanID, r.Tracing.RemoteParent, r.SpanID = r.SpanID, false, mastra.NewSpanID()
	default:
		r.TraceID, r.Tracing.ParentSpanID, r.Tracing.RemoteParent = r.Tracing.Place(ctx)
		r.SpanID = mastra.NewSpanID()
	}
	var metadata mastra.Object[mastra.JSON]
	text := func(key, value string) {
		data, _ := schema.Marshal(value)
		metadata.Set(key, data)
	}
	if r.ResourceID != "" {
		text("resourceId", r.ResourceID)
	}
	text("runId", r.ID)
	var own mastra.Object[mastra.JSON]
	if schema.Unmarshal(r.Tracing.Metadata, &own) == nil {
		for _, m := range own {
			metadata.Set(m.Key, m.Value)
		}
	}
	name := "workflow run: '" + x.g.ID + "'"
	if resumed {
		name += " (resumed)"
		metadata.Set("resumed", mastra.JSON("true"))
		text("resumedFromSpanId", r.Tracing.ParentSpanID)
	}
	if r.Tracing.RootSpanName != "" {
		name = r.Tracing.RootSpanName
	}
	t.metadata, _ = schema.Marshal(metadata)
	t.root = t.span(r.Tracing.ParentSpanID, mastra.SpanWorkflowRun, name, input)
	t.root.SpanID, t.root.Tags, t.root.StartedAt, t.root.Remote = r.SpanID, r.Tracing.Tags, started, r.Tracing.RemoteParent
	if len(r.Context) > 0 && !r.Tracing.HideInput {
		t.root.Context, _ = schema.Marshal(r.Context)
	}
	t.spans = make([]mastra.Span, 1, len(x.g.Nodes)+2) // the root stands first
	return t
}

func (t *trace) span(parent, kind, name string, input mastra.JSON) mastra.Span {
	r := &t.x.run
	s := mastra.Span{TraceID: r.TraceID, ParentID: parent, Name: name, Type: kind, StartedAt: mastra.TimeOf(t.x.m.Now()),
		EntityType: "workflow_run", EntityID: t.x.g.ID, EntityName: t.x.g.ID, RunID: r.ID, ResourceID: r.ResourceID, Metadata: t.metadata}
	if !r.Tracing.HideInput {
		s.Input = input
	}
	return s
}

func (t *trace) begin(parent, kind, name string, input mastra.JSON) span {
	s := t.span(parent, kind, name, input)
	s.SpanID = mastra.NewSpanID()
	return span{&s, s.SpanID}
}

func (t *trace) beginStep(parent string, g *mastra.Graph, step *mastra.Step, input mastra.JSON) span {
	s := t.begin(parent, mastra.SpanWorkflowStep, "workflow step: '"+step.ID+"'", input)
	s.EntityType, s.EntityID, s.EntityName = "workflow_step", step.ID, g.ID
	return s
}

func (t *trace) close(s span, out outcome, attributes mastra.JSON) {
	if s.Span == nil {
		return
	}
	s.EndedAt, s.Attributes = mastra.TimeOf(t.x.m.Now()), attributes
	if !t.x.run.Tracing.HideOutput {
		s.Output = out.output
	}
	s.Error = errorJSON(out.err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans = append(t.spans, *s.Span)
}

// recall makes the span of a step that another process carried out, where that process could not write it.
func (t *trace) recall(kind, parent, step string, rec mastra.StepResult) {
	if !t.recalls || rec.EndedAt < t.since || rec.EndedAt == 0 {
		return
	}
	s := t.begin(parent, kind, "workflow step: '"+step+"'", rec.Payload)
	s.StartedAt, s.EntityType, s.EntityID = mastra.Time(rec.StartedAt), "workflow_step", step
	t.close(s, outcome{status: rec.Status, output: rec.Output, err: rec.Error}, statusAttributes(rec.Status))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[len(t.spans)-1].EndedAt = mastra.Time(rec.EndedAt)
}

// end closes the root and returns all that was gathered.
func (t *trace) end(r *mastra.Run) []mastra.Span {
	t.root.EndedAt, t.root.Attributes, t.root.Error = mastra.TimeOf(t.x.m.Now()), statusAttributes(r.Status), errorJSON(r.Error)
	if !r.Tracing.HideOutput {
		t.root.Output = r.Result
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[0] = t.root
	for _, s := range t.sink.Take() {
		s.ResourceID, s.Metadata = r.ResourceID, t.metadata
		t.spans = append(t.spans, s)
	}
	return t.x.m.Record(t.x.store, t.spans)
}

func errorJSON(e *mastra.RunError) mastra.JSON {
	if e == nil {
		return nil
	}
	data, _ := schema.Marshal(e)
	return data
}

func statusAttributes(s mastra.RunStatus) mastra.JSON {
	return mastra.JSON(`{"status":"` + string(s) + `"}`)
}

func parallelAttributes(steps []*mastra.Step) mastra.JSON {
	return attributes(struct {
		Count int      `json:"branchCount"`
		Steps []string `json:"parallelSteps"`
	}{len(steps), ids(steps)})
}

func branchAttributes(conditions int, chosen []int, steps []*mastra.Step) mastra.JSON {
	return attributes(struct {
		Count  int      `json:"conditionCount"`
		Truthy []int    `json:"truthyIndexes"`
		Steps  []string `json:"selectedSteps"`
	}{conditions, chosen, ids(steps)})
}

func conditionAttributes(i int, holds *bool) mastra.JSON {
	return attributes(struct {
		Index int   `json:"conditionIndex"`
		Holds *bool `json:"result,omitempty"`
	}{i, holds})
}

func loopAttributes(kind string, turns int) mastra.JSON {
	return mastra.JSON(fmt.Sprintf(`{"loopType":%q,"totalIterations":%d}`, kind, turns))
}

func forEachAttributes(concurrency int) mastra.JSON {
	return mastra.JSON(fmt.Sprintf(`{"loopType":"foreach","concurrency":%d}`, concurrency))
}

func sleepAttributes(n *mastra.Node, until int64) mastra.JSON {
	if n.Kind == mastra.KindUntil {
		return mastra.JSON(fmt.Sprintf(`{"untilDate":%q,"sleepType":"fixed"}`, mastra.Time(until)))
	}
	return mastra.JSON(fmt.Sprintf(`{"durationMs":%d,"sleepType":"fixed"}`, n.Sleep.Milliseconds()))
}

func attributes(v any) mastra.JSON {
	data, _ := schema.Marshal(v)
	return data
}

func ids(steps []*mastra.Step) []string {
	list := make([]string, len(steps))
	for i, s := range steps {
		list[i] = s.ID
	}
	return list
}
