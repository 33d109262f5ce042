// Command vectors is the Lambda function of the vectors' routes, the only one that speaks to Postgres.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/vectors"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/vector"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: vectors.Backends, Routes: [][]server.Route{vector.Routes()}})
}
