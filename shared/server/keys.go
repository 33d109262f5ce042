package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"mastralambda/shared/mastra"
)

// APIKeys authenticates by the keys of a store.
type APIKeys struct{ Store mastra.KeyStore }

// Authenticate finds the key whose secret the token is.
func (k APIKeys) Authenticate(ctx context.Context, c mastra.Credentials) (*mastra.Principal, error) {
	refused := mastra.Errorf(mastra.CodeUnauthorized, "Invalid or expired token")
	if !strings.HasPrefix(c.Token, keyPrefix) {
		return nil, refused
	}
	key, err := k.Store.APIKey(ctx, hashKey(c.Token))
	if mastra.CodeOf(err) == mastra.CodeNotFound {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	return &key.Principal, nil
}

const keyPrefix = "mk_"

// NewKey makes a key. The secret is shown once and kept nowhere.
func NewKey(name string, p mastra.Principal, now mastra.Time) (secret string, key mastra.APIKey) {
	secret = keyPrefix + rand.Text()
	id := strings.ToLower(rand.Text()[:8])
	p.ID = id
	return secret, mastra.APIKey{Hash: hashKey(secret), ID: id, Name: name, Principal: p, CreatedAt: now}
}

func hashKey(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
