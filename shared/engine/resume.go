package engine

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// resume begins to go on with a suspended run, and returns when that is durable: of several at once one comes through.
func (e *Engine) resume(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowResume, how manner) (*execution, error) {
	run, err := e.load(ctx, m, w, c.RunID)
	if err != nil {
		return nil, err
	}
	if run.Status != mastra.StatusSuspended {
		return nil, errNotSuspended
	}
	if err := e.fits(w.Graph(), run); err != nil {
		return nil, mastra.Errorf(mastra.CodeConflict, "%s", err.Error())
	}
	keys, err := choose(run, c)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		step := w.Graph().Find(mastra.StepPath(key))
		if step == nil {
			return nil, mastra.Errorf(mastra.CodeConflict, "%s", errChanged)
		}
		if err := validate("resume", step.Resume, c.Data); err != nil {
			return nil, err
		}
	}
	run.Tracing = run.Tracing.Anew(c.Tracing)
	run.Context = merged(run.Context, mastra.RequestContextOf(ctx))
	var dirty []string
	now := m.Now().UnixMilli()
	for i := range run.Steps {
		s := &run.Steps[i]
		leads := func(key string) bool { return key == s.Key || below(key, s.Key) }
		if s.Value.Status != mastra.StatusSuspended || !slices.ContainsFunc(keys, leads) {
			continue
		}
		s.Value.Status, s.Value.ResumePayload, s.Value.ResumedAt = mastra.StatusRunning, c.Data, now
		s.Value.SuspendPayload, s.Value.SuspendedAt, s.Value.Labels = nil, 0, nil
		dirty = append(dirty, s.Key)
	}
	run.Status, run.Suspended, run.Caller, run.PerStep = mastra.StatusRunning, nil, mastra.Caller(ctx), c.PerStep
	x := &execution{m: m, g: w.Graph(), run: *run, from: mastra.StatusSuspended, dirty: dirty, resumed: true}
	if err := e.launch(ctx, x, how); err != nil {
		return nil, err
	}
	if _, err := x.begun(ctx); mastra.CodeOf(err) == mastra.CodeConflict {
		return nil, errNotSuspended
	} else if err != nil {
		return nil, err
	}
	return x, nil
}

var errNotSuspended = mastra.Errorf(mastra.CodeConflict, "This workflow run was not suspended")

// choose returns the keys of the suspended steps that c names: a label's, or those of a step or within it. Nothing at all
// names the only one.
func choose(run *mastra.Run, c mastra.WorkflowResume) ([]string, error) {
	path := c.Step
	var keys []string
	var paths [][]string
	for _, key := range leaves(run.Steps) {
		p := mastra.StepPath(key)
		switch rec, _ := run.Steps.Get(key); {
		case c.Label != "" && !slices.Contains(rec.Labels, c.Label):
			continue
		case c.Label == "" && (len(p) < len(path) || !slices.Equal(p[:len(path)], path)):
			continue
		case c.Index != nil && mastra.Turn(key) != *c.Index:
			continue
		}
		keys = append(keys, key)
		if !slices.ContainsFunc(paths, func(q []string) bool { return slices.Equal(p, q) }) {
			paths = append(paths, p)
		}
	}
	if len(keys) == 0 {
		var ids []string
		for _, p := range run.Suspended {
			if !slices.Contains(ids, p[0]) {
				ids = append(ids, p[0])
			}
		}
		if c.Label != "" {
			return nil, mastra.Errorf(mastra.CodeConflict, "No suspended step is labelled %q", c.Label)
		}
		return nil, mastra.Errorf(mastra.CodeConflict, "This workflow step %q was not suspended. Available suspended steps: [%s]",
			strings.Join(path, "."), strings.Join(ids, ", "))
	}
	if len(paths) > 1 {
		texts := make([]string, len(paths))
		for i, p := range paths {
			texts[i] = "[" + strings.Join(p, ", ") + "]"
		}
		return nil, mastra.Errorf(mastra.CodeInvalid, `Multiple suspended steps found: %s. Please specify which step to resume using the "step" parameter.`,
			strings.Join(texts, ", "))
	}
	return keys, nil
}

// leaves are the keys of the steps that themselves wait, not of those around them.
func leaves(steps mastra.Object[mastra.StepResult]) []string {
	var keys []string
	for _, s := range steps {
		if s.Value.Status != mastra.StatusSuspended {
			continue
		}
		inner := slices.ContainsFunc(steps, func(o mastra.Member[mastra.StepResult]) bool {
			return o.Value.Status == mastra.StatusSuspended && below(o.Key, s.Key)
		})
		if !inner {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

// below says that key lies below the step at parent.
func below(key, parent string) bool {
	return len(key) > len(parent) && strings.HasPrefix(key, mastra.StepKey(parent, ""))
}

// suspendedPaths are the paths of the steps that wait, each once.
func suspendedPaths(steps mastra.Object[mastra.StepResult]) [][]string {
	var paths [][]string
	for _, key := range leaves(steps) {
		p := mastra.StepPath(key)
		if !slices.ContainsFunc(paths, func(q []string) bool { return slices.Equal(p, q) }) {
			paths = append(paths, p)
		}
	}
	return paths
}

type changed string

func (c changed) Error() string { return string(c) }

const errChanged = changed("The workflow changed since this run began: it cannot go on")

// fits says that a run that began under the graph it stores can go on under g: the same nodes, names and loops.
func (e *Engine) fits(g *mastra.Graph, run *mastra.Run) error {
	now, err := e.graph(g)
	if err != nil {
		return err
	}
	if string(now) == string(run.Graph) {
		return nil
	}
	var a, b []shape
	if schema.Unmarshal(run.Graph, &a) != nil || schema.Unmarshal(now, &b) != nil || !slices.EqualFunc(a, b, shape.equal) {
		return errChanged
	}
	return nil
}

// shape is what of a serialised graph may not change under a run.
type shape struct {
	Type     string  `json:"type"`
	ID       string  `json:"id"`
	LoopType string  `json:"loopType"`
	Step     *shape  `json:"step"`
	Steps    []shape `json:"steps"`
	Flow     []shape `json:"serializedStepFlow"`
}

func (a shape) equal(b shape) bool {
	if (a.Step == nil) != (b.Step == nil) || a.Step != nil && !a.Step.equal(*b.Step) {
		return false
	}
	return a.Type == b.Type && a.ID == b.ID && a.LoopType == b.LoopType &&
		slices.EqualFunc(a.Steps, b.Steps, shape.equal) && slices.EqualFunc(a.Flow, b.Flow, shape.equal)
}
