package observability

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// LogsInput asks for a page of the log.
type LogsInput struct {
	Filters
	Level Texts `query:"level" json:"-"`
	Listing
}

// LogPage is a page of the log.
type LogPage struct {
	Pagination  *Pagination `json:"pagination,omitempty"`
	Delta       *Delta      `json:"delta,omitempty"`
	Logs        []Record    `json:"logs"`
	DeltaCursor string      `json:"deltaCursor,omitempty"`
}

var logLevels = []string{"debug", "info", "warn", "error", "fatal"}

// Logs lists the log, newest first, as it stands beside the traces: a line has the ids of the run, trace and span that it was
// written in.
func Logs(ctx context.Context, m *mastra.Mastra, in LogsInput) (LogPage, error) {
	if err := in.check(); err != nil {
		return LogPage{}, err
	}
	if m.Logs == nil {
		return LogPage{}, mastra.Errorf(mastra.CodeUnavailable, "The log cannot be read back here")
	}
	if mastra.Resource(ctx, "") != "" || mastra.Tenant(ctx) != "-" { // records know no owner
		return LogPage{}, mastra.Errorf(mastra.CodeForbidden, "Access denied: the log belongs to all resources")
	}
	q := mastra.LogQuery{RunID: in.RunID, Filters: map[string]string{}, Ascending: in.Direction == "ASC", Page: in.Page, PerPage: in.paging().PerPage}
	q.From, q.To = in.Timestamp.inclusive()
	for _, level := range in.Level {
		if !slices.Contains(logLevels, level) {
			return LogPage{}, &mastra.Error{Code: mastra.CodeInvalid, Message: "Invalid query parameters", Issues: []mastra.Issue{{Field: "level", Message: `Invalid option: expected one of "debug"|"info"|"warn"|"error"|"fatal"`}}}
		}
		if level == "fatal" { // the log knows four levels
			level = "error"
		}
		q.Levels = append(q.Levels, level)
	}
	none := in.Environment != "" && in.Environment != m.Tracing.Environment || in.ServiceName != "" && in.ServiceName != m.Tracing.ServiceName
	match := in.matcher(ctx)
	ofTrace := &matcher{tags: match.tags} // what lines do not say themselves
	for _, w := range match.fields {
		switch {
		case w.name == "runId" || w.name == "environment" || w.name == "serviceName":
		case slices.Contains(byTrace, w.name):
			ofTrace.fields = append(ofTrace.fields, w)
		default:
			if len(w.any) != 1 {
				none = true
			}
			q.Filters[w.name] = w.any[0]
		}
	}
	if len(match.metadata)+len(match.labels) > 0 { // lines have none of these
		none = true
	}
	after, until, first, err := in.since(m)
	if err != nil {
		return LogPage{}, err
	}
	delta := in.Mode == "delta"
	if delta {
		q.From, q.To, q.Ascending, q.Page, q.PerPage = max(q.From, after+1), until, true, 0, 1000
		none = none || first
	}
	page := &mastra.LogPage{}
	switch {
	case none:
	case ofTrace.narrows():
		page, err = linesOf(ctx, m, q, ofTrace)
	default:
		page, err = m.Logs.Logs(ctx, q)
	}
	if err != nil {
		return LogPage{}, err
	}
	out := LogPage{DeltaCursor: cursorAt(m)}
	if delta {
		page.Records, out.Delta, out.DeltaCursor = step(&in.Listing, page.Records, until, func(r *mastra.LogRecord) mastra.Time { return r.Time })
	} else {
		total := page.Total
		if total < 0 { // a log that cannot count
			total = q.Page*q.PerPage + len(page.Records)
		}
		out.Pagination = &Pagination{total, q.Page, q.PerPage, page.HasMore}
	}
	traces, err := tracesOf(ctx, m, page.Records)
	if err != nil { // the log is shown without them, too
		m.Logger.WarnContext(ctx, "the traces of log lines could not be read", "error", err)
	}
	out.Logs, err = records(page.Records, func(r *mastra.LogRecord) (Record, error) { return showLog(m, r, traces[r.Text("traceId")]) })
	return out, err
}

// ofProcess is what each line of a log in files begins with: it is none of what was logged.
var ofProcess = []string{"pid", "hostname", "name"}

// showLog shows a line of the log: what it was written in by its own fields and its trace, the rest as its data.
func showLog(m *mastra.Mastra, r *mastra.LogRecord, trace []mastra.Span) (Record, error) {
	whole, err := schema.Marshal(r.Object())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(whole) // a line has no id of its own: one line, one id
	have := Record{{Key: "timestamp"}, {Key: "level"}, {Key: "message"}, {Key: "logId"}}
	for i, v := range []any{r.Time, r.Level, r.Message, fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])} {
		data, err := schema.Marshal(v)
		if err != nil {
			return nil, err
		}
		have[i].Value = data
	}
	text := func(key, value string) {
		if value != "" {
			data, _ := schema.Marshal(value) // a string always encodes
			have.Set(key, data)
		}
	}
	text("runId", r.RunID)
	text("serviceName", m.Tracing.ServiceName)
	text("environment", m.Tracing.Environment)
	data := Record{}
	for i, f := range r.Fields {
		if i < len(ofProcess) && slices.Contains(ofProcess, f.Key) {
			continue
		}
		if slices.Contains(logFields, f.Key) && f.Value.Kind() == '"' && !strings.EqualFold(f.Key, "data") {
			have.Set(f.Key, f.Value)
		} else {
			data = append(data, f)
		}
	}
	if l := lineIn(trace, r); len(trace) > 0 {
		encoded, err := schema.Marshal(struct {
			mastra.Origin
			Tags []string `json:"tags,omitempty"`
		}{l.of, l.tags})
		if err != nil {
			return nil, err
		}
		var known Record
		if err := schema.Unmarshal(encoded, &known); err != nil {
			return nil, err
		}
		for _, f := range known {
			if _, said := have.Get(f.Key); !said {
				have.Set(f.Key, f.Value)
			}
		}
	}
	if len(data) > 0 {
		all, err := schema.Marshal(data)
		if err != nil {
			return nil, err
		}
		have.Set("data", all)
	}
	return record(have, logFields, nil)
}
