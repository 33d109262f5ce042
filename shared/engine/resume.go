package engine

import (
	"context"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// resume begins to go on with a suspended run, and returns when that is durable: of several at once one comes through.
func (e *Engine) resume(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowResume, stream bool) (*execution, error) {
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
	keys, err := choose(run, c.Step)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		step := find(w.Graph(), mastra.StepPath(key))
		if step == nil {
			return nil, mastra.Errorf(mastra.CodeConflict, "%s", errChanged)
		}
		if err := validate("resume", step.Resume, c.Data); err != nil {
			return nil, err
		}
	}
	given := mastra.RequestContextOf(ctx)
	if len(given) > 0 {
		merged := mastra.RequestContext{}
		for _, all := range []mastra.RequestContext{run.Context, given} {
			for k, v := range all {
				merged[k] = v
			}
		}
		run.Context = merged
	}
	var dirty []string
	now := m.Now().UnixMilli()
	for i := range run.Steps {
		s := &run.Steps[i]
		leads := func(key string) bool { return key == s.Key || below(key, s.Key) }
		if s.Value.Status != mastra.StatusSuspended || !slices.ContainsFunc(keys, leads) {
			continue
		}
		s.Value.Status, s.Value.ResumePayload, s.Value.ResumedAt = mastra.StatusRunning, c.Data, now
		s.Value.SuspendPayload, s.Value.SuspendedAt = nil, 0
		dirty = append(dirty, s.Key)
	}
	run.Status, run.Suspended, run.Caller = mastra.StatusRunning, nil, mastra.Caller(ctx)
	x := &execution{m: m, g: w.Graph(), run: *run, from: mastra.StatusSuspended, dirty: dirty, resumed: true}
	if err := e.launch(ctx, x, stream); err != nil {
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

// choose returns the keys of the suspended steps that path names: the step itself or those within it. Nil names the only one.
func choose(run *mastra.Run, path []string) ([]string, error) {
	all := leaves(run.Steps)
	var keys []string
	var paths [][]string
	for _, key := range all {
		p := mastra.StepPath(key)
		if len(p) < len(path) || !slices.Equal(p[:len(path)], path) {
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

// find returns the step at path, nil where there is none.
func find(g *mastra.Graph, path []string) *mastra.Step {
	for _, n := range g.Nodes {
		for _, s := range n.Steps {
			switch {
			case s.ID != path[0]:
			case len(path) == 1:
				return s
			case s.Workflow != nil:
				return find(s.Workflow, path[1:])
			}
		}
	}
	return nil
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
