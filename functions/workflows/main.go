// Command workflows is the Lambda function of the workflows' routes.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/runs"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: runs.Backends, Routes: [][]server.Route{workflows.Routes()}})
}
