package runlog

import (
	"context"
	"iter"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

// Log holds the chunks of one run, each with its encoding. One run writes, any number of readers follow; a slow or absent
// reader costs nothing beyond the Log itself. The zero Log is ready for use and keeps all; one that a Recorder opened is
// stored, too, and lets go of what is stored: whoever reads that reads it from there.
type Log struct {
	mu     sync.Mutex
	chunks []mastra.Chunk
	first  int64  // how many chunks came before chunks[0]: those of a former part of the stream, and those let go
	shown  int    // how many of chunks readers see
	held   bool   // what is appended is not shown yet
	block  []byte // encodings share blocks of memory
	closed bool
	wake   chan struct{} // made by a reader that waits, closed by the next change

	kept *keeping // nil where nothing is stored
}

const (
	firstBlock = 4 << 10
	largeBlock = 64 << 10
	room       = 512 // what most deltas need at most
)

// Append encodes c and adds it; it fails only where c's payload does not encode. After Close it adds nothing.
// Only one goroutine may append.
func (l *Log) Append(c mastra.Chunk) error {
	data, err := l.encode(c)
	if err != nil {
		return err
	}
	c = c.WithEncoding(data)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	if l.chunks == nil {
		l.chunks = make([]mastra.Chunk, 0, 32)
	}
	full := false
	if l.kept != nil {
		c.At = mastra.Position{Epoch: l.kept.origin.From.Epoch, Seq: l.first + int64(len(l.chunks)) + 1}
		full = l.kept.add(len(data))
	}
	l.chunks = append(l.chunks, c)
	if !l.held {
		l.shown = len(l.chunks)
		l.notify()
	}
	l.mu.Unlock()
	if full {
		l.kept.recorder.flush(l)
	}
	return nil
}

func (l *Log) encode(c mastra.Chunk) ([]byte, error) {
	if delta, ok := c.Payload.(mastra.TextDelta); !ok || 2*len(delta.Text) > room/2 {
		return c.Append(nil)
	}
	if cap(l.block)-len(l.block) < room {
		l.block = make([]byte, 0, min(max(2*cap(l.block), firstBlock), largeBlock))
	}
	from := len(l.block)
	b, err := c.Append(l.block)
	if err != nil {
		return nil, err
	}
	if cap(b) == cap(l.block) { // otherwise b is an array of its own, and the block goes on as it was
		l.block = b
	}
	return b[from:len(b):len(b)], nil
}

// Hold keeps what is appended from now on from the readers, until Show shows it or Drop takes it back: a run's last chunks
// are stored with the commit that ends it, and shown when it succeeded.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Show shows what was held.
func (l *Log) Show() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.shown = len(l.chunks)
	l.notify()
}

// Drop takes back what was held.
func (l *Log) Drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	clear(l.chunks[l.shown:])
	l.chunks = l.chunks[:l.shown]
}

// Close ends the log: readers end after the last chunk. What is not stored yet is stored soon.
func (l *Log) Close() { l.end(true) }

// Abandon ends the log of a run that goes on elsewhere: who follows the run looks for it there.
func (l *Log) Abandon() { l.end(false) }

func (l *Log) end(stops bool) {
	l.mu.Lock()
	l.closed = true
	if l.kept != nil {
		l.kept.stops = stops
	}
	l.notify()
	l.mu.Unlock()
	if l.kept != nil {
		l.kept.recorder.closed(l)
	}
}

func (l *Log) notify() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// Len is how many chunks readers see so far, those let go included.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.first) + l.shown
}

// Stopped says that the stream stops with the last chunk, and does not go on elsewhere.
func (l *Log) Stopped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept == nil || l.kept.stops
}

// Read follows the log from position from (0 is the first chunk) to its end. Where ctx ends first, its error is the last item.
// Leaving the loop leaves the log as it is.
func (l *Log) Read(ctx context.Context, from int) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		for at := int64(max(0, from)); ; {
			l.mu.Lock()
			first, chunks, closed := l.first, l.chunks[:l.shown], l.closed // what is in it never changes: it can be read without the lock
			var wake chan struct{}
			if at >= first+int64(len(chunks)) && !closed {
				if l.wake == nil {
					l.wake = make(chan struct{})
				}
				wake = l.wake
			}
			l.mu.Unlock()
			switch {
			case wake != nil:
				select {
				case <-wake:
				case <-ctx.Done():
					yield(mastra.Chunk{}, ctx.Err())
					return
				}
				continue
			case at < first:
				n, more := l.kept.read(ctx, at, yield)
				if at = n; !more {
					return
				}
				continue
			}
			for ; at < first+int64(len(chunks)); at++ {
				if !yield(chunks[at-first], nil) {
					return
				}
			}
			if closed {
				return
			}
		}
	}
}

// keeping is what a Log knows of its storing. All but writing is guarded by the Log's mu.
type keeping struct {
	recorder *Recorder
	store    mastra.Storage
	ctx      context.Context // with the tenant, without an end
	now      func() time.Time
	origin   Origin
	writing  sync.Mutex // one write at a time
	taken    int64      // how many chunks have been handed to the storage
	size     int        // bytes of all encodings in the Log
	pending  int        // and of those that were not
	since    time.Time  // when the first of them came
	stops    bool       // the stream stops with the last chunk
	stored   bool       // and that is stored
}

// add counts a chunk in, under mu, and says that there is enough for a block.
func (k *keeping) add(size int) bool {
	if k.pending == 0 {
		k.since = time.Now()
	}
	k.pending += size
	k.size += size
	return k.pending >= fullBlock
}
