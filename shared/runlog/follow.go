package runlog

import (
	"context"
	"iter"
	"time"

	"mastralambda/shared/mastra"
)

const (
	blocksAtOnce = 16
	pollSlow     = time.Second
	fastFor      = 10 * time.Second // without news, until polls become slow
	appears      = 2 * time.Second  // how long a run may be unknown: what another process began is stored within it
	lostAfter    = 2 * time.Minute  // without news of a run that nobody has
)

// read yields stored chunks of l's epoch from number at on and returns where they end. more is false where the reader left
// or it failed.
func (k *keeping) read(ctx context.Context, at int64, yield func(mastra.Chunk, error) bool) (next int64, more bool) {
	blocks, err := k.store.Chunks(ctx, k.origin.RunID, mastra.Position{Epoch: k.origin.From.Epoch, Seq: at}, 1)
	if err == nil && (len(blocks) == 0 || blocks[0].End.Epoch != k.origin.From.Epoch) {
		err = mastra.Errorf(mastra.CodeNotFound, "The beginning of the stream is gone")
	}
	var chunks []mastra.Chunk
	if err == nil {
		chunks, err = decodeBlock(&blocks[0])
	}
	if err != nil {
		yield(mastra.Chunk{}, err)
		return at, false
	}
	for _, c := range chunks {
		if c.At.Seq <= at {
			continue
		}
		if !yield(c, nil) {
			return at, false
		}
		at = c.At.Seq
	}
	return at, true
}

// Follow yields a run's chunks behind after until its stream stops, from wherever the run goes on. There is a
// CodeNotFound where there is no such run that ctx may see, or its chunks are gone.
func (r *Recorder) Follow(ctx context.Context, m *mastra.Mastra, runID string, after mastra.Position) (iter.Seq2[mastra.Chunk, error], error) {
	follow, err := r.Reader(ctx, m, runID, after)
	if err != nil {
		return nil, err
	}
	return func(yield func(mastra.Chunk, error) bool) { follow(ctx, yield) }, nil
}

// Reader is Follow for whoever reads under another context than he looks for the run.
func (r *Recorder) Reader(ctx context.Context, m *mastra.Mastra, runID string, after mastra.Position) (func(context.Context, func(mastra.Chunk, error) bool), error) {
	f := &follower{r: r, m: m, runID: runID, at: after}
	if f.log(ctx) == nil {
		if err := f.find(ctx); err != nil {
			return nil, err
		}
	} else if resource := f.log(ctx).kept.origin.ResourceID; resource != mastra.Resource(ctx, resource) {
		return nil, noStream(runID)
	}
	return func(ctx context.Context, yield func(mastra.Chunk, error) bool) {
		one := *f
		one.follow(ctx, yield)
	}, nil
}

func noStream(runID string) error {
	return mastra.Errorf(mastra.CodeNotFound, "There is no stream of a run %q", runID)
}

// follower is a reader on its way.
type follower struct {
	r     *Recorder
	m     *mastra.Mastra
	runID string
	at    mastra.Position
}

// log is the run's Log where it is written here.
func (f *follower) log(ctx context.Context) *Log {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return f.r.live[mastra.Tenant(ctx)+"\x00"+f.runID]
}

