// Command memory is the Lambda function of the memory routes.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/found"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: found.Backends, Routes: [][]server.Route{memory.Routes()}})
}
