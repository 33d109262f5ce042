package server

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Settings are what the environment says to every process that serves: CORS_ORIGINS, STREAM_FORMAT and LOG_LEVEL.
type Settings struct {
	Origins      []string
	StreamFormat Framing
	LogLevel     slog.Level // info where it is not set
}

// ReadSettings reads them. Everything that is wrong comes back at once.
func ReadSettings(getenv func(string) string) (s Settings, err error) {
	var errs []error
	wrong := func(name, why string) { errs = append(errs, fmt.Errorf("%s=%q: %s", name, getenv(name), why)) }
	switch s.StreamFormat = Framing(getenv("STREAM_FORMAT")); s.StreamFormat {
	case "", SSE, Chunked:
	default:
		wrong("STREAM_FORMAT", "not sse or chunked")
	}
	if level := getenv("LOG_LEVEL"); level != "" && s.LogLevel.UnmarshalText([]byte(level)) != nil {
		wrong("LOG_LEVEL", "not debug, info, warn or error")
	}
	for o := range strings.SplitSeq(getenv("CORS_ORIGINS"), ",") {
		if o = strings.TrimSpace(o); o == "" {
			continue
		}
		if scheme, host, ok := strings.Cut(o, "://"); !ok || scheme != "http" && scheme != "https" || host == "" || strings.ContainsAny(host, "/*") {
			wrong("CORS_ORIGINS", fmt.Sprintf("%q is not an origin such as https://app.example", o))
		}
		s.Origins = append(s.Origins, o)
	}
	return s, errors.Join(errs...)
}