// find waits a moment for a run that was perhaps begun elsewhere just now.
func (f *follower) find(ctx context.Context) error {
	if f.m.Storage == nil {
		return noStream(f.runID)
	}
	for waited := time.Duration(0); ; waited += lookEvery {
		blocks, err := f.m.Storage.Chunks(ctx, f.runID, mastra.Position{}, 1)
		if err != nil {
			return err
		}
		resource, found := "", false
		if len(blocks) > 0 {
			resource, found = blocks[0].ResourceID, true
		} else if run, err := f.m.Storage.Run(ctx, f.runID); err == nil {
			if run.Status.Rests() {
				return noStream(f.runID)
			}
			resource, found = run.ResourceID, true
		} else if mastra.CodeOf(err) != mastra.CodeNotFound {
			return err
		} else if l := f.log(ctx); l != nil {
			resource, found = l.kept.origin.ResourceID, true
		}
		switch {
		case found && resource != mastra.Resource(ctx, resource), !found && waited >= appears:
			return noStream(f.runID)
		case found:
			return nil
		}
		if err := Sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func (f *follower) follow(ctx context.Context, yield func(mastra.Chunk, error) bool) {
	idle, last := time.Duration(0), false
	// From the chunk that was seen last on, which tells whether the stream stops with it.
	from := mastra.Position{Epoch: f.at.Epoch, Seq: max(0, f.at.Seq-1)}
	for {
		l := f.log(ctx)
		begins := mastra.Position{}
		if l != nil && l.kept.origin.From.Epoch < f.at.Epoch { // another process has the run since
			l = nil
		}
		if l != nil {
			begins = l.kept.origin.From
			if !f.at.Before(begins) { // all before is seen
				if !f.tail(ctx, l, yield) {
					return
				}
				from, idle = f.at, 0
				continue
			}
		}
		blocks, err := f.m.Storage.Chunks(ctx, f.runID, from, blocksAtOnce)
		if err != nil {
			yield(mastra.Chunk{}, err)
			return
		}
		here := l != nil && len(blocks) < blocksAtOnce
		for i := range blocks {
			b := &blocks[i]
			if l != nil && begins.Before(b.End) { // the rest is in the Log
				here = true
				break
			}
			chunks, err := decodeBlock(b)
			if err != nil {
				yield(mastra.Chunk{}, err)
				return
			}
			for _, c := range chunks {
				if f.at.Before(c.At) && !yield(c, nil) {
					return
				}
			}
			if b.Count > 0 && f.at.Before(b.End) {
				f.at = b.End
			}
			from = b.End
		}
		if here {
			f.at = begins
			continue
		}
		if n := len(blocks); n > 0 {
			if n < blocksAtOnce && blocks[n-1].Last && f.log(ctx) == nil {
				return
			}
			idle = 0
			continue
		}
		if last {
			return
		}
		every := lookEvery
		if idle >= fastFor {
			every = pollSlow
		}
		if err := Sleep(ctx, every); err != nil {
			yield(mastra.Chunk{}, err)
			return
		}
		if idle += every; idle%(10*time.Second) < every {
			if over, err := f.over(ctx, idle); over || err != nil {
				if err != nil {
					yield(mastra.Chunk{}, err)
					return
				}
				last = true // what came before it ended is read first
			}
		}
	}
}

// tail follows a Log that is written here. It says whether the reader is to look for what comes after it.
func (f *follower) tail(ctx context.Context, l *Log, yield func(mastra.Chunk, error) bool) bool {
	at := int64(0)
	if f.at.Epoch == l.kept.origin.From.Epoch {
		at = f.at.Seq
	}
	for c, err := range l.Read(ctx, int(at)) {
		if !yield(c, err) || err != nil {
			return false
		}
		f.at = c.At
	}
	l.mu.Lock()
	stops := l.kept.stops
	l.mu.Unlock()
	if stops {
		return false
	}
	// It goes on elsewhere; until this process forgets the Log there is nothing new to find.
	if err := Sleep(ctx, lookEvery); err != nil {
		yield(mastra.Chunk{}, err)
		return false
	}
	return true
}

// over looks, where there has been no news for a while, whether there will be any.
func (f *follower) over(ctx context.Context, idle time.Duration) (bool, error) {
	run, err := f.m.Storage.Run(ctx, f.runID)
	switch {
	case mastra.CodeOf(err) == mastra.CodeNotFound:
		if idle >= lostAfter {
			return true, mastra.Errorf(mastra.CodeUnavailable, "The run was lost")
		}
		return false, nil
	case err != nil:
		return false, err
	}
	return run.Status.Rests(), nil
}

// Sleep waits for d; where ctx ends before it returns ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// early is how long before a deadline a Limited stream ends.
const early = 500 * time.Millisecond

// Limited is a stream that ends a moment before ctx's deadline: with last, which says where it goes on.
func Limited(ctx context.Context, last mastra.Chunk, chunks func(ctx context.Context, yield func(mastra.Chunk, error) bool)) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		deadline, ok := ctx.Deadline()
		if !ok {
			chunks(ctx, yield)
			return
		}
		left := time.Until(deadline)
		short, cancel := context.WithTimeout(ctx, left-min(early, left/8))
		defer cancel()
		chunks(short, func(c mastra.Chunk, err error) bool {
			if err != nil && short.Err() != nil && ctx.Err() == nil {
				return yield(last, nil)
			}
			return yield(c, err)
		})
	}
}
