package local

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
	"mastralambda/shared/telemetry"
	"mastralambda/shared/vectorstore"
	"mastralambda/shared/webhook"
)

// config is everything that the environment says to the local process. README.md lists it.
type config struct {
	host, prefix, dataDir, sqlitePath string
	port                              int
	auth                              bool
	vectors                           []vectorstore.Source
	webhook                           *mastra.Webhook
	server.Settings
	telemetry telemetry.Settings
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
	if c.vectors, err = vectorstore.Sources(get("VECTOR_URL", "embedded"), ""); err != nil {
		wrong("VECTOR_URL", "%v", err)
	}
	if c.webhook, err = webhook.FromEnv(getenv); err != nil {
		errs = append(errs, err)
	}
	switch v := get("AUTH", "auto"); v {
	case "auto":
		c.auth = !loopback(c.host)
	case "on":
		c.auth = true
	default:
		wrong("AUTH", "not auto or on")
	}
	settings, err := server.ReadSettings(getenv)
	telemetry, errTelemetry := telemetry.Read(getenv)
	c.Settings, c.telemetry = settings, telemetry
	return c, errors.Join(append(errs, err, errTelemetry)...)
}

func (c config) address() string { return net.JoinHostPort(c.host, strconv.Itoa(c.port)) }

// loopback says whether listening on host is listening to this machine only. Where it says so, nobody needs a key: it is
// narrower than what a request's Host may name.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
