package agentloop

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
)

// conclude commits what came of the run, all at once, and answers. failed is why it came to nothing, or errSuspended.
func (x *run) conclude(failed error) error {
	suspended := errors.Is(failed, errSuspended)
	if errors.Is(failed, errLost) {
		x.elsewhere = true
		return mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere, or was canceled: ask for it by its runId")
	}
	if x.makeAnswer(); x.Tripwire != nil {
		x.answer = mastra.Message{}
	}
	switch {
	case x.log != nil && suspended:
		x.emitWaiting()
	case x.log != nil:
		x.log.Hold()
		x.emitEnd(failed)
	}
	if suspended {
		failed = nil
	}
	if failed != nil && !x.canceled() {
		x.m.Logger.ErrorContext(x.ctx, "a run failed", "runId", x.RunID, "agent", x.agent.ID, "error", failed)
	}
	if !x.closed {
		if err := x.keep(failed, suspended); err != nil {
			x.m.Logger.ErrorContext(x.ctx, "the outcome of a run was not stored", "runId", x.RunID, "agent", x.agent.ID, "failed", failed, "error", err)
			if errors.Is(err, errLost) {
				x.elsewhere = true
				if x.log != nil {
					x.log.Drop()
				}
				return mastra.Errorf(mastra.CodeUnavailable, "The run goes on elsewhere, or was canceled: ask for it by its runId")
			}
			if failed == nil {
				failed = err
				if x.log != nil {
					x.log.Drop()
					x.emitEnd(failed)
				}
			}
		}
	}
	if failed == nil && !suspended && !x.closed && x.Tripwire == nil && x.m.Scoring != nil {
		if scorers := x.scorers(); len(scorers) > 0 {
			x.m.Scoring.Score(x.ctx, x.m, scorers, x.scorerRun())
		}
	}
	if x.log != nil {
		x.log.Show()
	} else if failed == nil {
		x.result = x.makeResult()
		if suspended {
			x.suspendedResult(x.result)
		} else if x.call.ScoringData {
			shown := x.scorerRun()
			x.result.Scoring = &mastra.ScoringData{Input: shown.Input, Output: shown.Output}
		}
	}
	x.afterwards(failed)
	return failed
}

// commit commits where there is a storage: a test of an agent may do without.
func (x *run) commit(ctx context.Context, b *mastra.Batch) error {
	if x.m.Storage == nil {
		return nil
	}
	return x.m.Storage.Commit(ctx, b)
}

// makeAnswer makes the assistant's message of what the steps wrote. Its time is behind that of what it answers.
func (x *run) makeAnswer() {
	x.answer = mastra.Message{}
	for i := x.base; i < len(x.Steps); i++ {
		if len(x.Steps[i].Pieces) == 0 {
			continue
		}
		at := mastra.Time(x.Steps[i].Pieces[0].At)
		if n := len(x.Inputs); n > 0 {
			at = max(at, x.Inputs[n-1].At+1)
		}
		if x.base > 0 {
			came := x.Steps[x.base-1].Came
			at = max(at, came[len(came)-1].CreatedAt+1)
		}
		x.answer = mastra.Message{ID: x.MessageID, Role: "assistant", CreatedAt: at, ThreadID: x.threadID, ResourceID: x.resourceOfMessages()}
		x.answer.Content = x.appendStored(make([]byte, 0, 512))
		return
	}
}

// keep commits the answer, the trace, the claim and the record. The commit does not end with the run's context: what was
// done is kept.
func (x *run) keep(failed error, suspended bool) error {
	b := &mastra.Batch{Again: x.again}
	if x.stores() && x.answer.ID != "" {
		b.Messages = []mastra.Message{x.answer}
	}
	b.Spans = x.m.Record(x.ctx, x.traced(failed, suspended))
	ctx := context.WithoutCancel(x.ctx)
	status := mastra.StatusSuccess
	switch {
	case suspended:
		status = mastra.StatusSuspended
	case x.canceled():
		status = mastra.StatusCanceled
	case failed != nil:
		status = mastra.StatusFailed
	}
	return x.withChunks(b, true, func() error {
		return x.writeRecord(b, status, len(x.Steps), func() error {
			if x.entry == nil {
				return x.commit(ctx, b)
			}
			return x.entry.settle(ctx, x, b, failed)
		})
	})
}

// withChunks makes commit store what the stream has to be stored, too.
func (x *run) withChunks(b *mastra.Batch, stop bool, commit func() error) error {
	if x.log == nil {
		return commit()
	}
	chunks, err := x.log.Block(stop)
	if err != nil {
		return err
	}
	if chunks != nil {
		b.Chunks = []mastra.ChunkBlock{*chunks}
	}
	err = commit()
	x.log.Stored(chunks, err == nil)
	return err
}
