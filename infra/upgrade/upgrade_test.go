// Package upgrade holds data that former versions wrote, and tests that this one loses none of it. Data of a version is added when a
// storage's schema or the form of its items has changed, and is never changed afterwards.
package upgrade_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/infra/services"
	"mastralambda/shared/agentloop"
	"mastralambda/shared/app"
	"mastralambda/shared/engine"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/model/offline"
	"mastralambda/shared/runlog"
	"mastralambda/shared/server"
	"mastralambda/shared/storage/dynamodb"
	"mastralambda/shared/storage/sqlite"
)

// written is what a version's data holds: a thread of two generates, a finished run, one that waits for a person, a key.
type written struct {
	Thread, Resource, Text, TraceID, DoneRun, WaitingRun, Key string
	Result                                                    json.RawMessage
	Items                                                     map[string][]map[string]map[string]json.RawMessage
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func parse(t *testing.T, data []byte) (w written) {
	t.Helper()
	if err := json.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

var write = flag.String("write", "", "writes data of a new `version`, where the form that storages keep data in has changed")

// TestWrite is how the data of a version comes to be: go test ./infra/upgrade -run TestWrite -write 3
func TestWrite(t *testing.T) {
	if *write == "" {
		t.Skip("there is no new version")
	}
	save := func(name string, data []byte) {
		t.Helper()
		if strings.HasSuffix(name, ".gz") {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			if _, err := z.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join("testdata", *write+"."+name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(w written) []byte {
		t.Helper()
		data, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	path := filepath.Join(t.TempDir(), "new.db")
	local, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	save("sqlite.json", encode(fill(t, local)))
	if err := local.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	save("sqlite.gz", data)
	store, client, suffix := tables(t)
	w := fill(t, store)
	w.Items = map[string][]map[string]map[string]json.RawMessage{}
	for _, table := range []string{"threads", "runs", "observability"} {
		page, err := client.Scan(t.Context(), &ddb.ScanInput{TableName: aws.String(table + "-" + suffix)})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.Items {
			item := map[string]map[string]json.RawMessage{}
			for name, v := range it {
				item[name] = shown(t, v)
			}
			w.Items[table] = append(w.Items[table], item)
		}
	}
	save("dynamodb.json.gz", encode(w))
}

// fill does what is there in the data of each version.
func fill(t *testing.T, s mastra.Storage) written {
	m, supervisor := application(t, s)
	ctx := t.Context()
	w := written{Thread: "t1", Resource: "ann"}
	for _, question := range []string{"Hello", "What is 2+2?"} {
		answer, err := agents.Generate(ctx, m, agents.GenerateInput{AgentID: "myAgent", Messages: mastra.UserMessage(question), Memory: &agents.MemoryInput{Thread: agents.ThreadRef{ID: w.Thread}, Resource: w.Resource}})
		if err != nil {
			t.Fatal(err)
		}
		w.Text, w.TraceID = answer.Text, answer.TraceID
	}
	done, err := workflows.Execute(ctx, m, workflows.ExecuteInput{WorkflowID: "myWorkflow", TriggerData: mastra.JSON(`{"userId":"123","action":"process"}`)})
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := workflows.Execute(ctx, m, workflows.ExecuteInput{WorkflowID: "refundWorkflow", TriggerData: mastra.JSON(`{"orderId":"1","amount":250}`)})
	if err != nil || waiting.Status != mastra.StatusSuspended {
		t.Fatal(waiting, err)
	}
	w.DoneRun, w.WaitingRun, w.Result = done.RunID, waiting.RunID, json.RawMessage(done.Result)
	secret, key := server.NewKey("ann's", mastra.Principal{Resource: w.Resource}, mastra.TimeOf(m.Now()))
	if err := s.(mastra.KeyStore).AddAPIKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	w.Key = secret
	if err := supervisor.Idle(ctx); err != nil {
		t.Fatal(err)
	}
	return w
}

// shown is the other way round of attribute.
func shown(t *testing.T, a types.AttributeValue) map[string]json.RawMessage {
	encode := func(kind string, v any) map[string]json.RawMessage {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]json.RawMessage{kind: data}
	}
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		return encode("S", a.Value)
	case *types.AttributeValueMemberN:
		return encode("N", a.Value)
	case *types.AttributeValueMemberB:
		return encode("B", a.Value)
	case *types.AttributeValueMemberSS:
		return encode("SS", a.Value)
	case *types.AttributeValueMemberM:
		m := map[string]map[string]json.RawMessage{}
		for name, v := range a.Value {
			m[name] = shown(t, v)
		}
		return encode("M", m)
	}
	t.Fatalf("an attribute %T", a)
	return nil
}

// A SQLite file of a former schema is brought up to date when it is opened.
func TestSQLite(t *testing.T) {
	for _, version := range []string{"1", "2", "3"} {
		path := filepath.Join(t.TempDir(), "old.db")
		if err := os.WriteFile(path, file(t, version+".sqlite.gz"), 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		nothingIsLost(t, store, parse(t, file(t, version+".sqlite.json")))
	}
}

// Items of a former form are read as they are: nothing is migrated at a deployment.
func TestDynamoDB(t *testing.T) {
	for _, version := range []string{"1", "2", "3"} {
		w := parse(t, file(t, version+".dynamodb.json.gz"))
		store, client, suffix := tables(t)
		for table, items := range w.Items {
			for _, it := range items {
				in := &ddb.PutItemInput{TableName: aws.String(table + "-" + suffix), Item: map[string]types.AttributeValue{}}
				for name, v := range it {
					in.Item[name] = attribute(t, v)
				}
				if _, err := client.PutItem(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
		}
		nothingIsLost(t, store, w)
	}
}

// tables makes new ones, whose names end with a suffix.
func tables(t *testing.T) (store *dynamodb.Store, client *ddb.Client, suffix string) {
	endpoint := services.DynamoDB(t)
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	suffix = strings.ToLower(mastra.NewSpanID())
	store = dynamodb.Open(cfg, dynamodb.Tables{Threads: "threads-" + suffix, Runs: "runs-" + suffix, Observability: "observability-" + suffix})
	t.Cleanup(func() { _ = store.Close() })
	if err := store.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store, ddb.NewFromConfig(cfg), suffix
}

func attribute(t *testing.T, v map[string]json.RawMessage) types.AttributeValue {
	t.Helper()
	decode := func(data json.RawMessage, into any) {
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	for kind, data := range v {
		switch kind {
		case "S":
			var a types.AttributeValueMemberS
			decode(data, &a.Value)
			return &a
		case "N":
			var a types.AttributeValueMemberN
			decode(data, &a.Value)
			return &a
		case "B":
			var a types.AttributeValueMemberB
			decode(data, &a.Value)
			return &a
		case "SS":
			var a types.AttributeValueMemberSS
			decode(data, &a.Value)
			return &a
		case "M":
			var m map[string]map[string]json.RawMessage
			decode(data, &m)
			a := &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}}
			for name, v := range m {
				a.Value[name] = attribute(t, v)
			}
			return a
		}
	}
	t.Fatalf("an attribute %v", v)
	return nil
}

func application(t *testing.T, s mastra.Storage) (*mastra.Mastra, *runlog.Supervisor) {
	supervisor := runlog.NewSupervisor(slog.New(slog.DiscardHandler))
	models, err := model.FromEnv(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	m, err := app.New(mastra.Backends{Storage: s, Logger: slog.New(slog.DiscardHandler), Models: models, Embed: offline.Embedder{}, Agents: agentloop.New(supervisor), Engine: engine.New(supervisor)})
	if err != nil {
		t.Fatal(err)
	}
	return m, supervisor
}

func nothingIsLost(t *testing.T, s mastra.Storage, w written) {
	m, supervisor := application(t, s)
	ctx := t.Context()

	// The thread is there, found by its owner's list, and goes on.
	page, err := memory.Messages(ctx, m, memory.MessagesInput{ThreadID: w.Thread})
	if err != nil || len(page.Messages) != 4 {
		t.Fatalf("%d messages, %v", len(page.Messages), err)
	}
	threads, err := memory.Threads(ctx, m, memory.ThreadsInput{ResourceID: w.Resource})
	if err != nil || len(threads.Threads) != 1 || threads.Threads[0].ID != w.Thread {
		t.Errorf("%+v, %v", threads, err)
	}
	answer, err := agents.Generate(ctx, m, agents.GenerateInput{AgentID: "myAgent", Messages: mastra.UserMessage("And 3+3?"), Memory: &agents.MemoryInput{Thread: agents.ThreadRef{ID: w.Thread}, Resource: w.Resource}})
	if err != nil || !strings.Contains(answer.Text, "6") {
		t.Errorf("the thread does not go on: %q, %v", answer.Text, err)
	}
	if page, err = memory.Messages(ctx, m, memory.MessagesInput{ThreadID: w.Thread}); err != nil || len(page.Messages) != 6 {
		t.Errorf("%d messages, %v", len(page.Messages), err)
	}

	// Traces are there, one by one and listed.
	trace, err := observability.Trace(ctx, m, observability.TraceInput{TraceID: w.TraceID})
	if err != nil || len(trace.Spans) < 3 {
		t.Errorf("%d spans, %v", len(trace.Spans), err)
	}
	listed, err := observability.Traces(ctx, m, observability.TracesInput{})
	if err != nil || len(listed.Spans) < 3 {
		t.Errorf("%d traces, %v", len(listed.Spans), err)
	}

	// Each filter finds them beside those of this version.
	root, of := trace.Spans[0], func(s *string) string { return *s }
	for name, in := range map[string]observability.TracesInput{
		"run": {RunID: of(root.RunID)}, "resource": {ResourceID: w.Resource}, "thread": {ThreadID: w.Thread}, "type": {SpanType: root.SpanType}, "entity's name": {EntityName: of(root.EntityName)},
		"name": {Name: root.Name}, "status": {Status: "success"}, "entity type": {EntityType: of(root.EntityType)},
	} {
		found, err := observability.TracesLight(ctx, m, in)
		if err != nil || !slices.ContainsFunc(found.Spans, func(s observability.LightTrace) bool { return s.TraceID == w.TraceID }) {
			t.Errorf("by its %s the trace is not among %d, %v", name, len(found.Spans), err)
		}
	}

	// The finished run has its result; the one that waits is resumed by this version.
	run, err := workflows.Run(ctx, m, workflows.GetRunInput{WorkflowID: "myWorkflow", RunID: w.DoneRun})
	if err != nil || run.Status != mastra.StatusSuccess {
		t.Errorf("%+v, %v", run, err)
	}
	resumed, err := workflows.ResumeAsync(ctx, m, workflows.ResumeInput{WorkflowID: "refundWorkflow", RunID: w.WaitingRun, Step: workflows.StepPath{"approve"}, ResumeData: mastra.JSON(`{"approved":true}`)})
	if err != nil || resumed.Status != mastra.StatusSuccess || !strings.Contains(string(resumed.Result), "250.00 euros paid back") {
		t.Errorf("%s, %v", resumed.Result, err)
	}

	// The key still lets its owner in.
	keys, ok := s.(mastra.KeyStore)
	if !ok {
		t.Fatal("no keys")
	}
	if who, err := (server.APIKeys{Store: keys}).Authenticate(ctx, mastra.Credentials{Token: w.Key}); err != nil || who.Resource != w.Resource {
		t.Errorf("%+v, %v", who, err)
	}
	if err := supervisor.Idle(ctx); err != nil {
		t.Error(err)
	}
}
