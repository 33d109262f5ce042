package engine

import (
	"context"
	"iter"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// TimeTravel runs a run again from a step on.
func (e *Engine) TimeTravel(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowTravel) (*mastra.Run, error) {
	x, err := e.travel(ctx, m, w, c, waiting)
	if err != nil {
		return nil, err
	}
	return x.wait(ctx)
}

// TimeTravelBackground returns once that is durable.
func (e *Engine) TimeTravelBackground(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowTravel) (*mastra.Run, error) {
	x, err := e.travel(ctx, m, w, c, background)
	if err != nil {
		return nil, err
	}
	return x.begun(ctx)
}

// TimeTravelStream is TimeTravel as chunks.
func (e *Engine) TimeTravelStream(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowTravel) (iter.Seq2[mastra.Chunk, error], error) {
	x, err := e.travel(ctx, m, w, c, streaming)
	if err != nil {
		return nil, err
	}
	return x.chunks(ctx), nil
}

func (e *Engine) travel(ctx context.Context, m *mastra.Mastra, w mastra.Workflow, c mastra.WorkflowTravel, how manner) (*execution, error) {
	run, err := e.load(ctx, m, w, c.RunID)
	if err != nil {
		return nil, err
	}
	if run.Status.Active() {
		return nil, errStillRuns
	}
	if c.State != nil {
		if err := validateState(w.Graph().State, c.State); err != nil {
			return nil, err
		}
		run.State = c.State
	}
	t := travel{c: c, g: w.Graph(), run: run, now: m.Now().UnixMilli()}
	if err := t.plan(); err != nil {
		return nil, err
	}
	from := run.Status
	// Whoever still works on the run, without knowing that it has ended, must not write any more: its fence is raised.
	owner := e.newOwner()
	leased, err := m.Storage.Lease(ctx, run.ID, owner, mastra.TimeOf(m.Now())+mastra.Time(e.lease.Milliseconds()))
	if mastra.CodeOf(err) == mastra.CodeConflict {
		return nil, errStillRuns
	} else if err != nil {
		return nil, err
	}
	run.Fence = leased.Fence
	run.Steps, run.Input = t.steps, t.input
	if run.Fingerprint, err = fingerprint(run.Input); err != nil {
		return nil, err
	}
	if run.Graph, err = e.graph(w.Graph()); err != nil {
		return nil, err
	}
	run.Status, run.Suspended, run.Result, run.Error, run.Caller = mastra.StatusRunning, nil, nil, nil, mastra.Caller(ctx)
	run.PerStep, run.Tracing, run.Version, run.Attempts = c.PerStep, c.Tracing, e.version, 0
	run.Context = merged(run.Context, mastra.RequestContextOf(ctx))
	run.Pass++
	x := &execution{m: m, g: w.Graph(), owner: owner, run: *run, from: from, named: true, reset: true, sent: c.Input}
	for _, s := range t.steps {
		x.dirty = append(x.dirty, s.Key)
	}
	if err := e.launch(ctx, x, how); err != nil {
		return nil, err
	}
	if _, err := x.begun(ctx); mastra.CodeOf(err) == mastra.CodeConflict {
		return nil, errStillRuns
	} else if err != nil {
		return nil, err
	}
	return x, nil
}

var errStillRuns = mastra.Errorf(mastra.CodeConflict, "This workflow run is still running, cannot time travel")

// travel works out what a run that is sent back has on record.
type travel struct {
	c     mastra.WorkflowTravel
	g     *mastra.Graph
	run   *mastra.Run
	now   int64
	input mastra.JSON
	steps mastra.Object[mastra.StepResult]
}

func (t *travel) plan() error {
	if len(t.c.Step) == 0 {
		return mastra.Invalid("step", "Required")
	}
	t.input = t.run.Input
	if s := t.g.Find(t.c.Step); s != nil && t.c.Input != nil {
		if err := validate("inputData", s.In, t.c.Input); err != nil {
			return err
		}
	}
	if s := t.g.Find(t.c.Step); s != nil && t.c.Data != nil {
		if s.Resume == nil {
			return mastra.Invalid("resumeData", "The step %s takes no answer", s.ID)
		}
		if err := validate("resume", s.Resume, t.c.Data); err != nil {
			return err
		}
	}
	return t.within(t.g, "", t.c.Step, t.c.Context, &t.input)
}

func errNoStep(id string) error {
	return mastra.Errorf(mastra.CodeInvalid, "Cannot time travel to step '%s': the step does not exist in the current execution graph.", id)
}

// within keeps what g, whose steps are below key, has on record before the step at path. first is what its first node
// takes; it is changed where the caller says something else.
func (t *travel) within(g *mastra.Graph, key string, path []string, context mastra.Object[mastra.StepResult], first *mastra.JSON) error {
	at, arm := place(g, path[0])
	if at < 0 {
		return errNoStep(path[0])
	}
	own := t.c.Input
	if len(path) > 1 {
		own = nil
	}
	if at == 0 && own != nil {
		*first = own
	}
	if given, ok := context.Get(path[0]); ok && at == 0 && given.Payload != nil {
		*first = given.Payload
	}
	var missing []string
	for i := range at {
		n := &g.Nodes[i]
		known := false
		for _, id := range stepsAt(n) {
			if t.keep(key, id, context, first, i) {
				known = true
			} else if n.Kind != mastra.KindBranch {
				missing = append(missing, "'"+id+"'")
			}
		}
		if n.Kind == mastra.KindBranch && !known {
			missing = append(missing, "'"+strings.Join(ids(n.Steps), "', '")+"'")
		}
	}
	if len(missing) > 0 {
		return mastra.Errorf(mastra.CodeInvalid, "Cannot time travel to step '%s': step(s) %s precede the target in the current execution graph but were not recorded in the snapshot.",
			path[0], strings.Join(missing, ", "))
	}
	if own != nil && at > 0 {
		if err := t.feed(&g.Nodes[at-1], key, own); err != nil {
			return err
		}
	}
	n := &g.Nodes[at]
	if n.Kind == mastra.KindParallel || n.Kind == mastra.KindBranch {
		for i, s := range n.Steps { // the other arms stay as they are
			if i != arm {
				t.keep(key, s.ID, context, nil, at)
			}
		}
	}
	return t.target(g, n, arm, key, path, context, first)
}

// keep takes over the result of a step that is not run again, from the caller or from the record.
func (t *travel) keep(key, id string, context mastra.Object[mastra.StepResult], first *mastra.JSON, at int) bool {
	k := mastra.StepKey(key, id)
	if given, ok := context.Get(id); ok {
		rec := given.Shown()
		if rec.Status == "" || rec.Status == mastra.StatusRunning {
			rec.Status = mastra.StatusSuccess
		}
		if rec.StartedAt == 0 {
			rec.StartedAt = t.now
		}
		if rec.EndedAt == 0 && rec.Status != mastra.StatusSuspended {
			rec.EndedAt = t.now
		}
		if at == 0 && first != nil && rec.Payload != nil {
			*first = rec.Payload
		}
		t.steps.Set(k, rec)
		return true
	}
	rec, ok := t.run.Steps.Get(k)
	if !ok || rec.Status != mastra.StatusSuccess && rec.Status != mastra.StatusBailed && rec.Status != mastra.StatusSuspended {
		return false
	}
	if rec.Status == mastra.StatusBailed { // this time the run goes past it
		rec.Status = mastra.StatusSuccess
	}
	t.copy(k, rec)
	return true
}

// feed makes data the output of the node before the target.
func (t *travel) feed(n *mastra.Node, key string, data mastra.JSON) error {
	list := stepsAt(n)
	if n.Kind == mastra.KindParallel || n.Kind == mastra.KindBranch {
		var outputs mastra.Object[mastra.JSON]
		if schema.Unmarshal(data, &outputs) != nil {
			return mastra.Invalid("inputData", "Invalid input: expected an object of the outputs of %s", strings.Join(list, ", "))
		}
		for _, o := range outputs {
			if !slices.Contains(list, o.Key) {
				return mastra.Invalid("inputData."+o.Key, "There is no such step before the target")
			}
			t.put(mastra.StepKey(key, o.Key), o.Value)
		}
		return nil
	}
	for _, id := range list {
		t.put(mastra.StepKey(key, id), data)
	}
	return nil
}

func (t *travel) put(k string, output mastra.JSON) {
	rec, ok := t.steps.Get(k)
	if !ok {
		rec = mastra.StepResult{StartedAt: t.now, EndedAt: t.now}
	}
	rec.Status, rec.Output = mastra.StatusSuccess, output
	t.steps.Set(k, rec)
}

// target leaves the step at path to be run, or goes on within it.
func (t *travel) target(g *mastra.Graph, n *mastra.Node, arm int, key string, path []string, context mastra.Object[mastra.StepResult], first *mastra.JSON) error {
	if n.Kind == mastra.KindSleep || n.Kind == mastra.KindUntil {
		return nil
	}
	s := n.Steps[arm]
	k := mastra.StepKey(key, s.ID)
	old, known := t.run.Steps.Get(k)
	rec := mastra.StepResult{Status: mastra.StatusRunning, Payload: old.Payload, StartedAt: t.now}
	repeats := n.Kind == mastra.KindForEach || n.Kind == mastra.KindLoop
	if len(path) == 1 {
		switch {
		case repeats && t.c.Data != nil:
			return t.answer(n, k, old)
		case repeats, !known && t.c.Data == nil && n.Kind != mastra.KindBranch:
			return nil // it begins as any other step does
		}
		if t.c.Input != nil {
			rec.Payload = t.c.Input
		} else if in, ok := t.before(g, key, s.ID, first); ok {
			rec.Payload = in
		}
		if given, ok := context.Get(s.ID); ok && given.Payload != nil {
			rec.Payload = given.Payload
		}
		if t.c.Data != nil {
			rec.ResumePayload, rec.ResumedAt = t.c.Data, t.now
		} else if n.Kind != mastra.KindBranch && n.Kind != mastra.KindParallel {
			return nil
		}
		t.steps.Set(k, rec)
		return nil
	}
	if s.Workflow == nil {
		return mastra.Errorf(mastra.CodeInvalid, "Cannot time travel to step '%s': %s is no workflow", strings.Join(path, "."), s.ID)
	}
	if at, _ := place(s.Workflow, path[1]); at < 0 {
		return errNoStep(path[1])
	}
	if in, ok := t.before(g, key, s.ID, first); ok {
		rec.Payload = in
	}
	nested, _ := t.c.Nested.Get(s.ID)
	inside := k
	switch n.Kind {
	case mastra.KindForEach:
		t.steps.Set(k, rec)
		return t.turns(s, k, old, rec.Payload, path[1:], nested)
	case mastra.KindLoop: // from its first turn on
		rec.Metadata = &mastra.StepMeta{Iterations: 1}
		inside = mastra.TurnKey(k, 0)
	}
	t.steps.Set(k, rec)
	if err := t.within(s.Workflow, inside, path[1:], nested, &rec.Payload); err != nil {
		return err
	}
	t.steps.Set(k, rec)
	return nil
}

// answer goes on with a loop or foreach that waits, where it is: in all turns that do.
func (t *travel) answer(n *mastra.Node, key string, old mastra.StepResult) error {
	switch {
	case old.Status != mastra.StatusSuspended:
		return mastra.Invalid("resumeData", "The step %s does not wait for an answer", n.Steps[0].ID)
	case t.c.Input != nil:
		return mastra.Invalid("inputData", "A loop or foreach that is answered keeps its input")
	}
	answered := func(rec mastra.StepResult) mastra.StepResult {
		return mastra.StepResult{Status: mastra.StatusRunning, Payload: rec.Payload, ResumePayload: t.c.Data, StartedAt: rec.StartedAt, ResumedAt: t.now, Metadata: rec.Metadata}
	}
	t.steps.Set(key, answered(old))
	for _, s := range t.run.Steps {
		if below(s.Key, key) {
			if s.Value.Status == mastra.StatusSuspended {
				s.Value = answered(s.Value)
			}
			t.steps.Set(s.Key, s.Value)
		}
	}
	return nil
}

// turns sends the turns of a foreach over a workflow back to the step at path in it. Those that never came there begin anew;
// where the foreach waits, those that are done stay as they are.
func (t *travel) turns(s *mastra.Step, key string, old mastra.StepResult, list mastra.JSON, path []string, context mastra.Object[mastra.StepResult]) error {
	var items []mastra.JSON
	if schema.Unmarshal(list, &items) != nil {
		return mastra.Invalid("step", "What comes before the foreach over %s is no list", s.ID)
	}
	for i, item := range items {
		k := mastra.TurnKey(key, i)
		was, _ := t.run.Steps.Get(k)
		_, reached := t.run.Steps.Get(mastra.StepKey(k, path[0]))
		switch {
		case old.Status == mastra.StatusSuspended && was.Status == mastra.StatusSuccess:
			t.copy(k, was)
		case reached, len(context) > 0:
			rec := mastra.StepResult{Status: mastra.StatusRunning, Payload: item, StartedAt: t.now}
			t.steps.Set(k, rec)
			if err := t.within(s.Workflow, k, path, context, &rec.Payload); err != nil {
				return err
			}
			t.steps.Set(k, rec)
		}
	}
	return nil
}

// copy keeps a step and what is below it.
func (t *travel) copy(key string, rec mastra.StepResult) {
	t.steps.Set(key, rec)
	for _, s := range t.run.Steps {
		if below(s.Key, key) {
			t.steps.Set(s.Key, s.Value)
		}
	}
}

// before is what the node of g with this step takes, where it is on record. first is what the first one takes.
func (t *travel) before(g *mastra.Graph, key, id string, first *mastra.JSON) (mastra.JSON, bool) {
	at, _ := place(g, id)
	if at == 0 {
		return *first, true
	}
	n := &g.Nodes[at-1]
	if n.Kind != mastra.KindParallel && n.Kind != mastra.KindBranch {
		rec, ok := t.steps.Get(mastra.StepKey(key, stepsAt(n)[0]))
		return rec.Output, ok
	}
	var joined mastra.Object[mastra.JSON]
	for _, s := range n.Steps {
		if rec, ok := t.steps.Get(mastra.StepKey(key, s.ID)); ok {
			joined.Set(s.ID, rec.Output)
		}
	}
	data, err := schema.Marshal(joined)
	return data, err == nil
}

// place is where in g the step is: the node, and the arm of it. -1 is nowhere.
func place(g *mastra.Graph, id string) (node, arm int) {
	for i := range g.Nodes {
		for j, s := range stepsAt(&g.Nodes[i]) {
			if s == id {
				return i, j
			}
		}
	}
	return -1, 0
}

// stepsAt are the ids under which a node has results.
func stepsAt(n *mastra.Node) []string {
	if n.Kind == mastra.KindSleep || n.Kind == mastra.KindUntil {
		return []string{n.ID}
	}
	return ids(n.Steps)
}

func merged(a, b mastra.RequestContext) mastra.RequestContext {
	if len(b) == 0 {
		return a
	}
	all := mastra.RequestContext{}
	for _, m := range []mastra.RequestContext{a, b} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}
