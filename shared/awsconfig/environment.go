// Package awsconfig finds the region, the credentials and the endpoints that clients of AWS work with.
package awsconfig

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// environment is what the environment says, which in a function is all there is: Lambda gives each instance its role's credentials
// in variables. The SDK's own search also knows profiles, single sign-on, assumed roles and instance metadata, which are four more
// clients: half a megabyte of a function's zip, two of its memory and a fifth of its start.
type environment func(string) string

func (get environment) config() (c aws.Config, err error) {
	c = aws.Config{
		Region:        cmp.Or(get("AWS_REGION"), get("AWS_DEFAULT_REGION")),
		Credentials:   credentials.NewStaticCredentialsProvider(get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"), get("AWS_SESSION_TOKEN")),
		ConfigSources: []any{get},
	}
	if v := get("AWS_ENDPOINT_URL"); v != "" && !strings.EqualFold(get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		c.BaseEndpoint = &v
	}
	if v := get("AWS_MAX_ATTEMPTS"); v != "" {
		if c.RetryMaxAttempts, err = strconv.Atoi(v); err != nil {
			return c, fmt.Errorf("AWS_MAX_ATTEMPTS=%q: not a number", v)
		}
	}
	if v := get("AWS_RETRY_MODE"); v != "" {
		if c.RetryMode, err = aws.ParseRetryMode(v); err != nil {
			return c, fmt.Errorf("AWS_RETRY_MODE=%q: %w", v, err)
		}
	}
	return c, nil
}

// GetServiceBaseEndpoint is the endpoint of one service.
func (get environment) GetServiceBaseEndpoint(_ context.Context, service string) (url string, found bool, err error) {
	url = get("AWS_ENDPOINT_URL_" + strings.ToUpper(strings.NewReplacer(" ", "_", "-", "_").Replace(service)))
	return url, url != "", nil
}

// GetIgnoreConfiguredEndpoints says that the variables of endpoints do not count.
func (get environment) GetIgnoreConfiguredEndpoints(context.Context) (ignore, found bool, err error) {
	v := get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
	return strings.EqualFold(v, "true"), v != "", nil
}

// GetUseFIPSEndpoint says whether endpoints are those that FIPS 140 asks for.
func (get environment) GetUseFIPSEndpoint(context.Context) (aws.FIPSEndpointState, bool, error) {
	switch strings.ToLower(get("AWS_USE_FIPS_ENDPOINT")) {
	case "true":
		return aws.FIPSEndpointStateEnabled, true, nil
	case "false":
		return aws.FIPSEndpointStateDisabled, true, nil
	}
	return aws.FIPSEndpointStateUnset, false, nil
}

// GetUseDualStackEndpoint says whether endpoints are those that IPv6 reaches, too.
func (get environment) GetUseDualStackEndpoint(context.Context) (aws.DualStackEndpointState, bool, error) {
	switch strings.ToLower(get("AWS_USE_DUALSTACK_ENDPOINT")) {
	case "true":
		return aws.DualStackEndpointStateEnabled, true, nil
	case "false":
		return aws.DualStackEndpointStateDisabled, true, nil
	}
	return aws.DualStackEndpointStateUnset, false, nil
}
