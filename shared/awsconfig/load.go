//go:build !lambda.norpc

package awsconfig

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Load searches as the AWS SDK does, wherever that leads.
func Load(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }
