package runlog

import (
	"context"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

const (
	flushEvery = time.Second            // how long a chunk waits for its block at most, about
	lookEvery  = 250 * time.Millisecond // for blocks that are due, and for chunks that another process writes
	fullBlock  = 64 << 10               // bytes of encodings that are a block at once
	window     = 256                    // stored chunks that a Log keeps in memory, of
	largest    = 256 << 10              // bytes
	keepChunks = 24 * time.Hour
	atOnce     = 8  // commits under way
	together   = 50 // blocks of one commit
)

// Recorder stores what runs say, in blocks, and lets anyone follow a run wherever it goes on. It is safe for concurrent use.
type Recorder struct {
	runs    *Supervisor
	mu      sync.Mutex
	live    map[string]*Log // by tenant and run: those that are written here, or not stored to their end yet
	tending bool
}

// NewRecorder makes a Recorder whose goroutine s owns.
func NewRecorder(s *Supervisor) *Recorder { return &Recorder{runs: s, live: map[string]*Log{}} }

// Origin is where a Log begins.
type Origin struct {
	RunID      string
	ResourceID string          // whose the run is
	From       mastra.Position // behind which chunk: {epoch, 0} at the beginning of an epoch
}

// Open makes the Log of a run that begins, or goes on, here. Where m has no storage nothing is stored.
func (r *Recorder) Open(ctx context.Context, m *mastra.Mastra, o Origin) *Log {
	if m.Storage == nil {
		return &Log{}
	}
	l := &Log{first: o.From.Seq, kept: &keeping{recorder: r, store: m.Storage, ctx: context.WithoutCancel(ctx), now: m.Now, origin: o, taken: o.From.Seq}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[mastra.Tenant(ctx)+"\x00"+o.RunID] = l
	if !r.tending {
		r.tending = r.runs.Tend(r.tend)
	}
	return l
}

// Block is what was appended to l and is not stored yet, for a commit of the caller's. Whoever took it says by Stored how
// that went; until then nobody else stores anything of l. stop says that the stream stops here for now. nil: there is nothing.
func (l *Log) Block(stop bool) (*mastra.ChunkBlock, error) {
	if l.kept == nil {
		return nil, nil
	}
	l.kept.writing.Lock()
	b, err := l.take(stop)
	if b == nil || err != nil {
		l.kept.writing.Unlock()
		return nil, err
	}
	return b, nil
}

func (l *Log) take(stop bool) (*mastra.ChunkBlock, error) {
	k := l.kept
	l.mu.Lock()
	chunks := l.chunks
	if l.held && !stop {
		chunks = chunks[:l.shown]
	}
	if k.taken < l.first+int64(len(chunks)) {
		chunks = chunks[k.taken-l.first:]
	} else {
		chunks = nil
	}
	b := &mastra.ChunkBlock{RunID: k.origin.RunID, ResourceID: k.origin.ResourceID, Count: len(chunks), Last: stop || k.stops && l.closed,
		End: mastra.Position{Epoch: k.origin.From.Epoch, Seq: k.taken + int64(len(chunks))}}
	over := b.Last && !k.stored
	l.mu.Unlock()
	switch {
	case len(chunks) > 0:
	case over: // all is stored but that it stops here: said in the place of the chunk that may come one day
		b.End.Seq++
	default:
		return nil, nil
	}
	b.ExpiresAt = mastra.TimeOf(k.now().Add(keepChunks))
	var err error
	b.Data, err = encodeBlock(chunks)
	return b, err
}

// Stored says whether a block of Block has been stored.
func (l *Log) Stored(b *mastra.ChunkBlock, ok bool) {
	if b == nil {
		return
	}
	k := l.kept
	defer k.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	k.since = time.Now()
	if !ok {
		return
	}
	k.taken, k.stored = k.taken+int64(b.Count), k.stored || b.Last
	k.pending = 0
	for _, c := range l.chunks[k.taken-l.first:] {
		data, _ := c.Encode()
		k.pending += len(data)
	}
	if n := int(k.taken - l.first); !l.held && (n > window || k.size > largest) { // readers hold on to what they are reading
		l.chunks = append(make([]mastra.Chunk, 0, len(l.chunks)-n+32), l.chunks[n:]...)
		l.first, l.shown, k.size = l.first+int64(n), l.shown-n, k.pending
	}
}

// flush stores what there is of l. Where that fails it is tried again later.
func (r *Recorder) flush(l *Log) {
	b, err := l.Block(false)
	if b == nil || err != nil {
		return
	}
	r.commit(l.kept.store, l.kept.ctx, []*Log{l}, &mastra.Batch{Chunks: []mastra.ChunkBlock{*b}})
}

func (r *Recorder) commit(s mastra.Storage, ctx context.Context, logs []*Log, b *mastra.Batch) {
	err := s.Commit(ctx, b)
	if err != nil {
		r.runs.log.WarnContext(ctx, "chunks could not be stored yet", "runs", len(logs), "error", err)
	}
	for i, l := range logs {
		l.Stored(&b.Chunks[i], err == nil)
		r.forget(l)
	}
}

// closed is told that a Log is.
func (r *Recorder) closed(l *Log) { r.forget(l) }

// forget drops a Log that is closed and stored.
func (r *Recorder) forget(l *Log) {
	l.mu.Lock()
	over := l.closed && l.kept.taken >= l.first+int64(len(l.chunks)) && (l.kept.stored || !l.kept.stops)
	l.mu.Unlock()
	if !over {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := mastra.Tenant(l.kept.ctx) + "\x00" + l.kept.origin.RunID; r.live[key] == l {
		delete(r.live, key)
	}
}

// tend stores what is due until the runs have ended, and then the rest.
func (r *Recorder) tend(stop <-chan struct{}) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.store(flushEvery)
		case <-stop:
			r.store(0)
			return
		}
	}
}

type destination struct {
	store  mastra.Storage
	tenant string
}

// store commits what has waited for so long, that of many runs of a tenant together.
func (r *Recorder) store(waited time.Duration) {
	now := time.Now()
	r.mu.Lock()
	due := map[destination][]*Log{}
	for _, l := range r.live {
		l.mu.Lock()
		if k := l.kept; k.pending > 0 && now.Sub(k.since) >= waited || l.closed {
			d := destination{k.store, mastra.Tenant(k.ctx)}
			due[d] = append(due[d], l)
		}
		l.mu.Unlock()
	}
	r.mu.Unlock()
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for d, logs := range due {
		for len(logs) > 0 {
			some := logs[:min(len(logs), together)]
			logs = logs[len(some):]
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				r.storeSome(d, some)
			})
		}
	}
	all.Wait()
}

func (r *Recorder) storeSome(d destination, logs []*Log) {
	var b mastra.Batch
	var taken []*Log
	for _, l := range logs {
		if !l.kept.writing.TryLock() { // its run is about to store it
			continue
		}
		block, err := l.take(false)
		if block == nil || err != nil {
			l.kept.writing.Unlock()
			r.forget(l)
			continue
		}
		b.Chunks, taken = append(b.Chunks, *block), append(taken, l)
	}
	if len(taken) > 0 {
		r.commit(d.store, taken[0].kept.ctx, taken, &b)
	}
}
