//go:build lambda.norpc

package awsconfig

import (
	"context"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Load reads the environment alone: the tag is that of functions, whose runtime is provided.al2023.
func Load(context.Context) (aws.Config, error) { return environment(os.Getenv).config() }
