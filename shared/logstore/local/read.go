package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/go-json-experiment/json/jsontext"

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
	m, err := newMatcher(q)
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
	for _, f := range files {
		err := backwards(ctx, f, func(line []byte) {
			wanted := page.Total >= first && len(page.Records) < q.PerPage
			r, ok := m.match(line, wanted)
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

// matcher decides over lines.
type matcher struct {
	q      mastra.LogQuery
	levels map[string]bool // nil: all
	needs  [][]byte        // what a line that matches must hold somewhere
}

func newMatcher(q mastra.LogQuery) (*matcher, error) {
	m := &matcher{q: q}
	switch q.Level {
	case "":
	case "silent":
		m.levels = map[string]bool{}
	default:
		var least slog.Level
		if err := least.UnmarshalText([]byte(q.Level)); err != nil || nameOf(least) != q.Level {
			return nil, mastra.Errorf(mastra.CodeInvalid, "Unknown log level %q", q.Level)
		}
		m.levels = map[string]bool{}
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			m.levels[nameOf(l)] = l >= least
		}
	}
	need := func(key, value string) {
		m.needs = append(m.needs, appendString(nil, key))
		if text := appendString(nil, value); len(value) < maxValue {
			m.needs = append(m.needs, text[1:len(text)-1])
		}
	}
	if q.RunID != "" {
		need("runId", q.RunID)
	}
	for key, value := range q.Filters {
		need(key, value)
	}
	return m, nil
}

// match says whether a line matches, and decodes it where it is wanted or has to be decoded to know.
func (m *matcher) match(line []byte, wanted bool) (r mastra.LogRecord, ok bool) {
	for _, n := range m.needs {
		if !bytes.Contains(line, n) {
			return r, false
		}
	}
	if at, level, ok := head(line); ok && !m.fits(at, level) {
		return r, false
	} else if ok && !wanted && m.needs == nil && line[len(line)-1] == '}' {
		return r, true
	}
	if r, ok = parse(line); !ok || !m.fits(r.Time, r.Level) || m.q.RunID != "" && r.RunID != m.q.RunID {
		return r, false
	}
	for key, want := range m.q.Filters {
		if have, ok := fieldText(&r, key); !ok || have != want {
			return r, false
		}
	}
	return r, true
}

func (m *matcher) fits(at mastra.Time, level string) bool {
	return (m.levels == nil || m.levels[level]) && (m.q.From == 0 || at >= m.q.From) && (m.q.To == 0 || at <= m.q.To)
}

// fieldText is the value of a field: of a text what it says, of all else its JSON.
func fieldText(r *mastra.LogRecord, key string) (string, bool) {
	switch key {
	case "msg":
		return r.Message, true
	case "level":
		return r.Level, true
	case "runId":
		return r.RunID, r.RunID != ""
	}
	v, ok := r.Fields.Get(key)
	if !ok {
		return "", false
	}
	if v.Kind() == '"' {
		text, err := jsontext.AppendUnquote(nil, v)
		return string(text), err == nil
	}
	return string(v), true
}

const (
	beforeTime  = `{"time":"`
	beforeLevel = `","level":"`
	levelAt     = len(beforeTime) + len(isoMillis) + len(beforeLevel)
)

// head reads the time and the level of a line as appendLine writes it, without decoding the line.
func head(line []byte) (at mastra.Time, level string, ok bool) {
	if len(line) < levelAt+8 || string(line[:len(beforeTime)]) != beforeTime || string(line[levelAt-len(beforeLevel):levelAt]) != beforeLevel {
		return 0, "", false
	}
	name, _, _ := bytes.Cut(line[levelAt:levelAt+8], []byte{'"'})
	switch string(name) {
	case "debug":
		level = "debug"
	case "info":
		level = "info"
	case "warn":
		level = "warn"
	case "error":
		level = "error"
	default:
		return 0, "", false
	}
	at, ok = headTime(line[len(beforeTime) : levelAt-len(beforeLevel)])
	return at, level, ok
}

// headTime is mastra.ParseTime for isoMillis only.
func headTime(b []byte) (mastra.Time, bool) {
	number := func(from, to int) (n int) {
		for _, c := range b[from:to] {
			if c < '0' || c > '9' {
				return -1
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day, hour, minute, second, milli := number(0, 4), number(5, 7), number(8, 10), number(11, 13), number(14, 16), number(17, 19), number(20, 23)
	if min(year, month, day, hour, minute, second, milli) < 0 || b[23] != 'Z' {
		return 0, false
	}
	return mastra.TimeOf(time.Date(year, time.Month(month), day, hour, minute, second, milli*1e6, time.UTC)), true
}

// parse decodes a line. A field that comes twice has its last value.
func parse(line []byte) (r mastra.LogRecord, ok bool) {
	d := jsontext.NewDecoder(bytes.NewReader(line), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return r, false
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return r, false
		}
		key := t.String()
		v, err := d.ReadValue()
		if err != nil {
			return r, false
		}
		var text string
		if v.Kind() == '"' {
			b, _ := jsontext.AppendUnquote(nil, v) // it was checked; what is no UTF-8 is replaced
			text = string(b)
		}
		switch {
		case key == "time" && r.Time == 0:
			if r.Time, err = mastra.ParseTime(text); err != nil {
				return r, false
			}
		case key == "level" && r.Level == "":
			r.Level = text
		case key == "msg" && r.Message == "":
			r.Message = text
		case key == "runId" && text != "":
			r.RunID = text
		case key != "time" && key != "level" && key != "msg" && key != "runId":
			switch {
			case v.Kind() == '"':
				v = appendString(nil, text)
			case !v.IsValid(): // of no line of ours: it would not encode again
				v = appendString(nil, string(v))
			}
			r.Fields.Set(key, v.Clone())
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' || r.Level == "" || r.Time == 0 {
		return r, false
	}
	_, err := d.ReadToken()
	return r, errors.Is(err, io.EOF)
}
