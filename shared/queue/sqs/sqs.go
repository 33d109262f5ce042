// Package sqs is a queue over Amazon SQS. What is due later than a message can wait there, 15 minutes, waits in
// EventBridge Scheduler.
package sqs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedules "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Place is where the messages go.
type Place struct {
	URL, ARN string // of the queue: a standard one
	DeadURL  string // of its dead-letter queue
	Group    string // of schedules
	RoleARN  string // that Scheduler sends in
	Attempts int    // before work is dead; 8 where 0. The queue's own maxReceiveCount must be much higher: it counts workers that died
}

// FromEnv reads QUEUE_URL, QUEUE_ARN, DEAD_QUEUE_URL, SCHEDULER_GROUP and SCHEDULER_ROLE_ARN; ok is false where QUEUE_URL
// is not set.
func FromEnv(getenv func(string) string) (p Place, ok bool, err error) {
	p = Place{URL: getenv("QUEUE_URL"), ARN: getenv("QUEUE_ARN"), DeadURL: getenv("DEAD_QUEUE_URL"), Group: getenv("SCHEDULER_GROUP"), RoleARN: getenv("SCHEDULER_ROLE_ARN")}
	if p.URL == "" {
		return p, false, nil
	}
	for name, v := range map[string]string{"QUEUE_ARN": p.ARN, "DEAD_QUEUE_URL": p.DeadURL, "SCHEDULER_GROUP": p.Group, "SCHEDULER_ROLE_ARN": p.RoleARN} {
		if v == "" {
			err = errors.Join(err, fmt.Errorf("%s is not set, as QUEUE_URL is", name))
		}
	}
	return p, true, err
}

// Queue is a mastra.Queue.
type Queue struct {
	place     Place
	sqs       *sqs.Client
	scheduler *scheduler.Client
}

var _ mastra.Queue = (*Queue)(nil)

// OpenPlace opens a queue with the environment's region, credentials and endpoints. It makes no request.
func OpenPlace(ctx context.Context, p Place) (*Queue, error) {
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqs: the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("sqs: no region is set (AWS_REGION)")
	}
	return Open(cfg, p), nil
}

// Open makes a Queue of one that exists.
func Open(cfg aws.Config, p Place) *Queue {
	if p.Attempts == 0 {
		p.Attempts = 8
	}
	return &Queue{place: p, sqs: sqs.NewFromConfig(cfg), scheduler: scheduler.NewFromConfig(cfg)}
}

// maxDelay is how long a message can wait in SQS.
const maxDelay = 15 * time.Minute

func (q *Queue) Send(ctx context.Context, w mastra.Work) error {
	body, err := schema.Marshal(w)
	if err != nil {
		return err
	}
	left := time.Until(w.At.Time())
	if left > maxDelay {
		return q.schedule(ctx, w, string(body))
	}
	_, err = q.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.place.URL, MessageBody: aws.String(string(body)), DelaySeconds: seconds(left)})
	return failed(err)
}

// schedule makes a schedule that sends the message once. One of the same name says the same.
func (q *Queue) schedule(ctx context.Context, w mastra.Work, body string) error {
	at := w.At.Time().Add(999 * time.Millisecond).Truncate(time.Second)
	_, err := q.scheduler.CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		Name: aws.String(scheduleName(w)), GroupName: &q.place.Group,
		ScheduleExpression: aws.String("at(" + at.Format("2006-01-02T15:04:05") + ")"), ScheduleExpressionTimezone: aws.String("UTC"),
		FlexibleTimeWindow:    &schedules.FlexibleTimeWindow{Mode: schedules.FlexibleTimeWindowModeOff},
		ActionAfterCompletion: schedules.ActionAfterCompletionDelete,
		Target:                &schedules.Target{Arn: &q.place.ARN, RoleArn: &q.place.RoleARN, Input: &body},
	})
	var exists *schedules.ConflictException
	if errors.As(err, &exists) {
		return nil
	}
	return failed(err)
}

// scheduleName is the same for the same work at the same time. It has 64 characters, as many as a name may have.
func scheduleName(w mastra.Work) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{w.Kind, w.Tenant, w.ID, strconv.FormatInt(int64(w.At), 10)}, "\x00")))
	return hex.EncodeToString(sum[:])
}

func (q *Queue) Receive(ctx context.Context, wait, hidden time.Duration) (*mastra.Delivery, error) {
	for begin := time.Now(); ; {
		left := wait - time.Since(begin)
		out, err := q.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.place.URL, MaxNumberOfMessages: 1, VisibilityTimeout: max(1, seconds(hidden)),
			WaitTimeSeconds: min(20, seconds(left)), MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount}})
		if err != nil {
			return nil, failed(err)
		}
		for _, m := range out.Messages {
			count, _ := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
			return q.Delivery(aws.ToString(m.Body), aws.ToString(m.ReceiptHandle), count), nil
		}
		if time.Since(begin) >= wait {
			return nil, nil
		}
	}
}

// Delivery is a message that was received in another way: by Lambda's poller. One that is no work has no kind.
func (q *Queue) Delivery(body, receipt string, attempt int) *mastra.Delivery {
	d := &mastra.Delivery{Attempt: max(1, attempt)}
	if schema.Unmarshal([]byte(body), &d.Work) != nil {
		d.Work = mastra.Work{}
	}
	d.Handle = &handle{q, receipt, body, d.Attempt}
	return d
}

