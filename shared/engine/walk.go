package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// outcome is how a step, a node or the whole graph came out: success with its output, failed with its error, bailed with
// the output of the workflow around it, suspended, paused or canceled.
type outcome struct {
	status mastra.RunStatus
	output mastra.JSON
	err    *mastra.RunError
	state  mastra.JSON // what a step left behind for the others; nil: nothing
	again  bool        // a step that failed may be tried again
}

func success(output mastra.JSON) outcome {
	return outcome{status: mastra.StatusSuccess, output: output}
}

func failed(format string, args ...any) outcome {
	return outcome{status: mastra.StatusFailed, err: &mastra.RunError{Message: fmt.Sprintf(format, args...), Name: "Error"}}
}

// walk carries out the nodes of g one after the other, below the step at key ("" for the run itself). What is stored as
// done is not done again: a replay equals the first run. An error ends the execution without an end of the run.
func (x *execution) walk(g *mastra.Graph, key string, in mastra.JSON, span string) (outcome, error) {
	if in == nil {
		in = mastra.JSON("null")
	}
	for i := range g.Nodes {
		if err := x.interrupted(); err != nil {
			return outcome{}, err
		}
		out, err := x.node(g, &g.Nodes[i], key, in, span)
		if err != nil {
			return out, err
		}
		if x.canceled() {
			return outcome{status: mastra.StatusCanceled}, nil
		}
		if out.status != mastra.StatusSuccess {
			return out, nil
		}
		in = out.output
		if x.run.PerStep && x.worked.Load() && (key == "" || i+1 < len(g.Nodes)) {
			return outcome{status: mastra.StatusPaused}, nil
		}
	}
	return success(in), nil
}

func (x *execution) node(g *mastra.Graph, n *mastra.Node, key string, in mastra.JSON, span string) (outcome, error) {
	switch n.Kind {
	case mastra.KindStep:
		x.enter(key, n.Steps[0].ID)
		return x.step(g, n.Steps[0], mastra.StepKey(key, n.Steps[0].ID), in, span)
	case mastra.KindParallel:
		s := x.container(g, n, key, span, "workflow_parallel", fmt.Sprintf("parallel: '%d branches'", len(n.Steps)), in)
		out, err := x.all(g, n.Steps, key, in, s.id)
		x.trace.close(s, out, parallelAttributes(n.Steps))
		return out, err
	case mastra.KindBranch:
		return x.branch(g, n, key, in, span)
	case mastra.KindForEach:
		return x.forEach(g, n, key, in, span)
	case mastra.KindLoop:
		return x.loop(g, n, key, in, span)
	case mastra.KindSleep, mastra.KindUntil:
		x.enter(key, n.ID)
		return x.sleep(g, n, mastra.StepKey(key, n.ID), in, span)
	}
	return failed("the engine does not know nodes of kind %q", n.Kind), nil
}

// container begins the span of a node around steps; there is none where all that was begun of it is done already.
func (x *execution) container(g *mastra.Graph, n *mastra.Node, key, parent, kind, name string, in mastra.JSON) span {
	begun := false
	for _, s := range n.Steps {
		rec, known := x.result(mastra.StepKey(key, s.ID))
		if known && rec.Status != mastra.StatusSuccess {
			return x.trace.begin(g, parent, kind, name, in)
		}
		begun = begun || known
	}
	if begun {
		return span{id: parent}
	}
	return x.trace.begin(g, parent, kind, name, in)
}

// enter notes in the run's path that a plain step begins.
func (x *execution) enter(key, id string) {
	if key != "" || x.known(id) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.run.Path = append(x.run.Path, id)
}

// all carries out steps at once. Their outputs come as an object keyed by step.
func (x *execution) all(g *mastra.Graph, steps []*mastra.Step, key string, in mastra.JSON, span string) (outcome, error) {
	outs, errs := make([]outcome, len(steps)), make([]error, len(steps))
	now := x.now()
	for _, s := range steps { // all are on record before one begins: a replay knows which arms were chosen
		if k := mastra.StepKey(key, s.ID); !x.known(k) {
			x.record(k, mastra.StepResult{Status: mastra.StatusRunning, Payload: in, StartedAt: now})
		}
	}
	var wait sync.WaitGroup
	var left atomic.Int32
	left.Store(int32(len(steps)))
	carry := func(i int) {
		errs[i] = runlog.Safely(func() (err error) {
			outs[i], err = x.step(g, steps[i], mastra.StepKey(key, steps[i].ID), in, span)
			if left.Add(-1) > 0 && err == nil { // the last one's result goes into the next checkpoint
				err = x.checkpoint()
			}
			return err
		})
	}
	for i := 1; i < len(steps); i++ {
		wait.Go(func() { carry(i) })
	}
	if len(steps) > 0 {
		carry(0)
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return outcome{}, err
		}
	}
	var joined mastra.Object[mastra.JSON]
	worst := success(nil)
	for i, out := range outs {
		switch out.status {
		case mastra.StatusSuccess:
			joined = append(joined, mastra.Member[mastra.JSON]{Key: steps[i].ID, Value: out.output})
		case mastra.StatusFailed:
			if worst.status != mastra.StatusFailed {
				worst = out
			}
		case mastra.StatusBailed:
			if worst.status != mastra.StatusFailed && worst.status != mastra.StatusBailed {
				worst = out
			}
		default:
			if worst.status == mastra.StatusSuccess {
				worst = out
			}
		}
	}
	if worst.status != mastra.StatusSuccess {
		return worst, nil
	}
	data, err := schema.Marshal(joined)
	return success(data), err
}

