package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"mastralambda/shared/mastra"
)

const (
	maxParallel = 8 // requests that one call has under way
	maxAttempts = 9
	firstDelay  = 20 * time.Millisecond
	maxDelay    = time.Second
)

// errRefused says that a condition did not hold.
var errRefused = errors.New("dynamodb: a condition did not hold")

func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// passing says whether what err tells of may be over soon.
func passing(err error) bool {
	var canceled *types.TransactionCanceledException
	if errors.As(err, &canceled) {
		for _, r := range canceled.CancellationReasons {
			switch aws.ToString(r.Code) {
			case "None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "InternalServerError", "":
			default:
				return false
			}
		}
		return true
	}
	switch errorCode(err) {
	case "TransactionConflictException", "TransactionInProgressException", "InternalServerError":
		return true
	}
	return retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
}

// pause waits before an attempt, longer each time, and by chance, so that those who collided part.
func pause(ctx context.Context, attempt int) error {
	most := min(maxDelay, firstDelay<<min(attempt, 10))
	t := time.NewTimer(time.Duration(rand.Int64N(int64(most))) + most/8)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try calls f until it succeeds or fails for good. What f does must be harmless to repeat.
func try(ctx context.Context, f func() error) error {
	for attempt := 0; ; attempt++ {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case refused(err):
			return err
		case !passing(err):
			return failed(err)
		case attempt+1 == maxAttempts:
			return &mastra.Error{Code: mastra.CodeUnavailable, Message: "The storage is overloaded: try again later", Err: failed(err)}
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func failed(err error) error {
	if errorCode(err) == "ValidationException" && strings.Contains(err.Error(), "size") {
		return &mastra.Error{Code: mastra.CodeTooLarge, Message: "The request is too large to be stored", Err: err}
	}
	return fmt.Errorf("dynamodb: %w", err)
}

// refused says whether a condition was the reason.
func refused(err error) bool {
	var one *types.ConditionalCheckFailedException
	var many *types.TransactionCanceledException
	switch {
	case errors.Is(err, errRefused), errors.As(err, &one):
		return true
	case errors.As(err, &many):
		for _, r := range many.CancellationReasons {
			if aws.ToString(r.Code) == "ConditionalCheckFailed" {
				return true
			}
		}
	}
	return false
}

// parallel calls all, some at once, and waits for them. It returns the first error of the list.
func parallel(all ...func() error) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]()
	}
	errs := make([]error, len(all))
	slots := make(chan struct{}, maxParallel)
	var wg sync.WaitGroup
	for i, f := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f()
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// write does one op by itself and returns what was there before, of a put or a delete. An attempt whose answer was lost
// may have succeeded: the refusal of the next one then shows the item with our own token.
func (s *Store) write(ctx context.Context, o op, token string) (old item, err error) {
	err = try(ctx, func() error {
		switch {
		case o.Put != nil:
			p := o.Put
			out, err := s.client.PutItem(ctx, &ddb.PutItemInput{TableName: p.TableName, Item: p.Item, ConditionExpression: p.ConditionExpression, ReturnValues: types.ReturnValueAllOld,
				ExpressionAttributeNames: p.ExpressionAttributeNames, ExpressionAttributeValues: p.ExpressionAttributeValues, ReturnValuesOnConditionCheckFailure: p.ReturnValuesOnConditionCheckFailure})
			if err == nil {
				old = out.Attributes
			}
			return err
		case o.Update != nil:
			u := o.Update
			_, err := s.client.UpdateItem(ctx, &ddb.UpdateItemInput{TableName: u.TableName, Key: u.Key, UpdateExpression: u.UpdateExpression, ConditionExpression: u.ConditionExpression,
				ExpressionAttributeNames: u.ExpressionAttributeNames, ExpressionAttributeValues: u.ExpressionAttributeValues, ReturnValuesOnConditionCheckFailure: u.ReturnValuesOnConditionCheckFailure})
			return err
		default:
			d := o.Delete
			out, err := s.client.DeleteItem(ctx, &ddb.DeleteItemInput{TableName: d.TableName, Key: d.Key, ConditionExpression: d.ConditionExpression, ReturnValues: types.ReturnValueAllOld,
				ExpressionAttributeNames: d.ExpressionAttributeNames, ExpressionAttributeValues: d.ExpressionAttributeValues, ReturnValuesOnConditionCheckFailure: d.ReturnValuesOnConditionCheckFailure})
			if err == nil {
				old = out.Attributes
			}
			return err
		}
	})
	var refusal *types.ConditionalCheckFailedException
	if errors.As(err, &refusal) {
		if token != "" && (textOf(refusal.Item["tok"]) == token || marked(refusal.Item, token)) {
			return nil, nil
		}
		return refusal.Item, errRefused
	}
	if token != "" && textOf(old["tok"]) == token { // a repeat replaced what the first attempt wrote
		old = nil
	}
	return old, err
}

// transact does all ops or none. Its token makes a repeat harmless.
func (s *Store) transact(ctx context.Context, ops []op, token string) error {
	items := make([]types.TransactWriteItem, len(ops))
	for i, o := range ops {
		items[i] = types.TransactWriteItem(o)
	}
	err := try(ctx, func() error {
		_, err := s.client.TransactWriteItems(ctx, &ddb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: &token})
		return err
	})
	if err != nil && refused(err) {
		return errRefused
	}
	return err
}

