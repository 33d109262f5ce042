package storagetest

import (
	"crypto/rand"
	"fmt"

	"mastralambda/shared/mastra"
)

func block(run string, epoch, seq int64, count int, data string) mastra.ChunkBlock {
	return mastra.ChunkBlock{RunID: run, End: mastra.Position{Epoch: epoch, Seq: seq}, Count: count, ResourceID: "me", Data: []byte(data), ExpiresAt: now() + 3_600_000}
}

func (e *env) chunks(run string, after mastra.Position, limit int) []mastra.ChunkBlock {
	e.Helper()
	blocks, err := e.s.Chunks(e.ctx, run, after, limit)
	e.ok(err)
	return blocks
}

var chunkTests = []test{
	{"chunks/in order, from any place", func(e *env) {
		want := []mastra.ChunkBlock{block("run", 1, 3, 3, "abc"), block("run", 1, 7, 4, "defg"), block("run", 1, 1000, 993, "h"), block("run", 2, 2, 2, "ij"), block("run", 10, 1, 1, "k")}
		want[2].Last = true
		for _, i := range []int{3, 0, 4, 2, 1} { // in whatever order they are written
			e.commit(mastra.Batch{Chunks: want[i : i+1]})
		}
		e.commit(mastra.Batch{Chunks: []mastra.ChunkBlock{block("another", 1, 5, 5, "x")}})
		e.equal(e.chunks("run", mastra.Position{}, 100), want)
		e.equal(e.chunks("run", mastra.Position{}, 2), want[:2])
		for _, c := range []struct {
			epoch, seq int64
			from       int
		}{{1, 2, 0}, {1, 3, 1}, {1, 6, 1}, {1, 999, 2}, {1, 1000, 3}, {1, 5000, 3}, {2, 2, 4}, {9, 9, 4}, {10, 1, 5}} {
			e.equal(e.chunks("run", mastra.Position{Epoch: c.epoch, Seq: c.seq}, 100), want[c.from:])
		}
		e.equal(len(e.chunks("none", mastra.Position{}, 100)), 0)
		mine := e.ctx
		e.ctx = newTenant(e.Context())
		e.equal(len(e.chunks("run", mastra.Position{}, 100)), 0)
		e.ctx = mine
	}},
	{"chunks/written again", func(e *env) {
		e.commit(mastra.Batch{Chunks: []mastra.ChunkBlock{block("run", 1, 3, 3, "first")}})
		second := block("run", 1, 3, 2, "second")
		e.commit(mastra.Batch{Chunks: []mastra.ChunkBlock{second}})
		e.equal(e.chunks("run", mastra.Position{}, 10), []mastra.ChunkBlock{second})
	}},
	{"chunks/large and many", func(e *env) {
		noise := make([]byte, 900_000)
		rand.Read(noise)
		large := block("large", 1, 1, 1, string(noise))
		e.commit(mastra.Batch{Chunks: []mastra.ChunkBlock{large}})
		got := e.chunks("large", mastra.Position{}, 10)
		e.equal(len(got) == 1 && string(got[0].Data) == string(noise), true)
		var b mastra.Batch
		for i := range 60 {
			b.Chunks = append(b.Chunks, block(fmt.Sprint("run-", i%3), 1, int64(i)+1, 1, fmt.Sprint(i)))
		}
		e.commit(b)
		for i := range 3 {
			e.equal(len(e.chunks(fmt.Sprint("run-", i), mastra.Position{}, 100)), 20)
		}
	}},
	{"chunks/with their commit", func(e *env) {
		r := run("run", mastra.StatusRunning)
		e.create(r)
		stale := r
		stale.Fence = 7
		e.refuses(mastra.CodeConflict, e.s.Commit(e.ctx, &mastra.Batch{Runs: []mastra.RunUpdate{{Run: stale}}, Chunks: []mastra.ChunkBlock{block("run", 1, 1, 1, "a")}}))
		e.equal(len(e.chunks("run", mastra.Position{}, 10)), 0)
		e.refuses(mastra.CodeInvalid, e.s.Commit(e.ctx, &mastra.Batch{Chunks: []mastra.ChunkBlock{{Data: []byte("a")}}}))
		r.Status = mastra.StatusSuccess
		e.commit(mastra.Batch{Runs: []mastra.RunUpdate{{Run: r}}, Chunks: []mastra.ChunkBlock{block("run", 1, 1, 1, "a")}})
		e.equal(len(e.chunks("run", mastra.Position{}, 10)), 1)
		e.ok(e.s.DeleteRun(e.ctx, "run"))
		e.equal(len(e.chunks("run", mastra.Position{}, 10)), 0)
	}},
}
