package agentloop

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
	"mastralambda/shared/runlog"
	"mastralambda/shared/schema"
)

// A run that lasts is a mastra.Run in the storage, so that another process goes on with it where its own dies: what the
// commit of its first second, or of its suspension, makes. A run that is over before costs nothing.
const (
	recordAfter = time.Second
	heartbeat   = 10 * time.Second
	lookEvery   = 250 * time.Millisecond
	atOnceKept  = 8                    // commits of the keeper under way
	keptWaiting = 365 * 24 * time.Hour // a run that has not ended
)

// errLost ends a run that another process has, or that was cancelled elsewhere; errReleased one that is given up for
// others to go on with.
var (
	errLost     = errors.New("the run has another owner")
	errReleased = errors.New("the run is given up")
)

// record is a run as the storage has it.
type record struct {
	mu       sync.Mutex // one write at a time
	made     bool
	over     bool // nothing is to be written any more
	cancel   bool // the record says already that the run is cancelled
	watched  bool // a worker will look whether the run goes on
	owner    string
	fence    int64
	begun    time.Time
	renewed  time.Time
	kept     int // how many whole steps are stored
	attempts int // how often it was taken over since then
	created  mastra.Time

	head state

	shared sync.Mutex
	whole  []step // the whole steps, for whoever writes beside the run
}

// origin is what a stored run begins with, its Input.
type origin struct {
	Call  mastra.AgentCall `json:"call"`
	State state            `json:"state"` // without steps
}

// streamKey is the stored step that says how long the stream is; the model's steps are stored by their number.
const streamKey = "stream"

type streamed struct {
	Seq int64 `json:"seq"`
}

// noteStep tells the record that the step is whole.
func (x *run) noteStep(n int) {
	x.rec.shared.Lock()
	defer x.rec.shared.Unlock()
	x.rec.whole = x.Steps[: n+1 : n+1]
}

// head is what the run began with. It is made before others look at the run.
func (x *run) head() state {
	if x.rec.head.Version == 0 {
		x.rec.head = x.state
		x.rec.head.Steps = nil
	}
	return x.rec.head
}

// update is the write of the run's record: whole steps that are not stored yet, and the one that waits.
func (x *run) update(status mastra.RunStatus, steps []step) (mastra.RunUpdate, error) {
	rec := &x.rec
	now := x.now()
	head := mastra.Run{ID: x.RunID, WorkflowID: mastra.AgentRuns + x.agent.ID, ResourceID: x.resourceID, Status: status, Path: []string{}, TraceID: x.TraceID, SpanID: x.SpanID,
		Context: mastra.RequestContextOf(x.ctx), Caller: mastra.Caller(x.ctx), CreatedAt: x.StartedAt, UpdatedAt: now, Fence: rec.fence, Attempts: rec.attempts}
	if status.Ended() { // as long as its stream can be asked for
		head.ExpiresAt = now + mastra.Time(keptFor.Milliseconds())
	} else {
		head.ExpiresAt = now + mastra.Time(keptWaiting.Milliseconds())
	}
	if len(steps) > rec.kept {
		head.Attempts = 0
	}
	if rec.created != 0 {
		head.CreatedAt = rec.created
	}
	if status == mastra.StatusRunning {
		head.Owner, head.LeaseUntil = rec.owner, now+mastra.Time(lease.Milliseconds())
	}
	var err error
	if head.Input, err = encodeCall(origin{x.call, x.head()}); err != nil {
		return mastra.RunUpdate{}, err
	}
	if status == mastra.StatusSuspended {
		waiting := x.pending()
		for _, c := range waiting {
			head.Suspended = append(head.Suspended, []string{c.ToolCallID})
		}
		if head.Result, err = schema.Marshal(waiting); err != nil {
			return mastra.RunUpdate{}, err
		}
	}
	for i := rec.kept; i < len(steps); i++ {
		data, err := schema.Marshal(&steps[i])
		if err != nil {
			return mastra.RunUpdate{}, err
		}
		head.Steps.Set(strconv.Itoa(i), mastra.StepResult{Status: mastra.StatusSuccess, Output: data, StartedAt: steps[i].StartedAt})
	}
	if status == mastra.StatusSuspended && x.log != nil {
		data, err := schema.Marshal(streamed{int64(x.log.Len())})
		if err != nil {
			return mastra.RunUpdate{}, err
		}
		head.Steps.Set(streamKey, mastra.StepResult{Status: mastra.StatusSuccess, Output: data})
	}
	u := mastra.RunUpdate{Run: head, Create: !rec.made}
	if rec.made && !status.Ended() {
		u.From = mastra.StatusRunning
	}
	return u, nil
}

