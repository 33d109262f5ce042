// Package record writes log records as lines of JSON, and finds them again.
package record

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"mastralambda/shared/schema"
)

const (
	maxValue  = 32 << 10  // bytes of one value; the rest is cut
	maxRecord = 224 << 10 // bytes of a record; fields beyond are left out: CloudWatch takes 256 KB
	isoMillis = "2006-01-02T15:04:05.000Z"
)

// Format is how a record's own fields are called. Its other fields are written flat: what is in a group is named "group.field".
type Format struct {
	Time  string // key of the time
	Upper bool   // INFO instead of info
}

var (
	// Local is the format of log files.
	Local = Format{Time: "time"}
	// Lambda is what Lambda's JSON log format asks for: a timestamp in RFC 3339 and a level in capitals.
	Lambda = Format{Time: "timestamp", Upper: true}
)

// Handler is a slog.Handler that writes each record as one line.
type Handler struct {
	*sink
	attrs []byte // encoded: ,"a":1,"b":2
	group string // "g." or ""
}

type sink struct {
	format Format
	level  slog.Leveler
	base   []byte
	write  func(line []byte, level slog.Level) error
	lines  sync.Pool // *[]byte
}

var _ slog.Handler = Handler{}

// NewHandler returns a handler of records of level and above. Base, pairs of keys and values, are fields of every record. write
// may be called by several goroutines at once; the line is valid during the call.
func NewHandler(f Format, level slog.Leveler, write func(line []byte, level slog.Level) error, base ...any) Handler {
	s := &sink{format: f, level: level, write: write, lines: sync.Pool{New: func() any { return new([]byte) }}}
	var r slog.Record
	r.Add(base...)
	r.Attrs(func(a slog.Attr) bool { s.base = f.appendAttr(s.base, "", a); return true })
	return Handler{sink: s}
}

// Enabled is whether records of a level are kept.
func (h Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle writes a record.
func (h Handler) Handle(_ context.Context, r slog.Record) error {
	room := h.lines.Get().(*[]byte)
	line := h.appendHead((*room)[:0], r.Time, r.Level, r.Message)
	line = append(line, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		before := len(line)
		line = h.format.appendAttr(line, h.group, a)
		if len(line) > maxRecord {
			line = append(line[:before], `,"truncated":true`...)
			return false
		}
		return true
	})
	line = append(line, "}\n"...)
	err := h.write(line, r.Level)
	if cap(line) <= maxValue {
		*room = line
		h.lines.Put(room)
	}
	return err
}

// WithAttrs adds fields.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = slices.Grow(slices.Clone(h.attrs), 32*len(attrs))
	for _, a := range attrs {
		h.attrs = h.format.appendAttr(h.attrs, h.group, a)
	}
	return h
}

// WithGroup puts what comes under a name.
func (h Handler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.group += name + "."
	}
	return h
}

// appendHead appends the beginning of a record. head reads what it writes.
func (s *sink) appendHead(b []byte, at time.Time, level slog.Level, message string) []byte {
	if at.IsZero() {
		at = time.Now()
	}
	b = append(b, `{"`...)
	b = append(b, s.format.Time...)
	b = append(b, `":"`...)
	b = at.UTC().AppendFormat(b, isoMillis)
	b = append(b, `","level":"`...)
	b = append(b, s.format.level(nameOf(level))...)
	b = append(b, '"')
	b = append(b, s.base...)
	b = append(b, `,"msg":`...)
	return appendString(b, message)
}

func nameOf(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// level is how a level's name is written.
func (f Format) level(name string) string {
	if !f.Upper {
		return name
	}
	switch name {
	case "debug":
		return "DEBUG"
	case "info":
		return "INFO"
	case "warn":
		return "WARN"
	}
	return "ERROR"
}

func (f Format) appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, a := range v.Group() {
			b = f.appendAttr(b, group, a)
		}
		return b
	}
	if a.Equal(slog.Attr{}) {
		return b
	}
	key := a.Key
	if group != "" {
		key = group + key
	} else if key == "time" || key == f.Time || key == "level" || key == "msg" {
		key = "attr." + key // the record's own stay
	}
	b = append(b, ',')
	b = appendString(b, key)
	b = append(b, ':')
	switch v.Kind() {
	case slog.KindString:
		return appendString(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		if f := v.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
		return appendString(b, v.String())
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return appendString(b, v.Duration().String())
	case slog.KindTime:
		b = append(b, '"')
		b = v.Time().UTC().AppendFormat(b, isoMillis)
		return append(b, '"')
	}
	return appendAny(b, v.Any())
}

// appendAny encodes a value of any type. One that panics is not the problem of who logs it.
func appendAny(b []byte, v any) (out []byte) {
	at := len(b)
	defer func() {
		if p := recover(); p != nil {
			out = appendString(b[:at], fmt.Sprintf("%T panicked: %v", v, p))
		}
	}()
	if err, ok := v.(error); ok {
		return appendString(b, err.Error())
	}
	data, err := schema.Marshal(v)
	if err != nil || len(data) > maxValue {
		return appendString(b, fmt.Sprintf("%+v", v))
	}
	return append(b, data...)
}

// appendString appends s as a JSON string, cut where it is too long. Bytes that are no UTF-8 are replaced.
func appendString(b []byte, s string) []byte {
	if len(s) > maxValue {
		cut := maxValue
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return schema.AppendString(b, s)
}
