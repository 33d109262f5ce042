package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mastralambda/shared/mastra"
)

func opened(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func vectors(from, to, dim int) (all []mastra.Vector) {
	for i := from; i < to; i++ {
		v := mastra.Vector{ID: fmt.Sprint("id", i), Values: make([]float32, dim), Metadata: mastra.JSON(fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("t", i%3*400)))}
		for j := range v.Values {
			v.Values[j] = float32((i*31+j*17)%23) - 11
		}
		all = append(all, v)
	}
	return all
}

func indexWith(t testing.TB, dir string, dim int, batches ...[]mastra.Vector) (path string) {
	t.Helper()
	s := opened(t, dir)
	if err := s.CreateIndex(t.Context(), mastra.VectorIndex{Name: "docs", Dimension: dim}); err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := s.Upsert(t.Context(), "docs", b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "index-docs.vec")
}

// ids are all that an index holds, each found by its own vector.
func holds(t testing.TB, s *Store, all []mastra.Vector) {
	t.Helper()
	d, err := s.DescribeIndex(t.Context(), "docs")
	if err != nil || d.Count != len(all) {
		t.Fatalf("the index is %+v, want %d vectors (%v)", d, len(all), err)
	}
	got, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: all[0].Values, TopK: len(all), IncludeVector: true})
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]mastra.Match{}
	for _, m := range got {
		byID[m.ID] = m
	}
	for _, v := range all {
		if m := byID[v.ID]; !slices.Equal(m.Vector, v.Values) || string(m.Metadata) != string(v.Metadata) {
			t.Fatalf("%s is %v", v.ID, m)
		}
	}
}

// TestCut: wherever a crash cuts the last record, what was acknowledged before is there, nothing of the rest, and work goes on.
func TestCut(t *testing.T) {
	for _, dim := range []int{3, 70} {
		path := indexWith(t, t.TempDir(), dim, vectors(0, 5, dim))
		before, _ := os.ReadFile(path)
		indexWith(t, filepath.Dir(path), dim, vectors(3, 9, dim))
		after, _ := os.ReadFile(path)
		for cut := len(before); cut < len(after); cut += max(1, (len(after)-len(before))/40) {
			for _, rest := range [][]byte{nil, make([]byte, len(after)-cut)} { // the file may have grown before its blocks were written
				if err := os.WriteFile(path, slices.Concat(after[:cut], rest), 0o600); err != nil {
					t.Fatal(err)
				}
				s := opened(t, filepath.Dir(path))
				holds(t, s, vectors(0, 5, dim))
				if err := s.Upsert(t.Context(), "docs", vectors(5, 7, dim)); err != nil {
					t.Fatal(err)
				}
				s.Close()
				holds(t, opened(t, filepath.Dir(path)), vectors(0, 7, dim))
			}
		}
	}
}

// TestDamage: what no crash leaves behind is reported, not cut away.
func TestDamage(t *testing.T) {
	path := indexWith(t, t.TempDir(), 70, vectors(0, 5, 70), vectors(5, 9, 70))
	whole, _ := os.ReadFile(path)
	for _, at := range []int{0, 20, headerSize - 1, headerSize, headerSize + 5, headerSize + 9, headerSize + recordSize + 3} {
		broken := bytes.Clone(whole)
		broken[at] ^= 0x40
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		s := opened(t, filepath.Dir(path))
		if _, err := s.DescribeIndex(t.Context(), "docs"); !errors.Is(err, errCorrupt) || !strings.Contains(err.Error(), "index-docs.vec") {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if err := s.Upsert(t.Context(), "docs", vectors(0, 1, 70)); !errors.Is(err, errCorrupt) {
			t.Errorf("byte %d changed, upsert: %v", at, err)
		}
		if now, _ := os.ReadFile(path); !bytes.Equal(now, broken) {
			t.Errorf("byte %d changed: the file was touched", at)
		}
		s.Close()
	}
	newer := bytes.Clone(whole)
	newer[8] = version + 1
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := opened(t, filepath.Dir(path)).DescribeIndex(t.Context(), "docs"); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a newer format: %v", err)
	}
}

// TestTwoStores: two processes on one directory see each other's work, deletions and compactions included.
func TestTwoStores(t *testing.T) {
	dir := t.TempDir()
	indexWith(t, dir, 70, vectors(0, 3, 70))
	a, b := opened(t, dir), opened(t, dir)
	holds(t, a, vectors(0, 3, 70))
	if err := b.Upsert(t.Context(), "docs", vectors(3, 5, 70)); err != nil {
		t.Fatal(err)
	}
	holds(t, a, vectors(0, 5, 70))
	if _, err := a.Delete(t.Context(), "docs", mastra.VectorSelection{IDs: []string{"id4"}}); err != nil {
		t.Fatal(err)
	}
	holds(t, b, vectors(0, 4, 70))
	if _, err := b.Delete(t.Context(), "docs", mastra.VectorSelection{IDs: []string{"id0", "id4"}}); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("deleting what is gone: %v", err)
	}
	holds(t, b, vectors(0, 4, 70))

	for range minGarbage/(4*70*200) + 2 {
		if err := a.Upsert(t.Context(), "docs", vectors(0, 200, 70)); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "index-docs.vec")); err != nil || info.Size() > minGarbage {
		t.Errorf("%d bytes after much was overwritten (%v)", info.Size(), err)
	}
	holds(t, b, vectors(0, 200, 70))
	holds(t, a, vectors(0, 200, 70))

	if err := a.DeleteIndex(t.Context(), "docs"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DescribeIndex(t.Context(), "docs"); mastra.CodeOf(err) != mastra.CodeNotFound {
		t.Errorf("deleted by the other: %v", err)
	}
	indexWith(t, dir, 3, vectors(0, 2, 3))
	holds(t, b, vectors(0, 2, 3))
}

func TestOpenUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "vectors")); err == nil {
		t.Error("a store opens below a file")
	}
}

// FuzzFile: whatever a file holds, opening it ends in vectors or an error.
func FuzzFile(f *testing.F) {
	for _, dim := range []int{2, 65} {
		path := indexWith(f, f.TempDir(), dim, vectors(0, 3, dim), vectors(1, 2, dim))
		whole, _ := os.ReadFile(path)
		f.Add(whole, false)
		f.Add(whole[:len(whole)-9], false)
		h, _ := decodeHeader(whole)
		_, small, _ := h.readRecord(bytes.NewReader(whole), headerSize, int64(len(whole)), nil)
		f.Add(small, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, small bool) {
		if small { // behind the checksums
			h := header{dim: 2, metric: mastra.Cosine}
			r := record{at: 64, small: int64(len(data)), big: 4 * 8, count: 4}
			_ = h.entries(r, data, func(id, meta, code []byte, metaAt, valuesAt int64) {
				if metaAt+int64(len(meta)) > r.bigAt() || valuesAt+8 > r.bigAt()+r.big {
					t.Fatal("an entry beyond its record")
				}
			}, func([]byte) {})
			return
		}
		path := filepath.Join(t.TempDir(), "index-docs.vec")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := opened(t, filepath.Dir(path))
		if d, err := s.DescribeIndex(t.Context(), "docs"); err == nil {
			if _, err := s.Query(t.Context(), "docs", mastra.VectorQuery{Vector: make([]float32, d.Dimension), TopK: 3}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
