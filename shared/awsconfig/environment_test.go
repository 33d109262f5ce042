package awsconfig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// What a function reads of its environment is what the SDK reads there.
func TestEnvironment(t *testing.T) {
	role := map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
	for name, more := range map[string]map[string]string{
		"a function's":           {},
		"another region":         {"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-west-2"},
		"an endpoint of all":     {"AWS_ENDPOINT_URL": "http://all"},
		"one of one":             {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_DYNAMODB": "http://tables", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://logs"},
		"endpoints that go":      {"AWS_ENDPOINT_URL": "http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
		"FIPS":                   {"AWS_USE_FIPS_ENDPOINT": "true"},
		"no FIPS":                {"AWS_USE_FIPS_ENDPOINT": "false"},
		"dual stack":             {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
		"no dual stack":          {"AWS_USE_DUALSTACK_ENDPOINT": "false"},
		"attempts":               {"AWS_MAX_ATTEMPTS": "7", "AWS_RETRY_MODE": "adaptive"},
		"attempts that are none": {"AWS_MAX_ATTEMPTS": "many"},
		"a mode that is none":    {"AWS_RETRY_MODE": "never"},
	} {
		t.Run(name, func(t *testing.T) {
			nothing := filepath.Join(t.TempDir(), "nothing")
			for _, env := range []map[string]string{{"AWS_CONFIG_FILE": nothing, "AWS_SHARED_CREDENTIALS_FILE": nothing}, role, more} {
				for k, v := range env {
					t.Setenv(k, v)
				}
			}
			have, err := environment(os.Getenv).config()
			want, wantErr := config.LoadDefaultConfig(t.Context())
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("%v, the SDK says %v", err, wantErr)
			}
			if err != nil {
				return
			}
			if h, w := read(t, have), read(t, want); h != w {
				t.Errorf("have %+v\nwant %+v", h, w)
			}
		})
	}
}

// settings are what two clients make of a configuration.
type settings struct {
	region, key, secret, token, tables, logs string
	fips                                     aws.FIPSEndpointState
	dual                                     aws.DualStackEndpointState
	attempts                                 int
	mode                                     aws.RetryMode
}

func read(t *testing.T, c aws.Config) settings {
	t.Helper()
	ddb, cwl := dynamodb.NewFromConfig(c).Options(), cloudwatchlogs.NewFromConfig(c).Options()
	by, err := ddb.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return settings{ddb.Region, by.AccessKeyID, by.SecretAccessKey, by.SessionToken, aws.ToString(ddb.BaseEndpoint), aws.ToString(cwl.BaseEndpoint),
		ddb.EndpointOptions.UseFIPSEndpoint, ddb.EndpointOptions.UseDualStackEndpoint, ddb.RetryMaxAttempts, ddb.RetryMode}
}
