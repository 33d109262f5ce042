package sqlite

import (
	"context"
	"fmt"
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
	ahead bool // its caller does not wait for the disk
	plain bool // it asks for no traces
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

// tx is a transaction of the writer, as its writes see it.
type tx struct {
	*conn
	group    []*write // that are part of it
	now      mastra.Time
	names    names
	tails    *tails
	indexing *indexing
	lastName storedName      // that was looked up
	signals  int             // packs indexed and scores written in this transaction
	packs    []pack          // of the writes that succeeded, to be written
	written  int             // packs
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
	return s.pass(ctx, &write{run: run})
}

// readWarm is for small reads that a run makes before its own writes: on the writer's connection, since each commit empties the
// caches of all others. What it sees may not be on the disk yet. It will be before any later write is said to be.
func (s *Store) readWarm(ctx context.Context, f func(*conn) error) error {
	return s.pass(ctx, &write{run: func(t *tx) error { return f(t.conn) }, reads: true})
}

func (s *Store) pass(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.done = make(chan struct{})
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

// write is the writer's goroutine: it ends when the queue is closed and empty. While the log of one transaction is on its way to
// the disk the next one takes writes in.
func (s *Store) write() {
	toDisk, onDisk := make(chan struct{}), make(chan error)
	go func() {
		for range toDisk {
			onDisk <- s.sync(s.log)
		}
	}()
	defer close(toDisk)
	var leaving []*write // committed, their log is on its way to the disk
	syncing, behind, overdue := false, false, false
	var due, late <-chan time.Time // when what waits is indexed, and when the log goes to the disk though nobody waits for it
	for open := true; open || s.tx != nil || syncing || behind; {
		if s.unindexed > 0 && due == nil {
			due = time.After(indexDelay)
		}
		if behind && late == nil {
			late = time.After(syncDelay)
		}
		queue := s.queue
		if !open || s.tx != nil && len(s.tx.group) >= maxGroup {
			queue = nil
		}
		select {
		case w, ok := <-queue:
			if open = ok; !ok {
				break
			}
			s.take(w)
			if !syncing {
				runtime.Gosched() // whoever was just answered, or is about to ask, gets into this transaction
			}
			for range min(len(s.queue), maxGroup-1) {
				s.take(<-s.queue)
			}
		case err := <-onDisk:
			if err != nil { // what the system may have dropped of the log is missing to all that comes behind it
				s.broken = fmt.Errorf("sqlite: the log of %s cannot be brought to the disk: %w", s.path, err)
			}
			answer(leaving, s.broken)
			syncing = false
		case <-due:
			if due = nil; s.unindexed > 0 {
				s.indexSome(indexMany)
			}
		case <-late:
			late, overdue = nil, behind
		}
		if syncing {
			if s.unindexed >= indexBatch {
				s.indexSome(indexBatch)
			}
			continue
		}
		if s.tx != nil {
			leaving = s.commit()
			behind = true
			s.boundLog()
		}
		if behind && (len(leaving) > 0 || overdue || !open) {
			syncing, behind, overdue = true, false, false
			toDisk <- struct{}{}
		}
	}
}

// syncDelay is how long the log stays behind where nobody waits for it.
const syncDelay = 20 * time.Millisecond

// take makes a read, or adds a write to the transaction. A write that fails is undone alone.
func (s *Store) take(w *write) {
	if !w.state.CompareAndSwap(waiting, begun) {
		return
	}
	if w.reads {
		w.err = s.readNow(w)
		close(w.done)
		return
	}
	if w.err = s.begin(); w.err != nil {
		close(w.done)
		return
	}
	t := s.tx
	t.group = append(t.group, w)
	t.now = mastra.TimeOf(s.now())
	if !w.plain {
		if err := t.writePacks(); err != nil {
			s.giveUp(err)
			return
		}
	}
	packs := len(t.packs)
	if _, err := t.exec("SAVEPOINT one"); err != nil {
		s.giveUp(err)
		return
	}
	if w.err = w.run(t); w.err != nil {
		if _, err := t.exec("ROLLBACK TO one"); err != nil {
			s.giveUp(err)
			return
		}
		clear(s.names)
		t.packs = t.packs[:packs]
	}
	// Fails where SQLite gave the whole transaction up, as it does when the disk is full.
	if _, err := t.exec("RELEASE one"); err != nil {
		s.giveUp(err)
		return
	}
	t.settle(w.err == nil)
	t.tails.settle(w.err == nil)
}

func (s *Store) readNow(w *write) (err error) {
	if s.tx != nil {
		return w.run(s.tx)
	}
	if _, err := s.writer.exec("BEGIN"); err != nil {
		return err
	}
	if err = s.tails.check(s.writer); err == nil {
		err = w.run(&tx{conn: s.writer})
	}
	if _, end := s.writer.exec("COMMIT"); err == nil {
		err = end
	}
	return err
}

// begin begins a transaction where none is open.
func (s *Store) begin() error {
	if s.tx != nil || s.broken != nil {
		return s.broken
	}
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	s.tx = &tx{conn: s.writer, names: s.names, tails: &s.tails, indexing: &s.indexing}
	if err := s.tails.check(s.writer); err != nil {
		s.giveUp(err)
		return err
	}
	return nil
}

// giveUp undoes the open transaction: its writes get the error, but for those that have one of their own.
func (s *Store) giveUp(err error) {
	_, _ = s.writer.exec("ROLLBACK") // SQLite may have rolled back by itself
	clear(s.names)                   // what was stored of them is not
	s.tails.clear()
	answer(s.tx.group, err)
	s.tx = nil
}

// commit commits the open transaction, and returns the writes whose callers wait for the disk.
func (s *Store) commit() (rest []*write) {
	t := s.tx
	err := s.tidy(t)
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err != nil {
		s.giveUp(err)
		return nil
	}
	s.tx = nil
	s.unindexed += t.written
	s.transactions.Add(1)
	rest = t.group[:0]
	for _, w := range t.group {
		if w.ahead {
			close(w.done)
		} else {
			rest = append(rest, w)
		}
	}
	return rest
}

// tidy writes what waited for the end, deletes some of what is too old, and adds up the totals.
func (s *Store) tidy(t *tx) error {
	if err := t.writePacks(); err != nil {
		return err
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
	return nil
}

// answer tells the callers of writes how they ended.
func answer(group []*write, err error) {
	for _, w := range group {
		if w.err == nil {
			w.err = err
		}
		close(w.done)
	}
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
