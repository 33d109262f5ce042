// Package cloudwatch reads back what functions log to their standard output: Lambda takes each line to a CloudWatch log group.
package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/logstore/record"
	"mastralambda/shared/mastra"
)

const (
	maxCalls       = 20 // of FilterLogEvents for one page; a region gives an account five to ten a second
	maxTime        = 20 * time.Second
	maxPerCall     = 10_000
	maxPerPage     = 1000
	defaultPerPage = 100
	late           = time.Minute // Lambda stamps a line after it was written, at most so much
)

// oldest is where the service can begin to read backwards from.
var oldest = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// Reader is a mastra.LogReader over one log group, in which lines have the format record.Lambda. What was logged is visible after
// some seconds. It is safe for concurrent use.
type Reader struct {
	client *cwl.Client
	group  string
}

var _ mastra.LogReader = (*Reader)(nil)

// FromEnv opens the log group that LOG_GROUP names, with the environment's region, credentials and endpoint
// (AWS_ENDPOINT_URL_CLOUDWATCH_LOGS). It makes no request.
func FromEnv(ctx context.Context, getenv func(string) string) (*Reader, error) {
	group := getenv("LOG_GROUP")
	if group == "" {
		return nil, errors.New("LOG_GROUP is not set: the log group that is read")
	}
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("cloudwatch: the AWS configuration cannot be read: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("cloudwatch: no region is set (AWS_REGION)")
	}
	return Open(cfg, group), nil
}

// Open returns a reader of a log group. It makes no request.
func Open(cfg aws.Config, group string) *Reader {
	return &Reader{group: group, client: cwl.NewFromConfig(cfg, func(o *cwl.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 4, time.Second })
	})}
}

// Logs reads a page of the records that q asks for, at most 1000, the newest first. It makes at most 20 calls; where a page is not
// full after them, what was found is the answer and HasMore says that there may be more; where nothing was found, a CodeInvalid
// asks for a narrower range of time. Total is -1 unless the end of the log was reached.
func (r *Reader) Logs(ctx context.Context, q mastra.LogQuery) (*mastra.LogPage, error) {
	m, err := record.NewMatcher(record.Lambda, q)
	if err != nil {
		return nil, err
	}
	page := &mastra.LogPage{Records: []mastra.LogRecord{}, Total: -1}
	pattern := patternOf(q, m.Levels())
	if pattern == "" {
		page.Total = 0
		return page, nil
	}
	if q.PerPage <= 0 {
		q.PerPage = defaultPerPage
	}
	q.PerPage = min(q.PerPage, maxPerPage)
	first := max(0, min(q.Page, math.MaxInt32)) * q.PerPage
	in := &cwl.FilterLogEventsInput{LogGroupName: &r.group, FilterPattern: &pattern, StartFromHead: aws.Bool(q.Ascending), StartTime: aws.Int64(max(oldest, int64(q.From)))}
	if q.To != 0 {
		in.EndTime = aws.Int64(max(int64(q.To)+late.Milliseconds(), *in.StartTime))
	}
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	found := 0
	for range maxCalls {
		in.Limit = aws.Int32(int32(min(first+q.PerPage+1-found, maxPerCall)))
		out, err := r.client.FilterLogEvents(limited, in)
		if err != nil {
			if ctx.Err() == nil && limited.Err() != nil {
				break
			}
			return nil, failed(err)
		}
		for _, e := range out.Events {
			wanted := found >= first && len(page.Records) < q.PerPage
			rec, ok := m.Match([]byte(aws.ToString(e.Message)), wanted)
			if !ok {
				continue
			}
			if found++; wanted {
				page.Records = append(page.Records, rec)
			} else if found > first {
				page.HasMore = true
				return page, nil
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			page.Total = found
			return page, nil
		}
	}
	if len(page.Records) == 0 {
		return nil, mastra.Errorf(mastra.CodeInvalid, "The log is too long to be searched so far back at once: give fromDate and toDate")
	}
	page.HasMore = true
	return page, nil
}

func failed(err error) error {
	var throttled *types.ThrottlingException
	var limit *types.LimitExceededException
	var busy *types.ServiceUnavailableException
	var none *types.ResourceNotFoundException
	switch {
	case errors.As(err, &throttled), errors.As(err, &limit), errors.As(err, &busy):
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The log is read by too many at once: try again later", Err: err}
	case errors.As(err, &none):
		return &mastra.Error{Code: mastra.CodeUnavailable, Message: "There is no log group", Err: err}
	}
	return fmt.Errorf("cloudwatch: %w", err)
}
