package lambdalocal_test

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mastralambda/infra/lambdalocal"
	"mastralambda/infra/services/cloudwatchlogs"
)

// lines takes what a function writes to a log group, as Lambda does.
type lines struct {
	to   *cloudwatchlogs.Server
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		l.to.Put("group", "stream", time.Now(), string(line))
		l.rest = rest
	}
}

// What one function writes to its output, another reads from CloudWatch.
func TestLogsComeBackFromCloudWatch(t *testing.T) {
	service := &cloudwatchlogs.Server{}
	web := httptest.NewServer(service)
	defer web.Close()
	in, err := lambdalocal.Start(t.Context(), bootstrap(t, "system"), without, &lines{to: service})
	if err != nil {
		t.Fatal(err)
	}
	answer(t, in, proxyEvent("GET", "/{proxy+}", "/api/nowhere", ""))
	if err := in.Close(); err != nil { // its output is read to the end
		t.Fatal(err)
	}
	logs, _ := start(t, "logs", "LOG_GROUP=group", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS="+web.URL)
	body, _ := answer(t, logs, proxyEvent("GET", "/api/logs", "/api/logs", ""))
	if !strings.Contains(body, `"statusCode":200`) || !strings.Contains(body, `/api/nowhere`) || !strings.Contains(body, `\"level\":\"info\"`) || !strings.Contains(body, `\"total\":1`) {
		t.Error(body)
	}
}
