package dynamodb

import (
	"context"
	"fmt"

	"mastralambda/shared/mastra"
)

func chunksPK(tenant, run string) string { return partition(tenant, "C", run) }

// chunkKey sorts a run's blocks by where they end.
func chunkKey(end mastra.Position) string {
	return fmt.Sprintf("%016d#%016d", max(0, end.Epoch), max(0, end.Seq))
}

// planChunks writes blocks beside the core: they have no conditions.
func (c *commit) planChunks(p *plan) {
	table := c.s.tables.Runs
	for i := range c.chunks {
		b := &c.chunks[i]
		pk := chunksPK(c.tenant, b.RunID)
		it := key(pk, chunkKey(b.End))
		it["count"], it["res"], it["tok"] = number(b.Count), text(b.ResourceID), text(c.token)
		if b.Last {
			it["last"] = number(1)
		}
		if b.ExpiresAt != 0 {
			it["exp"] = number(b.ExpiresAt)
			it[TTLAttribute] = ttl(b.ExpiresAt)
		}
		var before []large
		it["v"] = c.s.value(b.Data, table, pk, &before)
		for _, l := range before {
			for _, piece := range l.items {
				if it[TTLAttribute] != nil {
					piece[TTLAttribute] = it[TTLAttribute]
				}
			}
		}
		p.beside = append(p.beside, func(ctx context.Context) (undo, error) {
			back, err := c.writePieces(ctx, before)
			if err != nil {
				return back, err
			}
			made, err := c.side(ctx, put(table, it, "", nil))
			return both(back, made), err
		})
	}
}

func (s *Store) Chunks(ctx context.Context, runID string, after mastra.Position, limit int) ([]mastra.ChunkBlock, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(runID) || limit <= 0 {
		return nil, nil
	}
	pk := chunksPK(mastra.Tenant(ctx), runID)
	after.Seq++
	items, err := s.query(ctx, query{table: s.tables.Runs, pk: pk, from: chunkKey(after), to: "9~", consistent: true, most: limit})
	if err != nil {
		return nil, err
	}
	blocks := make([]mastra.ChunkBlock, len(items))
	for i, it := range items {
		b := &blocks[i]
		b.RunID, b.Count, b.ResourceID = runID, int(numberOf(it["count"])), textOf(it["res"])
		b.Last, b.ExpiresAt = it["last"] != nil, timeOf(it["exp"])
		if _, err := fmt.Sscanf(skOf(it), "%d#%d", &b.End.Epoch, &b.End.Seq); err != nil {
			return nil, fmt.Errorf("dynamodb: a block of chunks has the key %q", skOf(it))
		}
		if b.Data, err = s.load(ctx, it["v"], s.tables.Runs, pk, nil); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}
