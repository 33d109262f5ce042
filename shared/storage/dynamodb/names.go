package dynamodb

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
)

const (
	maxNames  = 2000 // new ones that one process writes down
	nameItems = 16   // a tenant's names stand in as many items, so that adding one rewrites a part of them
	nameSet   = "v"
)

// nameCache are the names that this process knows to be stored: the usual commit writes none.
type nameCache struct {
	known sync.Map // storedName -> struct{}
	n     atomic.Int64
}

type storedName struct {
	tenant string
	mastra.Name
}

func (k *nameCache) fresh(tenant string, spans []mastra.Span) (found []storedName) {
	add := func(n mastra.Name) {
		s := storedName{tenant, n}
		if n.Text == "" && (n.Kind != mastra.NameEntity || n.EntityType == "") || len(n.Text) > 256 || strings.ContainsRune(n.Text, 0) {
			return
		}
		if _, ok := k.known.Load(s); !ok && k.n.Load() < maxNames && !slices.Contains(found, s) {
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

func namesPK(tenant string) string { return tenantPart(tenant) + "#V" }

// writeNames adds to sets, which may be repeated. A name stays where the commit is taken back.
func (c *commit) writeNames(ctx context.Context) (undo, error) {
	sets := map[string][]string{}
	for _, n := range c.names {
		at := n.Kind + "#" + strconv.Itoa(spread(n.Text, nameItems))
		sets[at] = append(sets[at], n.EntityType+"\x00"+n.Text)
	}
	var calls []func() error
	for at, texts := range sets {
		calls = append(calls, func() error {
			_, err := c.s.write(ctx, update(c.s.tables.Observability, namesPK(c.tenant), at, "ADD #"+nameSet+" :v", "", item{":v": &types.AttributeValueMemberSS{Value: texts}}), "")
			return err
		})
	}
	if err := parallel(calls...); err != nil {
		return nil, err
	}
	for _, n := range c.names {
		if _, loaded := c.s.names.known.LoadOrStore(n, struct{}{}); !loaded {
			c.s.names.n.Add(1)
		}
	}
	return nil, nil
}

func (s *Store) Names(ctx context.Context) (all []mastra.Name, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	items, err := s.query(ctx, query{table: s.tables.Observability, pk: namesPK(mastra.Tenant(ctx)), consistent: true})
	for _, it := range items {
		kind, _, _ := strings.Cut(skOf(it), "#")
		set, _ := it[nameSet].(*types.AttributeValueMemberSS)
		if set == nil {
			continue
		}
		for _, v := range set.Value {
			entityType, text, _ := strings.Cut(v, "\x00")
			all = append(all, mastra.Name{Kind: kind, EntityType: entityType, Text: text})
		}
	}
	slices.SortFunc(all, func(a, b mastra.Name) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.EntityType, b.EntityType), strings.Compare(a.Text, b.Text))
	})
	return all, err
}
