package dynamodb

import (
	"bytes"
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/runlog"
)

// dying is the network of a process that dies while the writes of a commit are on their way: some still arrive, and nothing behind them.
// It dies once it has made its claim and asked its model so often.
type dying struct {
	mu      sync.Mutex
	claimed bool
	asked   func() int
	called  int
	arrive  []string
	seen    map[string]int
}

// kindOf tells writes by the keys in them.
func kindOf(body string) string {
	for _, k := range [][2]string{{"claim", "#K#"}, {"pointer", "#I#"}, {"trace", "#X#"}, {"count", "#N#"}, {"names", "#V"}, {"thread", activityKey}, {"message", messages}} {
		if strings.Contains(body, k[1]) {
			return k[0]
		}
	}
	return ""
}

func (d *dying) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	kind, writes := kindOf(string(body)), operation != "Query"
	d.mu.Lock()
	if d.claimed && d.asked() >= d.called && writes {
		d.seen[kind]++
		most := 1 // what comes later takes it back
		if kind == "count" {
			most = 2
		}
		if !slices.Contains(d.arrive, kind) || d.seen[kind] > most || operation == "DeleteItem" {
			d.mu.Unlock()
			return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Request: r,
				Body: io.NopCloser(strings.NewReader(`{"__type":"com.amazonaws.dynamodb.v20120810#ValidationException","message":"dead"}`))}, nil
		}
	}
	d.mu.Unlock()
	out, err := http.DefaultTransport.RoundTrip(r)
	if kind == "claim" && err == nil && out.StatusCode == http.StatusOK {
		d.mu.Lock()
		d.claimed = true
		d.mu.Unlock()
	}
	return out, err
}

// A process that dies between any two writes of a generate leaves what a repeat of the request, which comes to another process, makes
// whole: the user's message is there once, and so is the answer.
func TestCutBetweenWrites(t *testing.T) {
	begins, ends := []string{"message", "pointer", "thread", "count"}, []string{"message", "pointer", "thread", "trace"}
	for _, c := range []struct {
		name   string
		called int // how often the model was asked before
		of     []string
		old    bool // the thread was there before
		key    string
	}{{"before the model, in a new thread", 0, begins, false, ""}, {"before the model", 0, begins[:3], true, ""}, {"before the model, under a key", 0, begins[:3], true, "key"}, {"behind the model", 1, ends, true, ""}} {
		t.Run(c.name, func(t *testing.T) {
			for set := range 1 << len(c.of) {
				var some []string
				for i, kind := range c.of {
					if set>>i&1 == 1 {
						some = append(some, kind)
					}
				}
				cut(t, some, c.called, c.old, c.key)
			}
		})
	}
}

// cut has a process die once some writes have arrived, and repeats its request in another one.
func cut(t *testing.T, arrive []string, called int, old bool, key string) {
	ctx := newTenant(t)
	var asked atomic.Int32
	process := func(s *Store, now func() time.Time) func(context.Context, string, string) func() error {
		log := slog.New(slog.DiscardHandler)
		runs := runlog.NewSupervisor(log)
		agent := &mastra.Agent{ID: "a", Name: "A", Memory: &mastra.Memory{LastMessages: 10}}
		app, err := mastra.New(mastra.Config{Agents: []*mastra.Agent{agent}, Backends: mastra.Backends{Storage: s, Now: now, Logger: log, Agents: agentloop.New(runs),
			Models: func(string) (mastra.LanguageModel, error) {
				return askedModel{offline.New(0), &asked}, nil
			}}})
		if err != nil {
			t.Fatal(err)
		}
		return overHTTP(t, app, runs)
	}
	good := openTest(t)
	if old {
		idle(t, good, ctx, "t")
	}
	d := &dying{asked: func() int { return int(asked.Load()) }, called: called, arrive: arrive, seen: map[string]int{}}
	dead := openTest(t, func(c *aws.Config) { c.HTTPClient = &http.Client{Transport: d} })
	if err := process(dead, time.Now)(ctx, "t", key)(); err == nil {
		t.Fatalf("%v: the process that died has answered", arrive)
	}
	later := func() time.Time { return time.Now().Add(time.Minute) }
	if err := process(good, later)(ctx, "t", key)(); err != nil {
		t.Fatalf("%v: the repeat: %v", arrive, err)
	}
	p, err := good.Messages(ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 10}})
	if err != nil {
		t.Fatal(err)
	}
	var roles string
	for _, m := range p.Items {
		if !strings.HasPrefix(m.ID, "old") {
			roles += m.Role + " "
		}
		if found, err := good.MessagesAround(ctx, []mastra.MessageRef{{ID: m.ID}}); err != nil || len(found) != 1 {
			t.Errorf("%v: the message %s is not found by its id, %v", arrive, m.ID, err)
		}
	}
	if roles != "user assistant " || p.Total != len(p.Items) {
		t.Errorf("%v: the thread holds %s(%d of %d)", arrive, roles, len(p.Items), p.Total)
	}
	traces, err := good.Traces(ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 5}})
	if err != nil || len(traces.Items) > 1 {
		t.Errorf("%v: %d traces, %v", arrive, len(traces.Items), err)
	}
}

// askedModel counts how often it is asked.
type askedModel struct {
	mastra.LanguageModel
	asked *atomic.Int32
}

func (m askedModel) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	m.asked.Add(1)
	return m.LanguageModel.Stream(ctx, r)
}