// batchWrite writes whole items and deletes keys, unconditionally.
func (s *Store) batchWrite(ctx context.Context, table string, puts, deletes []item) error {
	requests := make([]types.WriteRequest, 0, len(puts)+len(deletes))
	for _, it := range puts {
		requests = append(requests, types.WriteRequest{PutRequest: &types.PutRequest{Item: it}})
	}
	for _, k := range deletes {
		requests = append(requests, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: k}})
	}
	var calls []func() error
	for len(requests) > 0 {
		n := min(len(requests), 25)
		left := map[string][]types.WriteRequest{table: requests[:n]}
		requests = requests[n:]
		calls = append(calls, func() error {
			return s.untilDone(ctx, func() (done bool, err error) {
				out, err := s.client.BatchWriteItem(ctx, &ddb.BatchWriteItemInput{RequestItems: left})
				if err != nil {
					return false, err
				}
				left = out.UnprocessedItems
				return len(left) == 0, nil
			})
		})
	}
	return parallel(calls...)
}

// untilDone repeats a request that does only a part at a time.
func (s *Store) untilDone(ctx context.Context, f func() (bool, error)) error {
	for attempt := 0; ; attempt++ {
		done := false
		err := try(ctx, func() (err error) { done, err = f(); return err })
		if err != nil || done {
			return err
		}
		if attempt+1 == maxAttempts {
			return mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// place is the place of an item.
type place struct{ pk, sk string }

// batchGet reads items of a table by their places; what is not there is not in the answer.
func (s *Store) batchGet(ctx context.Context, table string, places []place, consistent bool) (map[place]item, error) {
	found := make(map[place]item, len(places))
	var mu sync.Mutex
	asked := make(map[place]bool, len(places))
	var keys []item
	for _, p := range places {
		if !asked[p] {
			asked[p] = true
			keys = append(keys, key(p.pk, p.sk))
		}
	}
	var calls []func() error
	for len(keys) > 0 {
		n := min(len(keys), 100)
		left := map[string]types.KeysAndAttributes{table: {Keys: keys[:n], ConsistentRead: &consistent}}
		keys = keys[n:]
		calls = append(calls, func() error {
			return s.untilDone(ctx, func() (bool, error) {
				out, err := s.client.BatchGetItem(ctx, &ddb.BatchGetItemInput{RequestItems: left})
				if err != nil {
					return false, err
				}
				mu.Lock()
				for _, it := range out.Responses[table] {
					found[place{pkOf(it), skOf(it)}] = it
				}
				mu.Unlock()
				left = out.UnprocessedKeys
				return len(left) == 0, nil
			})
		})
	}
	return found, parallel(calls...)
}

// query reads a range of a partition.
type query struct {
	table, index string // index: "" is the table
	pk           string
	from, to     string // sort keys, inclusive; "" is open
	descending   bool
	consistent   bool
	keysOnly     bool
	most         int  // items; 0 is all
	behind       item // the one before the first; nil is none
}

// empty says that no key lies in the range.
func (q *query) empty() bool { return q.from != "" && q.to != "" && q.from > q.to }

// start is the key of the item to begin behind.
func (q *query) start() item {
	if q.behind == nil {
		return nil
	}
	at := key(pkOf(q.behind), skOf(q.behind))
	if pk, sk := (&list{index: q.index}).keys(); q.index != "" {
		at[pk], at[sk] = q.behind[pk], q.behind[sk]
	}
	return at
}

func (q *query) input() *ddb.QueryInput {
	pk, sk := (&list{index: q.index}).keys()
	pk, sk = "#"+pk, "#"+sk
	values := item{":pk": text(q.pk)}
	condition := pk + " = :pk"
	switch {
	case q.from != "" && q.to != "":
		condition, values[":from"], values[":to"] = condition+" AND "+sk+" BETWEEN :from AND :to", text(q.from), text(q.to)
	case q.from != "":
		condition, values[":from"] = condition+" AND "+sk+" >= :from", text(q.from)
	case q.to != "":
		condition, values[":to"] = condition+" AND "+sk+" <= :to", text(q.to)
	}
	in := &ddb.QueryInput{TableName: &q.table, ExclusiveStartKey: q.start(), KeyConditionExpression: &condition, ExpressionAttributeValues: values, ScanIndexForward: aws.Bool(!q.descending)}
	in.ExpressionAttributeNames = names(condition)
	if q.index != "" {
		in.IndexName = &q.index
	} else {
		in.ConsistentRead = &q.consistent
	}
	if q.keysOnly {
		in.ProjectionExpression = aws.String("#PK, #SK, #id, #trace")
		in.ExpressionAttributeNames = names(condition, *in.ProjectionExpression)
	}
	return in
}

func (s *Store) query(ctx context.Context, q query) ([]item, error) {
	if q.empty() {
		return nil, nil
	}
	in := q.input()
	var items []item
	for {
		if q.most > 0 {
			in.Limit = aws.Int32(int32(min(q.most-len(items), 10_000)))
		}
		var out *ddb.QueryOutput
		err := try(ctx, func() (err error) { out, err = s.client.Query(ctx, in); return err })
		if err != nil {
			return nil, err
		}
		items = append(items, out.Items...)
		in.ExclusiveStartKey = out.LastEvaluatedKey
		if len(out.LastEvaluatedKey) == 0 || q.most > 0 && len(items) >= q.most {
			return items, nil
		}
	}
}

// countKeys counts without reading: a unit for each 8 KB of an index. More than q.most are a CodeInvalid.
func (s *Store) countKeys(ctx context.Context, q query) (n int, err error) {
	if q.empty() {
		return 0, nil
	}
	in := q.input()
	in.Select = types.SelectCount
	for {
		var out *ddb.QueryOutput
		if err := try(ctx, func() (err error) { out, err = s.client.Query(ctx, in); return err }); err != nil {
			return 0, err
		}
		n += int(out.Count)
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			return n, nil
		}
		if q.most > 0 && n > q.most {
			return 0, errTooMany()
		}
	}
}

// get reads one item, nil where there is none.
func (s *Store) get(ctx context.Context, table, pk, sk string) (item, error) {
	var out *ddb.GetItemOutput
	err := try(ctx, func() (err error) {
		out, err = s.client.GetItem(ctx, &ddb.GetItemInput{TableName: &table, Key: key(pk, sk), ConsistentRead: aws.Bool(true)})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}
