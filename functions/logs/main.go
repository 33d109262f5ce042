// Command logs is the Lambda function of the log, which it reads back from CloudWatch.
package main

import (
	"context"

	"mastralambda/functions/wire"
	"mastralambda/shared/app"
	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/logstore/cloudwatch"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

func main() {
	wire.Main(wire.Function{App: app.New, Runner: reader, Routes: [][]server.Route{logs.Routes()}})
}

func reader(getenv func(string) string, b *mastra.Backends) (settle func(context.Context) error, err error) {
	b.Logs, err = cloudwatch.FromEnv(context.Background(), getenv)
	return nil, err
}
