// Package scored adds what has stored traces judged. A function links it whose routes ask for that and run nothing else.
package scored

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/queue/sqs"
	"mastralambda/shared/runlog"
	"mastralambda/shared/scoring"
)

// Backends is a wire.Runner. Scorers run in the worker, which may ask models; without a queue (QUEUE_URL) those that are code run
// here. An invocation is settled when the queue has what it asked for.
func Backends(getenv func(string) string, b *mastra.Backends) (func(context.Context) error, error) {
	if url := getenv("QUEUE_URL"); url != "" {
		q, err := sqs.OpenPlace(context.Background(), sqs.Place{URL: url})
		if err != nil {
			return nil, err
		}
		b.Queue = q
	}
	supervisor := runlog.NewSupervisor(b.Logger)
	b.Scoring = scoring.New(supervisor)
	return supervisor.Idle, nil
}
