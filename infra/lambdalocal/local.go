package lambdalocal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"mastralambda/infra/services/cloudwatchlogs"
	"mastralambda/shared/storage/dynamodb"
)

// Local is the project's template.yaml on this machine: its functions over a DynamoDB, a CloudWatch Logs that takes what they
// log, and a Lambda API by which they invoke each other.
type Local struct {
	*Stack
	Logs  *cloudwatchlogs.Server
	Store *dynamodb.Store
	aws   *http.Server
	stop  context.CancelFunc // of the pollers
	polls *sync.WaitGroup
}

// LocalOptions say what a Local runs on.
type LocalOptions struct {
	Template   string            // the file
	Build      Builder           // of the functions' bootstraps
	DynamoDB   string            // its endpoint
	Queues     string            // the endpoint of an SQS and a Scheduler
	Name       string            // begins the names of queues and schedule groups; they are made where they are not there
	VectorURL  string            // of a Postgres, which is migrated as at a deployment; without one there are no vectors
	Tables     dynamodb.Tables   // made where they are not there
	Parameters map[string]string // of the template
	Env        map[string]string // of every function, over the template's
	Lines      io.Writer         // where log lines are shown as well
	Limit      int               // invocations of one function at once; 0: 100
	Logger     *slog.Logger
}

// Builder makes a function's bootstrap and returns its path. It is called by several goroutines at once.
type Builder func(ctx context.Context, function string) (string, error)

// group is the name that a template's log group has here.
const group = "LogGroup"

// Open builds the functions and prepares what they run on.
func Open(ctx context.Context, o LocalOptions) (_ *Local, err error) {
	l, test := &Local{Logs: &cloudwatchlogs.Server{}}, credentials.NewStaticCredentialsProvider("test", "test", "")
	l.Store = dynamodb.Open(aws.Config{Region: Region, BaseEndpoint: &o.DynamoDB, Credentials: test}, o.Tables)
	if err := l.Store.CreateTables(ctx); err != nil {
		return nil, fmt.Errorf("the tables: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	endpoint := "http://" + listener.Addr().String()
	env := map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL_DYNAMODB": o.DynamoDB,
		"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": endpoint, "AWS_ENDPOINT_URL_LAMBDA": endpoint}
	maps.Copy(env, o.Env)
	if o.Queues != "" {
		env["AWS_ENDPOINT_URL_SQS"], env["AWS_ENDPOINT_URL_SCHEDULER"] = o.Queues, o.Queues
	}
	given := Given{Queues: o.Queues, QueuePrefix: o.Name, Parameters: map[string]string{"Vectors": "none"}, Env: env, FunctionEnv: map[string]map[string]string{}, Refs: map[string]string{
		"ThreadsTable": o.Tables.Threads, "RunsTable": o.Tables.Runs, "ObservabilityTable": o.Tables.Observability, "LogGroup": group}}
	if o.VectorURL != "" {
		given.Parameters["Vectors"], given.Parameters["VectorUrlSecret"] = "existing", "local"
		for _, function := range []string{"VectorsFunction", "MigrateFunction"} {
			given.FunctionEnv[function] = map[string]string{"VECTOR_URL": o.VectorURL}
		}
	}
	maps.Copy(given.Parameters, o.Parameters)
	template, err := Load(o.Template, given)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	queues, schedules := sqs.New(sqs.Options{Region: Region, BaseEndpoint: &o.Queues, Credentials: test}), scheduler.New(scheduler.Options{Region: Region, BaseEndpoint: &o.Queues, Credentials: test})
	if len(template.Queues) > 0 {
		if o.Queues == "" {
			return nil, errors.Join(errors.New("the template has queues, and no SQS is given (AWS_ENDPOINT_URL_SQS)"), listener.Close())
		}
		if err := makeQueues(ctx, queues, schedules, template); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	}
	for _, f := range template.Functions {
		f.Env["AWS_ACCESS_KEY_ID"] = f.Name // each signs with its name, so that a stand-in can tell who asks
	}
	bootstraps, err := build(ctx, o.Build, template.Functions)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	var shown sync.Mutex
	l.Stack, err = Up(template, Options{Bootstraps: func(name string) string { return bootstraps[name] }, Limit: o.Limit, Logger: o.Logger,
		Log: func(function, stream string, line []byte) {
			l.Logs.Put(group, stream, time.Now(), string(line))
			if o.Lines != nil {
				shown.Lock()
				defer shown.Unlock()
				fmt.Fprintf(o.Lines, "%s %s\n", function, line)
			}
		}})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	invoke, answers := l.InvokeAPI(), make(chan cfn.Response, 1)
	l.aws = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/2015-03-31/"):
			invoke.ServeHTTP(w, r)
		case r.URL.Path == "/custom-resource":
			var a cfn.Response
			if err := json.NewDecoder(r.Body).Decode(&a); err == nil {
				answers <- a
			}
		default:
			l.Logs.ServeHTTP(w, r)
		}
	})}
	go func() { _ = l.aws.Serve(listener) }() // until it is closed
	if migrate := l.Pools["MigrateFunction"]; migrate != nil {
		if err := deployed(ctx, migrate, endpoint+"/custom-resource", answers); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	polling, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	if l.polls, err = pollers(polling, queues, o.Logger, l.Pools); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// deployed tells a custom resource's function of a deployment, as CloudFormation does, and waits for its answer.
func deployed(ctx context.Context, p *Pool, url string, answers <-chan cfn.Response) error {
	event, err := json.Marshal(cfn.Event{RequestType: cfn.RequestCreate, RequestID: "local", ResponseURL: url, StackID: pseudo["AWS::StackId"],
		ResourceType: "Custom::Migrations", LogicalResourceID: "VectorMigrations"})
	if err != nil {
		return err
	}
	a, err := p.Invoke(ctx, event)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.Failed {
		data, err := io.ReadAll(a.Body)
		return errors.Join(fmt.Errorf("%s: %s", p.Name, data), err)
	}
	select {
	case answer := <-answers:
		if answer.Status != cfn.StatusSuccess {
			return fmt.Errorf("%s: %s", p.Name, answer.Reason)
		}
		return nil
	default:
		return fmt.Errorf("%s did not answer CloudFormation", p.Name)
	}
}

// build makes the bootstraps, as many at once as there are processors.
func build(ctx context.Context, one Builder, functions []Function) (map[string]string, error) {
	files, errs := make([]string, len(functions)), make([]error, len(functions))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, f := range functions {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			files[i], errs[i] = one(ctx, f.Name)
		})
	}
	all.Wait()
	out := map[string]string{}
	for i, f := range functions {
		out[f.Name] = files[i]
	}
	return out, errors.Join(errs...)
}

// Close ends everything that Open started.
func (l *Local) Close() error {
	if l.stop != nil {
		l.stop()
	}
	l.Stack.Close()
	if l.polls != nil {
		l.polls.Wait()
	}
	return errors.Join(l.aws.Close(), l.Store.Close())
}
