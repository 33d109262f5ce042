package sqlite

import (
	"context"
	"sync"
	"sync/atomic"

	"mastralambda/shared/mastra"
)

// maxNames is how many new names one process writes down: a tag for each request would fill the table with what nobody
// chooses from.
const maxNames = 20_000

// names are those that this process knows to be stored.
type names struct {
	known sync.Map // storedName -> struct{}
	n     atomic.Int64
}

type storedName struct {
	tenant string
	mastra.Name
}

// fresh are the names of spans that are not known to be stored yet.
func (k *names) fresh(tenant string, spans []mastra.Span) (found []storedName) {
	add := func(n mastra.Name) {
		s := storedName{tenant, n}
		if n.Text == "" && (n.Kind != mastra.NameEntity || n.EntityType == "") {
			return
		}
		if _, ok := k.known.Load(s); !ok && k.n.Load() < maxNames {
			found = append(found, s)
		}
	}
	for i := range spans {
		s := &spans[i]
		add(mastra.Name{Kind: mastra.NameEntity, EntityType: s.EntityType, Text: s.EntityName})
		for _, tag := range s.Tags {
			add(mastra.Name{Kind: mastra.NameTag, EntityType: s.EntityType, Text: tag})
		}
	}
	return found
}

// keep remembers what has been stored.
func (k *names) keep(stored []storedName) {
	for _, s := range stored {
		if _, loaded := k.known.LoadOrStore(s, struct{}{}); !loaded {
			k.n.Add(1)
		}
	}
}

func (t *tx) writeName(n *storedName) error {
	_, err := t.exec("INSERT INTO names (tenant, kind, entity_type, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", n.tenant, n.Kind, n.EntityType, n.Text)
	return err
}

func (s *Store) Names(ctx context.Context) (all []mastra.Name, err error) {
	err = s.readers.read(ctx, func(c *conn) error {
		for r, err := range c.query(ctx, "SELECT kind, entity_type, text FROM names WHERE tenant = ? ORDER BY kind, entity_type, text", mastra.Tenant(ctx)) {
			if err != nil {
				return err
			}
			all = append(all, mastra.Name{Kind: r.text(0), EntityType: r.text(1), Text: r.text(2)})
		}
		return nil
	})
	return all, err
}
