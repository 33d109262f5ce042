package local

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"mastralambda/shared/server"
)

// config is everything that the environment says to the local process. README.md lists it.
type config struct {
	host, prefix, dataDir, sqlitePath string
	port                              int
	auth                              bool
	origins                           []string
	streamFormat                      server.Framing
	logLevel                          slog.Level
}

// readConfig reads the environment once. Everything that is wrong with it comes back at once.
func readConfig(getenv func(string) string) (config, error) {
	get := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	c := config{host: get("HOST", "127.0.0.1"), prefix: "/" + strings.Trim(get("API_PREFIX", "/api"), "/"), dataDir: get("DATA_DIR", ".data")}
	var errs []error
	wrong := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s=%q: %s", name, getenv(name), fmt.Sprintf(format, args...)))
	}
	var err error
	if c.port, err = strconv.Atoi(get("PORT", "3000")); err != nil || c.port < 0 || c.port > 65535 {
		wrong("PORT", "not a port from 0 to 65535")
	}
	if strings.ContainsAny(c.prefix, "?#:{} ") {
		wrong("API_PREFIX", "not a path")
	}
	c.sqlitePath = filepath.Join(c.dataDir, "mastra.db")
	if url := getenv("STORAGE_URL"); url != "" {
		path, ok := strings.CutPrefix(url, "sqlite://")
		if !ok || path == "" {
			wrong("STORAGE_URL", "the local process takes sqlite:///path")
		}
		c.sqlitePath = path
	}
	switch v := get("AUTH", "auto"); v {
	case "auto":
		c.auth = !loopback(c.host)
	case "on":
		c.auth = true
	default:
		wrong("AUTH", "not auto or on")
	}
	switch c.streamFormat = server.Framing(getenv("STREAM_FORMAT")); c.streamFormat {
	case "", server.SSE, server.Chunked:
	default:
		wrong("STREAM_FORMAT", "not sse or chunked")
	}
	if err := c.logLevel.UnmarshalText([]byte(get("LOG_LEVEL", "info"))); err != nil {
		wrong("LOG_LEVEL", "not debug, info, warn or error")
	}
	for o := range strings.SplitSeq(getenv("CORS_ORIGINS"), ",") {
		if o = strings.TrimSpace(o); o == "" {
			continue
		}
		if scheme, host, ok := strings.Cut(o, "://"); !ok || scheme != "http" && scheme != "https" || host == "" || strings.ContainsAny(host, "/*") {
			wrong("CORS_ORIGINS", "%q is not an origin such as https://app.example", o)
		}
		c.origins = append(c.origins, o)
	}
	return c, errors.Join(errs...)
}

func (c config) address() string { return net.JoinHostPort(c.host, strconv.Itoa(c.port)) }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
