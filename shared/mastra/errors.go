package mastra

import (
	"errors"
	"fmt"

	"mastralambda/shared/schema"
)

// JSON is one encoded JSON value; a nil JSON encodes as null.
type JSON = schema.JSON

// Issue is one failure of validation.
type Issue = schema.Issue

// Code says what kind of error an Error is. Only the HTTP edge knows its status.
type Code string

const (
	CodeInvalid      Code = "invalid"      // 400: the caller's input
	CodeUnauthorized Code = "unauthorized" // 401: nobody known
	CodeForbidden    Code = "forbidden"    // 403: known, not allowed
	CodeNotFound     Code = "not_found"    // 404
	CodeConflict     Code = "conflict"     // 409: it is not in the state that the call needs
	CodeTooLarge     Code = "too_large"    // 413
	CodeUnsupported  Code = "unsupported"  // 415: another media type is asked for
	CodeUserCode     Code = "user_code"    // 422: a user's tool or step returned an error, its message is shown
	CodeUpstream     Code = "upstream"     // 502: a model or another service failed
	CodeUnavailable  Code = "unavailable"  // 503: shutting down, or no such backend is configured
	CodeInternal     Code = "internal"     // 500
)

// Error is an application error: Message and Issues are shown to the caller, Err goes to the log only.
// Any other error is shown as an internal one, without its text.
type Error struct {
	Code    Code
	Message string
	Issues  []Issue
	Shown   JSON // what the caller is shown instead, where an error has a form of its own
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose message is shown to the caller.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid is a 400 that names one field of the body.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Message: "Invalid request body", Issues: []Issue{{Field: field, Message: fmt.Sprintf(format, args...)}}}
}

// CodeOf is the code of err: CodeInternal for an error that is no Error, "" for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	}
	return CodeInternal
}
