package record

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/mastra"
)

// Matcher decides over lines of a format.
type Matcher struct {
	format Format
	q      mastra.LogQuery
	levels map[string]bool // nil: all
	needs  [][]byte        // what a line that matches must hold somewhere
}

// NewMatcher returns the matcher of what q asks for; a level that is none is a CodeInvalid.
func NewMatcher(f Format, q mastra.LogQuery) (*Matcher, error) {
	m := &Matcher{format: f, q: q}
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
	if q.Levels != nil {
		one := map[string]bool{}
		for _, name := range q.Levels {
			var l slog.Level
			if err := l.UnmarshalText([]byte(name)); err != nil || nameOf(l) != name {
				return nil, mastra.Errorf(mastra.CodeInvalid, "Unknown log level %q", name)
			}
			one[name] = m.levels == nil || m.levels[name]
		}
		m.levels = one
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

// Match says whether a line matches, and decodes it where it is wanted or has to be decoded to know.
func (m *Matcher) Match(line []byte, wanted bool) (r mastra.LogRecord, ok bool) {
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
	if r, ok = m.format.parse(line); !ok || !m.fits(r.Time, r.Level) || m.q.RunID != "" && r.RunID != m.q.RunID {
		return r, false
	}
	for key, want := range m.q.Filters {
		if have, ok := fieldText(&r, key); !ok || have != want {
			return r, false
		}
	}
	return r, true
}

// Levels are those that can match, the least grave first.
func (m *Matcher) Levels() (names []string) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if name := nameOf(l); m.levels == nil || m.levels[name] {
			names = append(names, name)
		}
	}
	return names
}

func (m *Matcher) fits(at mastra.Time, level string) bool {
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
func (f Format) parse(line []byte) (r mastra.LogRecord, ok bool) {
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
		case key == f.Time && r.Time == 0:
			if r.Time, err = mastra.ParseTime(text); err != nil {
				return r, false
			}
		case key == "level" && r.Level == "":
			r.Level = strings.ToLower(text)
		case key == "msg" && r.Message == "":
			r.Message = text
		case key == "runId" && text != "":
			r.RunID = text
		case key != f.Time && key != "level" && key != "msg" && key != "runId":
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