// branch carries out the arms whose conditions hold.
func (x *execution) branch(g *mastra.Graph, n *mastra.Node, key string, in mastra.JSON, span string) (outcome, error) {
	s := x.container(g, n, key, span, "workflow_conditional", fmt.Sprintf("conditional: '%d conditions'", len(n.Conditions)), in)
	var chosen []int
	for i, step := range n.Steps {
		if x.known(mastra.StepKey(key, step.ID)) {
			chosen = append(chosen, i)
		}
	}
	if chosen == nil { // nothing on record: the arms were not chosen yet
		for i := range n.Conditions {
			holds, out := x.holds(g, &n.Conditions[i], i, fmt.Sprintf("condition '%d'", i), n.Steps[i].ID, in, s.id)
			if out.status == mastra.StatusFailed {
				x.trace.close(s, out, nil)
				return out, nil
			}
			if holds {
				chosen = append(chosen, i)
			}
		}
	}
	steps := make([]*mastra.Step, len(chosen))
	for i, c := range chosen {
		steps[i] = n.Steps[c]
	}
	out, err := x.all(g, steps, key, in, s.id)
	x.trace.close(s, out, branchAttributes(len(n.Conditions), chosen, steps))
	return out, err
}

// holds asks a condition; the outcome is failed where it cannot be asked.
func (x *execution) holds(g *mastra.Graph, c *mastra.Condition, i int, name, step string, in mastra.JSON, span string) (holds bool, out outcome) {
	s := x.trace.begin(g, span, "workflow_conditional_eval", name, in)
	err := runlog.Safely(func() (err error) {
		holds, err = c.Holds(in)
		return err
	})
	if err != nil {
		out = failed("the condition of step %s: %s", step, x.errorText(err))
		x.trace.close(s, out, conditionAttributes(i, nil))
		return false, out
	}
	data := mastra.JSON("false")
	if holds {
		data = mastra.JSON("true")
	}
	out = success(data)
	x.trace.close(s, out, conditionAttributes(i, &holds))
	return holds, out
}

// loop repeats a step on its own output.
func (x *execution) loop(g *mastra.Graph, n *mastra.Node, key string, in mastra.JSON, parent string) (outcome, error) {
	step := n.Steps[0]
	k := mastra.StepKey(key, step.ID)
	rec, known := x.result(k)
	if done, out := settled(rec); known && done {
		x.trace.recall(func() span { return x.trace.beginStep(parent, g, step, rec.Payload) }, rec, statusAttributes(rec.Status))
		return out, nil
	}
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: in, StartedAt: x.now(), Metadata: &mastra.StepMeta{Iterations: 1}}
		x.record(k, rec)
	}
	s := x.trace.begin(g, parent, "workflow_loop", fmt.Sprintf("loop: '%s'", n.LoopType()), in)
	out, err := x.turns(g, n, k, rec, s.id)
	rec, _ = x.result(k)
	turns := 0
	if rec.Metadata != nil {
		turns = rec.Metadata.Iterations
	}
	x.trace.close(s, out, loopAttributes(n.LoopType(), turns))
	return out, err
}

// turns carries out a loop from where rec stands.
func (x *execution) turns(g *mastra.Graph, n *mastra.Node, key string, rec mastra.StepResult, span string) (outcome, error) {
	step := n.Steps[0]
	for {
		turn := 1
		if rec.Metadata != nil {
			turn = rec.Metadata.Iterations
		}
		at := key
		if step.Workflow != nil { // each turn of a nested workflow has steps of its own
			at = mastra.TurnKey(key, turn-1)
		}
		next, out, err := x.attempt(g, step, key, at, rec, span, false)
		if err != nil {
			return out, err
		}
		if out.status != mastra.StatusSuccess || x.canceled() {
			x.settle(key, next, out.state)
			return out, nil
		}
		holds, asked := x.holds(g, n.Until, turn-1, fmt.Sprintf("condition: '%s'", n.LoopType()), step.ID, out.output, span)
		if asked.status == mastra.StatusFailed {
			next.Status, next.Error = mastra.StatusFailed, asked.err
			x.settle(key, next, out.state)
			return asked, nil
		}
		if holds != n.While {
			x.settle(key, next, out.state)
			return out, nil
		}
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: out.output, StartedAt: x.now(), Metadata: &mastra.StepMeta{Iterations: turn + 1}}
		x.settle(key, rec, out.state) // the turn's result is the next one's input
	}
}

// settled says that nothing is left to do for a step, and how it came out.
func settled(rec mastra.StepResult) (bool, outcome) {
	switch rec.Status {
	case mastra.StatusSuccess:
		return true, success(rec.Output)
	case mastra.StatusBailed:
		return true, outcome{status: mastra.StatusBailed, output: rec.Output}
	case mastra.StatusSuspended:
		return true, outcome{status: mastra.StatusSuspended}
	case mastra.StatusFailed:
		return true, outcome{status: mastra.StatusFailed, err: rec.Error}
	}
	return false, outcome{}
}

func (x *execution) known(key string) bool {
	_, ok := x.result(key)
	return ok
}

func (x *execution) now() int64 { return x.m.Now().UnixMilli() }