type handle struct {
	q       *Queue
	receipt string
	body    string
	attempt int
}

func (h *handle) Extend(ctx context.Context, hidden time.Duration) error {
	_, err := h.q.sqs.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &h.q.place.URL, ReceiptHandle: &h.receipt, VisibilityTimeout: seconds(hidden)})
	return h.failed(err)
}

func (h *handle) Done(ctx context.Context) error {
	_, err := h.q.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &h.q.place.URL, ReceiptHandle: &h.receipt})
	return h.failed(err)
}

// Fail puts the work among the dead by itself where its attempts are spent, with the reason. The queue's own limit takes
// care of work that kills its worker.
func (h *handle) Fail(ctx context.Context, after time.Duration, reason error) error {
	if h.attempt < h.q.place.Attempts {
		return h.Extend(ctx, min(after, 12*time.Hour-time.Second))
	}
	text := reason.Error()
	if len(text) > 1000 {
		text = strings.ToValidUTF8(text[:1000], "")
	}
	_, err := h.q.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &h.q.place.DeadURL, MessageBody: &h.body, MessageAttributes: map[string]types.MessageAttributeValue{
		"reason":   {DataType: aws.String("String"), StringValue: aws.String("failed: " + text)},
		"attempts": {DataType: aws.String("Number"), StringValue: aws.String(strconv.Itoa(h.attempt))}}})
	if err != nil {
		return failed(err)
	}
	return h.Done(ctx)
}

// failed tells a receipt that is no longer good from other failures.
func (h *handle) failed(err error) error {
	var invalid *types.ReceiptHandleIsInvalid
	var visible *types.MessageNotInflight
	if errors.As(err, &invalid) || errors.As(err, &visible) {
		return &mastra.Error{Code: mastra.CodeConflict, Message: "Another one has this work", Err: err}
	}
	return failed(err)
}

// Dead receives the dead work, and lets it be seen again soon.
func (q *Queue) Dead(ctx context.Context, limit int) ([]mastra.DeadWork, error) {
	var list []mastra.DeadWork
	err := q.dead(ctx, func(m *types.Message) (bool, error) {
		list = append(list, deadOf(m))
		return len(list) < limit, nil
	})
	return list, err
}

func deadOf(m *types.Message) mastra.DeadWork {
	d := mastra.DeadWork{ID: aws.ToString(m.MessageId), Reason: "its worker died, or never ended it"}
	_ = schema.Unmarshal([]byte(aws.ToString(m.Body)), &d.Work) // what is none has no kind
	d.Attempts, _ = strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
	if a, ok := m.MessageAttributes["reason"]; ok {
		d.Reason = strings.TrimPrefix(aws.ToString(a.StringValue), "failed: ")
	}
	if a, ok := m.MessageAttributes["attempts"]; ok {
		d.Attempts, _ = strconv.Atoi(aws.ToString(a.StringValue))
	}
	return d
}

// lookDead is how long dead work that was looked at is hidden from the next look.
const lookDead = 5

// dead calls f with the dead messages, each once, until it says that it has enough. All are seen again at its end.
func (q *Queue) dead(ctx context.Context, f func(*types.Message) (bool, error)) error {
	var held []string
	seen := map[string]bool{}
	defer func() {
		for _, r := range held {
			_, _ = q.sqs.ChangeMessageVisibility(context.WithoutCancel(ctx), &sqs.ChangeMessageVisibilityInput{QueueUrl: &q.place.DeadURL, ReceiptHandle: aws.String(r)}) // else it is hidden a little longer
		}
	}()
	for empty := 0; empty < 2; {
		out, err := q.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.place.DeadURL, MaxNumberOfMessages: 10, VisibilityTimeout: lookDead, WaitTimeSeconds: 0,
			MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount}})
		if err != nil {
			return failed(err)
		}
		fresh := false
		for i := range out.Messages {
			m := &out.Messages[i]
			held = append(held, aws.ToString(m.ReceiptHandle))
			if id := aws.ToString(m.MessageId); seen[id] {
				continue
			} else {
				seen[id], fresh = true, true
			}
			if more, err := f(m); err != nil || !more {
				return err
			}
		}
		if !fresh { // SQS answers from some of its servers: once more
			empty++
		}
	}
	return nil
}

func (q *Queue) Resend(ctx context.Context, id string) error {
	found := false
	err := q.dead(ctx, func(m *types.Message) (bool, error) {
		if aws.ToString(m.MessageId) != id {
			return true, nil
		}
		found = true
		if _, err := q.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.place.URL, MessageBody: m.Body}); err != nil {
			return false, failed(err)
		}
		_, err := q.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.place.DeadURL, ReceiptHandle: m.ReceiptHandle})
		return false, failed(err)
	})
	if err == nil && !found {
		return mastra.Errorf(mastra.CodeNotFound, "There is no dead work %q", id)
	}
	return err
}

func failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqs: %w", err)
}

// seconds rounds up to what SQS counts in.
func seconds(d time.Duration) int32 { return int32(max(0, (d+time.Second-1)/time.Second)) }
