package server

import (
	"errors"
	"net/http"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

var statuses = map[mastra.Code]int{
	mastra.CodeInvalid:      http.StatusBadRequest,
	mastra.CodeUnauthorized: http.StatusUnauthorized,
	mastra.CodeForbidden:    http.StatusForbidden,
	mastra.CodeNotFound:     http.StatusNotFound,
	mastra.CodeConflict:     http.StatusConflict,
	mastra.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	mastra.CodeUnsupported:  http.StatusUnsupportedMediaType,
	mastra.CodeUserCode:     http.StatusUnprocessableEntity,
	mastra.CodeUpstream:     http.StatusBadGateway,
	mastra.CodeUnavailable:  http.StatusServiceUnavailable,
}

// Problem is the body of every error.
type Problem struct {
	Error     string         `json:"error"`
	Issues    []mastra.Issue `json:"issues,omitempty"`
	RequestID string         `json:"requestId,omitempty"` // of our own faults: the log has the rest under it
}

// problemOf says what the caller may know of err, and whether the log should have the rest.
func problemOf(err error) (status int, p Problem, ours bool) {
	var e *mastra.Error
	var invalid *schema.InvalidError
	switch {
	case errors.As(err, &e) && statuses[e.Code] != 0:
		status = statuses[e.Code]
		return status, Problem{Error: e.Message, Issues: e.Issues}, status >= 500
	case errors.As(err, &invalid):
		return http.StatusBadRequest, Problem{Error: "Invalid input", Issues: invalid.Issues}, false
	}
	return http.StatusInternalServerError, Problem{Error: "Internal Server Error"}, true
}

func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status, p, ours := problemOf(err)
	if ours {
		p.RequestID = requestID(r)
		s.logger(r).ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	var e *mastra.Error
	if errors.As(err, &e) && e.Shown != nil {
		s.writeJSON(w, r, status, e.Shown)
		return
	}
	s.writeJSON(w, r, status, p)
}
