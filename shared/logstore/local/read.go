package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"mastralambda/shared/logstore/record"
	"mastralambda/shared/mastra"
)

const (
	readBlock      = 256 << 10
	maxLine        = 1 << 20 // a longer one is none of ours
	maxPerPage     = 1000
	defaultPerPage = 100
)

// Logs reads a page of the records that q asks for, at most 1000. It looks at all that is kept, which is bounded, and
// decodes only what can match.
func (s *Store) Logs(ctx context.Context, q mastra.LogQuery) (*mastra.LogPage, error) {
	m, err := record.NewMatcher(record.Local, q)
	if err != nil {
		return nil, err
	}
	if q.PerPage <= 0 {
		q.PerPage = defaultPerPage
	}
	q.PerPage = min(q.PerPage, maxPerPage)
	first := max(0, min(q.Page, math.MaxInt32)) * q.PerPage
	files, err := s.files()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	page := &mastra.LogPage{Records: []mastra.LogRecord{}}
	if q.Ascending { // the file is read backwards: the page is counted from the other end
		total := 0
		for _, f := range files {
			if err := backwards(ctx, f, func(line []byte) {
				if _, ok := m.Match(line, false); ok {
					total++
				}
			}); err != nil {
				return nil, err
			}
		}
		end := max(0, total-first)
		first = max(0, end-q.PerPage)
		q.PerPage = end - first
		defer func() {
			slices.Reverse(page.Records)
			page.HasMore = first > 0
		}()
	}
	for _, f := range files {
		err := backwards(ctx, f, func(line []byte) {
			wanted := page.Total >= first && len(page.Records) < q.PerPage
			r, ok := m.Match(line, wanted)
			if !ok {
				return
			}
			page.Total++
			if wanted {
				page.Records = append(page.Records, r)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	page.HasMore = page.Total > first+len(page.Records)
	return page, nil
}

// files are the files with everything that was logged so far, the newest first.
func (s *Store) files() (files []*os.File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	for _, path := range []string{s.current(), s.older()} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// backwards calls line with the lines of f, the last one first. They are valid during the call.
func backwards(ctx context.Context, f *os.File, line func([]byte)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var rest []byte // of a line whose beginning is not read yet
	block := make([]byte, min(readBlock, info.Size()))
	skipping := false
	for at := info.Size(); at > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(block)), at)
		at -= n
		if _, err := f.ReadAt(block[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		data := block[:n]
		for {
			i := bytes.LastIndexByte(data, '\n')
			if i < 0 {
				break
			}
			switch {
			case skipping:
			case len(rest) > 0:
				line(append(bytes.Clone(data[i+1:]), rest...))
			case len(data) > i+1:
				line(data[i+1:])
			}
			rest, skipping, data = rest[:0], false, data[:i]
		}
		if len(data)+len(rest) > maxLine {
			rest, skipping = rest[:0], true
		} else if !skipping {
			rest = append(bytes.Clone(data), rest...)
		}
	}
	if len(rest) > 0 && !skipping {
		line(rest)
	}
	return nil
}
