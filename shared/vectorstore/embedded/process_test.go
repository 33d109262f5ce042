package embedded

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"mastralambda/shared/mastra"
)

// TestKill: a process that is killed without warning loses nothing that it acknowledged.
func TestKill(t *testing.T) {
	if dir := os.Getenv("EMBEDDED_TEST_WRITER"); dir != "" {
		s := opened(t, dir)
		for i := 0; ; i++ {
			if err := s.Upsert(t.Context(), "docs", vectors(2*i, 2*i+2, 70)); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("acknowledged %d\n", i)
		}
	}
	dir := t.TempDir()
	indexWith(t, dir, 70)
	self, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	writer := exec.CommandContext(t.Context(), self, "-test.run=^TestKill$")
	writer.Env = append(os.Environ(), "EMBEDDED_TEST_WRITER="+dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	s, acknowledged := opened(t, dir), 0
	lines := bufio.NewScanner(out)
	for acknowledged < 20 && lines.Scan() {
		acknowledged++
		if d, err := s.DescribeIndex(t.Context(), "docs"); err != nil || d.Count < 2*acknowledged {
			t.Errorf("after %d acknowledged pairs another process sees %+v, %v", acknowledged, d, err)
		}
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait() // it was killed
	if acknowledged < 20 {
		t.Fatalf("the writer stopped after %d", acknowledged)
	}
	d, err := opened(t, dir).DescribeIndex(t.Context(), "docs")
	if err != nil || d.Count < 2*acknowledged || d.Count%2 != 0 {
		t.Fatalf("%+v, %v after %d pairs", d, err, acknowledged)
	}
	if err := s.Upsert(t.Context(), "docs", []mastra.Vector{{ID: "next", Values: make([]float32, 70)}}); err != nil {
		t.Error(err)
	}
}
