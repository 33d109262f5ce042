// Package telemetry reads what the environment says of traces, and sends them on as OTLP where it names a place.
package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mastralambda/shared/mastra"
)

// Settings are what the environment says: OTEL_SERVICE_NAME, ENVIRONMENT, TRACE_RATE, OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_HEADERS, TRACES_TTL, SCORES_TTL and FEEDBACK_TTL.
type Settings struct {
	mastra.Tracing
	Retention mastra.Retention
	endpoint  string
	headers   map[string]string
}

// Read reads them. Everything that is wrong comes back at once.
func Read(getenv func(string) string) (s Settings, err error) {
	var errs []error
	wrong := func(name, why string) { errs = append(errs, fmt.Errorf("%s=%q: %s", name, getenv(name), why)) }
	s.ServiceName, s.Environment = getenv("OTEL_SERVICE_NAME"), getenv("ENVIRONMENT")
	if text := getenv("TRACE_RATE"); text != "" {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || !(rate >= 0 && rate <= 1) {
			wrong("TRACE_RATE", "not a share from 0 to 1")
		}
		s.Rate = &rate
	}
	if s.endpoint = getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); s.endpoint != "" {
		if u, err := url.Parse(s.endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "not a URL such as https://collector.example:4318")
		}
	}
	for pair := range strings.SplitSeq(getenv("OTEL_EXPORTER_OTLP_HEADERS"), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if value, err = url.PathUnescape(strings.TrimSpace(value)); !ok || err != nil || strings.TrimSpace(name) == "" { // its value may be a secret: it is not shown
			errs = append(errs, errors.New("OTEL_EXPORTER_OTLP_HEADERS: not name=value,name=value"))
			break
		}
		if s.headers == nil {
			s.headers = map[string]string{}
		}
		s.headers[strings.TrimSpace(name)] = value
	}
	for name, to := range map[string]*time.Duration{"TRACES_TTL": &s.Retention.Traces, "SCORES_TTL": &s.Retention.Scores, "FEEDBACK_TTL": &s.Retention.Feedback} {
		text := getenv(name)
		if text == "" {
			continue
		}
		days, isDays := strings.CutSuffix(text, "d")
		n, err := strconv.Atoi(days)
		if *to = time.Duration(n) * 24 * time.Hour; !isDays {
			*to, err = time.ParseDuration(text)
		}
		if err != nil || *to < time.Hour || *to > 36500*24*time.Hour {
			wrong(name, "not a time such as 30d or 12h, of an hour or more")
		}
	}
	return s, errors.Join(errs...)
}

// Exporter makes the exporter that the settings ask for, and has the tracing use it; nil where they ask for none.
func (s *Settings) Exporter(log *slog.Logger) *Exporter {
	if s.endpoint == "" {
		return nil
	}
	e := newExporter(s.endpoint, s.headers, s.ServiceName, s.Environment, log)
	s.Export = e.Add
	return e
}
