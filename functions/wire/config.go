package wire

import (
	"cmp"
	"errors"
	"fmt"

	"mastralambda/shared/server"
	"mastralambda/shared/telemetry"
)

// config is what the environment says to every function. README.md lists it.
type config struct {
	server.Settings
	telemetry           telemetry.Settings
	storageURL, version string
	auth                bool
}

// readConfig reads the environment once. Everything that is wrong with it comes back at once.
func readConfig(getenv func(string) string) (config, error) {
	c := config{storageURL: getenv("STORAGE_URL"), version: cmp.Or(getenv("AWS_LAMBDA_FUNCTION_VERSION"), "1"), auth: true}
	settings, err := server.ReadSettings(getenv)
	telemetry, errTelemetry := telemetry.Read(getenv)
	c.Settings, c.telemetry = settings, telemetry
	err = errors.Join(err, errTelemetry)
	switch v := getenv("AUTH"); v {
	case "", "on":
	case "off":
		c.auth = false
	default:
		err = errors.Join(fmt.Errorf("AUTH=%q: not on or off", v), err)
	}
	return c, err
}
