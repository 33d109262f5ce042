// Package embedded is a vector store in files, for one machine and without a service. See file.go for what is stored and
// query.go for how it is searched.
package embedded

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/vectorstore"
)

// Store is a mastra.VectorStore under one directory. A caller sees the indexes of its tenant only. Several processes
// may use one directory: what one has committed the others see.
type Store struct {
	dir string

	mu      sync.Mutex
	indexes map[string]*index // by path

	writing sync.Mutex // held beside the lock file by whoever changes something
	lock    *os.File   // opened at the first change
	scratch sync.Pool
}

var _ mastra.VectorStore = (*Store)(nil)

// Open returns the store under dir, which is made. Files are opened where they are used.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("vector store: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe*")
	if err != nil {
		return nil, fmt.Errorf("vector store: %s cannot be written: %w", dir, errors.Unwrap(err))
	}
	probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return nil, fmt.Errorf("vector store: %w", err)
	}
	return &Store{dir: dir, indexes: map[string]*index{}, scratch: sync.Pool{New: func() any { return new(scratch) }}}, nil
}

// Close closes all files. The store opens them again where it is used.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ix := range s.indexes {
		ix.close()
	}
	clear(s.indexes)
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// locked runs change while nobody else, in this process or another, changes the store.
func (s *Store) locked(change func() error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.lock == nil {
		f, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("vector store: %w", err)
		}
		s.lock = f
	}
	if err := lockFile(s.lock); err != nil {
		return fmt.Errorf("vector store: %w", err)
	}
	defer unlockFile(s.lock)
	return change()
}

// tenantDir is where the caller's indexes are.
func (s *Store) tenantDir(ctx context.Context) string {
	if t := mastra.Tenant(ctx); t != "-" {
		return filepath.Join(s.dir, "tenant-"+hex.EncodeToString([]byte(t)))
	}
	return s.dir
}

const prefix, suffix = "index-", ".vec"

// path is the file of an index. Upper case is written so that no file system can mistake it for lower case.
func (s *Store) path(ctx context.Context, name string) (string, error) {
	if err := vectorstore.CheckName(name); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('+')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return filepath.Join(s.tenantDir(ctx), prefix+b.String()+suffix), nil
}

// CreateIndex makes an index. Its metric is cosine where it names none.
func (s *Store) CreateIndex(ctx context.Context, i mastra.VectorIndex) error {
	if err := vectorstore.CheckIndex(&i); err != nil {
		return err
	}
	path, err := s.path(ctx, i.Name)
	if err != nil {
		return err
	}
	return s.locked(func() error {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return err
			}
			h := header{dim: i.Dimension, metric: i.Metric, seed: rand.Uint64() | 1, created: time.Now().UnixNano()}
			return replaceFile(path, func(f *os.File) error {
				_, err := f.Write(h.encode())
				return err
			})
		}
		if err != nil {
			return err
		}
		defer f.Close()
		h, err := readHeader(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if h.dim != i.Dimension || h.metric != i.Metric {
			return vectorstore.Conflict(i.Name, &mastra.VectorIndex{Dimension: h.dim, Metric: h.metric}, &i)
		}
		return nil
	})
}

func readHeader(f *os.File) (header, error) {
	var b [headerSize]byte
	n, _ := f.ReadAt(b[:], 0)
	return decodeHeader(b[:n])
}

// Indexes are the names of all indexes, the oldest first.
func (s *Store) Indexes(ctx context.Context) ([]string, error) {
	dir := s.tenantDir(ctx)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	type made struct {
		name string
		at   int64
	}
	var all []made
	for _, file := range files {
		name, ok := strings.CutPrefix(strings.TrimSuffix(file.Name(), suffix), prefix)
		if !ok || !strings.HasSuffix(file.Name(), suffix) {
			continue
		}
		m := made{name: upper(name)}
		if f, err := os.Open(filepath.Join(dir, file.Name())); err == nil {
			h, _ := readHeader(f) // a damaged one is listed first, and says so where it is used
			m.at = h.created
			f.Close()
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b made) int {
		if a.at != b.at {
			return int(min(1, max(-1, a.at-b.at)))
		}
		return strings.Compare(a.name, b.name)
	})
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.name
	}
	return names, nil
}

func upper(name string) string {
	for i, part := range strings.Split(name, "+") {
		if i == 0 {
			name = part
		} else if part != "" {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return name
}

// with runs use on the index of a name, brought up to its file.
func (s *Store) with(ctx context.Context, name string, use func(ix *index) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := s.path(ctx, name)
	if err != nil {
		return err
	}
	for range 3 { // it may be deleted and made again meanwhile
		s.mu.Lock()
		ix := s.indexes[path]
		if ix == nil {
			ix = &index{path: path}
			s.indexes[path] = ix
		}
		s.mu.Unlock()
		if err = ix.refresh(); err == nil {
			err = use(ix)
		}
		if !errors.Is(err, errGone) {
			return err
		}
		s.mu.Lock()
		if s.indexes[path] == ix {
			delete(s.indexes, path)
		}
		s.mu.Unlock()
		ix.close()
		if _, err := os.Stat(path); err != nil {
			break
		}
	}
	return vectorstore.NotFound(name)
}

// DescribeIndex is what an index holds.
func (s *Store) DescribeIndex(ctx context.Context, name string) (d *mastra.VectorIndex, err error) {
	err = s.with(ctx, name, func(ix *index) error {
		ix.mu.RLock()
		defer ix.mu.RUnlock()
		if ix.st == nil {
			return errGone
		}
		d = &mastra.VectorIndex{Name: name, Dimension: ix.st.dim, Metric: ix.st.metric, Count: ix.st.live, Type: mastra.Flat, Indexed: true}
		return nil
	})
	return d, err
}

// BuildIndex has nothing to build.
func (s *Store) BuildIndex(ctx context.Context, name string) error {
	_, err := s.DescribeIndex(ctx, name)
	return err
}

// DeleteIndex deletes an index with all that it holds.
func (s *Store) DeleteIndex(ctx context.Context, name string) error {
	path, err := s.path(ctx, name)
	if err != nil {
		return err
	}
	err = s.locked(func() error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return syncDir(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return vectorstore.NotFound(name)
	}
	s.mu.Lock()
	ix := s.indexes[path]
	delete(s.indexes, path)
	s.mu.Unlock()
	if ix != nil {
		ix.close()
	}
	return err
}

// Query finds the nearest vectors. One that answers better than the worst of the answers is missed with a probability
// of under one percent.
func (s *Store) Query(ctx context.Context, name string, q mastra.VectorQuery) (matches []mastra.Match, err error) {
	f, err := vectorstore.CheckQuery(&q)
	if err != nil {
		return nil, err
	}
	err = s.with(ctx, name, func(ix *index) error {
		ix.mu.RLock()
		defer ix.mu.RUnlock()
		if ix.st == nil {
			return errGone
		}
		sc := s.scratch.Get().(*scratch)
		defer s.scratch.Put(sc)
		norm, err := vectorstore.CheckValues(name, ix.st.dim, q.Vector)
		if err == nil {
			matches, err = ix.st.query(ctx, &q, norm, f, sc)
		}
		return err
	})
	return matches, err
}
