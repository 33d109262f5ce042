package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"mastralambda/shared/mastra"
)

// Failure is why a provider gave no answer, as a caller may know it: an Error of CodeUpstream, whose Err is err with the
// provider's own words, for the log. status is the answer's, 0 where there was none. Where ctx has ended its cause is
// returned.
func Failure(ctx context.Context, model string, status int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	message := "The model could not be reached"
	switch {
	case status == http.StatusTooManyRequests:
		message = "The model is rate limited"
	case status == StatusOverloaded, status == http.StatusServiceUnavailable:
		message = "The model is overloaded"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		err = errors.New("it refused the credentials") // and may have repeated them
		message = "The model's provider does not accept the credentials of this server"
	case status == http.StatusNotFound:
		message = "The model's provider does not know the model"
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		message = "The model took too long"
	case status >= 500:
		message = "The model's provider failed"
	case status >= 400:
		message = "The model refused the request"
	case errors.Is(err, ErrTooLong):
		message = "The model's answer is too long"
	case errors.Is(err, ErrMalformed):
		message = "The model's answer makes no sense"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		message = "The model's answer was cut off"
	}
	return &mastra.Error{Code: mastra.CodeUpstream, Message: message, Err: fmt.Errorf("%s: %w", model, err)}
}

// StatusOverloaded is what Anthropic answers where it has too much to do.
const StatusOverloaded = 529

// ErrTooLong ends an answer of more than MaxAnswer bytes, ErrMalformed one that is not what the provider's API promises.
var (
	ErrTooLong   = errors.New("the answer is longer than this server reads")
	ErrMalformed = errors.New("the answer is malformed")
)

// Broken is err, which came in the middle of an answer: either the connection failed, or what came over it made no sense.
func Broken(err error) error {
	var failed net.Error
	switch {
	case errors.Is(err, ErrTooLong), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.As(err, &failed), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// Refused is the failure that an answer of a status other than 2xx tells. The body is read for the log.
func Refused(ctx context.Context, model string, response *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(response.Body, 2<<10))
	return Failure(ctx, model, response.StatusCode, fmt.Errorf("status %d: %q", response.StatusCode, said))
}
