package mastra

import (
	"context"
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

// LogQuery asks for the newest matching records. Zero fields match all.
type LogQuery struct {
	Level   string // at least this level
	RunID   string
	From    Time
	To      Time
	Filters map[string]string // field: exact value
	Page    int               // from 0
	PerPage int
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
