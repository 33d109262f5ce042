// Command tools is the Lambda function of the tools' routes. A tool may run an agent or a workflow.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/runs"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: runs.Backends, Routes: [][]server.Route{tools.Routes()}})
}
