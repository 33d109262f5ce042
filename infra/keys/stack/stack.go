// Package stack manages the API keys of a deployed stack. It is apart from package keys, so that the local server links no AWS for it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"mastralambda/infra/keys"
	"mastralambda/shared/storage/dynamodb"
)

// Keys is keys.Run on the keys of a deployed stack, by the environment's AWS credentials and region. They need
// cloudformation:DescribeStacks on the stack, and dynamodb:GetItem, Query, PutItem and DeleteItem on its runs table.
func Keys(ctx context.Context, name string, out io.Writer, args []string) (err error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return errors.New("no region is set: AWS_REGION, or one in your AWS profile")
	}
	url, err := storageOf(ctx, cfg, name)
	if err != nil {
		return err
	}
	store, err := dynamodb.OpenURL(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return keys.Run(ctx, store, out, args)
}

// storageOf is the STORAGE_URL that a stack gives as its output.
func storageOf(ctx context.Context, cfg aws.Config, name string) (string, error) {
	answer, err := cfn.NewFromConfig(cfg).DescribeStacks(ctx, &cfn.DescribeStacksInput{StackName: &name})
	if err != nil {
		return "", fmt.Errorf("stack %s in %s: %w", name, cfg.Region, err)
	}
	for _, stack := range answer.Stacks {
		for _, o := range stack.Outputs {
			if aws.ToString(o.OutputKey) == "Storage" {
				return aws.ToString(o.OutputValue), nil
			}
		}
	}
	return "", fmt.Errorf("stack %s in %s has no output Storage: is it made by this template.yaml, and complete?", name, cfg.Region)
}
