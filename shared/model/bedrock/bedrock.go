// Package bedrock asks models of Amazon Bedrock: language models through ConverseStream, embedding models through
// InvokeModel.
package bedrock

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	api "github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/upstream"
)

// Client is a connection to Bedrock, which models share. It is safe for concurrent use.
type Client struct {
	connect func() (*api.Client, error)
}

// NewClient makes a client with the credentials and the region that the AWS SDK finds, at the first call.
// transport is the SDK's own where nil.
func NewClient(transport http.RoundTripper) *Client {
	return &Client{connect: sync.OnceValues(func() (*api.Client, error) {
		c, err := awsconfig.Load(context.Background())
		if err != nil {
			return nil, err
		}
		if c.Region == "" {
			return nil, errors.New("no AWS region is configured: AWS_REGION")
		}
		return api.NewFromConfig(c, func(o *api.Options) {
			if transport != nil {
				o.HTTPClient = &http.Client{Transport: transport}
			}
		}), nil
	})}
}

// retrying says how often the SDK sends a call again that was throttled, or failed before an answer began.
func retrying(retries *int) func(*api.Options) {
	n := upstream.StandardRetries
	if retries != nil {
		n = *retries
	}
	return func(o *api.Options) {
		o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) { s.MaxAttempts = n + 1 })
	}
}

// Model is one language model. It is safe for concurrent use.
type Model struct {
	id     string
	client *Client
}

// New makes the model of that id, of an inference profile's id or of its ARN. Nothing is sent before the first Stream.
func New(id string, c *Client) *Model { return &Model{id, c} }

// Info names the model.
func (m *Model) Info() mastra.ModelInfo {
	return mastra.ModelInfo{Provider: "bedrock", ID: m.id, Version: "v2"}
}

// Stream asks the model. It is asked again after what may pass, up to Settings.MaxRetries times (2 where nil), but never
// once a part has come.
func (m *Model) Stream(ctx context.Context, r *mastra.ModelRequest) iter.Seq2[mastra.ModelPart, error] {
	return func(yield func(mastra.ModelPart, error) bool) {
		request, err := m.request(r)
		if err != nil {
			yield(mastra.ModelPart{}, err)
			return
		}
		client, err := m.client.connect()
		if err != nil {
			yield(mastra.ModelPart{}, upstream.Failure(ctx, "bedrock/"+m.id, 0, err))
			return
		}
		response, err := client.ConverseStream(ctx, request, retrying(r.Settings.MaxRetries))
		if err != nil {
			yield(mastra.ModelPart{}, failure(ctx, m.id, err))
			return
		}
		stream := response.GetStream()
		defer func() { _ = stream.Close() }()
		a := assembler{parts: upstream.Parts{Yield: func(p mastra.ModelPart) bool { return yield(p, nil) }, JSON: r.Schema != nil}}
		id, _ := middleware.GetRequestIDMetadata(response.ResultMetadata)
		more := a.parts.Begin(mastra.ModelPart{ID: id, ModelID: m.id, Timestamp: mastra.TimeOf(time.Now())})
		for more {
			event, ok := <-stream.Events()
			if !ok {
				break
			}
			more = a.take(event)
		}
		if !more && a.parts.Err == nil {
			return // the reader has left
		}
		if err = stream.Err(); err == nil {
			err = a.parts.Err
		}
		if err == nil && a.finish == "" {
			err = io.ErrUnexpectedEOF // the connection was cut: an answer says why it ends
		}
		if err != nil {
			yield(mastra.ModelPart{}, failure(ctx, m.id, err))
			return
		}
		a.parts.Finish(a.finish, a.usage)
	}
}

// failure is what the caller may know of err.
func failure(ctx context.Context, id string, err error) error {
	status := 0
	var refused smithy.APIError
	var answered interface{ HTTPStatusCode() int }
	switch {
	case errors.As(err, &refused):
		status = statusOf(refused)
	case errors.As(err, &answered):
		status = answered.HTTPStatusCode()
		if status < 400 {
			status, err = 0, upstream.Broken(err)
		}
	case ctx.Err() == nil && !unsent(err):
		err = upstream.Broken(err)
	}
	return upstream.Failure(ctx, "bedrock/"+id, status, err)
}

// unsent says that no answer began: the call could not be made.
func unsent(err error) bool {
	var op *smithy.OperationError
	return errors.As(err, &op)
}

// statusOf is the status that the service means: within a stream there is none.
func statusOf(err smithy.APIError) int {
	switch err.ErrorCode() {
	case "ThrottlingException", "ServiceQuotaExceededException", "TooManyRequestsException":
		return http.StatusTooManyRequests
	case "ServiceUnavailableException", "ModelNotReadyException":
		return http.StatusServiceUnavailable
	case "ModelTimeoutException":
		return http.StatusGatewayTimeout
	case "AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException", "ExpiredToken", "InvalidSignatureException", "IncompleteSignature":
		return http.StatusForbidden
	case "ResourceNotFoundException":
		return http.StatusNotFound
	case "ModelStreamErrorException", "ModelErrorException":
		return http.StatusInternalServerError
	case "ValidationException":
		return http.StatusBadRequest
	}
	if err.ErrorFault() == smithy.FaultClient {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
