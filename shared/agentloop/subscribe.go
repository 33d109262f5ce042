package agentloop

import (
	"context"
	"iter"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// Subscribe yields the chunks of a thread's runs, one run after the other, from the one under way on.
func (r *Runner) Subscribe(ctx context.Context, m *mastra.Mastra, threadID string) (iter.Seq2[mastra.Chunk, error], error) {
	return limited(ctx, m, "", "subscribe", func(ctx context.Context, yield func(mastra.Chunk, error) bool) {
		key := conversationKey(ctx, threadID)
		r.convs.mu.Lock()
		o := r.convs.of(key)
		o.watchers++
		at := len(o.begun)
		var next []string
		if o.active != nil {
			next = append(next, o.active.RunID)
		}
		r.convs.mu.Unlock()
		defer func() {
			r.convs.mu.Lock()
			defer r.convs.mu.Unlock()
			if o.watchers--; o.watchers == 0 {
				o.begun = nil
			}
			r.convs.tidy(key)
		}()
		after := mastra.Position{Epoch: m.Now().UnixMilli()}
		if len(next) == 0 {
			if stored, err := r.runElsewhere(ctx, m, threadID); err == nil && stored != nil {
				next = append(next, stored.ID)
			}
		}
		places := map[string]mastra.Position{} // what was seen of each run: one that somebody answers goes on
		var resumed []string                   // those that go on and are not heard of yet
		for every := lookEvery; ; {
			for _, id := range next {
				place, known := places[id]
				chunks, err := r.chunks.Follow(ctx, m, id, place)
				if mastra.CodeOf(err) == mastra.CodeNotFound { // not for the caller to see
					continue
				}
				if err != nil {
					yield(mastra.Chunk{}, err)
					return
				}
				for c, err := range chunks {
					if err == nil {
						places[id] = c.At
						c, err = slim(c)
					}
					if !yield(c, err) || err != nil {
						return
					}
				}
				if places[id] != place || !known {
					every = lookEvery
				} else if m.Storage != nil {
					if stored, err := m.Storage.Run(ctx, id); err == nil && stored.Status == mastra.StatusRunning {
						resumed = append(resumed, id)
					}
				}
			}
			next = next[:0]
			r.convs.mu.Lock()
			next = append(next, o.begun[min(at, len(o.begun)):]...)
			at = len(o.begun)
			if len(next) == 0 && o.wake == nil {
				o.wake = make(chan struct{})
			}
			wake := o.wake
			r.convs.mu.Unlock()
			if len(next) > 0 {
				continue
			}
			timer := time.NewTimer(every)
			select {
			case <-wake:
			case <-timer.C:
				if m.Storage == nil {
					break
				}
				every = min(2*every, 4*lookEvery)
				next, resumed = append(next, resumed...), nil
				blocks, err := m.Storage.Chunks(ctx, threadLog+threadID, after, 100)
				if err != nil && ctx.Err() == nil {
					yield(mastra.Chunk{}, err)
					return
				}
				for _, b := range blocks {
					after = b.End
					var run threadRun
					if schema.Unmarshal(b.Data, &run) == nil {
						next = append(next, run.RunID)
					}
				}
			case <-ctx.Done():
				timer.Stop()
				if ctx.Err() == context.DeadlineExceeded {
					yield(mastra.Chunk{}, ctx.Err())
				}
				return
			}
			timer.Stop()
		}
	}), nil
}

// slim is a chunk as subscribers of a thread see it: without what they have seen already, and without a place.
func slim(c mastra.Chunk) (mastra.Chunk, error) {
	c.At = mastra.Position{}
	if c.Type != mastra.ChunkStepFinish && c.Type != mastra.ChunkFinish {
		return c, nil
	}
	c = c.WithEncoding(nil)
	if f, ok := c.Payload.(mastra.Finish); ok {
		f.Output.Steps, f.Messages = nil, mastra.FinishMessages{}
		c.Payload = f
		return c, nil
	}
	var payload, output mastra.Object[mastra.JSON] // it was stored
	data, err := schema.Marshal(c.Payload)
	if err == nil {
		err = schema.Unmarshal(data, &payload)
	}
	if err != nil {
		return c, err
	}
	kept := payload[:0]
	for _, member := range payload {
		switch member.Key {
		case "messages":
			continue
		case "output":
			if err := schema.Unmarshal(member.Value, &output); err != nil {
				return c, err
			}
			var rest mastra.Object[mastra.JSON]
			for _, o := range output {
				if o.Key != "steps" {
					rest = append(rest, o)
				}
			}
			if member.Value, err = schema.Marshal(rest); err != nil {
				return c, err
			}
		}
		kept = append(kept, member)
	}
	c.Payload = kept
	return c, nil
}

// Abort ends the run that a thread has under way.
func (r *Runner) Abort(ctx context.Context, m *mastra.Mastra, threadID, expected string) (bool, error) {
	r.convs.mu.Lock()
	o := r.convs.all[conversationKey(ctx, threadID)]
	var active *run
	if o != nil {
		active = o.active
	}
	r.convs.mu.Unlock()
	if active != nil && active.resourceID == mastra.Resource(ctx, active.resourceID) {
		if expected != "" && expected != active.RunID {
			return false, nil
		}
		active.stop(runlog.ErrCanceled)
		return true, nil
	}
	stored, err := r.runElsewhere(ctx, m, threadID)
	if err != nil || stored == nil || expected != "" && expected != stored.ID {
		return false, err
	}
	stored.Status, stored.UpdatedAt, stored.Owner, stored.LeaseUntil, stored.Steps = mastra.StatusCanceled, mastra.TimeOf(m.Now()), "", 0, nil
	stored.ExpiresAt = stored.UpdatedAt + mastra.Time(keptFor.Milliseconds())
	err = m.Storage.Commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: *stored}}})
	if mastra.CodeOf(err) == mastra.CodeConflict { // it ended, or has another owner
		return false, nil
	}
	return err == nil, err
}
