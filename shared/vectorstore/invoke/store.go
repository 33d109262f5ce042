// Package invoke reaches the vector stores of another Lambda function, the one in the database's network, by invoking it.
package invoke

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"mastralambda/shared/awsconfig"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/vectorstore/calls"
)

// Store is a mastra.VectorStore of another function. A change and an answer are limited to what one invocation takes, some 700
// vectors of 1536 dimensions; more is refused with a CodeTooLarge and nothing is done. It is safe for concurrent use.
type Store struct {
	client   *lambda.Client
	function string
	name     string
}

var _ mastra.VectorStore = (*Store)(nil)

// FromEnv are the stores of the function that VECTOR_FUNCTION names (name or ARN), which VECTOR_STORES lists by name, the default
// one first ("pgvector" where it is not set). Without a function there are none. It makes no request.
func FromEnv(ctx context.Context, getenv func(string) string) ([]mastra.NamedVectorStore, error) {
	function := getenv("VECTOR_FUNCTION")
	if function == "" {
		return nil, nil
	}
	cfg, err := awsconfig.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("VECTOR_FUNCTION: the AWS configuration cannot be read: %w", err)
	}
	names := strings.Fields(strings.ReplaceAll(getenv("VECTOR_STORES"), ",", " "))
	if len(names) == 0 {
		names = []string{"pgvector"}
	}
	var stores []mastra.NamedVectorStore
	for _, name := range names {
		stores = append(stores, mastra.NamedVectorStore{Name: name, Type: "pgvector", Store: Open(cfg, function, name)})
	}
	return stores, nil
}

// Open is the store that a function has under a name.
func Open(cfg aws.Config, function, name string) *Store {
	return &Store{lambda.NewFromConfig(cfg), function, name}
}

func (s *Store) CreateIndex(ctx context.Context, i mastra.VectorIndex) error {
	_, err := s.do(ctx, calls.Call{Operation: "createIndex", Create: calls.IndexOf(i)})
	return err
}

func (s *Store) Indexes(ctx context.Context) ([]string, error) {
	out, err := s.do(ctx, calls.Call{Operation: "indexes"})
	return out.Names, err
}

func (s *Store) DescribeIndex(ctx context.Context, name string) (*mastra.VectorIndex, error) {
	out, err := s.do(ctx, calls.Call{Operation: "describeIndex", Name: name})
	if err != nil {
		return nil, err
	}
	if i := out.Described(); i != nil {
		return i, nil
	}
	return nil, errors.New("the function of the vector stores describes no index")
}

func (s *Store) BuildIndex(ctx context.Context, name string) error {
	_, err := s.do(ctx, calls.Call{Operation: "buildIndex", Name: name})
	return err
}

func (s *Store) DeleteIndex(ctx context.Context, name string) error {
	_, err := s.do(ctx, calls.Call{Operation: "deleteIndex", Name: name})
	return err
}

func (s *Store) Upsert(ctx context.Context, name string, vectors []mastra.Vector) error {
	_, err := s.do(ctx, calls.Call{Operation: "upsert", Name: name, Upsert: calls.EntriesOf(vectors)})
	return err
}

func (s *Store) Replace(ctx context.Context, name, namespace string, filter mastra.JSON, vectors []mastra.Vector) error {
	which := calls.SelectionOf(mastra.VectorSelection{Namespace: namespace, Filter: filter})
	_, err := s.do(ctx, calls.Call{Operation: "replace", Name: name, Which: which, Upsert: calls.EntriesOf(vectors)})
	return err
}

func (s *Store) Update(ctx context.Context, name string, which mastra.VectorSelection, to mastra.VectorUpdate) (int, error) {
	out, err := s.do(ctx, calls.Call{Operation: "update", Name: name, Which: calls.SelectionOf(which), To: calls.UpdateOf(to)})
	return out.Changed, err
}

func (s *Store) Delete(ctx context.Context, name string, which mastra.VectorSelection) (int, error) {
	out, err := s.do(ctx, calls.Call{Operation: "delete", Name: name, Which: calls.SelectionOf(which)})
	return out.Changed, err
}

func (s *Store) Query(ctx context.Context, name string, q mastra.VectorQuery) ([]mastra.Match, error) {
	out, err := s.do(ctx, calls.Call{Operation: "query", Name: name, Query: calls.QueryOf(q)})
	if err != nil {
		return nil, err
	}
	return out.Found(), nil
}

// do invokes the function. An error of the store comes back as it was there, but for the detail of an internal one.
func (s *Store) do(ctx context.Context, c calls.Call) (out calls.Answer, err error) {
	c.Store, c.Caller = s.name, mastra.Caller(ctx)
	payload, err := c.Encode()
	if err != nil {
		return out, err
	}
	if len(payload) > calls.MaxPayload {
		return out, mastra.Errorf(mastra.CodeTooLarge, "The change is larger than one invocation takes (%d of %d bytes): write fewer vectors at once", len(payload), calls.MaxPayload)
	}
	r, err := s.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &s.function, Payload: payload})
	if err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, &mastra.Error{Code: mastra.CodeUpstream, Message: "The vector store cannot be reached", Err: err}
	}
	if r.FunctionError != nil {
		return out, &mastra.Error{Code: mastra.CodeUpstream, Message: "The vector store failed", Err: fmt.Errorf("%s: %.500s", *r.FunctionError, r.Payload)}
	}
	if err := schema.Unmarshal(r.Payload, &out); err != nil {
		return out, fmt.Errorf("the vector store's answer cannot be read: %w", err)
	}
	if e := out.Error; e != nil {
		if e.Code == mastra.CodeInternal {
			return out, errors.New("the vector store failed: see the log of its function")
		}
		return out, &mastra.Error{Code: e.Code, Message: e.Message, Issues: e.Issues}
	}
	return out, nil
}
