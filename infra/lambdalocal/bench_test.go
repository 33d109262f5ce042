package lambdalocal_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/lambdalocal"
	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/dynamodb"
	"mastralambda/shared/vectorstore/pgvector"
)

// usual is the request that each function gets most. Those without one take no requests.
var usual = map[string][4]string{
	"agents":        {"POST", "/api/agents/{agentId}/generate", "/api/agents/myAgent/generate", `{"messages":"What is 2+2?","memory":{"thread":"%d","resource":"ann"}}`},
	"workflows":     {"POST", "/api/workflows/{workflowId}/start-async", "/api/workflows/myWorkflow/start-async", `{"inputData":{"userId":"%d","action":"process"}}`},
	"tools":         {"POST", "/api/tools/{toolId}/execute", "/api/tools/calculator/execute", `{"data":{"expression":"2+%d"}}`},
	"memory":        {"POST", "/api/memory/{proxy+}", "/api/memory/t/save", `{"messages":[{"role":"user","content":"%d"}]}`},
	"observability": {"GET", "/api/observability/{proxy+}", "/api/observability/traces", ""},
	"vectors":       {"POST", "/api/vectors/upsert", "/api/vectors/upsert", `{"indexName":"docs","vectors":[[1,%d]]}`},
	"voice":         {"GET", "/api/agents/{agentId}/voice/{proxy+}", "/api/agents/myAgent/voice/speakers", ""},
	"system":        {"GET", "/{proxy+}", "/api/openapi.json", ""},
}

// starts is how many starts the medians are of, whatever the number of iterations.
const starts = 31

// BenchmarkFunctions reports how long each function takes from its start to its first next call, the processor time that it uses for
// it (other work on the machine makes that grow less), its resident memory then (medians), and after 500 requests.
func BenchmarkFunctions(b *testing.B) {
	endpoint, suffix := services.DynamoDB(b), mastra.NewSpanID()
	tables := dynamodb.Tables{Threads: "threads-" + suffix, Runs: "runs-" + suffix, Observability: "observability-" + suffix}
	store := dynamodb.Open(aws.Config{Region: lambdalocal.Region, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, tables)
	defer store.Close()
	database := services.Database(b)
	vectors, err := pgvector.Open(database)
	if err != nil {
		b.Fatal(err)
	}
	defer vectors.Close()
	if err := vectors.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := store.CreateTables(b.Context()); err != nil {
		b.Fatal(err)
	}
	env := append(slices.Clone(without), "VECTOR_URL="+database, "AWS_ENDPOINT_URL_DYNAMODB="+endpoint, "LOG_LEVEL=error",
		"STORAGE_URL=dynamodb://?threads="+tables.Threads+"&runs="+tables.Runs+"&observability="+tables.Observability)
	mains, err := filepath.Glob("../../functions/*/main.go")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range mains {
		folder := filepath.Base(filepath.Dir(file))
		b.Run(folder, func(b *testing.B) {
			env := env
			if folder == "worker" { // it does not start without
				env = append(slices.Clone(env), "QUEUE_URL=http://127.0.0.1/q", "QUEUE_ARN=arn:aws:sqs:us-east-1:1:q", "DEAD_QUEUE_URL=http://127.0.0.1/d", "SCHEDULER_GROUP=g", "SCHEDULER_ROLE_ARN=arn:aws:iam::1:role/r")
			}
			file := bootstrap(b, folder)
			var took, cpu []time.Duration
			var idle []int64
			for range starts {
				in, err := lambdalocal.Start(b.Context(), file, env, io.Discard)
				if err != nil {
					b.Fatal(err)
				}
				resident, err := in.Resident()
				if err := errors.Join(err, in.Close()); err != nil {
					b.Fatal(err)
				}
				took, cpu, idle = append(took, in.Started), append(cpu, in.CPU()), append(idle, resident)
			}
			var used int64
			if request, ok := usual[folder]; ok {
				in, err := lambdalocal.Start(b.Context(), file, env, io.Discard)
				if err != nil {
					b.Fatal(err)
				}
				used = after(b, in, request, 500)
				if err := in.Close(); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(took).Seconds()*1000, "ms-to-next")
			b.ReportMetric(median(cpu).Seconds()*1000, "cpu-ms")
			b.ReportMetric(float64(median(idle))/1e6, "MB-idle")
			if used > 0 {
				b.ReportMetric(float64(used)/1e6, "MB-after-500")
			}
		})
	}
}

func median[T cmp.Ordered](of []T) T { return slices.Sorted(slices.Values(of))[len(of)/2] }

// after is the resident memory after n requests.
func after(b *testing.B, in *lambdalocal.Instance, request [4]string, n int) int64 {
	for i := range n {
		body := request[3]
		if strings.Contains(body, "%d") {
			body = fmt.Sprintf(body, i)
		}
		if out, _ := answer(b, in, proxyEvent(request[0], request[1], request[2], body)); !strings.Contains(out, `"statusCode":200`) {
			b.Fatal(out)
		}
	}
	resident, err := in.Resident()
	if err != nil {
		b.Fatal(err)
	}
	return resident
}
