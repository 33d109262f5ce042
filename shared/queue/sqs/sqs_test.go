package sqs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/queue/queuetest"
	"mastralambda/shared/queue/sqs"
)

// attempts of the tests: the whole of them must fit into a test.
const attempts = 3

func config(t *testing.T) aws.Config {
	return aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(services.Queues(t)), Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
}

// place makes queues and a group of schedules of the test's own.
func place(t *testing.T) sqs.Place {
	t.Helper()
	cfg := config(t)
	c, name := awssqs.NewFromConfig(cfg), "test-"+mastra.NewID()
	make := func(name string, attributes map[string]string) (url, arn string) {
		out, err := c.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.GetQueueAttributes(t.Context(), &awssqs.GetQueueAttributesInput{QueueUrl: out.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.QueueUrl, got.Attributes["QueueArn"]
	}
	p := sqs.Place{Group: name, RoleARN: "arn:aws:iam::000000000000:role/scheduler", Attempts: attempts}
	var deadARN string
	p.DeadURL, deadARN = make(name+"-dead", nil)
	p.URL, p.ARN = make(name, map[string]string{"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"10"}`, deadARN)})
	if _, err := scheduler.NewFromConfig(cfg).CreateScheduleGroup(t.Context(), &scheduler.CreateScheduleGroupInput{Name: &name}); err != nil && !strings.Contains(err.Error(), "ConflictException") { // a lost answer, asked again
		t.Fatal(err)
	}
	return p
}

func TestQueue(t *testing.T) {
	queuetest.Run(t, queuetest.Backend{Attempts: attempts, Repeats: true, Open: func(t *testing.T) (q, other mastra.Queue) {
		p := place(t)
		return sqs.Open(config(t), p), sqs.Open(config(t), p)
	}})
}

// What is due in more than 15 minutes is a schedule of its own, made once.
func TestLongDelay(t *testing.T) {
	p := place(t)
	q, c := sqs.Open(config(t), p), scheduler.NewFromConfig(config(t))
	w := mastra.Work{Kind: "run", Tenant: "t", ID: strings.Repeat("ö#/ ", 100), At: mastra.TimeOf(time.Now().Add(16 * time.Minute))}
	for range 2 {
		if err := q.Send(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	out, err := c.ListSchedules(t.Context(), &scheduler.ListSchedulesInput{GroupName: &p.Group})
	if err != nil || len(out.Schedules) != 1 || len(*out.Schedules[0].Name) != 64 {
		t.Fatalf("%+v %v", out, err)
	}
	s, err := c.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: out.Schedules[0].Name, GroupName: &p.Group})
	if err != nil || *s.Target.Arn != p.ARN || *s.Target.RoleArn != p.RoleARN || s.ActionAfterCompletion != "DELETE" {
		t.Fatalf("%+v %v", s, err)
	}
	at, err := time.Parse("at(2006-01-02T15:04:05)", *s.ScheduleExpression)
	if err != nil || at.Before(w.At.Time()) || at.Sub(w.At.Time()) > time.Second {
		t.Errorf("%s for %s: %v", *s.ScheduleExpression, w.At, err)
	}
	if d := q.Delivery(*s.Target.Input, "receipt", 1); d.ID != w.ID || d.Tenant != "t" { // what it will send
		t.Errorf("%+v", d)
	}
	if d := q.Delivery("{torn", "receipt", 1); d.Kind != "" || d.Handle == nil { // it fails, and is seen among the dead
		t.Errorf("%+v", d)
	}
	if d, err := q.Receive(t.Context(), 0, time.Second); err != nil || d != nil {
		t.Errorf("it came at once: %+v %v", d, err)
	}
}

// Work that kills its worker each time is put away by SQS itself, and told apart.
func TestRedrive(t *testing.T) {
	p := place(t)
	q := sqs.Open(config(t), p)
	if err := q.Send(t.Context(), mastra.Work{Kind: "k", ID: "x"}); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		d, err := q.Receive(t.Context(), time.Second, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if d != nil {
			if err := d.Handle.Extend(t.Context(), 0); err != nil { // its worker dies
				t.Fatal(err)
			}
		}
	}
	list, err := q.Dead(t.Context(), 10)
	if err != nil || len(list) != 1 || list[0].Work.ID != "x" || !strings.Contains(list[0].Reason, "died") {
		t.Fatalf("%+v %v", list, err)
	}
}

func TestFromEnv(t *testing.T) {
	env := map[string]string{"QUEUE_URL": "u", "QUEUE_ARN": "a", "DEAD_QUEUE_URL": "d", "SCHEDULER_GROUP": "g"}
	get := func(k string) string { return env[k] }
	if _, _, err := sqs.FromEnv(get); err == nil || !strings.Contains(err.Error(), "SCHEDULER_ROLE_ARN is not set") {
		t.Error(err)
	}
	env["SCHEDULER_ROLE_ARN"] = "r"
	if p, ok, err := sqs.FromEnv(get); err != nil || !ok || p != (sqs.Place{URL: "u", ARN: "a", DeadURL: "d", Group: "g", RoleARN: "r"}) {
		t.Error(p, ok, err)
	}
	delete(env, "QUEUE_URL")
	if _, ok, err := sqs.FromEnv(get); ok || err != nil {
		t.Error(ok, err)
	}
}
