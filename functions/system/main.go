// Command system is the Lambda function of health and of what clients ask first. It has every table for the OpenAPI document; template.yaml sends it its own routes.
package main

import (
	"mastralambda/functions/wire"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/agents"
	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/handlers/memory"
	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/handlers/system"
	"mastralambda/shared/handlers/tools"
	"mastralambda/shared/handlers/voice"
	"mastralambda/shared/handlers/workflows"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Routes: [][]server.Route{agents.Routes(), logs.Routes(), memory.Routes(), observability.Routes(), system.Routes(), tools.Routes(), voice.Routes(), workflows.Routes()}})
}
