// Package local keeps the application's log in files of JSON lines, and reads it back.
package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mastralambda/shared/logstore/record"
)

const (
	maxFile  = 16 << 20 // bytes; the current file and the one before it are kept
	maxDelay = 100 * time.Millisecond
	maxQueue = 256 << 10 // bytes that wait at most
)

// Store is a slog.Handler and a mastra.LogReader. A record reaches the file and the writer at most 100 ms after it was
// logged; an error at once, with all before it. Several processes may log into one directory.
type Store struct {
	record.Handler
	dir string
	out io.Writer // nil where the file is enough

	mu      sync.Mutex // of the rest
	queue   []byte
	timer   *time.Timer
	file    *os.File
	info    os.FileInfo
	failed  bool // the last write to the file failed
	closed  bool
	maxFile int64
}

// Open returns the log under dir, which is made, for records of level and above. They go to out too, where it is not nil.
func Open(dir string, level slog.Leveler, out io.Writer) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s := &Store{dir: dir, out: out, maxFile: maxFile}
	s.Handler = record.NewHandler(record.Local, level, s.put, "pid", os.Getpid(), "hostname", host, "name", "mastra")
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return s, nil
}

// Close writes what waits. What is logged later goes to the writer only.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.flush()
	s.closed = true
	return errors.Join(err, s.file.Close())
}

func (s *Store) current() string { return filepath.Join(s.dir, "log.jsonl") }
func (s *Store) older() string   { return filepath.Join(s.dir, "log.1.jsonl") }

// open opens the current file. A line that a crash has cut is ended, so that the next one does not run into it.
func (s *Store) open() error {
	f, err := os.OpenFile(s.current(), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > 0 {
		var last [1]byte
		if _, err = f.ReadAt(last[:], info.Size()-1); err == nil && last[0] != '\n' {
			_, err = f.Write([]byte{'\n'})
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.info = f, info
	return nil
}

// put queues a line. An error is written at once.
func (s *Store) put(line []byte, level slog.Level) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		if s.out == nil {
			return nil
		}
		_, err := s.out.Write(line)
		return err
	}
	empty := len(s.queue) == 0
	s.queue = append(s.queue, line...)
	if level >= slog.LevelError || len(s.queue) >= maxQueue {
		return s.flush()
	}
	if empty {
		if s.timer == nil {
			s.timer = time.AfterFunc(maxDelay, s.tick)
		} else {
			s.timer.Reset(maxDelay)
		}
	}
	return nil
}

func (s *Store) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = s.flush() // the writer was told
	}
}

// flush writes what waits, under mu. Where the file fails (a full disk), the writer is told once and still gets everything.
func (s *Store) flush() error {
	if s.timer != nil {
		s.timer.Stop()
	}
	if len(s.queue) == 0 {
		return nil
	}
	defer func() {
		if s.queue = s.queue[:0]; cap(s.queue) > 2*maxQueue {
			s.queue = nil
		}
	}()
	err := s.keep()
	failedBefore := s.failed
	s.failed = err != nil
	if s.out == nil {
		return err
	}
	if s.failed && !failedBefore {
		told := slog.New(record.NewHandler(record.Local, slog.LevelError, func(line []byte, _ slog.Level) error { _, err := s.out.Write(line); return err }))
		told.Error("the log file cannot be written", "error", err.Error())
	}
	_, werr := s.out.Write(s.queue)
	return errors.Join(err, werr)
}

// keep appends the queue to the file, to a new one where that is full or was replaced by another process.
func (s *Store) keep() error {
	info, err := os.Stat(s.current())
	if err != nil || !os.SameFile(info, s.info) {
		if err := s.open(); err != nil {
			return err
		}
		info = s.info
	}
	if info.Size() > 0 && info.Size()+int64(len(s.queue)) > s.maxFile {
		if err := os.Rename(s.current(), s.older()); err != nil {
			return err
		}
		if err := s.open(); err != nil {
			return err
		}
	}
	n, err := s.file.Write(s.queue)
	if err != nil && n > 0 && !bytes.HasSuffix(s.queue[:n], []byte{'\n'}) {
		_, _ = s.file.Write([]byte{'\n'})
	}
	return err
}
