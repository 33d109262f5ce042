package cloudwatch

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"mastralambda/infra/services/cloudwatchlogs"
	"mastralambda/shared/logstore/logtest"
	"mastralambda/shared/logstore/record"
	"mastralambda/shared/mastra"
)

const group = "/mastra/prod"

// logs is a log group: what is logged goes through Lambda's format to the service.
func logs(t testing.TB, s *cloudwatchlogs.Server) (slog.Handler, *Reader) {
	t.Helper()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.Put(group, "platform", time.Now(), `{"time":"2026-01-01T00:00:00.000Z","type":"platform.start","record":{"requestId":"1"}}`)
	s.Put(group, "platform", time.Now(), "panic: not a line of JSON")
	h := record.NewHandler(record.Lambda, slog.LevelDebug, func(line []byte, _ slog.Level) error {
		_, rest, _ := strings.Cut(string(line), `"timestamp":"`)
		at, err := time.Parse(time.RFC3339, rest[:strings.Index(rest, `"`)])
		s.Put(group, "a", at, strings.TrimSuffix(string(line), "\n"))
		return err
	})
	return h, Open(aws.Config{Region: "us-east-1", BaseEndpoint: &web.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}, group)
}

func TestLog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) (slog.Handler, mastra.LogReader) { return logs(t, &cloudwatchlogs.Server{}) })
}

// Pages that are partly full, and empty ones that carry a token, are read on.
func TestLogInSmallPages(t *testing.T) {
	logtest.Run(t, func(t *testing.T) (slog.Handler, mastra.LogReader) { return logs(t, &cloudwatchlogs.Server{Scan: 15}) })
}

// A page takes a bounded number of calls; what cannot be found with them is no empty page that looks like the end.
func TestCallsAreBounded(t *testing.T) {
	s := &cloudwatchlogs.Server{Scan: 10}
	h, r := logs(t, s)
	log := slog.New(h)
	log.Error("old")
	for i := range 30 * 10 {
		if i == 250 {
			log.Warn("middle")
		}
		log.Info("new")
	}
	calls := func(q mastra.LogQuery) (*mastra.LogPage, int, error) {
		before := s.Requests("FilterLogEvents")
		p, err := r.Logs(t.Context(), q)
		return p, s.Requests("FilterLogEvents") - before, err
	}
	if p, n, err := calls(mastra.LogQuery{PerPage: 5}); err != nil || n != 1 || len(p.Records) != 5 || !p.HasMore || p.Total != -1 {
		t.Errorf("%d calls for the newest: %+v, %v", n, p, err)
	}
	if p, n, err := calls(mastra.LogQuery{Level: "warn", PerPage: 5}); err != nil || n != maxCalls || len(p.Records) != 1 || p.Records[0].Message != "middle" || !p.HasMore {
		t.Errorf("%d calls: %+v, %v", n, p, err)
	}
	if _, n, err := calls(mastra.LogQuery{Level: "error"}); mastra.CodeOf(err) != mastra.CodeInvalid || n != maxCalls || !strings.Contains(err.Error(), "fromDate") {
		t.Errorf("%d calls, %v", n, err)
	}
}

func TestPagesOfBytes(t *testing.T) {
	s := &cloudwatchlogs.Server{}
	h, r := logs(t, s)
	for i := range 100 {
		slog.New(h).Info(fmt.Sprint(i), "v", strings.Repeat("x", 30<<10))
	}
	p, err := r.Logs(t.Context(), mastra.LogQuery{PerPage: 1000})
	if err != nil || len(p.Records) != 100 || p.Total != 100 || p.HasMore || s.Requests("FilterLogEvents") != 3 {
		t.Errorf("%d records, %d calls, %v", len(p.Records), s.Requests("FilterLogEvents"), err)
	}
}

func TestThrottling(t *testing.T) {
	s := &cloudwatchlogs.Server{}
	h, r := logs(t, s)
	slog.New(h).Info("one")
	s.Throttle(2)
	if p, err := r.Logs(t.Context(), mastra.LogQuery{}); err != nil || len(p.Records) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	s.Throttle(1000)
	if _, err := r.Logs(t.Context(), mastra.LogQuery{}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("%v", err)
	}
	s.Throttle(0)
	r.group = "another"
	if _, err := r.Logs(t.Context(), mastra.LogQuery{}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("without a log group: %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	if _, err := FromEnv(t.Context(), func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "LOG_GROUP") {
		t.Errorf("%v", err)
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		q    mastra.LogQuery
		want string
	}{
		{mastra.LogQuery{Level: "warn"}, `{ ($.level = "WARN" || $.level = "ERROR") }`},
		{mastra.LogQuery{Level: "error", RunID: "0199-run"}, `{ ($.level = "ERROR") && $.runId = "0199-run" }`},
		{mastra.LogQuery{Level: "error", Filters: map[string]string{"n": "7", "url": "http://a:1/?q"}}, `{ ($.level = "ERROR") && ($.n = 7 || $.n = "7") && $.url = "http://a:1/*" }`},
		{mastra.LogQuery{Level: "error", RunID: `x" || $.level = "INFO`}, `{ ($.level = "ERROR") && $.runId = "x*" }`},
		{mastra.LogQuery{Level: "error", RunID: `*`, Filters: map[string]string{`a" = "b`: "c", "%": "%", "ok": "true", "d": `\"`}}, `{ ($.level = "ERROR") }`},
		{mastra.LogQuery{Level: "silent"}, ""},
	} {
		m, err := record.NewMatcher(record.Lambda, c.q)
		if err != nil {
			t.Fatal(err)
		}
		if got := patternOf(c.q, m.Levels()); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
}

// FuzzPattern: whatever a client asks for, the service takes the pattern, and finds a record that has just that.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][3]string{{"run-1", "component", "AGENT"}, {"7", "n", "7"}, {`a"b\`, `x"]`, `*" || $.level = "INFO`}, {"%a%", "a.b", "null"}, {"-0", "time", "1e400"}, {" ", "level", "error"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, run, name, value string) {
		var line string
		log := slog.New(record.NewHandler(record.Lambda, slog.LevelInfo, func(b []byte, _ slog.Level) error { line = string(b); return nil }))
		log.Error("m", "runId", run, name, value)
		q := mastra.LogQuery{RunID: run, Filters: map[string]string{name: value}}
		m, err := record.NewMatcher(record.Lambda, q)
		if err != nil {
			t.Fatal(err)
		}
		pattern := patternOf(q, m.Levels())
		found, err := cloudwatchlogs.Match(pattern, line)
		if err != nil || len(pattern) > maxPattern {
			t.Fatalf("%s: %v", pattern, err)
		}
		if _, ok := m.Match([]byte(line), true); ok && !found {
			t.Errorf("%s does not find %s", pattern, line)
		}
	})
}
