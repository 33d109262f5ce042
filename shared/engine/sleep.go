package engine

import (
	"fmt"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
)

// sleepHere is how long a sleep may be that an invocation waits for itself. A longer one goes to the queue.
const sleepHere = 10 * time.Second

// sleeping ends an execution whose run sleeps until then: another one goes on with it.
type sleeping struct{ until mastra.Time }

func (s *sleeping) Error() string { return "the run sleeps until " + s.until.String() }

// sleep waits until the sleep is over, which was settled at its first beginning.
func (x *execution) sleep(g *mastra.Graph, n *mastra.Node, key string, in mastra.JSON, parent string) (outcome, error) {
	rec, known := x.result(key)
	traced := func() span {
		label := fmt.Sprintf("sleep: %dms", n.Sleep.Milliseconds())
		if n.Kind == mastra.KindUntil {
			label = "sleepUntil: " + mastra.Time(rec.WakeAt).String()
		}
		return x.trace.begin(g, parent, "workflow_sleep", label, nil)
	}
	if done, out := settled(rec); known && done {
		x.trace.recall(traced, rec, sleepAttributes(n, rec.WakeAt))
		return out, nil
	}
	x.worked.Store(true)
	if !known {
		rec = mastra.StepResult{Status: mastra.StatusWaiting, Payload: in, StartedAt: x.now()}
		rec.WakeAt = rec.StartedAt + n.Sleep.Milliseconds()
		if n.Kind == mastra.KindUntil {
			err := runlog.Safely(func() error {
				at, err := n.Wake.Of(in)
				rec.WakeAt = at.UnixMilli()
				return err
			})
			if err != nil {
				out := failed("the moment of %s: %s", n.ID, x.errorText(err))
				rec.Status, rec.Error, rec.EndedAt = out.status, out.err, x.now()
				x.record(key, rec)
				return out, nil
			}
		}
		x.record(key, rec)
	}
	x.doze(1)
	if err := x.checkpoint(); err != nil {
		return outcome{}, err
	}
	name := mastra.StepName(key)
	x.emitStep("workflow-step-waiting", name, "", mastra.StepResult{Status: mastra.StatusWaiting, Payload: rec.Payload, StartedAt: rec.StartedAt})
	s := traced()
	left := time.Duration(rec.WakeAt-x.now()) * time.Millisecond
	if x.e.handsOver && left > sleepHere {
		return outcome{}, &sleeping{mastra.Time(rec.WakeAt)}
	}
	if err := runlog.Sleep(x.ctx, left); err != nil {
		if err := x.interrupted(); err != nil {
			return outcome{}, err
		}
		x.trace.close(s, outcome{status: mastra.StatusCanceled}, sleepAttributes(n, rec.WakeAt))
		return outcome{status: mastra.StatusCanceled}, nil
	}
	rec.Status, rec.Output, rec.EndedAt = mastra.StatusSuccess, rec.Payload, x.now()
	x.doze(-1)
	x.record(key, rec)
	x.trace.close(s, outcome{status: mastra.StatusSuccess}, sleepAttributes(n, rec.WakeAt))
	x.emitStep("workflow-step-result", name, "", mastra.StepResult{Status: rec.Status, Output: rec.Output, EndedAt: rec.EndedAt})
	return success(rec.Output), nil
}

// doze counts the sleeps under way: while there is one the run shows as waiting.
func (x *execution) doze(by int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asleep += by
	x.run.Status = mastra.StatusRunning
	if x.asleep > 0 {
		x.run.Status = mastra.StatusWaiting
	}
}
