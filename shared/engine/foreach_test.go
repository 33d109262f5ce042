package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// As many turns as said run at once, and never more; their results come in the order of the items.
func TestForEachConcurrency(t *testing.T) {
	for _, c := range []struct{ concurrency, items, want int }{{1, 4, 1}, {3, 7, 3}, {10, 4, 4}} {
		var mu sync.Mutex
		now, most := 0, 0
		full := make(chan struct{}) // closed when as many run as are to
		w := mastra.NewWorkflow[int, []int]("w").Then(mastra.NewStep("list", upTo)).ForEach(step("turn", func(_ context.Context, n int) (int, error) {
			mu.Lock()
			if now++; now > most {
				if most = now; most == c.want {
					close(full)
				}
			}
			mu.Unlock()
			select {
			case <-full:
			case <-time.After(5 * time.Second):
			}
			mu.Lock()
			defer mu.Unlock()
			now--
			return 2 * n, nil
		}), c.concurrency)
		run := start(t, inNewFile(t, w), w, mastra.WorkflowCall{Input: mastra.JSON([]byte{'0' + byte(c.items)})})
		if most != c.want || string(run.Result) != map[int]string{4: "[0,2,4,6]", 7: "[0,2,4,6,8,10,12]"}[c.items] {
			t.Errorf("%+v: %d at once, %s", c, most, run.Result)
		}
	}
}
