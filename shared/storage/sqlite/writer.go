package sqlite

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"mastralambda/shared/mastra"
)

// write is one batch on its way through the writer: all of it becomes durable, or nothing.
type write struct {
	run   func(*tx) error
	reads bool // it changes nothing
	state atomic.Int32
	err   error
	done  chan struct{}
}

// States of a write.
const (
	waiting int32 = iota
	begun
	abandoned // its caller left before it was begun
)

// tx is what a write works on: the writer's connection within a transaction.
type tx struct {
	*conn
	now      mastra.Time
	names    names
	lastName storedName      // that was looked up
	signals  int             // packs indexed and scores written in this transaction
	packs    int             // of spans
	claims   int             // written in this transaction
	chunks   int             // blocks of them
	runs     int             // those that expire
	totals   map[counter]int // changes by the writes that succeeded
	own      []change        // changes by the write under way
}

// counter names a kept total.
type counter struct{ tenant, kind, name string }

type change struct {
	counter
	by int
}

// submit hands a write to the writer and waits until it is durable. Once it is begun its result is the true one, even
// if ctx ends meanwhile.
func (s *Store) submit(ctx context.Context, run func(*tx) error) error {
	return s.pass(ctx, &write{run: run, done: make(chan struct{})})
}

// readWarm is for small reads that every request makes: on the writer's connection, since each commit empties the caches of
// all others. They are made before the next group is written, so what they see is durable.
func (s *Store) readWarm(ctx context.Context, f func(*conn) error) error {
	return s.pass(ctx, &write{run: func(t *tx) error { return f(t.conn) }, reads: true, done: make(chan struct{})})
}

func (s *Store) pass(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enqueue(ctx, w); err != nil {
		return err
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-w.done
		return w.err
	}
}

func (s *Store) enqueue(ctx context.Context, w *write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	select {
	case s.queue <- w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer's goroutine: it ends when the queue is closed and empty.
func (s *Store) write() {
	group := make([]*write, 0, maxGroup)
	var due <-chan time.Time // when what waits is indexed
	for {
		if s.unindexed > 0 && due == nil {
			due = time.After(indexDelay)
		}
		group = group[:0]
		select {
		case w, ok := <-s.queue:
			if !ok {
				return
			}
			group = append(group, w)
			runtime.Gosched() // whoever was just answered, or is about to ask, gets into this group
			for range min(len(s.queue), maxGroup-1) {
				group = append(group, <-s.queue)
			}
		case <-due:
			if due = nil; s.unindexed > 0 {
				s.indexBehind(indexMany)
			}
			continue
		}
		if group = s.answer(group); len(group) == 0 {
			continue
		}
		err := s.durable()
		if err == nil {
			err = s.transaction(group)
		}
		for i, w := range group {
			if err != nil && w.err == nil {
				w.err = err
			}
			close(w.done)
			group[i] = nil
		}
		if err == nil {
			s.transactions.Add(1)
			s.boundLog()
		}
		if s.unindexed >= indexBatch { // while those who were answered are at work
			s.indexBehind(indexBatch)
		}
	}
}

// answer makes the reads of a group, all of one moment, and returns the rest of it.
func (s *Store) answer(group []*write) (rest []*write) {
	rest = group[:0]
	reading := false
	for _, w := range group {
		if !w.reads {
			rest = append(rest, w)
			continue
		}
		if w.state.CompareAndSwap(waiting, begun) {
			if !reading {
				_, w.err = s.writer.exec("BEGIN")
				reading = w.err == nil
			}
			if reading {
				w.err = w.run(&tx{conn: s.writer})
			}
		}
		close(w.done)
	}
	if reading {
		_, _ = s.writer.exec("COMMIT") // of nothing
	}
	return rest
}

// transaction runs a group of writes. A write that fails is undone alone and keeps its error; the error returned is
// that of all others.
func (s *Store) transaction(group []*write) (err error) {
	t := &tx{conn: s.writer, now: mastra.TimeOf(s.now()), names: s.names}
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = t.exec("ROLLBACK") // SQLite may have rolled back by itself
			clear(s.names)            // what was stored of them is not
		}
	}()
	for _, w := range group {
		if !w.state.CompareAndSwap(waiting, begun) {
			continue
		}
		if _, err := t.exec("SAVEPOINT one"); err != nil {
			return err
		}
		if w.err = w.run(t); w.err != nil {
			if _, err := t.exec("ROLLBACK TO one"); err != nil {
				return err
			}
			clear(s.names)
		}
		// Fails where SQLite gave the whole transaction up, as it does when the disk is full.
		if _, err := t.exec("RELEASE one"); err != nil {
			return err
		}
		t.settle(w.err == nil)
	}
	if t.signals > 0 {
		if err := s.retention.run(t); err != nil {
			return err
		}
	}
	if t.claims > 0 {
		if err := s.sweep.run(t); err != nil {
			return err
		}
	}
	if t.chunks > 0 {
		if err := s.forgetChunks(t); err != nil {
			return err
		}
	}
	if t.runs > 0 {
		if err := s.forgetRuns(t); err != nil {
			return err
		}
	}
	for c, by := range t.totals {
		if err := t.add(c, by); err != nil {
			return err
		}
	}
	if _, err = t.exec("COMMIT"); err == nil {
		s.unindexed += t.packs
	}
	return err
}

// count changes a counter when the write under way succeeds.
func (t *tx) count(tenant, kind, name string, by int) {
	t.own = append(t.own, change{counter{tenant, kind, name}, by})
}

// settle adds up what the write under way counted, or forgets it.
func (t *tx) settle(succeeded bool) {
	if succeeded && len(t.own) > 0 {
		if t.totals == nil {
			t.totals = map[counter]int{}
		}
		for _, c := range t.own {
			t.totals[c.counter] += c.by
		}
	}
	t.own = t.own[:0]
}

func (t *tx) add(c counter, by int) error {
	_, err := t.exec(`INSERT INTO counters (tenant, kind, name, total) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET total = total + excluded.total`, c.tenant, c.kind, c.name, int64(by))
	return err
}

const (
	maxLog        = 32 << 20 // bytes of the write-ahead log
	logCheckEvery = 256      // transactions
)

// boundLog empties the write-ahead log when it has grown large. SQLite begins it anew only at a moment without readers,
// which may never come under load: then reads wait a few milliseconds.
func (s *Store) boundLog() {
	if s.untilLogCheck--; s.untilLogCheck > 0 {
		return
	}
	s.untilLogCheck = logCheckEvery
	if i, err := os.Stat(s.path + "-wal"); err != nil || i.Size() < s.maxLog {
		return
	}
	s.readers.pause(func() {
		// Readers of other processes are not waited for: the next check tries again.
		_ = s.writer.script("PRAGMA busy_timeout = 20; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA " + timeoutSetting)
	})
}
