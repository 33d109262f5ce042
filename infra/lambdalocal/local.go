package lambdalocal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

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
}

// LocalOptions say what a Local runs on.
type LocalOptions struct {
	Root       string            // the project's folder
	Build      string            // the folder for bootstraps
	DynamoDB   string            // its endpoint
	Tables     dynamodb.Tables   // made where they are not there
	Parameters map[string]string // of the template
	Env        map[string]string // of every function, over the template's
	Lines      io.Writer         // where log lines are shown as well
	Limit      int               // invocations of one function at once; 0: 100
	Logger     *slog.Logger
}

// group is the name that a template's log group has here.
const group = "LogGroup"

// Open builds the functions and prepares what they run on.
func Open(ctx context.Context, o LocalOptions) (_ *Local, err error) {
	l := &Local{Logs: &cloudwatchlogs.Server{}}
	l.Store = dynamodb.Open(aws.Config{Region: Region, BaseEndpoint: &o.DynamoDB, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, o.Tables)
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
	template, err := Load(filepath.Join(o.Root, "template.yaml"), Given{Parameters: o.Parameters, Env: env, Refs: map[string]string{
		"ThreadsTable": o.Tables.Threads, "RunsTable": o.Tables.Runs, "ObservabilityTable": o.Tables.Observability, "LogGroup": group}})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	for _, f := range template.Functions {
		f.Env["AWS_ACCESS_KEY_ID"] = f.Name // each signs with its name, so that a stand-in can tell who asks
	}
	bootstraps, err := build(ctx, o.Root, o.Build, template.Functions)
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
	invoke := l.InvokeAPI()
	l.aws = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/2015-03-31/") {
			invoke.ServeHTTP(w, r)
			return
		}
		l.Logs.ServeHTTP(w, r)
	})}
	go func() { _ = l.aws.Serve(listener) }() // until it is closed
	return l, nil
}

// build makes the bootstraps, as many at once as there are processors.
func build(ctx context.Context, root, dir string, functions []Function) (map[string]string, error) {
	files, errs := make([]string, len(functions)), make([]error, len(functions))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i, f := range functions {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			files[i], errs[i] = Make(ctx, root, dir, f.Name)
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
	l.Stack.Close()
	return errors.Join(l.aws.Close(), l.Store.Close())
}
