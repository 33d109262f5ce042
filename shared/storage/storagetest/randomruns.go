package storagetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

// RunRuns checks that runs, which are begun, get on, are taken over, sent back, end and are deleted, also by writers that come too
// late, are what a list of all says.
func RunRuns(t *testing.T, s mastra.Storage, rounds int) {
	w := &ran{env: &env{T: t, s: s, ctx: newTenant(t.Context())}, Rand: randomOf(t), runs: map[string]mastra.Run{}}
	for range rounds {
		for range 15 {
			w.write()
		}
		w.list()
		w.list()
		for range 5 {
			w.read(fmt.Sprint("run", w.IntN(60)))
		}
	}
}

type ran struct {
	*env
	*rand.Rand
	n    int // of writes
	runs map[string]mastra.Run
}

var statuses = []mastra.RunStatus{mastra.StatusRunning, mastra.StatusRunning, mastra.StatusWaiting, mastra.StatusSuspended, mastra.StatusPaused, mastra.StatusSuccess, mastra.StatusFailed, mastra.StatusCanceled}

// write is one step of some run's life.
func (w *ran) write() {
	w.n++
	id := fmt.Sprint("run", w.IntN(60))
	before, known := w.runs[id]
	switch w.IntN(8) {
	case 0:
		if err := w.s.DeleteRun(w.ctx, id); known {
			w.ok(err)
		} else {
			w.refuses(mastra.CodeNotFound, err)
		}
		delete(w.runs, id)
		return
	case 1:
		if !known || before.Status.Ended() {
			return
		}
		owner, until := fmt.Sprint("p", w.IntN(3)), []mastra.Time{base, now() + 3_600_000}[w.IntN(2)]
		got, err := w.s.Lease(w.ctx, id, owner, until)
		if before.Owner != owner && before.LeaseUntil > now() {
			w.refuses(mastra.CodeConflict, err)
			return
		}
		w.ok(err)
		if before.Owner != owner {
			before.Fence++
		}
		before.Owner, before.LeaseUntil = owner, until
		w.equal(got.Fence, before.Fence)
		w.runs[id] = before
		return
	}
	u := mastra.RunUpdate{Run: run(id, statuses[w.IntN(len(statuses))]), Create: !known && w.IntN(8) > 0 || w.IntN(8) == 0}
	r := &u.Run
	r.WorkflowID, r.ResourceID, r.CreatedAt = fmt.Sprint("w", w.IntN(2)), fmt.Sprint("r", w.IntN(3)), base+mastra.Time(w.IntN(500)*1000+w.n%1000)*1000+mastra.Time(w.n/1000)
	r.UpdatedAt, r.Result = base+mastra.Time(w.n), text(fmt.Sprint("result ", w.n))
	ok := !known
	if !u.Create {
		ok = known
		if known {
			r.WorkflowID, r.ResourceID, r.CreatedAt, r.Fence = before.WorkflowID, before.ResourceID, before.CreatedAt, before.Fence
			r.Owner, r.LeaseUntil = before.Owner, before.LeaseUntil
		}
		u.Reset = w.IntN(6) == 0
		if w.IntN(4) == 0 {
			u.From = statuses[w.IntN(len(statuses))]
			ok = ok && u.From == before.Status
		}
		ok = ok && (!before.Status.Ended() || u.Reset && u.From != "")
		if w.IntN(6) == 0 {
			r.Fence++
			ok = false
		}
	}
	for range w.IntN(4) {
		s := step(fmt.Sprint("s", w.IntN(9)), fmt.Sprint(w.n))
		if !slices.ContainsFunc(r.Steps, func(o mastra.Member[mastra.StepResult]) bool { return o.Key == s.Key }) {
			r.Steps = append(r.Steps, s)
		}
	}
	if err := w.update(u); !ok {
		if err == nil {
			w.Fatalf("%+v was taken on %+v", u, before)
		}
		return
	} else if err != nil {
		w.Fatalf("%+v on %+v: %v", u, before, err)
	}
	after := *r
	if !u.Create && !u.Reset {
		after.Steps = slices.Clone(before.Steps)
		for _, s := range r.Steps {
			after.Steps.Set(s.Key, s.Value)
		}
	}
	w.runs[id] = after
}

func told(r *mastra.Run) string {
	return fmt.Sprintf("%s of %s, %s: %s %s %d %q %d", r.ID, r.WorkflowID, r.ResourceID, r.Status, r.Result, r.UpdatedAt, r.Owner, r.Fence)
}

func (w *ran) list() {
	q := mastra.RunQuery{WorkflowID: fmt.Sprint("w", w.IntN(3))}
	if w.IntN(3) == 0 {
		q.ResourceID = fmt.Sprint("r", w.IntN(4))
	}
	if w.IntN(2) == 0 {
		q.Status = statuses[w.IntN(len(statuses))]
	}
	if w.IntN(3) == 0 {
		q.From = base + mastra.Time(w.IntN(500_000_000))
	}
	if w.IntN(3) == 0 {
		q.To = base + mastra.Time(w.IntN(500_000_000))
	}
	want := []string{}
	for _, r := range slices.SortedFunc(maps.Values(w.runs), func(a, b mastra.Run) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) }) {
		if r.WorkflowID == q.WorkflowID && (q.ResourceID == "" || r.ResourceID == q.ResourceID) && (q.Status == "" || r.Status == q.Status) && r.CreatedAt >= q.From && (q.To == 0 || r.CreatedAt <= q.To) {
			want = append(want, told(&r))
		}
	}
	got := pages(w.env, 1+w.IntN(9), func(r mastra.Run) string { return told(&r) }, func(p mastra.Paging) (*mastra.Page[mastra.Run], error) {
		q.Paging = p
		return w.s.Runs(w.ctx, q)
	})
	if !slices.Equal(got, want) {
		w.Fatalf("%+v:\n got %v\nwant %v", q, got, want)
	}
}

func (w *ran) read(id string) {
	want, ok := w.runs[id]
	if !ok {
		_, err := w.s.Run(w.ctx, id)
		w.refuses(mastra.CodeNotFound, err)
		return
	}
	got := w.readRun(id)
	w.equal(told(got), told(&want))
	w.equal(got.Steps, want.Steps)
}
