// Package local is a queue within the storage of one machine: it needs nothing else and survives a crash.
package local

import (
	"context"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

// Queue is a mastra.Queue over a WorkStore. Several processes may share the store.
type Queue struct {
	store    mastra.WorkStore
	attempts int
	mu       sync.Mutex
	sent     chan struct{} // closed by the next Send of this process
}

var _ mastra.Queue = (*Queue)(nil)

// Attempts is how often work is tried before it is dead.
const Attempts = 8

// Open makes a Queue.
func Open(store mastra.WorkStore) *Queue {
	return &Queue{store: store, attempts: Attempts, sent: make(chan struct{})}
}

func (q *Queue) Send(ctx context.Context, w mastra.Work) error {
	if err := q.store.AddWork(ctx, mastra.NewID(), w); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.sent)
	q.sent = make(chan struct{})
	return nil
}

// lookEvery is how long work of another process may wait.
const lookEvery = time.Second

func (q *Queue) Receive(ctx context.Context, wait, hidden time.Duration) (*mastra.Delivery, error) {
	for end := time.Now().Add(wait); ; {
		q.mu.Lock()
		sent := q.sent
		q.mu.Unlock()
		receipt := mastra.NewID()
		now := time.Now()
		got, next, err := q.store.TakeWork(ctx, receipt, mastra.TimeOf(now), mastra.TimeOf(now.Add(hidden)))
		if err != nil {
			return nil, err
		}
		if got != nil {
			return &mastra.Delivery{Work: got.Work, Attempt: got.Attempts, Handle: &handle{q, got, receipt}}, nil
		}
		left := time.Until(end)
		if left <= 0 {
			return nil, nil
		}
		if left = min(left, lookEvery); next != 0 {
			left = min(left, max(time.Millisecond, time.Until(next.Time())))
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-sent:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

type handle struct {
	q       *Queue
	work    *mastra.KeptWork
	receipt string
}

func (h *handle) Extend(ctx context.Context, hidden time.Duration) error {
	return h.q.store.HideWork(ctx, h.work.ID, h.receipt, mastra.TimeOf(time.Now().Add(hidden)))
}

func (h *handle) Done(ctx context.Context) error {
	return h.q.store.EndWork(ctx, h.work.ID, h.receipt)
}

func (h *handle) Fail(ctx context.Context, after time.Duration, reason error) error {
	if h.work.Attempts < h.q.attempts {
		return h.Extend(ctx, after)
	}
	return h.q.store.BuryWork(ctx, h.work.ID, h.receipt, reason.Error())
}

func (q *Queue) Dead(ctx context.Context, limit int) ([]mastra.DeadWork, error) {
	return q.store.DeadWork(ctx, limit)
}

func (q *Queue) Resend(ctx context.Context, id string) error {
	if err := q.store.ReviveWork(ctx, id); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.sent)
	q.sent = make(chan struct{})
	return nil
}
