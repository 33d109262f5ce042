// Command agents is the Lambda function of the agents' routes.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/runs"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: runs.Backends, Routes: [][]server.Route{agents.Routes()}})
}
