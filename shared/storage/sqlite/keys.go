package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

// APIKey is asked before a tenant is known: keys belong to the whole store.
func (s *Store) APIKey(ctx context.Context, hash string) (*mastra.APIKey, error) {
	var k mastra.APIKey
	err := s.readers.read(ctx, func(c *conn) error {
		r, err := c.first("SELECT body FROM api_keys WHERE hash = ?", hash)
		if err == nil && r == nil {
			err = errNoKey()
		}
		if err == nil {
			err = schema.Unmarshal(r.json(0), &k)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &k, nil
}

// APIKeys lists all keys, oldest first.
func (s *Store) APIKeys(ctx context.Context) ([]mastra.APIKey, error) {
	keys := []mastra.APIKey{}
	err := s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT body FROM api_keys ORDER BY created, id") {
			if err != nil {
				return err
			}
			var k mastra.APIKey
			if err := schema.Unmarshal(r.json(0), &k); err != nil {
				return err
			}
			keys = append(keys, k)
		}
		return nil
	})
	return keys, err
}

// AddAPIKey keeps a key; one of the same hash or id is a CodeConflict.
func (s *Store) AddAPIKey(ctx context.Context, k mastra.APIKey) error {
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
	return s.submit(ctx, func(t *tx) error {
		changed, err := t.exec("INSERT INTO api_keys (hash, id, created, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", k.Hash, k.ID, int64(k.CreatedAt), []byte(body))
		if err == nil && changed == 0 {
			err = mastra.Errorf(mastra.CodeConflict, "API key %s exists already", k.ID)
		}
		return err
	})
}

// RevokeAPIKey deletes a key; one that is not there is a CodeNotFound.
func (s *Store) RevokeAPIKey(ctx context.Context, id string) error {
	return s.submit(ctx, func(t *tx) error {
		deleted, err := t.exec("DELETE FROM api_keys WHERE id = ?", id)
		if err == nil && deleted == 0 {
			err = errNoKey()
		}
		return err
	})
}

func errNoKey() error { return mastra.Errorf(mastra.CodeNotFound, "API key not found") }
