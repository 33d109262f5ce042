package lambdalocal_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
)

// A deployed function dies in the middle of an agent's stream. The worker, which the queue tells of the run, takes it over, and
// whoever observes it by another instance gets it to its end.
func TestTheWorkerTakesAStreamOver(t *testing.T) {
	t.Parallel() // it waits for a lease meanwhile
	d := deployOver(t, services.DynamoDB(t), nil, "MODEL_DELAY=60")
	w := d.stream(t.Context(), t, "stream", `{"messages":"Tell me a story","runId":"run","memory":{"thread":"t","resource":"ann"}}`)
	if w.StatusCode != 200 {
		t.Fatal(w.Status)
	}
	read := func(w *http.Response, stop func(kind string) bool) (kinds []string, last string, whole bool) {
		lines := bufio.NewScanner(w.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				if last = id; stop != nil && stop(kinds[len(kinds)-1]) {
					return kinds, last, false
				}
			}
			if _, rest, ok := strings.Cut(line, `"type":"`); ok && strings.HasPrefix(line, "data: ") {
				kind, _, _ := strings.Cut(rest, `"`)
				kinds = append(kinds, kind)
			}
			whole = whole || line == "data: [DONE]"
		}
		return kinds, last, whole
	}
	stored := func() *mastra.Run { r, _ := d.Store.Run(t.Context(), "run"); return r }
	_, last, _ := read(w, func(kind string) bool { return kind == "text-delta" && stored() != nil })
	if r := stored(); r == nil || r.Status != mastra.StatusRunning || r.Owner == "" {
		t.Fatalf("the run is not durable: %+v", r)
	}
	d.Pools["AgentsFunction"].Kill()
	if _, _, whole := read(w, nil); whole {
		t.Fatal("the stream of the dead instance came to its end")
	}
	began := time.Now()
	kinds, _, whole := read(d.stream(t.Context(), t, "observe", `{"runId":"run"}`, "Last-Event-ID", last), nil)
	got := strings.Join(kinds, " ")
	if _, behind, ok := strings.Cut(got, "epoch step-start text-start text-delta "); !ok || !whole || !strings.HasSuffix(behind, "text-delta text-end step-finish finish") {
		t.Errorf("observed behind %s: %s", last, got)
	}
	t.Logf("taken over and at its end %v after the crash", time.Since(began))
	if r := stored(); r.Status != mastra.StatusSuccess || r.Fence < 2 {
		t.Errorf("%+v", r)
	}
	if status, body := d.call(t, "GET", "/api/memory/t", ""); status != 200 || !strings.Contains(body, `"total":2`) {
		t.Errorf("%d %s", status, body)
	}
}
