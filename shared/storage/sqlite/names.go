package sqlite

import (
	"context"

	"mastralambda/shared/mastra"
)

// maxNames is how many new names one process writes down: a tag for each request would fill the table with what nobody
// chooses from.
const maxNames = 20_000

// names are those that this process knows to be stored.
type names map[storedName]struct{}

type storedName struct {
	tenant string
	mastra.Name
}

// keepNames stores the names of spans that are not known to be stored.
func (t *tx) keepNames(tenant string, spans []mastra.Span) error {
	keep := func(n mastra.Name) error {
		s := storedName{tenant, n}
		if n.Text == "" && (n.Kind != mastra.NameEntity || n.EntityType == "") || s == t.lastName {
			return nil
		}
		t.lastName = s
		if _, ok := t.names[s]; ok || len(t.names) >= maxNames {
			return nil
		}
		_, err := t.exec("INSERT INTO names (tenant, kind, entity_type, text) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", tenant, n.Kind, n.EntityType, n.Text)
		if err == nil {
			t.names[s] = struct{}{}
		}
		return err
	}
	for i := range spans {
		s := &spans[i]
		if err := keep(mastra.Name{Kind: mastra.NameEntity, EntityType: s.EntityType, Text: s.EntityName}); err != nil {
			return err
		}
		for _, tag := range s.Tags {
			if err := keep(mastra.Name{Kind: mastra.NameTag, EntityType: s.EntityType, Text: tag}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) Names(ctx context.Context) (all []mastra.Name, err error) {
	err = s.indexed(ctx, func(c *conn) error {
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
