package local_test

import (
	"path/filepath"
	"testing"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/queue/local"
	"mastralambda/shared/queue/queuetest"
	"mastralambda/shared/storage/sqlite"
)

func store(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestQueue(t *testing.T) {
	queuetest.Run(t, queuetest.Backend{Attempts: local.Attempts, Open: func(t *testing.T) (q, other mastra.Queue) {
		path := filepath.Join(t.TempDir(), "work.db")
		return local.Open(store(t, path)), local.Open(store(t, path))
	}})
}

// Work outlives the process that sent it.
func TestWorkIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "work.db")
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := local.Open(s).Send(t.Context(), mastra.Work{Kind: "k", ID: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := local.Open(store(t, path)).Receive(t.Context(), 0, time.Minute)
	if err != nil || d == nil || d.ID != "x" {
		t.Fatalf("%+v %v", d, err)
	}
}
