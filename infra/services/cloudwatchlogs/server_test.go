package cloudwatchlogs

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

// The user guide's events and patterns.
func TestDocumentedPatterns(t *testing.T) {
	const trail = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
		"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c"}`
	const people = `{"user":{"id":1,"email":"John.Stiles@example.com"},"users":[{"id":2,"email":"John.Doe@example.com"},{"id":3,"email":"Jane.Doe@example.com"}],
		"actions":["GET","PUT","DELETE"],"coordinates":[[0,1,2],[4,5,6],[7,8,9]]}`
	const flags = `{"level":"ERROR","on":true,"off":false,"text":"say \"hi\"","bandwidth":75,"latency":-50}`
	for pattern, c := range map[string]struct {
		event string
		fits  bool
	}{
		`{ $.eventType = "UpdateTrail" }`:                                    {trail, true},
		`{ $.eventType = UpdateTrail }`:                                      {trail, true},
		`{ $.eventType = "updatetrail" }`:                                    {trail, false},
		`{ $.eventType = "Update*" }`:                                        {trail, true},
		`{ $.eventType = %Trail% }`:                                          {trail, true},
		`{ $.sourceIPAddress != 123.123.* }`:                                 {trail, true},
		`{ $.sourceIPAddress = 111.111.* }`:                                  {trail, true},
		`{ $.arrayKey[0] = "value" }`:                                        {trail, true},
		`{ $.arrayKey[1] = "value" }`:                                        {trail, false},
		`{ $.objectList[1].id = 2 }`:                                         {trail, true},
		`{ $.SomeObject IS NULL }`:                                           {trail, true},
		`{ $.SomeOtherObject NOT EXISTS }`:                                   {trail, true},
		`{ $.SomeObject NOT EXISTS }`:                                        {trail, false},
		`{ $.['cluster.name'] = "c" }`:                                       {trail, true},
		`{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }`: {people, true},
		`{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "DELETE" }`:     {people, true},
		`{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }`:        {people, false},
		`{ $.user.id = 1 || $.user.id = 2 && $.actions[0] = "PUT" }`:                          {people, true}, // && binds
		`{ ($.user.email = "John*" || $.coordinates[0][1] = 7) && $.actions[2] = "nonmatch"}`: {people, false},
		`{ $.coordinates[0][1] = 1 }`:              {people, true},
		`{ $.on IS TRUE && $.off IS FALSE }`:       {flags, true},
		`{ $.text = "say \"hi\"" }`:                {flags, true},
		`{ $.bandwidth > 75 }`:                     {flags, false},
		`{ $.bandwidth >= 75 && $.latency < 5e1 }`: {flags, true},
		`{ $.bandwidth = "75" }`:                   {flags, false},
		`{ $.level = "ERROR" }`:                    {"ERROR not in JSON", false},
		``:                                         {"anything", true},
	} {
		if fits, err := Match(pattern, c.event); err != nil || fits != c.fits {
			t.Errorf("%s on %s: %t, %v", pattern, c.event, fits, err)
		}
	}
	for _, pattern := range []string{`{ $.a }`, `{ $ = 1 }`, `{ $.a = "b }`, `{ ($.a = 1 }`, `{ $.a = 1 $.b = 2 }`, `{ $.a > "b" }`, `{}`, `{ $.a = %b }`, `ERROR`} {
		if _, err := Match(pattern, "{}"); err == nil {
			t.Errorf("%s is taken", pattern)
		}
	}
}

// What AWS documents of PutLogEvents and FilterLogEvents, asked by AWS's own client.
func TestDocumentedOperations(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := &Server{Now: func() time.Time { return now }}
	web := httptest.NewServer(s)
	defer web.Close()
	client := cwl.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &web.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})
	ctx, group, stream := t.Context(), aws.String("g"), aws.String("s")
	put := func(events ...types.InputLogEvent) (*cwl.PutLogEventsOutput, error) {
		return client.PutLogEvents(ctx, &cwl.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: events})
	}
	at := func(d time.Duration, message string) types.InputLogEvent {
		return types.InputLogEvent{Timestamp: aws.Int64(now.Add(d).UnixMilli()), Message: &message}
	}
	code := func(err error) string {
		var api smithy.APIError
		if !errors.As(err, &api) {
			return ""
		}
		return api.ErrorCode()
	}
	if _, err := put(at(0, "x")); code(err) != "ResourceNotFoundException" {
		t.Errorf("without a group: %v", err)
	}
	if _, err := client.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: group}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateLogStream(ctx, &cwl.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}); err != nil {
		t.Fatal(err)
	}
	if _, err := put(at(0, "b"), at(-time.Second, "a")); code(err) != "InvalidParameterException" {
		t.Errorf("not in order: %v", err)
	}
	if _, err := put(at(-25*time.Hour, "a"), at(0, "b")); code(err) != "InvalidParameterException" {
		t.Errorf("more than a day: %v", err)
	}
	if out, err := put(at(-15*24*time.Hour, "old"), at(-14*24*time.Hour-time.Hour, "old")); err != nil || aws.ToInt32(out.RejectedLogEventsInfo.TooOldLogEventEndIndex) != 2 {
		t.Errorf("older than 14 days: %+v, %v", out, err)
	}
	if out, err := put(at(-time.Second, "1"), at(0, "2"), at(0, "3"), at(3*time.Hour, "ahead")); err != nil || aws.ToInt32(out.RejectedLogEventsInfo.TooNewLogEventStartIndex) != 3 {
		t.Errorf("%+v, %v", out, err)
	}
	filter := func(in cwl.FilterLogEventsInput) (string, *string, error) {
		in.LogGroupName = group
		out, err := client.FilterLogEvents(ctx, &in)
		if err != nil {
			return "", nil, err
		}
		var all []string
		for _, e := range out.Events {
			all = append(all, *e.Message)
		}
		return strings.Join(all, " "), out.NextToken, nil
	}
	if got, token, err := filter(cwl.FilterLogEventsInput{}); err != nil || got != "1 2 3" || token != nil {
		t.Errorf("oldest first: %s, %v", got, err)
	}
	backwards := cwl.FilterLogEventsInput{StartFromHead: aws.Bool(false), StartTime: aws.Int64(now.Add(-time.Hour).UnixMilli()), Limit: aws.Int32(2)}
	got, token, err := filter(backwards)
	if err != nil || got != "3 2" || token == nil {
		t.Fatalf("newest first: %s, %v", got, err)
	}
	if got, next, err := filter(cwl.FilterLogEventsInput{NextToken: token, StartTime: backwards.StartTime}); err != nil || got != "1" || next != nil {
		t.Errorf("a token keeps its direction: %s, %v", got, err)
	}
	backwards.StartTime = aws.Int64(0)
	if _, _, err := filter(backwards); code(err) != "InvalidParameterException" {
		t.Errorf("newest first since 1970: %v", err)
	}
	if _, _, err := filter(cwl.FilterLogEventsInput{FilterPattern: aws.String("{ $.a = ")}); code(err) != "InvalidParameterException" {
		t.Errorf("half a pattern: %v", err)
	}
	s.Scan = 2 // two events are looked at, nothing fits, and there is more
	if got, token, err := filter(cwl.FilterLogEventsInput{FilterPattern: aws.String(`{ $.a = 1 }`)}); err != nil || got != "" || token == nil {
		t.Errorf("an empty page carries a token: %s, %v", got, err)
	}
}
