package engine

import (
	"cmp"
	"sync"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// forEach runs a step on every item of a list. Each turn's result is kept of its own.
func (x *execution) forEach(g *mastra.Graph, n *mastra.Node, key string, in mastra.JSON, parent string) (outcome, error) {
	step := n.Steps[0]
	k := mastra.StepKey(key, step.ID)
	rec, known := x.result(k)
	if done, out := settled(rec); known && done {
		x.trace.recall(func() span { return x.trace.beginStep(parent, g, step, rec.Payload) }, rec, statusAttributes(rec.Status))
		return out, nil
	}
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: in, StartedAt: x.now()}
		x.record(k, rec)
	}
	s := x.trace.begin(g, parent, "workflow_loop", "loop: 'foreach'", rec.Payload)
	name := mastra.StepName(k)
	x.emitStep("workflow-step-start", name, "", rec)
	out, err := x.items(g, n, k, rec.Payload, s.id)
	if err != nil {
		return out, err
	}
	now := x.now()
	rec.Status, rec.Output, rec.Error = out.status, out.output, out.err
	event := mastra.StepResult{Status: out.status, Output: out.output, Error: out.err, EndedAt: now}
	if out.status == mastra.StatusSuspended {
		rec.SuspendedAt, rec.SuspendPayload = now, x.question(k)
		event = mastra.StepResult{Status: out.status, SuspendPayload: rec.SuspendPayload, SuspendedAt: now}
		x.emitStep("workflow-step-suspended", name, "", event)
	} else {
		rec.EndedAt = now
		x.emitStep("workflow-step-result", name, "", event)
	}
	x.record(k, rec)
	x.trace.close(s, out, forEachAttributes(n.Concurrency))
	return out, nil
}

// progress is the payload of a workflow-step-progress.
type progress struct {
	StepName string           `json:"stepName"`
	ID       string           `json:"id"`
	Done     int              `json:"completedCount"`
	Total    int              `json:"totalCount"`
	Index    int              `json:"currentIndex"`
	Status   mastra.RunStatus `json:"iterationStatus"`
	Output   mastra.JSON      `json:"iterationOutput,omitzero"`
}

// items carries out the turns, up to n.Concurrency at once, in order. After one that fails or suspends none is begun, but for the first
// ones, which begin together.
func (x *execution) items(g *mastra.Graph, n *mastra.Node, key string, list mastra.JSON, span string) (outcome, error) {
	var items []mastra.JSON
	if schema.Unmarshal(list, &items) != nil {
		return failed("the foreach over %s got no list", n.Steps[0].ID), nil //nolint:nilerr // the run fails, the engine does not
	}
	outputs := make([]mastra.JSON, len(items))
	var mu sync.Mutex // guards what follows
	var fatal error
	worst := success(nil)
	waits := false
	next, busy, done := 0, 0, 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(items) || fatal != nil || worst.status != mastra.StatusSuccess && next >= n.Concurrency || x.ctx.Err() != nil || x.yielding() {
			return 0, false
		}
		next++
		busy++
		return next - 1, true
	}
	settle := func(i int, out outcome, recalled bool, err error) (others bool) {
		mu.Lock()
		defer mu.Unlock()
		busy--
		outputs[i] = out.output
		switch {
		case err != nil:
			fatal = err
			return false
		case out.status != mastra.StatusSuspended:
			done++
		}
		switch {
		case recalled && out.status == mastra.StatusSuspended: // it waits since before: that keeps no other from beginning
			waits = true
		case out.status == mastra.StatusFailed && worst.status != mastra.StatusFailed || worst.status == mastra.StatusSuccess:
			worst = out
		}
		if !recalled {
			x.emit("workflow-step-progress", progress{StepName: mastra.StepName(key), ID: mastra.StepName(key), Done: done, Total: len(items),
				Index: i, Status: out.status, Output: out.output})
		}
		return busy > 0
	}
	worker := func() {
		for i, ok := take(); ok; i, ok = take() {
			var out outcome
			var recalled bool
			err := runlog.Safely(func() (err error) {
				out, recalled, err = x.turn(g, n.Steps[0], mastra.TurnKey(key, i), items[i], span)
				return err
			})
			if settle(i, out, recalled, err) { // no turn of this worker may follow: others take long, the result must not wait for them
				if err := x.checkpoint(); err != nil {
					mu.Lock()
					fatal = err
					mu.Unlock()
				}
			}
		}
	}
	var wait sync.WaitGroup
	for range min(n.Concurrency, len(items)) - 1 {
		wait.Go(worker)
	}
	worker()
	wait.Wait()
	switch {
	case fatal != nil:
		return outcome{}, fatal
	case worst.status != mastra.StatusSuccess:
		return worst, nil
	case waits && next == len(items):
		return outcome{status: mastra.StatusSuspended}, nil
	case done < len(items): // it was stopped
		if x.canceled() {
			return outcome{status: mastra.StatusCanceled}, nil
		}
		return outcome{}, cmp.Or(x.interrupted(), errReleased)
	}
	data, err := schema.Marshal(outputs)
	return success(data), err
}

// turn carries out one turn; recalled says that it had come out before.
func (x *execution) turn(g *mastra.Graph, s *mastra.Step, key string, item mastra.JSON, parent string) (out outcome, recalled bool, err error) {
	rec, known := x.result(key)
	if done, out := settled(rec); known && done {
		x.trace.recall(func() span { return x.trace.beginStep(parent, g, s, rec.Payload) }, rec, statusAttributes(rec.Status))
		return out, true, nil
	}
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusRunning, Payload: item, StartedAt: x.now()}
	}
	rec, out, err = x.attempt(g, s, key, key, rec, parent, true)
	if err == nil {
		x.settle(key, rec, out.state)
	}
	return out, false, err
}
