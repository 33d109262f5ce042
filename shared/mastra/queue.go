package mastra

import (
	"context"
	"fmt"
	"time"
)

// Work is one message of a Queue: what is to be done. It says what, and where the rest is stored; it is small.
type Work struct {
	Kind   string `json:"kind"` // who knows what to do, for example "run"
	Tenant string `json:"tenant"`
	ID     string `json:"id"`            // of the run, or whatever it is about
	Data   JSON   `json:"data,omitzero"` // what the kind needs besides
	At     Time   `json:"at"`            // not before; 0 is at once
}

// WorkRun is the kind of a Queue's work that says: see to it that this run, of a workflow or an agent, goes on. Its ID is
// the run's; its Data, which may be absent, a RunWork.
const WorkRun = "run"

// RunWork is what a message of kind WorkRun says besides. A message is sent before the write that it is about, so that
// a process that dies in between loses nothing: for a while its receiver may still find the run as it was.
type RunWork struct {
	From RunStatus `json:"from,omitempty"` // the run's status before that write; "" where the write creates it
	Sent Time      `json:"sent"`
}

// WriteWithin is how long after a message the write that it is about may come.
const WriteWithin = time.Minute

// Queue hands work to whoever receives it, at least once and not before its time, in no certain order. It outlives the
// process. It is safe for concurrent use, also by several processes.
type Queue interface {
	// Send keeps w. At may be any time ahead.
	Send(ctx context.Context, w Work) error
	// Receive waits up to that long for work; nil where none came. Nobody else receives it until hidden has passed, which
	// Extend prolongs.
	Receive(ctx context.Context, wait, hidden time.Duration) (*Delivery, error)
	// Dead lists up to limit pieces of work that failed too often, the oldest first.
	Dead(ctx context.Context, limit int) ([]DeadWork, error)
	// Resend queues one of them again, by its ID: CodeNotFound where there is none.
	Resend(ctx context.Context, id string) error
}

// Delivery is work that was received. Exactly one of Done and Fail ends it; without either it comes again.
type Delivery struct {
	Work
	Attempt int // 1 is the first
	Handle  DeliveryHandle
}

// DeliveryHandle is a queue's own part of a Delivery.
type DeliveryHandle interface {
	// Extend keeps the work hidden for that long from now on. It is an error where another one has it.
	Extend(ctx context.Context, hidden time.Duration) error
	// Done forgets the work.
	Done(ctx context.Context) error
	// Fail shows it again after some time, or puts it to the dead work where that was its last attempt.
	Fail(ctx context.Context, after time.Duration, reason error) error
}

// DeadWork is work that failed too often.
type DeadWork struct {
	ID       string `json:"id"`
	Work     Work   `json:"work"`
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason,omitempty"`
}

// Again is the error of work that is to be done once more after some time, and has not failed.
type Again struct{ After time.Duration }

func (a *Again) Error() string { return fmt.Sprintf("again after %v", a.After) }

// WorkStore is where the local queue keeps its work; the embedded storage is one. A receipt that is no longer the last one
// is a CodeConflict. It is safe for concurrent use, also by several processes.
type WorkStore interface {
	AddWork(ctx context.Context, id string, w Work) error
	// TakeWork hides the work that has been due for longest until the given time, under a receipt, and counts an attempt. It
	// is nil where none is due: next is when some will be, 0 where there is none.
	TakeWork(ctx context.Context, receipt string, now, until Time) (w *KeptWork, next Time, err error)
	HideWork(ctx context.Context, id, receipt string, until Time) error
	EndWork(ctx context.Context, id, receipt string) error
	BuryWork(ctx context.Context, id, receipt, reason string) error
	DeadWork(ctx context.Context, limit int) ([]DeadWork, error)
	ReviveWork(ctx context.Context, id string) error
}

// KeptWork is work as a WorkStore has it.
type KeptWork struct {
	ID string
	Work
	Attempts int // this one included
}
