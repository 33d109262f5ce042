package dynamodb

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
)

type (
	attribute = types.AttributeValue
	item      = map[string]attribute
)

func text(s string) attribute { return &types.AttributeValueMemberS{Value: s} }
func blob(b []byte) attribute { return &types.AttributeValueMemberB{Value: b} }

func number[N ~int | ~int64](n N) attribute {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(int64(n), 10)}
}

func textOf(a attribute) string {
	if s, ok := a.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

func numberOf(a attribute) int64 {
	if n, ok := a.(*types.AttributeValueMemberN); ok {
		v, _ := strconv.ParseInt(n.Value, 10, 64)
		return v
	}
	return 0
}

func timeOf(a attribute) mastra.Time { return mastra.Time(numberOf(a)) }

func blobOf(a attribute) []byte {
	if b, ok := a.(*types.AttributeValueMemberB); ok {
		return b.Value
	}
	return nil
}

func fieldsOf(a attribute) item {
	if m, ok := a.(*types.AttributeValueMemberM); ok {
		return m.Value
	}
	return nil
}

func key(pk, sk string) item { return item{attrPK: text(pk), attrSK: text(sk)} }

func pkOf(it item) string { return textOf(it[attrPK]) }
func skOf(it item) string { return textOf(it[attrSK]) }

const maxInline = 350 << 10 // bytes of one value within its item; an item may have 400 KB

// large are pieces of values that do not fit into their items. They are written before what refers to them.
type large struct {
	table string
	items []item
}

// value is data as an attribute of an item of a partition: within it, or as a reference to pieces beside it.
func (s *Store) value(data []byte, table, pk string, beside *[]large) attribute {
	return s.packed(pack(data), maxInline, table, pk, beside)
}

func (s *Store) packed(b []byte, most int, table, pk string, beside *[]large) attribute {
	if len(b) <= most {
		return blob(b)
	}
	ref := fmt.Sprintf("%016x", s.seq.next(1))
	var items []item
	for n := 0; len(b) > 0; n++ {
		it := key(pk, pieces+ref+fmt.Sprintf("#%04d", n))
		it["v"] = blob(b[:min(len(b), maxInline)])
		items = append(items, it)
		b = b[min(len(b), maxInline):]
	}
	*beside = append(*beside, large{table, items})
	return text(ref)
}

// load reads a value back; nil where there is none. Its pieces are asked for where they are not among those read already.
func (s *Store) load(ctx context.Context, a attribute, table, pk string, read []item) ([]byte, error) {
	if a == nil {
		return nil, nil
	}
	stored, err := s.loadPacked(ctx, a, table, pk, read)
	if err != nil {
		return nil, err
	}
	return unpack(stored)
}

// loadPacked reads a value as it is stored.
func (s *Store) loadPacked(ctx context.Context, a attribute, table, pk string, read []item) ([]byte, error) {
	switch a := a.(type) {
	case *types.AttributeValueMemberB:
		return a.Value, nil
	case *types.AttributeValueMemberS:
		prefix := pieces + a.Value + "#"
		var b []byte
		collect := func(items []item) {
			for _, it := range items {
				if strings.HasPrefix(skOf(it), prefix) {
					b = append(b, blobOf(it["v"])...)
				}
			}
		}
		if collect(read); b == nil {
			items, err := s.query(ctx, query{table: table, pk: pk, from: prefix, to: prefix + "~", consistent: true})
			if err != nil {
				return nil, err
			}
			collect(items)
		}
		return b, nil
	}
	return nil, fmt.Errorf("dynamodb: a stored value has another type")
}

// op is one write, as a part of a transaction or by itself.
type op types.TransactWriteItem

// put writes a whole item. Expressions name attributes with a leading '#'; values they do not use are left out.
func put(table string, it item, condition string, values item) op {
	p := &types.Put{TableName: &table, Item: it}
	if condition != "" {
		p.ConditionExpression, p.ReturnValuesOnConditionCheckFailure = &condition, types.ReturnValuesOnConditionCheckFailureAllOld
		p.ExpressionAttributeNames, p.ExpressionAttributeValues = names(condition), used(values, condition)
	}
	return op{Put: p}
}

func update(table, pk, sk, change, condition string, values item) op {
	u := &types.Update{TableName: &table, Key: key(pk, sk), UpdateExpression: &change,
		ExpressionAttributeNames: names(change, condition), ExpressionAttributeValues: used(values, change, condition)}
	if condition != "" {
		u.ConditionExpression, u.ReturnValuesOnConditionCheckFailure = &condition, types.ReturnValuesOnConditionCheckFailureAllOld
	}
	return op{Update: u}
}

func remove(table, pk, sk, condition string, values item) op {
	d := &types.Delete{TableName: &table, Key: key(pk, sk)}
	if condition != "" {
		d.ConditionExpression, d.ReturnValuesOnConditionCheckFailure = &condition, types.ReturnValuesOnConditionCheckFailureAllOld
		d.ExpressionAttributeNames, d.ExpressionAttributeValues = names(condition), used(values, condition)
	}
	return op{Delete: d}
}

func variables(expression string, sign byte, found func(string)) {
	for i := 0; i < len(expression); i++ {
		if expression[i] != sign {
			continue
		}
		end := i + 1
		for end < len(expression) && (expression[end] >= 'a' && expression[end] <= 'z' || expression[end] >= 'A' && expression[end] <= 'Z' || expression[end] >= '0' && expression[end] <= '9') {
			end++
		}
		found(expression[i:end])
		i = end - 1
	}
}

func names(expressions ...string) map[string]string {
	m := map[string]string{}
	for _, e := range expressions {
		variables(e, '#', func(w string) { m[w] = w[1:] })
	}
	return m
}

func used(values item, expressions ...string) item {
	var m item
	for _, e := range expressions {
		variables(e, ':', func(w string) {
			if v, ok := values[w]; ok {
				if m == nil {
					m = item{}
				}
				m[w] = v
			}
		})
	}
	return m
}

// size estimates the bytes of an item.
func size(it item) (n int) {
	for k, a := range it {
		n += len(k)
		switch a := a.(type) {
		case *types.AttributeValueMemberS:
			n += len(a.Value)
		case *types.AttributeValueMemberB:
			n += len(a.Value)
		case *types.AttributeValueMemberM:
			n += 3 + size(a.Value)
		default:
			n += 12
		}
	}
	return n
}

func (o *op) table() string {
	switch {
	case o.Put != nil:
		return aws.ToString(o.Put.TableName)
	case o.Update != nil:
		return aws.ToString(o.Update.TableName)
	}
	return aws.ToString(o.Delete.TableName)
}

func (o *op) key() item {
	switch {
	case o.Put != nil:
		return item{attrPK: o.Put.Item[attrPK], attrSK: o.Put.Item[attrSK]}
	case o.Update != nil:
		return o.Update.Key
	}
	return o.Delete.Key
}
