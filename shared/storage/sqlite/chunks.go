package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
)

// writeChunks stores a block; data is that of b, compressed.
func (t *tx) writeChunks(tenant string, b *mastra.ChunkBlock, data []byte) error {
	t.chunks++
	last := int64(0)
	if b.Last {
		last = 1
	}
	_, err := t.exec(`INSERT INTO chunks (tenant, run, epoch, seq, count, last, expires, resource, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT DO UPDATE SET count = ?5, last = ?6, expires = ?7, resource = ?8, data = ?9`,
		tenant, b.RunID, b.End.Epoch, b.End.Seq, int64(b.Count), last, int64(b.ExpiresAt), b.ResourceID, data)
	return err
}

func (s *Store) Chunks(ctx context.Context, runID string, after mastra.Position, limit int) (blocks []mastra.ChunkBlock, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, `SELECT epoch, seq, count, last, expires, resource, data FROM chunks
			WHERE tenant = ? AND run = ? AND (epoch, seq) > (?, ?) ORDER BY epoch, seq LIMIT ?`,
			mastra.Tenant(ctx), runID, after.Epoch, after.Seq, int64(max(0, limit))) {
			if err != nil {
				return err
			}
			data, err := decompress(r.json(6))
			if err != nil {
				return err
			}
			blocks = append(blocks, mastra.ChunkBlock{RunID: runID, End: mastra.Position{Epoch: r.int(0), Seq: r.int(1)}, Count: int(r.int(2)), Last: r.int(3) != 0,
				ExpiresAt: r.time(4), ResourceID: r.text(5), Data: data})
		}
		return nil
	})
	return blocks, err
}

// forgetChunks deletes what has expired at the beginning of the table, two blocks a written one: all of it in time, since
// blocks expire about as they were written.
func (s *Store) forgetChunks(t *tx) error {
	if s.expired += 2 * t.chunks; s.expired < sweepBatch {
		return nil
	}
	s.expired = 0
	_, err := t.exec("DELETE FROM chunks WHERE n IN (SELECT n FROM chunks ORDER BY n LIMIT ?) AND expires BETWEEN 1 AND ?", int64(sweepBatch), int64(t.now-1))
	return err
}
