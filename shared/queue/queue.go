// Package queue does the work that a mastra.Queue hands out.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"mastralambda/shared/mastra"
)

// Handler does one piece of work. An *mastra.Again sends it once more later, any other error is a failed attempt.
type Handler func(ctx context.Context, w mastra.Work) error

// Lease is how long work stays hidden from others between two signs of life.
const Lease = 30 * time.Second

// Process hands d to h and ends it. While h works it keeps d hidden; where another one has received it meanwhile, h is told
// to stop. It says whether the work is over; where it is not, it comes again by itself.
func Process(ctx context.Context, log *slog.Logger, q mastra.Queue, d *mastra.Delivery, h Handler) bool {
	over, err := process(ctx, log, q, d, h)
	if err != nil {
		log.ErrorContext(ctx, "work could not be ended: it comes again", "kind", d.Kind, "id", d.ID, "error", err)
	}
	return over && err == nil
}

func process(ctx context.Context, log *slog.Logger, q mastra.Queue, d *mastra.Delivery, h Handler) (over bool, err error) {
	working, stop := context.WithCancelCause(ctx)
	beaten := make(chan struct{})
	go func() {
		defer close(beaten)
		beat(working, d, stop)
	}()
	err = safely(func() error { return h(working, d.Work) })
	lost := context.Cause(working)
	stop(nil)
	<-beaten
	ctx = context.WithoutCancel(ctx)
	var again *mastra.Again
	switch {
	case errors.Is(lost, errTaken):
		return false, nil
	case err == nil:
		return true, d.Handle.Done(ctx)
	case errors.As(err, &again): // a new message: its attempts are counted anew
		w := d.Work
		w.At = mastra.TimeOf(time.Now().Add(again.After))
		if err := q.Send(ctx, w); err != nil {
			return false, err
		}
		return true, d.Handle.Done(ctx)
	}
	log.ErrorContext(ctx, "work failed", "kind", d.Kind, "id", d.ID, "attempt", d.Attempt, "error", err)
	return false, d.Handle.Fail(ctx, Backoff(d.Attempt), err)
}

var errTaken = errors.New("another one has the work")

func beat(ctx context.Context, d *mastra.Delivery, stop context.CancelCauseFunc) {
	t := time.NewTicker(Lease / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := d.Handle.Extend(ctx, Lease); mastra.CodeOf(err) == mastra.CodeConflict {
			stop(errTaken)
			return
		}
	}
}

func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// Backoff is how long to wait behind a failed attempt: from two seconds to an hour.
func Backoff(attempt int) time.Duration {
	return min(time.Hour, 2*time.Second<<min(2*max(0, attempt-1), 20))
}

// Consume does the work of q, up to atOnce pieces at a time, until ctx ends and what it has begun is done.
func Consume(ctx context.Context, log *slog.Logger, q mastra.Queue, atOnce int, h Handler) {
	slots := make(chan struct{}, atOnce)
	for ctx.Err() == nil {
		slots <- struct{}{}
		d, err := q.Receive(ctx, 20*time.Second, Lease)
		if err != nil || d == nil {
			<-slots
			if err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "the queue cannot be read", "error", err)
				pause(ctx, time.Second)
			}
			continue
		}
		go func() {
			defer func() { <-slots }()
			Process(ctx, log, q, d, h)
		}()
	}
	for range atOnce {
		slots <- struct{}{}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Handlers does each kind of work by its own Handler. A kind that nobody knows fails.
type Handlers map[string]Handler

// Handle is a Handler.
func (k Handlers) Handle(ctx context.Context, w mastra.Work) error {
	h, ok := k[w.Kind]
	if !ok {
		return fmt.Errorf("nobody knows what to do with work of kind %q", w.Kind)
	}
	return h(ctx, w)
}
