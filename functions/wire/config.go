package wire

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"mastralambda/shared/server"
)

// config is what the environment says to every function. README.md lists it.
type config struct {
	storageURL, version string
	auth                bool
	origins             []string
	streamFormat        server.Framing
	logLevel            slog.Level
}

// readConfig reads the environment once. Everything that is wrong with it comes back at once.
func readConfig(getenv func(string) string) (config, error) {
	c := config{storageURL: getenv("STORAGE_URL"), version: cmp.Or(getenv("AWS_LAMBDA_FUNCTION_VERSION"), "1")}
	var errs []error
	wrong := func(name, why string) { errs = append(errs, fmt.Errorf("%s=%q: %s", name, getenv(name), why)) }
	switch v := cmp.Or(getenv("AUTH"), "on"); v {
	case "on":
		c.auth = true
	case "off":
	default:
		wrong("AUTH", "not on or off")
	}
	switch c.streamFormat = server.Framing(getenv("STREAM_FORMAT")); c.streamFormat {
	case "", server.SSE, server.Chunked:
	default:
		wrong("STREAM_FORMAT", "not sse or chunked")
	}
	if err := c.logLevel.UnmarshalText([]byte(cmp.Or(getenv("LOG_LEVEL"), "info"))); err != nil {
		wrong("LOG_LEVEL", "not debug, info, warn or error")
	}
	for o := range strings.SplitSeq(getenv("CORS_ORIGINS"), ",") {
		if o = strings.TrimSpace(o); o == "" {
			continue
		}
		if scheme, host, ok := strings.Cut(o, "://"); !ok || scheme != "http" && scheme != "https" || host == "" || strings.ContainsAny(host, "/*") {
			wrong("CORS_ORIGINS", fmt.Sprintf("%q is not an origin such as https://app.example", o))
		}
		c.origins = append(c.origins, o)
	}
	return c, errors.Join(errs...)
}
