package main

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The same sources give the same zip, wherever and whenever they are built.
func TestZipsAreReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("it links a function twice")
	}
	sums := map[[32]byte]string{}
	for _, folder := range []string{"a", "another/place"} {
		root := filepath.Join(t.TempDir(), folder)
		for _, part := range []string{"functions", "shared", "infra/pack"} {
			if err := os.CopyFS(filepath.Join(root, part), os.DirFS(filepath.Join("../..", part))); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
			data, err := os.ReadFile(filepath.Join("../..", file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, file), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("make", "-s", "zips", "FUNCTIONS=system")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(root, "build/lambda/system.zip"))
		if err != nil {
			t.Fatal(err)
		}
		sums[sha256.Sum256(data)] = folder
	}
	if len(sums) != 1 {
		t.Errorf("one source gave different zips: %x", sums)
	}
}
