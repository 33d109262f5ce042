// Command voice is the Lambda function of what agents say and hear.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/voice"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Routes: [][]server.Route{voice.Routes()}})
}
