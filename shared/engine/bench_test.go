package engine_test

import (
	"context"
	"path/filepath"
	"testing"

	"mastralambda/shared/mastra"
)

// Durable runs of three trivial steps, 16 at once.
func BenchmarkStart(b *testing.B) {
	w := mastra.NewWorkflow[int, int]("w").Then(step("a", inc)).Then(step("b", double)).Then(step("c", inc))
	p := open(b, filepath.Join(b.TempDir(), "runs.db"), []mastra.Workflow{w})
	b.SetParallelism(8) // times two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.engine.Start(context.Background(), p.Mastra, w, mastra.WorkflowCall{Input: mastra.JSON("1")}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}
