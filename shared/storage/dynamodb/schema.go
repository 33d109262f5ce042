package dynamodb

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Attributes of the keys, and the one that DynamoDB deletes expired items by (Unix seconds).
const (
	attrPK, attrSK   = "PK", "SK"
	attrPK1, attrSK1 = "PK1", "SK1"
	attrPK2, attrSK2 = "PK2", "SK2"
	attrSum          = "sum"
	TTLAttribute     = "ttl"
	index1, index2   = "GSI1", "GSI2"
)

// Definition is how each of the three tables is made; template.yaml declares the same.
func Definition(name string) *ddb.CreateTableInput {
	text := func(name string) types.AttributeDefinition {
		return types.AttributeDefinition{AttributeName: aws.String(name), AttributeType: types.ScalarAttributeTypeS}
	}
	keys := func(hash, sort string) []types.KeySchemaElement {
		return []types.KeySchemaElement{{AttributeName: aws.String(hash), KeyType: types.KeyTypeHash}, {AttributeName: aws.String(sort), KeyType: types.KeyTypeRange}}
	}
	return &ddb.CreateTableInput{
		TableName:            aws.String(name),
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{text(attrPK), text(attrSK), text(attrPK1), text(attrSK1), text(attrPK2), text(attrSK2)},
		KeySchema:            keys(attrPK, attrSK),
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{
			{IndexName: aws.String(index1), KeySchema: keys(attrPK1, attrSK1), Projection: &types.Projection{ProjectionType: types.ProjectionTypeInclude, NonKeyAttributes: []string{attrSum}}},
			{IndexName: aws.String(index2), KeySchema: keys(attrPK2, attrSK2), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly}},
		},
	}
}

// CreateTables makes the tables where they are not there yet, for tests and for a DynamoDB on a developer's machine.
func (s *Store) CreateTables(ctx context.Context) error {
	for _, name := range []string{s.tables.Threads, s.tables.Runs, s.tables.Observability} {
		_, err := s.client.CreateTable(ctx, Definition(name))
		var exists *types.ResourceInUseException
		if err != nil && !errors.As(err, &exists) {
			return err
		}
		if err := ddb.NewTableExistsWaiter(s.client).Wait(ctx, &ddb.DescribeTableInput{TableName: aws.String(name)}, time.Minute); err != nil {
			return err
		}
	}
	for _, name := range []string{s.tables.Runs, s.tables.Observability} {
		_, err := s.client.UpdateTimeToLive(ctx, &ddb.UpdateTimeToLiveInput{TableName: aws.String(name),
			TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(TTLAttribute), Enabled: aws.Bool(true)}})
		if err != nil && errorCode(err) != "ValidationException" { // which says that it is enabled already
			return err
		}
	}
	return nil
}
