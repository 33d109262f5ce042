// Package sqlite keeps threads, runs and traces in one SQLite file. One goroutine writes: what waits while it commits
// is committed together next. Reads run beside it on connections of their own. Several processes may open one file.
package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite"

	"mastralambda/shared/mastra"
)

const (
	busyTimeout    = 10 * time.Second // how long another process may hold the write lock
	timeoutSetting = "busy_timeout = 10000"
	maxReaders     = 4
	maxGroup       = 256 // writes of one transaction
)

// Option changes what Open does.
type Option func(*Store)

// Clock says what time it is where a lease or a claim ends; time.Now by default.
func Clock(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// Store is a mastra.Storage and a mastra.KeyStore in one file. It is safe for concurrent use.
type Store struct {
	path    string
	now     func() time.Time
	queue   chan *write
	opened  chan struct{} // closed when it is open, or cannot be opened
	failed  error         // why it cannot be; read it after opened
	drained chan struct{} // closed when the writer has ended
	readers readers

	mu     sync.RWMutex // held shared while something is put into the queue
	closed bool

	// Of the writer's goroutine alone.
	writer        *conn
	names         names
	tails         tails
	indexing      indexing
	tx            *tx      // that is open
	log           *os.File // the write-ahead log
	sync          func(*os.File) error
	broken        error // why nothing can be written any more
	unindexed     int   // packs, about
	sweep         sweep
	retention     retention
	expired       int                         // blocks of chunks to look at
	pastRuns      struct{ pending, at int64 } // runs to look at, and where that stands
	untilLogCheck int
	maxLog        int64

	transactions atomic.Int64 // committed, for tests
}

var (
	_ mastra.Storage  = (*Store)(nil)
	_ mastra.KeyStore = (*Store)(nil)
)

// Open opens the database at path and creates it, with its folder, where it is not there. A database that cannot be
// used (a folder that cannot be written, a file of something else or of a newer version) is an error of one line.
func Open(path string, opts ...Option) (*Store, error) {
	s := Begin(path, opts...)
	if err := s.Ready(); err != nil {
		return nil, err
	}
	return s, nil
}

// Begin is Open for whoever has other things to do meanwhile. Before the first use, Ready says whether it succeeded.
func Begin(path string, opts ...Option) *Store {
	s := &Store{path: path, now: time.Now, queue: make(chan *write, maxGroup), opened: make(chan struct{}), drained: make(chan struct{}), maxLog: maxLog, names: names{}, sync: fdatasync}
	for _, o := range opts {
		o(s)
	}
	s.readers.open = func() (*conn, error) { return open(path, timeoutSetting, "query_only(1)", "cache_size(-2000)") }
	s.readers.slots = make(chan struct{}, maxReaders)
	go func() {
		defer close(s.drained)
		s.failed = s.open()
		if close(s.opened); s.failed == nil {
			s.write()
		}
	}()
	return s
}

// Ready waits until the database is open, or cannot be opened.
func (s *Store) Ready() error {
	<-s.opened
	return s.failed
}

func (s *Store) open() (err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return fmt.Errorf("sqlite: cannot make the folder of %s: %w", s.path, cause(err))
	}
	// On a journaling file system fsync commits time stamps too, which costs as much again and makes nothing safer.
	// Where the system has no fdatasync, fsync stays.
	_, _ = sqlite3.Fdatasync(true)
	if s.writer, err = openWriter(s.path); err != nil {
		return err
	}
	if s.log, err = os.OpenFile(s.path+"-wal", os.O_RDWR, 0); err != nil {
		_, s.writer = s.writer.close(), nil
		return fmt.Errorf("sqlite: the log of %s cannot be opened: %w", s.path, cause(err))
	}
	left, err := s.writer.unindexed()
	if err != nil {
		_, s.writer = errors.Join(s.log.Close(), s.writer.close()), nil
		return err
	}
	if left {
		s.unindexed = 1
	}
	return nil
}

// openWriter opens the connection that writes and brings the schema up to date.
func openWriter(path string) (*conn, error) {
	if err := registerVFS(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	_ = create(path) // where it cannot, SQLite makes the file or says why not
	var c *conn
	var err error
	// The change to WAL is the one lock that SQLite's own busy handler does not wait for: several processes may begin at once.
	for until := time.Now().Add(busyTimeout); ; time.Sleep(5 * time.Millisecond) {
		c, err = openWith(vfsName, path, timeoutSetting, "journal_mode(wal)", "synchronous(full)", "wal_autocheckpoint(4000)", "cache_size(-8000)", "temp_store(memory)")
		if codeOf(err) != codeBusy || time.Now().After(until) {
			break
		}
	}
	if err == nil {
		if err = migrate(c); err == nil {
			return c, nil
		}
		_ = c.close()
	}
	switch codeOf(err) {
	case codeNotADB, codeCorrupt:
		return nil, fmt.Errorf("sqlite: %s is not a database, or it is damaged", path)
	case codeCantOpen, codeReadOnly:
		return nil, fmt.Errorf("sqlite: %s cannot be opened for writing", path)
	case codeFull:
		return nil, fmt.Errorf("sqlite: no space is left for %s", path)
	case codeBusy:
		return nil, fmt.Errorf("sqlite: %s is locked by another process", path)
	}
	return nil, fmt.Errorf("sqlite: %s: %w", path, err)
}

func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Close waits for the writes that were accepted and for reads that are under way. Calls after it are a CodeUnavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	<-s.drained
	s.readers.close()
	if s.writer == nil { // it was never open
		return nil
	}
	// The last connection to go writes the log back into the file.
	return errors.Join(s.log.Close(), s.writer.close())
}

var errClosed = mastra.Errorf(mastra.CodeUnavailable, "The storage is closed")
