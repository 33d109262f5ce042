// Package logs is the logs group: the application's log, newest first.
package logs

import (
	"context"
	"strings"

	"mastralambda/shared/handlers/observability"
	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// Routes is the group's table.
func Routes() []server.Route {
	read := server.Permission("logs:read")
	return []server.Route{
		server.JSON("GET /logs", List, read, server.Summary("Query logs with filters, newest first")),
		server.JSON("GET /logs/transports", Transports, read, server.Summary("List log transports")),
		server.JSON("GET /observability/logs", observability.Logs, read, server.Summary("List logs beside their runs and traces")),
		server.JSON("GET /logs/:runId", ListOfRun, read, server.Summary("Query the logs of a run, newest first")),
	}
}

const (
	maxPerPage = 1000
	maxBytes   = 4 << 20 // of the records of one answer: a Lambda may send 6 MB
)

// transport is the one place that logs go to, under the name that clients of the reference server know.
const transport = "file"

// ListInput asks for a page of log records. Level and Limit are the document's names, LogLevel and PerPage the reference
// server's. A level means it and all that are graver.
type ListInput struct {
	Page        int         `query:"page" json:"-" minimum:"0"`    // from 1; 0 is the first one too
	PerPage     int         `query:"perPage" json:"-" minimum:"0"` // at most 1000; 100 where 0
	Level       string      `query:"level" json:"-" enum:"debug,info,warn,error"`
	Limit       int         `query:"limit" json:"-" minimum:"0"`
	TransportID string      `query:"transportId" json:"-"` // one that is not known has no records
	LogLevel    string      `query:"logLevel" json:"-" enum:"debug,info,warn,error,silent"`
	FromDate    mastra.Time `query:"fromDate" json:"-"`
	ToDate      mastra.Time `query:"toDate" json:"-"`
	Filters     []string    `query:"filters" json:"-" maxItems:"20"` // field:value, all must match
}

// Page is a page of records, each an object with time (Unix milliseconds), level, msg and its own fields. Where they
// are more than an answer may hold, the last ones are left out and HasMore says so: a smaller page shows them. Total counts
// what was found so far where the log is too long to be counted.
type Page struct {
	Logs    []mastra.Object[mastra.JSON] `json:"logs"`
	Total   int                          `json:"total"`
	Page    int                          `json:"page"`
	PerPage int                          `json:"perPage"`
	HasMore bool                         `json:"hasMore"`
}

// List reads the log, newest first.
func List(ctx context.Context, m *mastra.Mastra, in ListInput) (Page, error) {
	return in.read(ctx, m, "")
}

// OfRunInput asks for the records of a run.
type OfRunInput struct {
	RunID string `path:"runId" json:"-"`
	ListInput
}

// ListOfRun reads the log of one run, newest first.
func ListOfRun(ctx context.Context, m *mastra.Mastra, in OfRunInput) (Page, error) {
	return in.read(ctx, m, in.RunID)
}

func (in ListInput) read(ctx context.Context, m *mastra.Mastra, runID string) (Page, error) {
	if m.Logs == nil {
		return Page{}, mastra.Errorf(mastra.CodeUnavailable, "The log cannot be read back here")
	}
	if mastra.Resource(ctx, "") != "" || mastra.Tenant(ctx) != "-" { // records know no owner
		return Page{}, mastra.Errorf(mastra.CodeForbidden, "Access denied: the log belongs to all resources")
	}
	level := in.Level
	if level == "" {
		level = in.LogLevel
	}
	perPage := in.Limit
	if perPage == 0 {
		perPage = in.PerPage
	}
	if perPage == 0 {
		perPage = 100
	}
	perPage = min(perPage, maxPerPage)
	out := Page{Page: max(1, in.Page), PerPage: perPage}
	filters, matchable := fields(in.Filters)
	if in.TransportID != "" && in.TransportID != transport || level == "silent" || !matchable {
		return out, nil
	}
	page, err := m.Logs.Logs(ctx, mastra.LogQuery{Level: level, RunID: runID, From: in.FromDate, To: in.ToDate, Filters: filters,
		Page: out.Page - 1, PerPage: perPage})
	if err != nil {
		return Page{}, err
	}
	out.Total, out.HasMore = page.Total, page.HasMore
	if out.Total < 0 { // so many at least
		if out.Total = (out.Page-1)*perPage + len(page.Records); page.HasMore {
			out.Total++
		}
	}
	size := 0
	for _, r := range page.Records {
		record := r.Object()
		for _, f := range record {
			size += len(f.Key) + len(f.Value) + 4
		}
		if size > maxBytes && len(out.Logs) > 0 {
			out.HasMore = true
			break
		}
		out.Logs = append(out.Logs, record)
	}
	return out, nil
}

// fields reads field:value filters; one without a colon matches nothing, as at the reference server.
func fields(filters []string) (map[string]string, bool) {
	out := map[string]string{}
	for _, f := range filters {
		name, value, ok := strings.Cut(f, ":")
		if !ok {
			return nil, false
		}
		out[name] = value
	}
	return out, true
}

// TransportsInput is empty.
type TransportsInput struct{}

// TransportList lists where logs go.
type TransportList struct {
	Transports []string `json:"transports"`
}

// Transports lists where logs go.
func Transports(context.Context, *mastra.Mastra, TransportsInput) (TransportList, error) {
	return TransportList{[]string{transport}}, nil
}
