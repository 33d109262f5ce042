package local

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"mastralambda/shared/schema"
)

const (
	maxValue  = 32 << 10 // bytes of one value; the rest is cut
	isoMillis = "2006-01-02T15:04:05.000Z"
)

// handler is a Store with fields that every record gets. The fields of a group are named "group.field".
type handler struct {
	store *Store
	attrs []byte // encoded: ,"a":1,"b":2
	group string // "g." or ""
}

var _ slog.Handler = handler{}

// Enabled is whether records of a level are kept.
func (h handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.store.level.Level() }

// Handle keeps a record.
func (h handler) Handle(_ context.Context, r slog.Record) error {
	s := h.store
	room := s.lines.Get().(*[]byte)
	line := appendLine((*room)[:0], r.Time, r.Level, r.Message, s.base, func(b []byte) []byte {
		b = append(b, h.attrs...)
		r.Attrs(func(a slog.Attr) bool {
			b = appendAttr(b, h.group, a)
			return true
		})
		return b
	})
	err := s.put(line, r.Level >= slog.LevelError)
	if cap(line) <= maxValue {
		*room = line
		s.lines.Put(room)
	}
	return err
}

// WithAttrs adds fields.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = slices.Grow(slices.Clone(h.attrs), 32*len(attrs))
	for _, a := range attrs {
		h.attrs = appendAttr(h.attrs, h.group, a)
	}
	return h
}

// WithGroup puts what comes under a name.
func (h handler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.group += name + "."
	}
	return h
}

// appendLine appends a record. head reads what it writes.
func appendLine(b []byte, at time.Time, level slog.Level, message string, base []byte, rest func([]byte) []byte) []byte {
	if at.IsZero() {
		at = time.Now()
	}
	b = append(b, `{"time":"`...)
	b = at.UTC().AppendFormat(b, isoMillis)
	b = append(b, `","level":"`...)
	b = append(b, nameOf(level)...)
	b = append(b, '"')
	b = append(b, base...)
	b = append(b, `,"msg":`...)
	b = appendString(b, message)
	b = rest(b)
	return append(b, "}\n"...)
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

func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, a := range v.Group() {
			b = appendAttr(b, group, a)
		}
		return b
	}
	if a.Equal(slog.Attr{}) {
		return b
	}
	key := a.Key
	if group != "" {
		key = group + key
	} else if key == "time" || key == "level" || key == "msg" {
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
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
