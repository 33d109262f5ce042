// Package work makes the worker: the Lambda that takes work from the queue.
package work

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"mastralambda/functions/wire"
	"mastralambda/functions/wire/runs"
	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue"
	"mastralambda/shared/queue/sqs"
	"mastralambda/shared/scoring"
	"mastralambda/shared/webhook"
)

// Main serves the worker. What keeps it from starting is one line of the log.
func Main(app func(mastra.Backends) (*mastra.Mastra, error)) {
	w, err := New(app, os.Getenv, os.Stdout)
	if err != nil {
		slog.Error("the worker does not start", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
	lambda.Start(w.Invoke)
}

// Worker does the work of the queue's messages.
type Worker struct {
	m      *mastra.Mastra
	queue  *sqs.Queue
	handle queue.Handler
	settle func(context.Context) error
}

// versioned is an environment whose CODE_VERSION, where it has none, is the published version that this worker is: template.yaml
// gives it to the functions that begin runs.
func versioned(getenv func(string) string) func(string) string {
	return func(name string) string {
		v := getenv(name)
		if name == "CODE_VERSION" && v == "" {
			v = strings.TrimPrefix(getenv("AWS_LAMBDA_FUNCTION_VERSION"), "$LATEST")
		}
		return v
	}
}

// New makes a Worker of the environment.
func New(app func(mastra.Backends) (*mastra.Mastra, error), getenv func(string) string, out io.Writer) (*Worker, error) {
	m, settle, err := wire.Function{App: app, Runner: runs.Backends}.Application(versioned(getenv), out)
	if err != nil {
		return nil, err
	}
	q, ok := m.Queue.(*sqs.Queue)
	if !ok {
		return nil, errors.New("QUEUE_URL is not set: there is nothing to work on")
	}
	e, ok := m.Engine.(*engine.Engine)
	if !ok {
		return nil, errors.New("the application has an engine of its own, which takes no work")
	}
	return &Worker{m: m, queue: q, settle: settle, handle: queue.Handlers{
		mastra.WorkRun:     func(ctx context.Context, w mastra.Work) error { return e.Work(ctx, m, w) },
		mastra.WorkWebhook: webhook.New(m).Handle,
		mastra.WorkScore:   scoring.Handler(m),
	}.Handle}, nil
}

// reserve is what is kept of an invocation's time, so that what ends by its deadline can still be stored.
const reserve = 2 * time.Second

// Invoke does the work of a batch, one piece after the other, and names those that are not over. A batch has one piece.
func (w *Worker) Invoke(ctx context.Context, e events.SQSEvent) (out events.SQSEventResponse, err error) {
	out.BatchItemFailures = []events.SQSBatchItemFailure{}
	if deadline, ok := ctx.Deadline(); ok {
		short, cancel := context.WithDeadline(ctx, deadline.Add(-min(reserve, time.Until(deadline)/4)))
		defer cancel()
		ctx = short
	}
	for _, m := range e.Records {
		if !w.do(ctx, m) {
			out.BatchItemFailures = append(out.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
		}
	}
	if err := w.settle(ctx); err != nil { // an instance is frozen when it has answered
		w.m.Logger.WarnContext(ctx, "a run is not settled", "error", err)
	}
	return out, nil
}

func (w *Worker) do(ctx context.Context, m events.SQSMessage) bool {
	count, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
	d := w.queue.Delivery(m.Body, m.ReceiptHandle, count)
	// The queue hides a message for as long as an invocation may last: a worker that dies is to be noticed sooner.
	if err := d.Handle.Extend(ctx, queue.Lease); err != nil {
		w.m.Logger.WarnContext(ctx, "the message's visibility cannot be changed", "message", m.MessageId, "error", err)
	}
	return queue.Process(ctx, w.m.Logger, w.queue, d, w.handle)
}
