package mastra

import "context"

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

// LogReader reads the log back. What was logged before a call is visible to it.
type LogReader interface {
	Logs(ctx context.Context, q LogQuery) (*LogPage, error)
}
