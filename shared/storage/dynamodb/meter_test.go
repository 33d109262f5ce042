package dynamodb

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
)

// meter counts what DynamoDB says that requests cost, and how many of them wait for another one.
type meter struct {
	mu          sync.Mutex
	calls       []string
	read, write float64
	trips       int // requests at once are one
	under       int // way
}

// attach makes every request ask for its cost. Each takes some time, so that those made at once overlap on a busy machine, too.
func (m *meter) attach(cfg *aws.Config) {
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("meter", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			m.begin(operation(in.Parameters))
			ask := reflect.ValueOf(in.Parameters).Elem().FieldByName("ReturnConsumedCapacity")
			if ask.IsValid() {
				ask.Set(reflect.ValueOf(types.ReturnConsumedCapacityTotal))
			}
			time.Sleep(40 * time.Millisecond)
			out, md, err := next.HandleInitialize(ctx, in)
			m.end(in.Parameters, out.Result, err)
			return out, md, err
		}), middleware.After)
	})
}

// operation names the call of an SDK input.
func operation(in any) string { return strings.TrimSuffix(reflect.TypeOf(in).Elem().Name(), "Input") }

func (m *meter) begin(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.under == 0 {
		m.trips++
	}
	m.under++
	m.calls = append(m.calls, name)
}

func (m *meter) end(in, result any, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.under--
	if err != nil && passing(err) { // it is made again, and counted then
		i := slices.Index(m.calls, operation(in))
		m.calls = slices.Delete(m.calls, i, i+1)
		return
	}
	if in, ok := in.(*ddb.TransactWriteItemsInput); ok {
		m.write += transaction(in.TransactItems)
	}
	if err != nil { // a result beside an error is half filled
		return
	}
	units := func(c *types.ConsumedCapacity) float64 { return aws.ToFloat64(c.CapacityUnits) }
	switch out := result.(type) {
	case *ddb.QueryOutput:
		m.read += units(out.ConsumedCapacity)
	case *ddb.ScanOutput:
		m.read += units(out.ConsumedCapacity)
	case *ddb.GetItemOutput:
		m.read += units(out.ConsumedCapacity)
	case *ddb.BatchGetItemOutput:
		for _, c := range out.ConsumedCapacity {
			m.read += units(&c)
		}
	case *ddb.PutItemOutput:
		m.write += units(out.ConsumedCapacity)
	case *ddb.UpdateItemOutput:
		m.write += units(out.ConsumedCapacity)
	case *ddb.DeleteItemOutput:
		m.write += units(out.ConsumedCapacity)
	case *ddb.BatchWriteItemOutput:
		for _, c := range out.ConsumedCapacity {
			m.write += units(&c)
		}
	}
}

// transaction estimates what a transaction costs, since DynamoDB Local leaves all but one item of a table out: twice
// what its writes would, those of the indexes included.
func transaction(ops []types.TransactWriteItem) (units float64) {
	for _, o := range ops {
		n := 1
		switch {
		case o.Put != nil:
			n = 1 + size(o.Put.Item)/1024
			for _, k := range []string{attrPK1, attrPK2} {
				if o.Put.Item[k] != nil {
					n++
				}
			}
		case o.Update != nil: // of a small item; one that changes its place in an index leaves the old one
			n += 2 * (strings.Count(*o.Update.UpdateExpression, "#SK1 =") + strings.Count(*o.Update.UpdateExpression, "#SK2 ="))
		}
		units += 2 * float64(n)
	}
	return units
}

// cost is what one operation took.
type cost struct {
	calls, trips int
	read, write  float64
	names        string
}

// of measures f.
// reading is what f costs, which changes nothing. Requests at once may end one before another begins where the machine does other work:
// where there seem to be more than trips in sequence f is asked again.
func (m *meter) reading(t *testing.T, trips int, f func() error) cost {
	t.Helper()
	c := m.of(t, f)
	for range 4 {
		if c.trips > trips {
			c.trips = min(c.trips, m.of(t, f).trips)
		}
	}
	return c
}

func (m *meter) of(t *testing.T, f func() error) cost {
	t.Helper()
	m.mu.Lock()
	m.calls, m.trips, m.read, m.write = nil, 0, 0, 0
	m.mu.Unlock()
	if err := f(); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return cost{len(m.calls), m.trips, m.read, m.write, strings.Join(m.calls, " ")}
}

func (c cost) String() string {
	return fmt.Sprintf("%2d requests  %d in sequence  %5.1f RRU  %5.1f WRU   %s", c.calls, c.trips, c.read, c.write, c.names)
}
