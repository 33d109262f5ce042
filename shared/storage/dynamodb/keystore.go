package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// API keys are asked for before a tenant is known: they are kept in the runs table under the system's own tenant, each
// under its hash, and all under their ids in one partition.
const apiKeys = systemTenant + "#keys"

func hashPK(hash string) string { return systemTenant + "#H#" + hash }

func errNoKey() error { return mastra.Errorf(mastra.CodeNotFound, "API key not found") }

func (s *Store) APIKey(ctx context.Context, hash string) (*mastra.APIKey, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(hash) {
		return nil, errNoKey()
	}
	it, err := s.get(ctx, s.tables.Runs, hashPK(hash), only)
	if err != nil {
		return nil, err
	}
	if it == nil {
		return nil, errNoKey()
	}
	var k mastra.APIKey
	return &k, schema.Unmarshal(blobOf(it["body"]), &k)
}

// APIKeys lists all keys, oldest first.
func (s *Store) APIKeys(ctx context.Context) ([]mastra.APIKey, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	items, err := s.query(ctx, query{table: s.tables.Runs, pk: apiKeys, consistent: true})
	if err != nil {
		return nil, err
	}
	keys := make([]mastra.APIKey, len(items))
	for i, it := range items {
		if err := schema.Unmarshal(blobOf(it["body"]), &keys[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(keys, func(a, b mastra.APIKey) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// AddAPIKey keeps a key; one of the same hash or id is a CodeConflict.
func (s *Store) AddAPIKey(ctx context.Context, k mastra.APIKey) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := checkID("API key", k.ID); err != nil {
		return err
	}
	if err := checkID("API key's hash", k.Hash); err != nil {
		return err
	}
	body, err := schema.Marshal(&k)
	if err != nil {
		return err
	}
	byHash, byID := key(hashPK(k.Hash), only), key(apiKeys, k.ID)
	byHash["body"], byID["body"] = blob(body), blob(body)
	err = s.transact(ctx, []op{
		put(s.tables.Runs, byHash, "attribute_not_exists(#PK)", nil),
		put(s.tables.Runs, byID, "attribute_not_exists(#PK)", nil),
	}, mastra.NewID())
	if errors.Is(err, errRefused) {
		return mastra.Errorf(mastra.CodeConflict, "API key %s exists already", k.ID)
	}
	return err
}

// RevokeAPIKey deletes a key; one that is not there is a CodeNotFound.
func (s *Store) RevokeAPIKey(ctx context.Context, id string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if !keepable(id) {
		return errNoKey()
	}
	it, err := s.get(ctx, s.tables.Runs, apiKeys, id)
	if err != nil {
		return err
	}
	if it == nil {
		return errNoKey()
	}
	var k mastra.APIKey
	if err := schema.Unmarshal(blobOf(it["body"]), &k); err != nil {
		return err
	}
	err = s.transact(ctx, []op{
		remove(s.tables.Runs, hashPK(k.Hash), only, "", nil),
		remove(s.tables.Runs, apiKeys, id, "attribute_exists(#PK)", nil),
	}, mastra.NewID())
	if errors.Is(err, errRefused) {
		return errNoKey()
	}
	return err
}
