package sqlite

import (
	"context"
	"unicode/utf8"

	"mastralambda/shared/mastra"
)

// Commit encodes the batch here, so that the writer only binds.
func (s *Store) Commit(ctx context.Context, b *mastra.Batch) error {
	e, err := encode(mastra.Tenant(ctx), b)
	if err != nil {
		return err
	}
	return s.pass(ctx, &write{run: e.write, ahead: b.Ahead, plain: true})
}

// encoded is a batch ready to be bound.
type encoded struct {
	tenant   string
	threads  []thread
	messages []mastra.Message
	touched  []thread // those of messages alone
	runs     []runUpdate
	claims   []mastra.ClaimUpdate
	packs    []pack
	scores   []score
	chunks   []mastra.ChunkBlock
	blocks   [][]byte // the data of chunks, compressed
}

func encode(tenant string, b *mastra.Batch) (*encoded, error) {
	e := &encoded{tenant: tenant, messages: b.Messages, claims: b.Claims, chunks: b.Chunks}
	var err error
	if e.threads, e.touched, err = encodeThreads(b.Threads, b.Messages); err != nil {
		return nil, err
	}
	if e.runs, err = encodeRuns(b.Runs); err != nil {
		return nil, err
	}
	for _, c := range b.Claims {
		if err := checkID("claim", c.Claim.Key); err != nil {
			return nil, err
		}
	}
	for i := range b.Chunks {
		if err := checkID("run", b.Chunks[i].RunID); err != nil {
			return nil, err
		}
		e.blocks = append(e.blocks, compress(b.Chunks[i].Data))
	}
	if e.packs, err = packSpans(tenant, b.Spans); err != nil {
		return nil, err
	}
	e.scores, err = encodeScores(b.Scores, b.Feedback)
	return e, err
}

// write runs in the writer's goroutine. What may be refused comes first.
func (e *encoded) write(t *tx) error {
	for i := range e.claims {
		if err := t.writeClaim(e.tenant, &e.claims[i]); err != nil {
			return err
		}
	}
	for i := range e.runs {
		if err := t.writeRun(e.tenant, &e.runs[i]); err != nil {
			return err
		}
	}
	if err := t.writeThreads(e); err != nil {
		return err
	}
	t.packs = append(t.packs, e.packs...)
	for i := range e.scores {
		if err := t.writeScore(e.tenant, &e.scores[i]); err != nil {
			return err
		}
	}
	for i := range e.chunks {
		if err := t.writeChunks(e.tenant, &e.chunks[i], e.blocks[i]); err != nil {
			return err
		}
	}
	t.signals += len(e.scores)
	return nil
}

// maxID is how many bytes an id may have: what fits into a key of DynamoDB beside its tenant.
const maxID = 1024

func checkID(kind, id string) error {
	switch {
	case id == "":
		return mastra.Errorf(mastra.CodeInvalid, "The %s has no id", kind)
	case len(id) > maxID:
		return mastra.Errorf(mastra.CodeInvalid, "The id of the %s is longer than %d bytes", kind, maxID)
	case !utf8.ValidString(id):
		return mastra.Errorf(mastra.CodeInvalid, "The id of the %s is not valid UTF-8", kind)
	}
	return nil
}
