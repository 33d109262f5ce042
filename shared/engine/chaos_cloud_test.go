package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
)

// Over DynamoDB and SQS processes hand runs to each other, and nobody sweeps: only messages find what is left behind.
func TestKilledAtRandomInTheCloud(t *testing.T) {
	cloud(t).storm(t, 250, 3, 20, 2*time.Second)
}

// Every boundary, as with SQLite. A world of its own for a part of them: in each, one process works at a time.
func TestKilledAtEveryCommitInTheCloud(t *testing.T) {
	all, parts := boundaries(t), 4
	for part := range parts {
		var some []string
		for i := part; i < len(all); i += parts {
			some = append(some, all[i])
		}
		w := cloud(t)
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			w.killAt(t, some, 1)
		})
	}
}

// cloud makes tables and a queue.
func cloud(t *testing.T) world {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	ctx, w := t.Context(), world{dir: t.TempDir()}
	cfg, url := tables(t)
	w.storage = url
	name := "chaos-" + mastra.NewID()
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", *cfg.BaseEndpoint)
	cfg.BaseEndpoint = aws.String(services.Queues(t))
	c := awssqs.NewFromConfig(cfg)
	create := func(name string, attributes map[string]string) (url, arn string) {
		out, err := c.CreateQueue(ctx, &awssqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.GetQueueAttributes(ctx, &awssqs.GetQueueAttributesInput{QueueUrl: out.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameQueueArn}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.QueueUrl, got.Attributes["QueueArn"]
	}
	dead, _ := create(name+"-dead", nil)
	url, arn := create(name, map[string]string{"VisibilityTimeout": "900"})
	if _, err := scheduler.NewFromConfig(cfg).CreateScheduleGroup(ctx, &scheduler.CreateScheduleGroupInput{Name: &name}); err != nil && !strings.Contains(err.Error(), "ConflictException") { // a lost answer, asked again
		t.Fatal(err)
	}
	w.queue = strings.Join([]string{url, arn, dead, name}, " ")
	t.Setenv("AWS_ENDPOINT_URL_SQS", *cfg.BaseEndpoint)
	t.Setenv("AWS_ENDPOINT_URL_SCHEDULER", *cfg.BaseEndpoint)
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	return w
}
