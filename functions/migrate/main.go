// Command migrate is the Lambda function behind the custom resource that brings the vector store's Postgres up to date at each
// deployment: an Aurora cluster through the Data API, another database through its URL.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/lambda"
	"mastralambda/shared/awsconfig"

	"mastralambda/infra/migrations/dataapi"
	"mastralambda/shared/logstore/record"
	"mastralambda/shared/vectorstore/pgvector"
)

func main() {
	slog.SetDefault(slog.New(record.NewHandler(record.Lambda, slog.LevelInfo, func(line []byte, _ slog.Level) error { _, err := os.Stdout.Write(line); return err })))
	lambda.Start(cfn.LambdaWrap(handle))
}

// handle answers CloudFormation, which shows an error's text. Deleting leaves the data to the database's own policy.
func handle(ctx context.Context, event cfn.Event) (id string, data map[string]any, err error) {
	const name = "migrations"
	if event.RequestType == cfn.RequestDelete {
		return event.PhysicalResourceID, nil, nil
	}
	if deadline, ok := ctx.Deadline(); ok { // time is left to answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-15*time.Second))
		defer cancel()
	}
	err = migrate(ctx)
	slog.Info("migrated", "request", string(event.RequestType), "error", err)
	return name, nil, err
}

func migrate(ctx context.Context) error {
	if cluster := os.Getenv("CLUSTER_ARN"); cluster != "" {
		cfg, err := awsconfig.Load(ctx)
		if err != nil {
			return err
		}
		return dataapi.Cluster{ARN: cluster, Secret: os.Getenv("CLUSTER_SECRET_ARN"), Database: os.Getenv("CLUSTER_DATABASE")}.Migrate(ctx, cfg)
	}
	url := os.Getenv("VECTOR_URL")
	if url == "" {
		return errors.New("neither CLUSTER_ARN nor VECTOR_URL is set")
	}
	store, err := pgvector.Open(url)
	if err != nil {
		return err
	}
	return errors.Join(store.Migrate(ctx), store.Close())
}
