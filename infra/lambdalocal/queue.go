package lambdalocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// makeQueues makes a template's queues and schedule groups where they are not there yet.
func makeQueues(ctx context.Context, client *sqs.Client, schedules *scheduler.Client, t *Template) error {
	for _, redrive := range []bool{false, true} { // a dead-letter queue is there before what refers to it
		for _, q := range t.Queues {
			if _, has := q.Attributes["RedrivePolicy"]; has != redrive {
				continue
			}
			if _, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &q.Name, Attributes: q.Attributes}); err != nil {
				return fmt.Errorf("the queue %s: %w", q.Name, err)
			}
		}
	}
	for _, name := range t.Groups {
		_, err := schedules.CreateScheduleGroup(ctx, &scheduler.CreateScheduleGroupInput{Name: &name})
		var exists *schedulertypes.ConflictException
		if err != nil && !errors.As(err, &exists) {
			return fmt.Errorf("the schedule group %s: %w", name, err)
		}
	}
	return nil
}

// source is an event source mapping: it polls a queue and invokes a function with what comes.
type source struct {
	Queue
	client *sqs.Client
	url    string
	pool   *Pool
	log    *slog.Logger
}

// pollers begins the event source mappings of all functions. They end with ctx; running says when.
func pollers(ctx context.Context, client *sqs.Client, log *slog.Logger, pools map[string]*Pool) (running *sync.WaitGroup, err error) {
	running = &sync.WaitGroup{}
	for _, p := range pools {
		for _, q := range p.Queues {
			name := q.ARN[strings.LastIndexByte(q.ARN, ':')+1:]
			out, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
			if err != nil {
				return running, fmt.Errorf("the queue of %s: %w", p.Name, err)
			}
			s := &source{q, client, *out.QueueUrl, p, log}
			for range q.Concurrency {
				running.Go(func() { s.poll(ctx) })
			}
		}
	}
	return running, nil
}

func (s *source) poll(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := s.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &s.url, MaxNumberOfMessages: int32(min(s.Batch, 10)), WaitTimeSeconds: 5,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"}})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.log.Warn("the queue cannot be read", "queue", s.ARN, "error", err)
			pause(ctx, time.Second)
		case len(out.Messages) > 0:
			if err := s.deliver(ctx, out.Messages); err != nil {
				s.log.Warn("messages stay in the queue", "function", s.pool.Name, "error", err)
				if errors.Is(err, ErrThrottled) {
					pause(ctx, time.Second)
				}
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// deliver invokes the function and deletes what it is done with. What it is not done with is seen again when its visibility ends.
func (s *source) deliver(ctx context.Context, messages []types.Message) error {
	var e events.SQSEvent
	for _, m := range messages {
		record := events.SQSMessage{MessageId: aws.ToString(m.MessageId), ReceiptHandle: aws.ToString(m.ReceiptHandle), Body: aws.ToString(m.Body), Md5OfBody: aws.ToString(m.MD5OfBody),
			Attributes: m.Attributes, MessageAttributes: map[string]events.SQSMessageAttribute{}, EventSourceARN: s.ARN, EventSource: "aws:sqs", AWSRegion: Region}
		for name, a := range m.MessageAttributes {
			record.MessageAttributes[name] = events.SQSMessageAttribute{StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: aws.ToString(a.DataType)}
		}
		e.Records = append(e.Records, record)
	}
	event, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a, err := s.pool.Invoke(ctx, event)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	if a.Failed {
		return fmt.Errorf("the function failed: %.500s", data)
	}
	failed := map[string]bool{}
	if s.PartialFailure && strings.TrimSpace(string(data)) != "null" {
		var out events.SQSEventResponse
		if err := json.Unmarshal(data, &out); err != nil {
			return fmt.Errorf("its answer is not a list of failures, so all have failed: %w", err)
		}
		known := map[string]bool{}
		for _, m := range e.Records {
			known[m.MessageId] = true
		}
		for _, f := range out.BatchItemFailures {
			if !known[f.ItemIdentifier] {
				return fmt.Errorf("it names %q, which is no message of the batch, so all have failed", f.ItemIdentifier)
			}
			failed[f.ItemIdentifier] = true
		}
	}
	var errs []error
	for _, m := range e.Records {
		if !failed[m.MessageId] {
			_, err := s.client.DeleteMessage(context.WithoutCancel(ctx), &sqs.DeleteMessageInput{QueueUrl: &s.url, ReceiptHandle: &m.ReceiptHandle})
			var gone *types.ReceiptHandleIsInvalid
			if !errors.As(err, &gone) { // the function deleted it itself, which SQS takes for good
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
