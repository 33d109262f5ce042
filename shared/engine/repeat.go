package engine

import (
	"context"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

// keepUnanswered is how long a run whose request got no answer waits for a repeat of that request.
const keepUnanswered = 5 * time.Minute

// unanswered are the runs that were started by requests that got no answer: the client went away, or was told of a fault.
// A repeat of such a request joins its run. It holds within this process; across processes a runId or an idempotency key does.
type unanswered struct {
	mu   sync.Mutex
	runs map[string]waitingRun // by tenant and the request's fingerprint
}

type waitingRun struct {
	id    string
	until time.Time
}

// requested is the request that starts a run, and its key; nil where a run is begun within another one, or directly.
func requested(ctx context.Context) (*mastra.Request, string) {
	r := mastra.RequestOf(ctx)
	if r == nil || r.Fingerprint == "" || mastra.From(ctx) != nil {
		return nil, ""
	}
	return r, mastra.Tenant(ctx) + "\x00" + r.Fingerprint
}

// take is the run that waits for a repeat of the request, "" without one. It is another repeat's no more.
func (u *unanswered) take(key string, now time.Time) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	run, ok := u.runs[key]
	delete(u.runs, key)
	if !ok || now.After(run.until) {
		return ""
	}
	return run.id
}

// watch keeps the run for a repeat where the request ends without an answer.
func (u *unanswered) watch(r *mastra.Request, key, id string, now func() time.Time) {
	r.OnEnd(func(answered bool) {
		if answered {
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.runs == nil {
			u.runs = map[string]waitingRun{}
		}
		for k, run := range u.runs {
			if now().After(run.until) {
				delete(u.runs, k)
			}
		}
		u.runs[key] = waitingRun{id, now().Add(keepUnanswered)}
	})
}
