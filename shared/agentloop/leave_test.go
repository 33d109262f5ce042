package agentloop

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"mastralambda/shared/runlog"
)

// A client that closes its connection behind the answer may be gone before it is said that the answer arrived: nothing is
// left to wait for.
func TestAnAnswerToAClientThatIsGone(t *testing.T) {
	runs := runlog.NewSupervisor(slog.New(slog.NewTextHandler(io.Discard, nil)))
	c := newClaims(runs)
	client, gone := context.WithCancel(t.Context())
	e := &entry{of: c, id: "x", client: client, ended: make(chan struct{})}
	c.entries[e.id] = e
	close(e.ended)
	gone()
	c.due()
	e.leave(true)
	if err := runs.Idle(client); err != nil {
		t.Error(err)
	}
}
