package runlog

import (
	"context"
	"iter"
	"sync"

	"mastralambda/shared/mastra"
)

// Log holds the chunks of one run, each with its encoding, from the first to the last. One run writes, any number of readers
// follow; a slow or absent reader costs nothing beyond the Log itself. The zero Log is ready for use.
type Log struct {
	mu     sync.Mutex
	chunks []mastra.Chunk
	block  []byte // encodings share blocks of memory
	closed bool
	wake   chan struct{} // made by a reader that waits, closed by the next change
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
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	if l.chunks == nil {
		l.chunks = make([]mastra.Chunk, 0, 32)
	}
	l.chunks = append(l.chunks, c)
	l.notify()
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

// Close ends the log: readers end after the last chunk.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.notify()
}

func (l *Log) notify() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// Len is how many chunks there are so far.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.chunks)
}

// Read follows the log from position from (0 is the first chunk) to its end. Where ctx ends first, its error is the last item.
// Leaving the loop leaves the log as it is.
func (l *Log) Read(ctx context.Context, from int) iter.Seq2[mastra.Chunk, error] {
	return func(yield func(mastra.Chunk, error) bool) {
		for at := max(0, from); ; {
			l.mu.Lock()
			chunks, closed := l.chunks, l.closed // what is in it never changes: it can be read without the lock
			var wake chan struct{}
			if at >= len(chunks) && !closed {
				if l.wake == nil {
					l.wake = make(chan struct{})
				}
				wake = l.wake
			}
			l.mu.Unlock()
			if wake != nil {
				select {
				case <-wake:
				case <-ctx.Done():
					yield(mastra.Chunk{}, ctx.Err())
					return
				}
				continue
			}
			for ; at < len(chunks); at++ {
				if !yield(chunks[at], nil) {
					return
				}
			}
			if closed {
				return
			}
		}
	}
}
