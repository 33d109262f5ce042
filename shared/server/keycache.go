package server

import (
	"context"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

// KeyFreshness is how long a deployed function believes a key that it has found: a revoked one is refused within it.
const KeyFreshness = 30 * time.Second

const maxRememberedKeys = 1024

// Remember is store whose keys, once found, are not looked up again for a while. A key that was not found is looked up each
// time, so that one which was just made is good at once.
func Remember(store mastra.KeyStore, fresh time.Duration) mastra.KeyStore {
	return &rememberedKeys{KeyStore: store, fresh: fresh, keys: map[string]rememberedKey{}}
}

type rememberedKeys struct {
	mastra.KeyStore
	fresh time.Duration

	mu   sync.Mutex
	keys map[string]rememberedKey // by hash
}

type rememberedKey struct {
	key   mastra.APIKey
	asked time.Time
}

func (r *rememberedKeys) APIKey(ctx context.Context, hash string) (*mastra.APIKey, error) {
	asked := time.Now()
	r.mu.Lock()
	known, ok := r.keys[hash]
	r.mu.Unlock()
	if ok && asked.Sub(known.asked) < r.fresh {
		return &known.key, nil
	}
	key, err := r.KeyStore.APIKey(ctx, hash)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		if len(r.keys) >= maxRememberedKeys {
			clear(r.keys)
		}
		r.keys[hash] = rememberedKey{*key, asked}
	case mastra.CodeOf(err) == mastra.CodeNotFound:
		delete(r.keys, hash)
	}
	return key, err
}
