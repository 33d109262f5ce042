package engine_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/services"
	"mastralambda/shared/mastra"
	"mastralambda/shared/storage/dynamodb"
)

// tables makes tables in DynamoDB, and says how they are reached.
func tables(t *testing.T) (cfg aws.Config, url string) {
	t.Helper()
	endpoint, name := services.DynamoDB(t), "engine-"+mastra.NewID()
	cfg = aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	url = fmt.Sprintf("dynamodb://?threads=%s-t&runs=%s-r&observability=%s-o", name, name, name)
	names, err := dynamodb.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	store := dynamodb.Open(cfg, names)
	defer store.Close()
	if err := store.CreateTables(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg, url
}

// onBoth runs f with two processes over each storage.
func onBoth(t *testing.T, w mastra.Workflow, f func(t *testing.T, a, b *process)) {
	t.Run("sqlite", func(t *testing.T) {
		a := inNewFile(t, w)
		f(t, a, open(t, a.path, []mastra.Workflow{w}))
	})
	t.Run("dynamodb", func(t *testing.T) {
		cfg, url := tables(t)
		names, err := dynamodb.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		f(t, over(t, dynamodb.Open(cfg, names), []mastra.Workflow{w}), over(t, dynamodb.Open(cfg, names), []mastra.Workflow{w}))
	})
}
