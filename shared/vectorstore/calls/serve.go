package calls

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// Serve answers calls with the stores of m. Whoever may invoke the function says for whom it calls: the function's policy decides
// who may. The error is of an event that is no call.
func Serve(m *mastra.Mastra) func(ctx context.Context, event mastra.JSON) (any, error) {
	return func(ctx context.Context, event mastra.JSON) (any, error) {
		var c Call
		if err := schema.Unmarshal(event, &c); err != nil {
			return nil, err
		}
		if c.Operation == "" {
			return nil, errors.New("the event is neither a request nor a call of a vector store")
		}
		if c.Caller != nil {
			ctx = mastra.WithPrincipal(ctx, c.Caller)
		}
		var out Answer
		store, err := m.VectorStore(c.Store)
		if err == nil {
			out, err = c.on(ctx, store)
		}
		if err != nil {
			return schema.Marshal(Answer{Error: refusalOf(ctx, m, err)})
		}
		data, err := schema.Marshal(out)
		if err == nil && len(data) > MaxPayload {
			return schema.Marshal(Answer{Error: &Refusal{Code: mastra.CodeTooLarge, Message: "The answer is larger than one invocation can give: ask for fewer matches, or without their vectors"}})
		}
		return data, err
	}
}

// on calls the store.
func (c Call) on(ctx context.Context, s mastra.VectorStore) (out Answer, err error) {
	switch {
	case c.Operation == "createIndex" && c.Create != nil:
		err = s.CreateIndex(ctx, c.Create.index())
	case c.Operation == "indexes":
		out.Names, err = s.Indexes(ctx)
	case c.Operation == "describeIndex":
		var i *mastra.VectorIndex
		if i, err = s.DescribeIndex(ctx, c.Name); err == nil {
			out.Index = IndexOf(*i)
		}
	case c.Operation == "buildIndex":
		err = s.BuildIndex(ctx, c.Name)
	case c.Operation == "deleteIndex":
		err = s.DeleteIndex(ctx, c.Name)
	case c.Operation == "upsert":
		err = s.Upsert(ctx, c.Name, vectorsOf(c.Upsert))
	case c.Operation == "replace" && c.Which != nil:
		err = s.Replace(ctx, c.Name, c.Which.Namespace, jsonOf(c.Which.Filter), vectorsOf(c.Upsert))
	case c.Operation == "update" && c.Which != nil && c.To != nil:
		out.Changed, err = s.Update(ctx, c.Name, c.Which.selection(), c.To.update())
	case c.Operation == "delete" && c.Which != nil:
		out.Changed, err = s.Delete(ctx, c.Name, c.Which.selection())
	case c.Operation == "query" && c.Query != nil:
		var found []mastra.Match
		found, err = s.Query(ctx, c.Name, c.Query.query())
		out.Matches = matchesOf(found)
	default: // of a caller that is newer than this function
		err = mastra.Errorf(mastra.CodeInvalid, "The function of the vector stores does not know the call %q", c.Operation)
	}
	return out, err
}

// refusalOf is what the caller may know of an error.
func refusalOf(ctx context.Context, m *mastra.Mastra, err error) *Refusal {
	var known *mastra.Error
	if !errors.As(err, &known) || known.Code == mastra.CodeInternal {
		m.Logger.ErrorContext(ctx, "the vector store failed", "error", err)
		return &Refusal{Code: mastra.CodeInternal}
	}
	return &Refusal{known.Code, known.Message, known.Issues}
}
