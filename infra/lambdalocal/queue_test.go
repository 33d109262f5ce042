package lambdalocal

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
)

// A queue's messages reach its function; those that it reports as failed, or that it dies over, come again and go to the
// dead-letter queue in the end, and nothing else does.
func TestEventSource(t *testing.T) {
	endpoint := services.Queues(t)
	file := filepath.Join(t.TempDir(), "probe")
	if out, err := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", file, "./testdata/probe").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	prefix, test := strings.ToLower(mastra.NewSpanID())+"-", credentials.NewStaticCredentialsProvider("test", "test", "")
	template, err := Load("testdata/template.yaml", Given{Queues: endpoint, QueuePrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	client := sqs.New(sqs.Options{Region: Region, BaseEndpoint: &endpoint, Credentials: test})
	if err := makeQueues(t.Context(), client, scheduler.New(scheduler.Options{Region: Region, BaseEndpoint: &endpoint, Credentials: test}), template); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	stack, err := Up(template, Options{Bootstraps: func(string) string { return file }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Log: func(_, _ string, line []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen[string(line)]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	url := stack.Pools["WorkFunction"].Env["QUEUE_URL"]
	for _, body := range []string{"a", "fail", "b", "panic", "c"} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String(body),
			MessageAttributes: map[string]types.MessageAttributeValue{"kind": {DataType: aws.String("String"), StringValue: aws.String("test")}}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	running, err := pollers(ctx, client, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})), stack.Pools)
	defer func() { stop(); stack.Close(); running.Wait() }()
	if err != nil {
		t.Fatal(err)
	}
	dead, deadURL := map[string]bool{}, strings.Replace(url, "WorkQueue", "DeadQueue", 1)
	for deadline := time.Now().Add(30 * time.Second); len(dead) < 2 && time.Now().Before(deadline); {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &deadURL, MaxNumberOfMessages: 10, WaitTimeSeconds: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out.Messages {
			dead[*m.Body] = true
		}
	}
	if !dead["fail"] || !dead["panic"] {
		t.Errorf("dead are %v", dead)
	}
	mu.Lock()
	defer mu.Unlock()
	arn := " arn:aws:sqs:" + Region + ":" + Account + ":" + prefix + "WorkQueue "
	for _, line := range []string{"a" + arn + "1 test", "b" + arn + "1 test", "c" + arn + "1 test", "fail" + arn + "1 test", "fail" + arn + "2 test"} {
		if seen[line] == 0 {
			t.Errorf("%q was not seen in %v", line, seen)
		}
	}
}
