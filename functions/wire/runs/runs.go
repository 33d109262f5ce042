// Package runs adds what agents and workflows run on: models, vector stores, the agent loop, the workflow engine. A function links it where
// its routes run the user's code.
package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"mastralambda/shared/agentloop"
	"mastralambda/shared/engine"
	"mastralambda/shared/mastra"
	"mastralambda/shared/model"
	"mastralambda/shared/queue/sqs"
	"mastralambda/shared/runlog"
	"mastralambda/shared/scoring"
	"mastralambda/shared/vectorstore/invoke"
	"mastralambda/shared/webhook"
)

// Backends is a wire.Runner. An invocation is settled when its runs have ended. With a queue, what an invocation has no time
// for goes on in the worker.
func Backends(getenv func(string) string, b *mastra.Backends) (func(context.Context) error, error) {
	models, err := model.FromEnv(getenv)
	embedder, errEmbedder := model.EmbedderFromEnv(getenv)
	vectors, errVectors := invoke.FromEnv(context.Background(), getenv)
	place, queued, errQueue := sqs.FromEnv(getenv)
	hook, errHook := webhook.FromEnv(getenv)
	version, errVersion := strconv.ParseInt(cmp.Or(getenv("CODE_VERSION"), "0"), 10, 64)
	if errVersion != nil {
		errVersion = fmt.Errorf("CODE_VERSION=%q: no number", getenv("CODE_VERSION"))
	}
	if err = errors.Join(err, errEmbedder, errVectors, errQueue, errHook, errVersion); err != nil {
		return nil, err
	}
	if hook != nil && !queued {
		return nil, errors.New("WEBHOOK_URL needs a queue: QUEUE_URL")
	}
	options := []engine.Option{engine.Version(version)}
	if queued {
		if b.Queue, err = sqs.OpenPlace(context.Background(), place); err != nil {
			return nil, err
		}
		options = append(options, engine.HandOver)
	}
	b.Webhook = hook
	supervisor := runlog.NewSupervisor(b.Logger)
	b.Models, b.Embed, b.Vectors = models, embedder, vectors
	b.Agents, b.Engine, b.Scoring = agentloop.New(supervisor), engine.New(supervisor, options...), scoring.New(supervisor)
	return supervisor.Idle, nil
}