// encodeCall encodes a call, or what holds one.
func encodeCall(v any) (mastra.JSON, error) {
	return json.Marshal(v, json.OmitZeroStructFields(true), json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}

// recorded says whether there is a record of the run that another process made.
func (x *run) recorded() bool {
	_, err := x.m.Storage.Run(x.ctx, x.RunID)
	return err == nil
}

// writeRecord makes commit write the record, too, where there is one or has to be one.
func (x *run) writeRecord(b *mastra.Batch, status mastra.RunStatus, whole int, commit func() error) error {
	rec := &x.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.cancel {
		return commit()
	}
	if rec.over {
		return errLost
	}
	if !rec.made && (status != mastra.StatusSuspended || x.above != nil) {
		rec.over = status.Ended()
		return commit()
	}
	u, err := x.update(status, x.Steps[:whole])
	if err != nil {
		return err
	}
	b.Runs = []mastra.RunUpdate{u}
	err = commit()
	switch {
	case err == nil:
		rec.made, rec.kept, rec.renewed = true, whole, x.m.Now()
		rec.over = status != mastra.StatusRunning
	case rec.made && mastra.CodeOf(err) == mastra.CodeConflict:
		rec.over = true
		return errLost
	}
	return err
}

// release gives the run up for another process: its steps so far are stored, its lease ends.
func (x *run) release() error {
	rec := &x.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.made || rec.over {
		return errLost
	}
	rec.over = true
	rec.shared.Lock()
	whole := rec.whole
	rec.shared.Unlock()
	u, err := x.update(mastra.StatusRunning, whole)
	if err != nil {
		return err
	}
	u.Run.Owner, u.Run.LeaseUntil = "", 1
	x.send(x.m.Now()) // where that fails, the message of its beginning finds it
	b := &mastra.Batch{Runs: []mastra.RunUpdate{u}}
	return x.withChunks(b, false, func() error { return x.commit(context.WithoutCancel(x.ctx), b) })
}

// keeper makes records of runs that last, and keeps their leases. One goroutine, which the supervisor owns.
type keeper struct {
	owner string
	runs  *runlog.Supervisor

	mu      sync.Mutex
	live    map[*run]struct{}
	tending bool
}

func newKeeper(s *runlog.Supervisor) *keeper {
	return &keeper{owner: mastra.NewID(), runs: s, live: map[*run]struct{}{}}
}

// add has the keeper look after a run until drop.
func (k *keeper) add(x *run) {
	x.rec.begun = x.m.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live[x] = struct{}{}
	if !k.tending {
		k.tending = k.runs.Tend(k.tend)
	}
}

// find is the run of that id of ctx's tenant that goes on here, nil where there is none.
func (k *keeper) find(ctx context.Context, id string) *run {
	k.mu.Lock()
	defer k.mu.Unlock()
	for x := range k.live {
		if x.RunID == id && mastra.Tenant(x.ctx) == mastra.Tenant(ctx) {
			return x
		}
	}
	return nil
}

func (k *keeper) drop(x *run) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.live, x)
}

func (k *keeper) tend(stop <-chan struct{}) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		k.mu.Lock()
		all := make([]*run, 0, len(k.live))
		for x := range k.live {
			all = append(all, x)
		}
		k.mu.Unlock()
		var wg sync.WaitGroup
		slots := make(chan struct{}, atOnceKept)
		for _, x := range all {
			if !x.rec.mu.TryLock() { // the run itself is writing
				continue
			}
			now := x.m.Now()
			due := !x.rec.over && (x.rec.made && now.Sub(x.rec.renewed) >= heartbeat || !x.rec.made && now.Sub(x.rec.begun) >= recordAfter)
			if !due {
				x.rec.mu.Unlock()
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { x.rec.mu.Unlock(); <-slots }()
				if x.rec.made {
					x.renew()
				} else {
					x.make()
				}
			})
		}
		wg.Wait()
	}
}

// make makes the record of a run that lasts, under rec.mu.
func (x *run) make() {
	rec := &x.rec
	rec.shared.Lock()
	whole := rec.whole
	rec.shared.Unlock()
	x.watch()
	u, err := x.update(mastra.StatusRunning, whole)
	ctx := context.WithoutCancel(x.ctx)
	if err == nil {
		err = x.commit(ctx, &mastra.Batch{Runs: []mastra.RunUpdate{u}})
	}
	if err != nil {
		rec.begun = x.m.Now()
		x.m.Logger.WarnContext(ctx, "a run could not be made durable yet", "runId", x.RunID, "agent", x.agent.ID, "error", err)
		return
	}
	rec.made, rec.kept, rec.renewed = true, len(whole), x.m.Now()
}

// toWatch says that nobody looks for runs whose process died unless a message has told so.
func (x *run) toWatch() bool { return x.m.Queue != nil && !x.m.Alone }

// watch has a worker look whether the run still goes on when its lease may have run out: in a bundle of functions no process
// looks for that by itself. The message comes before the record.
func (x *run) watch() {
	if !x.rec.watched {
		x.rec.watched = x.send(x.m.Now().Add(lease + heartbeat))
	}
}

// send has a worker look at the run at that time, and says whether the queue took it.
func (x *run) send(at time.Time) bool {
	if !x.toWatch() {
		return false
	}
	ctx := context.WithoutCancel(x.ctx)
	data, err := schema.Marshal(mastra.RunWork{Sent: x.now()})
	if err == nil {
		err = x.m.Queue.Send(ctx, mastra.Work{Kind: mastra.WorkRun, Tenant: mastra.Tenant(ctx), ID: x.RunID, Data: data, At: mastra.TimeOf(at)})
	}
	if err != nil {
		x.m.Logger.ErrorContext(ctx, "nobody will notice where the run's process dies: the queue takes no work", "runId", x.RunID, "error", err)
	}
	return err == nil
}

// renew keeps the lease, and sees whether the run was cancelled or taken over, under rec.mu.
func (x *run) renew() {
	rec := &x.rec
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), heartbeat)
	defer cancel()
	x.watch() // where the queue did not take it before
	now := x.now()
	stored, err := x.m.Storage.Lease(ctx, x.RunID, rec.owner, now+mastra.Time(lease.Milliseconds()))
	switch {
	case err == nil && stored.Status == mastra.StatusCanceled:
		rec.over, rec.cancel = true, true
		x.stop(runlog.ErrCanceled)
	case mastra.CodeOf(err) == mastra.CodeConflict || mastra.CodeOf(err) == mastra.CodeNotFound || err == nil && (stored.Fence != rec.fence || stored.Status.Ended()):
		rec.over = true
		x.stop(errLost)
	case err != nil:
		x.m.Logger.WarnContext(ctx, "the lease of a run was not renewed", "runId", x.RunID, "error", err)
	default:
		rec.renewed = x.m.Now()
	}
}
