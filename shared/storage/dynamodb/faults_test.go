package dynamodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/storagetest"
)

// fault answers some requests in place of DynamoDB, as the stand-in never does. It is given the operation and how many
// of it there were. "" lets a request through; an answer of "lost" does it and loses the answer.
type fault struct {
	http.RoundTripper
	mu    sync.Mutex
	seen  map[string]int
	wrong func(operation string, n int, body string) (answer string)
}

func (f *fault) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	f.seen[operation]++
	answer := f.wrong(operation, f.seen[operation], string(body))
	f.mu.Unlock()
	switch answer {
	case "":
		return f.RoundTripper.RoundTrip(r)
	case "lost":
		out, err := f.RoundTripper.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		_, _ = io.Copy(io.Discard, out.Body)
		_ = out.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	status := http.StatusBadRequest
	if answer == "InternalServerError" {
		status = http.StatusInternalServerError
	}
	text := answer
	if !strings.HasPrefix(answer, "{") {
		text = `{"__type":"com.amazonaws.dynamodb.v20120810#` + answer + `","message":"injected"}`
	} else if !strings.Contains(answer, "__type") {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func faulty(t *testing.T, wrong func(operation string, n int, body string) string) *Store {
	return openTest(t, func(c *aws.Config) {
		c.HTTPClient = &http.Client{Transport: &fault{RoundTripper: http.DefaultTransport, seen: map[string]int{}, wrong: wrong}}
	})
}

const canceled = `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"injected","CancellationReasons":[{"Code":"None"},{"Code":"%s"}]}`

// The whole suite holds where every third request is throttled, meets another transaction or fails, and some answers are lost.
func TestStorageUnderFaults(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	storagetest.Run(t, func(t *testing.T) mastra.Storage {
		return faulty(t, func(operation string, n int, _ string) string {
			switch {
			case n%7 == 0 && (operation == "PutItem" || operation == "TransactWriteItems"):
				return "lost"
			case n%3 != 0:
				return ""
			case operation == "TransactWriteItems" && n%2 == 0:
				return fmt.Sprintf(canceled, "TransactionConflict")
			case operation == "TransactWriteItems":
				return fmt.Sprintf(canceled, "ThrottlingError")
			case operation == "UpdateItem" && n%2 == 0:
				return "TransactionConflictException"
			case n%2 == 0:
				return "InternalServerError"
			}
			return "ProvisionedThroughputExceededException"
		})
	})
}

// What is added is added once where the answer to the first attempt is lost, though others write meanwhile.
func TestLostAnswers(t *testing.T) {
	ctx := newTenant(t)
	s := faulty(t, func(operation string, n int, _ string) string {
		if operation == "UpdateItem" && n%3 == 0 {
			return "lost"
		}
		return ""
	})
	if err := s.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{{ID: "t", ResourceID: "me", CreatedAt: 1, UpdatedAt: 1}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		err := s.Commit(ctx, &mastra.Batch{Messages: []mastra.Message{{ID: fmt.Sprint("m", i), ThreadID: "t", CreatedAt: 5, Content: mastra.JSON(`{}`)}},
			Spans: []mastra.Span{{TraceID: fmt.Sprint("x", i), SpanID: "s", StartedAt: 1}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.Messages(ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 50}})
	if err != nil || p.Total != 30 || len(p.Items) != 30 {
		t.Fatalf("%d messages of %d, %v", len(p.Items), p.Total, err)
	}
	traces, err := s.Traces(ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 1}})
	if err != nil || traces.Total != 30 {
		t.Fatalf("%d traces, %v", traces.Total, err)
	}
}

// A batch is done in parts where DynamoDB leaves some to be asked for again.
func TestUnprocessed(t *testing.T) {
	ctx := newTenant(t)
	s := faulty(t, func(operation string, n int, body string) string {
		switch {
		case operation == "BatchGetItem" && n%2 == 1:
			return `{"Responses":{},"UnprocessedKeys":` + field(body, "RequestItems") + `}`
		case operation == "BatchWriteItem" && n%2 == 1:
			return `{"UnprocessedItems":` + field(body, "RequestItems") + `}`
		}
		return ""
	})
	b := mastra.Batch{Threads: []mastra.Thread{{ID: "t", ResourceID: "me", CreatedAt: 1, UpdatedAt: 1}}}
	for i := range 120 { // more than a transaction takes
		b.Messages = append(b.Messages, mastra.Message{ID: fmt.Sprint("m", i), ThreadID: "t", CreatedAt: mastra.Time(i), Content: mastra.JSON(`{}`)})
	}
	if err := s.Commit(ctx, &b); err != nil {
		t.Fatal(err)
	}
	if _, all, err := s.Recall(ctx, "t", 200); err != nil || len(all) != 120 {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	p, err := s.Threads(ctx, mastra.ThreadQuery{Paging: mastra.Paging{PerPage: 5}})
	if err != nil || len(p.Items) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := s.DeleteThread(ctx, "t"); err != nil {
		t.Fatal(err)
	}
}

// field is the value of a member of a small JSON object, up to its matching brace.
func field(body, name string) string {
	at := strings.Index(body, `"`+name+`":`) + len(name) + 3
	depth := 0
	for i := at; i < len(body); i++ {
		switch body[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return body[at : i+1]
			}
		}
	}
	return "{}"
}

// What never ends comes back as unavailable, and nothing of the batch stays.
func TestOverloaded(t *testing.T) {
	ctx := newTenant(t)
	good := openTest(t)
	if err := good.Commit(ctx, &mastra.Batch{Threads: []mastra.Thread{{ID: "t", CreatedAt: 1, UpdatedAt: 1}}}); err != nil {
		t.Fatal(err)
	}
	s := faulty(t, func(operation string, _ int, body string) string {
		if operation == "UpdateItem" && strings.Contains(body, "~act") && !strings.Contains(body, `"N":"-`) {
			return "ThrottlingException"
		}
		return ""
	})
	b := mastra.Batch{Messages: []mastra.Message{{ID: "m", ThreadID: "t", CreatedAt: 5, Content: mastra.JSON(`{}`)}},
		Spans: []mastra.Span{{TraceID: "x", SpanID: "s", StartedAt: 1}}, Scores: []mastra.Score{{ID: "s"}}}
	err := s.Commit(ctx, &b)
	if mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Fatalf("error %v", err)
	}
	nothingOf(t, ctx, good)
	if err := good.Commit(ctx, &b); err != nil { // the ids are free
		t.Fatal(err)
	}
}

// A batch that is refused while its other writes are under way leaves nothing either.
func TestRefusedBeside(t *testing.T) {
	ctx := newTenant(t)
	s := openTest(t)
	both := mastra.Batch{Threads: []mastra.Thread{{ID: "t", CreatedAt: 1, UpdatedAt: 1}, {ID: "other", CreatedAt: 1, UpdatedAt: 1}},
		Messages: []mastra.Message{{ID: "taken", ThreadID: "other", CreatedAt: 5, Content: mastra.JSON(`{}`)}}}
	if err := s.Commit(ctx, &both); err != nil {
		t.Fatal(err)
	}
	big := mastra.JSON(`"` + strings.Repeat("0123456789", 50_000) + `"`)
	err := s.Commit(ctx, &mastra.Batch{
		Messages: []mastra.Message{{ID: "m", ThreadID: "t", CreatedAt: 5, Content: big}, {ID: "taken", ThreadID: "t", CreatedAt: 6, Content: mastra.JSON(`{}`)}},
		Spans:    []mastra.Span{{TraceID: "x", SpanID: "s", StartedAt: 1, Input: big}}, Scores: []mastra.Score{{ID: "s", TraceID: "x"}},
	})
	if mastra.CodeOf(err) != mastra.CodeConflict {
		t.Fatalf("error %v", err)
	}
	nothingOf(t, ctx, s)
	left, err := s.query(ctx, query{table: s.tables.Threads, pk: threadPK(mastra.Tenant(ctx), "t"), consistent: true})
	if err != nil || len(left) != 1 {
		t.Fatalf("%d items are left of the thread, %v", len(left), err)
	}
}

// nothingOf wants a thread "t" without messages, and no trace or score.
func nothingOf(t *testing.T, ctx context.Context, s *Store) {
	t.Helper()
	p, err := s.Messages(ctx, mastra.MessageQuery{ThreadID: "t", Paging: mastra.Paging{PerPage: 5}})
	if err != nil || p.Total != 0 || len(p.Items) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := s.Trace(ctx, "x"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Fatalf("error %v", err)
	}
	traces, err := s.Traces(ctx, mastra.TraceQuery{Paging: mastra.Paging{PerPage: 5}})
	if err != nil || traces.Total != 0 {
		t.Fatalf("%+v, %v", traces, err)
	}
	scores, err := s.Scores(ctx, mastra.ScoreQuery{Paging: mastra.Paging{PerPage: 5}})
	if err != nil || scores.Total != 0 {
		t.Fatalf("%+v, %v", scores, err)
	}
}

func TestClosed(t *testing.T) {
	s := openTest(t)
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Thread(newTenant(t), "t"); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Fatalf("error %v", err)
	}
}
