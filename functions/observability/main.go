// Command observability is the Lambda function of traces, scores and feedback.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/functions/wire/scored"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Routes: [][]server.Route{observability.Routes()}, Runner: scored.Backends})
}
