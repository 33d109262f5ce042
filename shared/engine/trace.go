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
	from     string      // the root span of the part before, where the run was resumed
	context  mastra.JSON // the request context, where it is shown
	since    int64       // where recalls: steps that ended from then on have no span yet
	recalls  bool        // the run was taken over: the spans of the process before are lost

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
		t.from, r.Tracing.ParentSpanID, r.Tracing.RemoteParent, r.SpanID = r.SpanID, r.SpanID, false, mastra.NewSpanID()
		if above := mastra.SpanOf(ctx); above.Inside() && above.TraceID == r.TraceID { // what called it goes on with it
			r.Tracing.ParentSpanID = above.SpanID
		}
	default:
		r.TraceID, r.Tracing.ParentSpanID, r.Tracing.RemoteParent = r.Tracing.Place(ctx, r.ID, !x.named)
		r.Tracing.Within(ctx)
		r.SpanID = mastra.NewSpanID()
	}
	if t.from == "" {
		t.from = r.Tracing.ParentSpanID
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
	name := "workflow run: '" + x.g.ID + "'"
	if resumed {
		name += " (resumed)"
		metadata.Set("resumed", mastra.JSON("true"))
		text("resumedFromSpanId", t.from)
	}
	if r.Tracing.RootSpanName != "" {
		name = r.Tracing.RootSpanName
	}
	t.metadata, _ = schema.Marshal(metadata)
	t.metadata = r.Tracing.About(r.Context, t.metadata)
	if len(r.Context) > 0 && !r.Tracing.HideInput {
		t.context, _ = schema.Marshal(r.Context)
	}
	t.root = t.span(x.g, r.Tracing.ParentSpanID, mastra.SpanWorkflowRun, name, input)
	t.root.SpanID, t.root.Tags, t.root.StartedAt, t.root.Remote = r.SpanID, r.Tracing.Tags, started, r.Tracing.RemoteParent
	t.root.Context = t.context
	t.spans = make([]mastra.Span, 1, len(x.g.Nodes)+2) // the root stands first
	return t
}

// at is the place of a span of the run.
func (t *trace) at(id string) mastra.SpanRef {
	r := &t.x.run
	return mastra.SpanRef{TraceID: r.TraceID, SpanID: id, RunID: r.ID, Options: &r.Tracing}
}

func (t *trace) span(g *mastra.Graph, parent, kind, name string, input mastra.JSON) mastra.Span {
	r := &t.x.run
	s := mastra.Span{TraceID: r.TraceID, ParentID: parent, Name: name, Type: kind, StartedAt: mastra.TimeOf(t.x.m.Now()),
		EntityType: "workflow_run", EntityID: g.ID, EntityName: g.ID, RunID: r.ID, ResourceID: r.ResourceID, Metadata: t.metadata}
	if !r.Tracing.HideInput {
		s.Input = input
	}
	return s
}

func (t *trace) begin(g *mastra.Graph, parent, kind, name string, input mastra.JSON) span {
	s := t.span(g, parent, kind, name, input)
	s.SpanID = mastra.NewSpanID()
	return span{&s, s.SpanID}
}

func (t *trace) beginStep(parent string, g *mastra.Graph, step *mastra.Step, input mastra.JSON) span {
	s := t.begin(g, parent, mastra.SpanWorkflowStep, "workflow step: '"+step.ID+"'", input)
	s.EntityType, s.EntityID, s.EntityName, s.Context = "workflow_step", step.ID, g.ID, t.context
	return s
}

// beginNested begins the span of a workflow that is the step at key. Whoever goes on with it, in any process, knows its id.
func (t *trace) beginNested(parent string, g *mastra.Graph, key string, in mastra.JSON, rec *mastra.StepResult) span {
	name := "workflow run: '" + g.ID + "'"
	resumed := rec.ResumedAt > 0 && rec.ResumedAt >= t.since && t.from != ""
	if resumed {
		name, in = name+" (resumed)", rec.ResumePayload
	}
	s := t.begin(g, parent, mastra.SpanWorkflowRun, name, in)
	s.SpanID = mastra.SpanIDFrom(t.root.SpanID, key)
	s.id = s.SpanID
	if resumed {
		var metadata mastra.Object[mastra.JSON]
		if schema.Unmarshal(t.metadata, &metadata) == nil {
			from, _ := schema.Marshal(mastra.SpanIDFrom(t.from, key))
			metadata.Set("resumedFromSpanId", from)
			s.Metadata, _ = schema.Marshal(metadata)
		}
	}
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
	if s.Error != nil && s.Type == mastra.SpanWorkflowStep {
		s.Error = stepError(s.Span, out.err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans = append(t.spans, *s.Span)
}

// recall makes the span of what another process carried out, where that process could not write it.
func (t *trace) recall(begin func() span, rec mastra.StepResult, attributes mastra.JSON) {
	if !t.recalls || rec.EndedAt < t.since || rec.EndedAt == 0 {
		return
	}
	s := begin()
	s.StartedAt = mastra.Time(rec.StartedAt)
	t.close(s, outcome{status: rec.Status, output: rec.Output, err: rec.Error}, attributes)
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

// stepError is the error of a step, as the reference server names it.
func stepError(s *mastra.Span, e *mastra.RunError) mastra.JSON {
	type where struct {
		Workflow string `json:"workflowId"`
		Run      string `json:"runId"`
		Step     string `json:"stepId"`
	}
	return attributes(struct {
		ID              string `json:"id"`
		Details         where  `json:"details"`
		Category        string `json:"category"`
		Domain          string `json:"domain"`
		mastra.RunError `json:",inline"`
	}{"WORKFLOW_STEP_INVOKE_FAILED", where{s.EntityName, s.RunID, "workflow." + s.EntityName + ".step." + s.EntityID}, "USER", "MASTRA_WORKFLOW", *e})
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
		return mastra.JSON(fmt.Sprintf(`{"untilDate":%q,"sleepType":"fixed","entryId":%q}`, mastra.Time(until), n.ID))
	}
	return mastra.JSON(fmt.Sprintf(`{"durationMs":%d,"sleepType":"fixed","entryId":%q}`, n.Sleep.Milliseconds(), n.ID))
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
