package dynamodb

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/storagetest"
)

func TestTracesAtRandom(t *testing.T) {
	t.Parallel()
	storagetest.RunTraces(t, openTest(t), storagetest.Load{Rounds: 6, Commits: 12, Traces: 3})
}

func TestScoresAtRandom(t *testing.T) {
	t.Parallel()
	storagetest.RunScores(t, openTest(t), 12)
}

func TestThreadsAtRandom(t *testing.T) {
	t.Parallel()
	storagetest.RunThreads(t, openTest(t), 20)
	storagetest.RunThreads(t, &forgetful{openTest(t)}, 20)
}

func TestRunsAtRandom(t *testing.T) {
	t.Parallel()
	storagetest.RunRuns(t, openTest(t), 20)
}

// hoursOnly reads all outlines by hours, however few they are, and lets some minutes go by before each time.
type hoursOnly struct {
	*Store
	minutes *atomic.Int64
}

func (h hoursOnly) Outlines(ctx context.Context, q mastra.SpanQuery, yield func([]mastra.Span) bool) error {
	if q.TraceIDs != nil {
		return h.Store.Outlines(ctx, q, yield)
	}
	h.minutes.Add(5)
	return h.outlinesByHour(ctx, mastra.Tenant(ctx), q, maxRead, yield)
}

func TestHoursAtRandom(t *testing.T) {
	t.Parallel()
	h := hoursOnly{openTest(t), new(atomic.Int64)}
	h.now = func() time.Time {
		return time.UnixMilli(1_700_000_000_000).Add(72*time.Hour + time.Duration(h.minutes.Load())*time.Minute)
	}
	storagetest.RunTraces(t, h, storagetest.Load{Rounds: 6, Commits: 12, Traces: 3})
}
