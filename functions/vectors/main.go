// Command vectors is the Lambda function of the vectors' routes, the only one that speaks to Postgres: other functions reach the stores by invoking it.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/vectors"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/server"
	"mastralambda/shared/vectorstore/calls"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: vectors.Backends, Direct: calls.Serve, Routes: [][]server.Route{vector.Routes()}})
}
