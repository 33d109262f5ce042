package server_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"mastralambda/shared/mastra"
	"mastralambda/shared/server"
)

// countedKeys counts how often it is asked.
type countedKeys struct {
	keys
	asked int
}

func (c *countedKeys) APIKey(ctx context.Context, hash string) (*mastra.APIKey, error) {
	c.asked++
	return c.keys.APIKey(ctx, hash)
}

// A key is looked up once in a while, and a revoked one is refused within that time; a stranger is looked up each time.
func TestRememberedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &countedKeys{keys: keys{}}
		auth := server.APIKeys{Store: server.Remember(store, 30*time.Second)}
		secret, key := server.NewKey("all", mastra.Principal{}, 1)
		in := func(want bool, asked int) {
			t.Helper()
			who, err := auth.Authenticate(t.Context(), mastra.Credentials{Token: secret})
			if (err == nil) != want || want && who.ID != key.ID || store.asked != asked {
				t.Errorf("%+v, %v, after %d look-ups", who, err, store.asked)
			}
		}
		in(false, 1)
		store.keys[key.Hash] = key
		in(true, 2) // good at once
		in(true, 2)
		time.Sleep(20 * time.Second)
		in(true, 2)
		delete(store.keys, key.Hash)
		time.Sleep(10 * time.Second)
		in(false, 3) // asking did not make it younger
		in(false, 4)
	})
}
