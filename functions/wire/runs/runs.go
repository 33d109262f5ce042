// Package runs adds what agents and workflows run on: models, vector stores, the agent loop, the workflow engine. A function links it where
// its routes run the user's code.
package runs

import (
	"context"
	"errors"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/runlog"
	"mastralambda/shared/scoring"
	"mastralambda/shared/vectorstore/invoke"
)

// Backends is a wire.Runner. An invocation is settled when its runs have ended.
func Backends(getenv func(string) string, b *mastra.Backends) (func(context.Context) error, error) {
	models, err := model.FromEnv(getenv)
	embedder, errEmbedder := model.EmbedderFromEnv(getenv)
	vectors, errVectors := invoke.FromEnv(context.Background(), getenv)
	if err = errors.Join(err, errEmbedder, errVectors); err != nil {
		return nil, err
	}
	supervisor := runlog.NewSupervisor(b.Logger)
	b.Models, b.Embed, b.Vectors = models, embedder, vectors
	b.Agents, b.Engine, b.Scoring = agentloop.New(supervisor), engine.New(supervisor), scoring.New(supervisor)
	return supervisor.Idle, nil
}
