package dynamodb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const (
	maxNames  = 2000 // new ones that one process writes down
	maxStored = 1000 // of them in one item: what comes then is not listed
	maxKinds  = 5000 // that a process remembers
	nameItems = 16   // a tenant's names stand in as many items, so that adding one rewrites a part of them
	nameSet   = "v"
	rootSet   = "r" // kinds of roots, beside the names of their entities
)

// rootKind is what roots of an entity are like: filters that no list of their own stands for become those of entities. Name is that of
// what it runs; where a caller gave it another one, it has a list.
type rootKind struct{ EntityType, EntityID, Type, EntityName, Name string }

func (k *rootKind) encode() string {
	data, _ := schema.Marshal([...]string{k.EntityType, k.EntityID, k.Type, k.EntityName, k.Name}) // texts always encode
	return string(data)
}

func decodeKind(text string) (k rootKind, err error) {
	var f [5]string
	err = schema.Unmarshal([]byte(text), &f)
	return rootKind{f[0], f[1], f[2], f[3], f[4]}, err
}

func kindOfRoot(r *mastra.Span) rootKind {
	k := rootKind{r.EntityType, r.EntityID, r.Type, r.EntityName, r.Name}
	if ownName(r) {
		k.Name = ""
	}
	return k
}

// nameCache are the names that this process knows to be stored: the usual commit writes none.
type nameCache struct {
	known sync.Map // storedName -> struct{}
	n     atomic.Int64
	kinds sync.Map // storedKind -> struct{}
	k     atomic.Int64
}

type storedName struct {
	tenant string
	mastra.Name
}

type storedKind struct {
	tenant string
	rootKind
}

// freshKinds are all that are not known to be stored, however many they are: lists rely on them.
func (k *nameCache) freshKinds(tenant string, spans []mastra.Span) (found []storedKind) {
	for i := range spans {
		if !spans[i].Root() {
			continue
		}
		kind := storedKind{tenant, kindOfRoot(&spans[i])}
		if _, ok := k.kinds.Load(kind); !ok && !slices.Contains(found, kind) {
			found = append(found, kind)
		}
	}
	return found
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
	added := map[string]map[string][]string{} // by item and set
	add := func(kind, name, set, text string) {
		at := kind + "#" + strconv.Itoa(spread(name, nameItems))
		if added[at] == nil {
			added[at] = map[string][]string{}
		}
		added[at][set] = append(added[at][set], text)
	}
	for _, n := range c.names {
		add(n.Kind, n.Text, nameSet, n.EntityType+"\x00"+n.Text)
	}
	for _, k := range c.kinds {
		add(mastra.NameEntity, k.EntityName, rootSet, k.encode())
	}
	var calls []func() error
	for at, sets := range added {
		calls = append(calls, func() error {
			err := c.addToSets(ctx, at, sets)
			if delete(sets, nameSet); errors.Is(err, errRefused) { // there are enough names
				err = c.addToSets(ctx, at, sets)
			}
			return err
		})
	}
	if err := parallel(calls...); err != nil {
		return nil, err
	}
	cache := &c.s.names
	for _, n := range c.names {
		if _, loaded := cache.known.LoadOrStore(n, struct{}{}); !loaded {
			cache.n.Add(1)
		}
	}
	for _, k := range c.kinds {
		if cache.k.Add(1) > maxKinds {
			cache.kinds.Clear()
			cache.k.Store(1)
		}
		cache.kinds.Store(k, struct{}{})
	}
	return nil, nil
}

func (c *commit) addToSets(ctx context.Context, at string, sets map[string][]string) error {
	if len(sets) == 0 {
		return nil
	}
	var changes []string
	condition, values := "", item{}
	for name, texts := range sets {
		changes, values[":"+name] = append(changes, "#"+name+" :"+name), &types.AttributeValueMemberSS{Value: texts}
		if name == nameSet {
			condition, values[":most"] = "attribute_not_exists(#"+nameSet+") OR size(#"+nameSet+") < :most", number(maxStored)
		}
	}
	_, err := c.s.write(ctx, update(c.s.tables.Observability, namesPK(c.tenant), at, "ADD "+strings.Join(changes, ", "), condition, values), "")
	return err
}

// rootKinds are those that this version has written. The sets may be read while they are added to: a trace is in no list before it is
// stored, either.
func (s *Store) rootKinds(ctx context.Context, tenant string) (kinds []rootKind, err error) {
	items, err := s.query(ctx, query{table: s.tables.Observability, pk: namesPK(tenant), consistent: true})
	for _, it := range items {
		set, _ := it[rootSet].(*types.AttributeValueMemberSS)
		if set == nil {
			continue
		}
		for _, v := range set.Value {
			k, err := decodeKind(v)
			if err != nil {
				return nil, err
			}
			kinds = append(kinds, k)
		}
	}
	return kinds, err
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
