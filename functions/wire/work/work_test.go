package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/dynamodb"
)

// The worker carries out what was started without waiting, answers as an event source mapping expects, and names the
// messages that are not over.
func TestWorker(t *testing.T) {
	ctx, name := t.Context(), "worker-"+mastra.NewID()
	endpoint, queues := services.DynamoDB(t), services.Queues(t)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	url := fmt.Sprintf("dynamodb://?threads=%s-t&runs=%s-r&observability=%s-o", name, name, name)
	tables, err := dynamodb.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	store := dynamodb.Open(cfg, tables)
	if err := store.CreateTables(ctx); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cfg.BaseEndpoint = &queues
	client := awssqs.NewFromConfig(cfg)
	made, err := client.CreateQueue(ctx, &awssqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"VisibilityTimeout": "900"}})
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"STORAGE_URL": url, "QUEUE_URL": *made.QueueUrl, "QUEUE_ARN": "arn:aws:sqs:us-east-1:000000000000:" + name, "DEAD_QUEUE_URL": *made.QueueUrl,
		"SCHEDULER_GROUP": name, "SCHEDULER_ROLE_ARN": "arn:aws:iam::000000000000:role/scheduler", "MODEL": "offline/demo"}
	flow := mastra.NewWorkflow[int, int]("w").Then(mastra.NewStep("a", func(_ context.Context, n int) (int, error) {
		if n < 0 {
			return 0, errors.New("below zero")
		}
		return n + 1, nil
	}))
	length := mastra.NewScorer("length", "Length", "", func(_ context.Context, r mastra.ScorerRun) (mastra.Verdict, error) {
		return mastra.Verdict{Score: float64(len(r.Output))}, nil
	})
	judge := mastra.NewJudge("judge", "Judge", "", "", `Answer with {"score": 0.5, "reason": "said so"}.`)
	app := func(b mastra.Backends) (*mastra.Mastra, error) {
		return mastra.New(mastra.Config{Workflows: []mastra.Workflow{flow}, Scorers: []*mastra.Scorer{length, judge}, Backends: b})
	}
	w, err := New(app, func(k string) string { return env[k] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	take := func(what string, is func(mastra.Work) bool) events.SQSEvent {
		t.Helper()
		for range 10 {
			got, err := client.ReceiveMessage(ctx, &awssqs.ReceiveMessageInput{QueueUrl: made.QueueUrl, WaitTimeSeconds: 5, MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range got.Messages {
				if is(w.queue.Delivery(*m.Body, *m.ReceiptHandle, 1).Work) {
					return events.SQSEvent{Records: []events.SQSMessage{{MessageId: *m.MessageId, ReceiptHandle: *m.ReceiptHandle, Body: *m.Body, Attributes: m.Attributes}}}
				}
			}
		}
		t.Fatalf("the queue has no message of %s", what)
		return events.SQSEvent{}
	}
	// receive takes the message of a piece of work. Others are repeats of messages that were sent before: SQS delivers at least once.
	receive := func(id string) events.SQSEvent {
		t.Helper()
		return take(id, func(w mastra.Work) bool { return w.ID == id })
	}
	for input, want := range map[string]mastra.RunStatus{"1": mastra.StatusSuccess, "-1": mastra.StatusFailed} { // a run that fails is work that is done
		run, err := w.m.Engine.Background(ctx, w.m, flow, mastra.WorkflowCall{Input: mastra.JSON(input)})
		if err != nil || run.Status != mastra.StatusRunning {
			t.Fatalf("%+v %v", run, err)
		}
		out, err := w.Invoke(ctx, receive(run.ID))
		if err != nil || len(out.BatchItemFailures) != 0 {
			t.Errorf("%+v %v", out, err)
		}
		if run, err = store.Run(ctx, run.ID); err != nil || run.Status != want {
			t.Errorf("%s: %+v %v", input, run, err)
		}
	}
	// What was asked to be scored is judged here, by the function's models; a message that comes twice leaves one score.
	if err := store.Commit(ctx, &mastra.Batch{Spans: []mastra.Span{{TraceID: "t", SpanID: "root", StartedAt: 1, EndedAt: 2, Output: mastra.JSON(`"12"`)}}}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		scorer *mastra.Scorer
		scores int
	}{{length, 1}, {judge, 0}} { // the offline model gives no verdict, but it was asked
		w.m.Scoring.Score(ctx, w.m, []*mastra.Scorer{tc.scorer}, mastra.ScorerRun{TraceID: "t"})
		if err := w.settle(ctx); err != nil {
			t.Fatal(err)
		}
		e := take("scoring", func(w mastra.Work) bool { return w.Kind == mastra.WorkScore })
		again := w.queue.Delivery(e.Records[0].Body, e.Records[0].ReceiptHandle, 2).Work
		if out, err := w.Invoke(ctx, e); err != nil || len(out.BatchItemFailures) != 0 {
			t.Errorf("%+v %v", out, err)
		}
		if err := w.handle(ctx, again); err != nil {
			t.Error(err)
		}
		p, err := store.Scores(ctx, mastra.ScoreQuery{ScorerID: tc.scorer.ID, Paging: mastra.Paging{PerPage: 5}})
		if err != nil || p.Total != tc.scores || tc.scores > 0 && (p.Items[0].Score != 4 || p.Items[0].TraceID != "t") {
			t.Errorf("%s: %+v %v", tc.scorer.ID, p, err)
		}
		traces, err := store.Traces(ctx, mastra.TraceQuery{EntityType: "scorer", EntityID: tc.scorer.ID, Paging: mastra.Paging{PerPage: 5}})
		if err != nil || traces.Total != 1 || (traces.Items[0].Status() == "error") != (tc.scores == 0) {
			t.Errorf("%s: %+v %v", tc.scorer.ID, traces, err)
		}
	}
	if err := w.queue.Send(ctx, mastra.Work{Kind: "unknown", ID: "x"}); err != nil {
		t.Fatal(err)
	}
	e := receive("x")
	e.Records = append(e.Records, events.SQSMessage{MessageId: "torn", Body: "{"})
	out, err := w.Invoke(ctx, e)
	if err != nil || len(out.BatchItemFailures) != 2 || out.BatchItemFailures[0].ItemIdentifier != e.Records[0].MessageId || out.BatchItemFailures[1].ItemIdentifier != "torn" {
		t.Errorf("%+v %v", out, err)
	}
	for _, k := range []string{"QUEUE_URL", "CODE_VERSION"} {
		wrong := map[string]string{"CODE_VERSION": "x"}
		if _, err := New(app, func(name string) string {
			if name == k {
				return wrong[k]
			}
			return env[name]
		}, io.Discard); err == nil {
			t.Errorf("it starts without a good %s", k)
		}
	}
}

// A worker is of its published version where nothing else is said: a plain sam deploy gives runs and workers the same one.
func TestVersioned(t *testing.T) {
	for want, env := range map[string]map[string]string{"7": {"AWS_LAMBDA_FUNCTION_VERSION": "7"}, "": {"AWS_LAMBDA_FUNCTION_VERSION": "$LATEST"}, "9": {"AWS_LAMBDA_FUNCTION_VERSION": "7", "CODE_VERSION": "9"}} {
		if have := versioned(func(name string) string { return env[name] })("CODE_VERSION"); have != want {
			t.Errorf("%v: %q", env, have)
		}
	}
}
