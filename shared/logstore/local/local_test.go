package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/logstore/logtest"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

func open(t testing.TB, dir string, level slog.Level, out io.Writer) *Store {
	t.Helper()
	s, err := Open(dir, level, out)
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

func TestLog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) (slog.Handler, mastra.LogReader) {
		s := open(t, t.TempDir(), slog.LevelDebug, nil)
		return s, s
	})
}

func TestDelay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := open(t, dir, slog.LevelInfo, &out)
		written := func() string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return out.String()
		}
		log := slog.New(s)
		log.Debug("below")
		log.Info("one")
		if written() != "" {
			t.Error("an info is written at once")
		}
		time.Sleep(maxDelay)
		synctest.Wait()
		if lines := written(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, `"msg":"one"`) {
			t.Errorf("after %s: %s", maxDelay, lines)
		}
		log.Info("two")
		log.Error("three")
		file, err := os.ReadFile(filepath.Join(dir, "log.jsonl"))
		if err != nil || strings.Count(written(), "\n") != 3 || string(file) != written() {
			t.Errorf("an error waits: %s (%v)", file, err)
		}
		log.Info("four")
		if err := s.Close(); err != nil || strings.Count(written(), "\n") != 4 {
			t.Errorf("closed: %s, %v", written(), err)
		}
		log.Info("five")
		if strings.Count(written(), "\n") != 5 {
			t.Error("what comes after Close is lost")
		}
	})
}

func TestRotation(t *testing.T) {
	s := open(t, t.TempDir(), slog.LevelInfo, nil)
	s.maxFile = 4 << 10
	for i := range 200 {
		slog.New(s).Error(fmt.Sprint(i), "runId", fmt.Sprint("r", i%2))
	}
	var size int64
	for _, path := range []string{s.current(), s.older()} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	p, err := s.Logs(t.Context(), mastra.LogQuery{PerPage: 500})
	if err != nil || size > 8<<10 || len(p.Records) < 20 || p.Total != len(p.Records) {
		t.Fatalf("%d records in %d bytes, %v", len(p.Records), size, err)
	}
	for i, r := range p.Records {
		if r.Message != fmt.Sprint(199-i) {
			t.Fatalf("record %d is %s", i, r.Message)
		}
	}
}

// TestTwoProcesses: the files may be rotated, and deleted, by somebody else.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, slog.LevelInfo, nil), open(t, dir, slog.LevelInfo, nil)
	slog.New(a).Error("a1")
	b.maxFile = 1
	slog.New(b).Error("b1")
	slog.New(a).Error("a2")
	if p, err := b.Logs(t.Context(), mastra.LogQuery{}); err != nil || len(p.Records) != 3 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := os.Remove(a.current()); err != nil {
		t.Fatal(err)
	}
	slog.New(a).Error("a3")
	if p, err := b.Logs(t.Context(), mastra.LogQuery{}); err != nil || p.Records[0].Message != "a3" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	good := `{"time":"2026-01-02T03:04:05.006Z","level":"warn","msg":"good"}`
	if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte("garbage\n\n{}\n"+good+"\n"+strings.Repeat("x", 3*maxLine)+"\n"+
		`{"time":"2026-01-02T03:04:05.006Z","level":"warn","msg":"nested twice","v":{"a":1,"a":2}}`+"\n"+good[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, slog.LevelInfo, nil)
	slog.New(s).Info("next")
	p, err := s.Logs(t.Context(), mastra.LogQuery{})
	if err != nil || len(p.Records) != 3 || p.Records[0].Message != "next" || p.Records[2].Message != "good" {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := schema.Marshal(p.Records[1].Fields); err != nil {
		t.Error(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Logs(canceled, mastra.LogQuery{}); err == nil {
		t.Error("a canceled call reads on")
	}
}

func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "log"), slog.LevelInfo, nil); err == nil {
		t.Error("a log opens below a file")
	}
	var out bytes.Buffer
	s := open(t, t.TempDir(), slog.LevelInfo, &out)
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	slog.New(s).Error("one")
	slog.New(s).Error("two")
	if got := out.String(); strings.Count(got, "cannot be written") != 1 || !strings.Contains(got, `"one"`) || !strings.Contains(got, `"two"`) {
		t.Errorf("without a folder: %s", got)
	}
}

// FuzzRead: whatever a file holds, reading ends, and what it finds encodes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05.006Z","level":"warn","pid":1,"msg":"a","runId":"r","x":{"y":[1]}}`+"\n"), "x", "r")
	f.Add([]byte("{\"time\":\"2026-01-02T03:04:05.006Z\",\"level\":\"info\",\"msg\":\"\xff\",\"\xff\":\"\xfe\"}\n{\"a\":"), "a", "")
	f.Add([]byte(`{"time":5,"level":"info","level":"x","msg":{}}`), "level", "x")
	f.Fuzz(func(t *testing.T, data []byte, key, value string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, slog.LevelInfo, nil)
		for _, q := range []mastra.LogQuery{{}, {Level: "warn"}, {RunID: value}, {Filters: map[string]string{key: value}}} {
			p, err := s.Logs(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Records {
				if _, err := schema.Marshal(r.Fields); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkHandle(b *testing.B) {
	s := open(b, b.TempDir(), slog.LevelInfo, io.Discard)
	log := slog.New(s)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			log.With("requestId", "0123456789abcdef").Info("request", "method", "POST", "path", "/api/agents/echo-agent/generate", "status", 200, "ms", int64(3))
		}
	})
}

// BenchmarkLogs reads the newest errors of full files.
func BenchmarkLogs(b *testing.B) {
	s := open(b, b.TempDir(), slog.LevelInfo, nil)
	log := slog.New(s)
	for i := range 160_000 {
		log.Info("request", "method", "POST", "path", "/api/agents/echo-agent/generate", "status", 200, "n", i)
		if i%10_000 == 0 {
			log.Error("failed", "runId", fmt.Sprint(i))
		}
	}
	for b.Loop() {
		if p, err := s.Logs(b.Context(), mastra.LogQuery{Level: "error", PerPage: 10}); err != nil || len(p.Records) != 10 {
			b.Fatal(p, err)
		}
	}
}
