package mastra

import (
	"context"
	"log/slog"
	"strconv"

	"mastralambda/shared/schema"
)

// LogRecord is one line of the application's log.
type LogRecord struct {
	Time    Time         `json:"time"`
	Level   string       `json:"level"` // debug, info, warn, error
	Message string       `json:"msg"`
	RunID   string       `json:"runId,omitempty"`
	Fields  Object[JSON] `json:"-"` // the rest, in the order it was logged
}

// Text is a field of the record that is a text, "" where there is none.
func (r *LogRecord) Text(key string) (text string) {
	if v, ok := r.Fields.Get(key); !ok || schema.Unmarshal(v, &text) != nil {
		return ""
	}
	return text
}

// LogQuery asks for matching records, the newest first. Zero fields match all.
type LogQuery struct {
	Level   string   // at least this level
	Levels  []string // one of these; "debug", "info", "warn" or "error"
	RunID   string
	From    Time
	To      Time
	Filters map[string]string // field: exact value
	// Ascending begins with the oldest record.
	Ascending bool
	Page      int // from 0
	PerPage   int
}

// LogPage is a page of records, newest first. Total is -1 where it is not known.
type LogPage struct {
	Records []LogRecord
	Total   int
	HasMore bool
}

// LogReader reads the log back. What was logged before a call is visible to it, in a deployed stack after some seconds.
type LogReader interface {
	Logs(ctx context.Context, q LogQuery) (*LogPage, error)
}

// Object is the record as it shows on the wire: time in Unix milliseconds, level, msg, then its fields.
func (r LogRecord) Object() Object[JSON] {
	text := func(s string) JSON { data, _ := schema.Marshal(s); return data } // a string always encodes
	o := Object[JSON]{{"time", JSON(strconv.FormatInt(int64(r.Time), 10))}, {"level", text(r.Level)}, {"msg", text(r.Message)}}
	if r.RunID != "" {
		o = append(o, Member[JSON]{"runId", text(r.RunID)})
	}
	return append(o, r.Fields...)
}

// Correlated adds the ids of the run, trace and span that a record is logged in.
func Correlated(h slog.Handler) slog.Handler { return correlated{h} }

type correlated struct{ slog.Handler }

func (c correlated) Handle(ctx context.Context, r slog.Record) error {
	if at := SpanOf(ctx); at.Inside() {
		named := false
		r.Attrs(func(a slog.Attr) bool { named = named || a.Key == "runId"; return !named })
		r = r.Clone()
		if !named && at.RunID != "" {
			r.AddAttrs(slog.String("runId", at.RunID))
		}
		r.AddAttrs(slog.String("traceId", at.TraceID), slog.String("spanId", at.SpanID))
	}
	return c.Handler.Handle(ctx, r)
}

func (c correlated) WithAttrs(attrs []slog.Attr) slog.Handler {
	return correlated{c.Handler.WithAttrs(attrs)}
}
func (c correlated) WithGroup(name string) slog.Handler { return correlated{c.Handler.WithGroup(name)} }
