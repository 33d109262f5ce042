// Package dataapi runs migrations on an Aurora cluster through the RDS Data API, which needs no network of the database.
package dataapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/rdsdata"
	"github.com/aws/smithy-go"

	"mastralambda/infra/migrations"
)

// Cluster is an Aurora cluster and the database in it. Its zero fields are none.
type Cluster struct {
	ARN      string
	Secret   string // ARN of the secret with the user that migrates
	Database string
	Pause    time.Duration // between attempts while it wakes up; 3 s where 0
}

// Migrate brings the database up to date. A cluster that wakes up is waited for until ctx ends.
func (c Cluster) Migrate(ctx context.Context, cfg aws.Config) error {
	if c.Pause == 0 {
		c.Pause = 3 * time.Second
	}
	client := rdsdata.NewFromConfig(cfg, func(o *rdsdata.Options) { o.Retryer = aws.NopRetryer{} })
	return migrations.Apply(ctx, func(ctx context.Context, do func(migrations.Exec) error) error {
		var last error // that the database gave a reason for
		for {
			err := c.transact(ctx, client, do)
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return errors.Join(err, last)
			case !passing(err):
				return err
			}
			last = err
			select { // a migration is applied once, whether or not its commit was heard of
			case <-ctx.Done():
			case <-time.After(c.Pause):
			}
		}
	})
}

func (c Cluster) transact(ctx context.Context, client *rdsdata.Client, do func(migrations.Exec) error) error {
	begun, err := client.BeginTransaction(ctx, &rdsdata.BeginTransactionInput{ResourceArn: &c.ARN, SecretArn: &c.Secret, Database: &c.Database})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err = do(func(ctx context.Context, statement string) (int64, error) {
		out, err := client.ExecuteStatement(ctx, &rdsdata.ExecuteStatementInput{ResourceArn: &c.ARN, SecretArn: &c.Secret, Database: &c.Database,
			TransactionId: begun.TransactionId, Sql: &statement, ContinueAfterTimeout: true})
		if err != nil {
			return 0, err
		}
		return out.NumberOfRecordsUpdated, nil
	})
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, failed := client.RollbackTransaction(undo, &rdsdata.RollbackTransactionInput{ResourceArn: &c.ARN, SecretArn: &c.Secret, TransactionId: begun.TransactionId})
		if failed != nil { // it ends by itself after three minutes
			err = errors.Join(err, fmt.Errorf("rollback: %w", failed))
		}
		return err
	}
	if _, err := client.CommitTransaction(ctx, &rdsdata.CommitTransactionInput{ResourceArn: &c.ARN, SecretArn: &c.Secret, TransactionId: begun.TransactionId}); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// passing says whether what err tells of may be over soon: the database wakes up, or the service is busy.
func passing(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "DatabaseResumingException", "DatabaseUnavailableException", "InvalidResourceStateException", "ServiceUnavailableError", "InternalServerErrorException", "TransactionNotFoundException":
			return true
		}
	}
	return retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
}
