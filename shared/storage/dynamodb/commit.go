package dynamodb

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mastralambda/shared/mastra"
)

const (
	maxTries       = 30      // plans of one commit: each was refused since somebody else was faster
	maxTransaction = 100     // ops
	maxBytes       = 3 << 20 // of a transaction, which may have 4 MB
	commitTimeout  = 20 * time.Second
)

// Commit writes a batch in one go where nothing speaks against it. The first plan believes what was seen last of a
// thread, or what is likely, and asks nothing; its conditions hold it to that. Where one is refused, what the plan wrote
// beside is taken back, and the next plan is made of what is read then: it is one transaction of all that can be refused.
//
// A plan of nothing but one thread that is new or only gets messages, claims, scores and spans is no transaction, which would cost
// twice as much: its writes are made at once, and all taken back if one is refused. Only a process that dies at that moment leaves some.
func (s *Store) Commit(ctx context.Context, b *mastra.Batch) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	c, err := newCommit(s, mastra.Tenant(ctx), b)
	if err != nil {
		return err
	}
	// Once begun it is not left half done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	for try := 0; ; try++ {
		if c.known == nil && c.mustRead() || try > 0 {
			if err := c.read(ctx); err != nil {
				return err
			}
			if err := c.check(ctx); err != nil {
				return err
			}
		}
		c.adding = c.token + "/" + strconv.Itoa(try)
		p, err := c.plan()
		if err != nil {
			return err
		}
		err = c.carryOut(ctx, p, try)
		switch {
		case err == nil && c.again:
			return c.recount(ctx)
		case err == nil:
			return nil
		case !errors.Is(err, errRefused):
			return err
		case try+1 == maxTries:
			return mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
		case try > 1:
			if err := pause(ctx, min(try, 5)); err != nil {
				return err
			}
		}
	}
}

// commit is a batch on its way.
type commit struct {
	s        *Store
	tenant   string
	again    bool   // somebody may have committed a part of it
	token    string // marks what this commit writes
	adding   string // the same, of the plan at hand: for what it adds to
	now      mastra.Time
	threads  []*threadWrite
	messages []*messageWrite
	runs     []*runWrite
	claims   []mastra.ClaimUpdate
	traces   []traceWrite
	scores   []score
	chunks   []mastra.ChunkBlock
	names    []storedName
	kinds    []storedKind
	known    *known // what was read; nil before
}

// known is what the tables hold of what a commit touches.
type known struct{ threads, runs map[place]item }

// thread is the item that says what a thread is, nil where there is none.
func (k *known) thread(pk string) item {
	return described(k.threads[place{pk, metaKey}], k.threads[place{pk, activityKey}])
}

// newToken marks what one commit writes. It is in every item, so it is short.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func newCommit(s *Store, tenant string, b *mastra.Batch) (*commit, error) {
	c := &commit{s: s, tenant: tenant, again: b.Again, now: s.time(), claims: b.Claims, chunks: b.Chunks}
	seq := s.seq.next(len(b.Messages) + 2)
	c.token = newToken()
	if err := c.addThreads(b.Threads, b.Messages, seq); err != nil {
		return nil, err
	}
	if err := c.addRuns(b.Runs); err != nil {
		return nil, err
	}
	for i := range b.Claims {
		if err := checkID("claim", b.Claims[i].Claim.Key); err != nil {
			return nil, err
		}
	}
	for i := range b.Chunks {
		if err := checkID("run", b.Chunks[i].RunID); err != nil {
			return nil, err
		}
	}
	if err := c.addSpans(b.Spans); err != nil {
		return nil, err
	}
	c.names, c.kinds = s.names.fresh(c.tenant, b.Spans), s.names.freshKinds(c.tenant, b.Spans)
	return c, c.addScores(b.Scores, b.Feedback)
}

// plain says that a batch can do without a transaction.
func (c *commit) plain() bool {
	return len(c.runs) == 0 && (len(c.threads) == 0 || len(c.threads) == 1 && (c.threads[0].given == nil || c.creates(c.threads[0])))
}

// mustRead says that no plan can be made without a look.
func (c *commit) mustRead() bool {
	return c.again || slices.ContainsFunc(c.runs, func(r *runWrite) bool { return r.mustRead }) ||
		slices.ContainsFunc(c.threads, func(t *threadWrite) bool { h, _ := c.s.hints.get(t.pk); return h.dead })
}

// read fetches all that the commit's conditions are about.
func (c *commit) read(ctx context.Context) error {
	var threads, runs []place
	for _, t := range c.threads {
		threads = append(threads, place{t.pk, metaKey}, place{t.pk, activityKey})
	}
	for _, m := range c.messages {
		threads = append(threads, place{m.pointer, only})
	}
	for _, r := range c.runs {
		runs = append(runs, place{r.pk, headKey})
	}
	for i := range c.claims {
		runs = append(runs, place{claimPK(c.tenant, c.claims[i].Claim.Key), only})
	}
	k := &known{}
	err := parallel(
		func() (err error) { k.threads, err = c.s.batchGet(ctx, c.s.tables.Threads, threads, true); return err },
		func() (err error) { k.runs, err = c.s.batchGet(ctx, c.s.tables.Runs, runs, true); return err },
	)
	if err != nil {
		return err
	}
	c.known = k
	for _, t := range c.threads {
		if k.thread(t.pk)["dead"] != nil { // somebody stopped in the middle of deleting it
			if err := c.s.purge(ctx, c.tenant, t.pk); err != nil {
				return err
			}
			delete(k.threads, place{t.pk, metaKey})
			delete(k.threads, place{t.pk, activityKey})
		}
	}
	if c.again {
		return c.readLost(ctx)
	}
	return nil
}

// check says what the batch is refused for.
func (c *commit) check(ctx context.Context) error {
	for i := range c.claims {
		if err := c.checkClaim(ctx, &c.claims[i]); err != nil {
			return err
		}
	}
	for _, r := range c.runs {
		if err := r.check(c.known.runs[place{r.pk, headKey}], c.token); err != nil {
			return err
		}
	}
	return c.checkThreads()
}

// plan is how a commit goes about it.
type plan struct {
	before []large // pieces that nothing refers to yet
	ahead  []side  // what does not fit into the transaction and may be refused
	core   []op    // all or none of them
	beside []side
	undone undo // what takes the core back, where it is no transaction
	done   func()
}

// side is a write outside of the transaction.
type side func(context.Context) (undo, error)

// undo takes a write back. nil where there is nothing to take back.
type undo func(context.Context) error

func (c *commit) plan() (*plan, error) {
	p := &plan{}
	if err := c.planClaims(p); err != nil {
		return nil, err
	}
	if err := c.planRuns(p); err != nil {
		return nil, err
	}
	c.planThreads(p)
	c.planChunks(p)
	for i := range c.traces {
		p.beside = append(p.beside, func(ctx context.Context) (undo, error) { return c.writeTrace(ctx, &c.traces[i]) })
	}
	for i := range c.scores {
		p.beside = append(p.beside, func(ctx context.Context) (undo, error) { return c.writeScore(ctx, &c.scores[i]) })
	}
	for _, link := range c.traceLinks() {
		p.beside = append(p.beside, func(ctx context.Context) (undo, error) { return c.side(ctx, put(c.s.tables.Threads, link, "", nil)) })
	}
	if len(c.names)+len(c.kinds) > 0 {
		p.beside = append(p.beside, c.writeNames)
	}
	return p, nil
}

// carryOut does what was planned. Of a plan that was refused, or failed, nothing stays.
func (c *commit) carryOut(ctx context.Context, p *plan, try int) error {
	for _, l := range p.before {
		if err := c.s.batchWrite(ctx, l.table, l.items, nil); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var undos []undo
	remember := func(u undo) {
		if u != nil {
			mu.Lock()
			undos = append(undos, u)
			mu.Unlock()
		}
	}
	calls := func(sides []side) (all []func() error) {
		for _, f := range sides {
			all = append(all, func() error {
				u, err := f(ctx)
				remember(u)
				return err
			})
		}
		return all
	}
	all := calls(p.beside)
	core := func() error {
		switch len(p.core) {
		case 0:
			return nil
		case 1:
			if was, err := c.s.write(ctx, p.core[0], c.token); err != nil && (!refused(err) || !marked(was, c.adding)) {
				return err
			}
			remember(p.undone)
			return nil
		}
		return c.s.transact(ctx, p.core, c.token+strconv.Itoa(try))
	}
	err := parallel(calls(p.ahead)...)
	switch {
	case err != nil:
	case try == 0:
		err = parallel(append([]func() error{core}, all...)...)
	default:
		if err = core(); err == nil {
			err = parallel(all...)
		}
	}
	if err == nil {
		if p.done != nil {
			p.done()
		}
		return nil
	}
	for _, t := range c.threads {
		c.s.hints.drop(t.pk)
	}
	// Somebody may read what is taken back here until it is; nobody may be told that it is stored.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	var back []func() error
	for _, u := range undos {
		back = append(back, func() error { return u(ctx) })
	}
	for _, l := range p.before {
		var keys []item
		for _, it := range l.items {
			keys = append(keys, key(pkOf(it), skOf(it)))
		}
		back = append(back, func() error { return c.s.batchWrite(ctx, l.table, nil, keys) })
	}
	if len(back) > 0 {
		if failed := parallel(back...); failed != nil && !errors.Is(failed, errRefused) {
			return errors.Join(fmt.Errorf("dynamodb: a commit that failed could not be taken back: %w", failed), err)
		}
	}
	return err
}

// side does one op beside the core and says how to take it back.
func (c *commit) side(ctx context.Context, o op) (undo, error) {
	old, err := c.s.write(ctx, o, c.token)
	if err != nil {
		return nil, err
	}
	table, k := o.table(), o.key()
	mine := item{":tok": text(c.token)}
	return func(ctx context.Context) (err error) {
		switch {
		case o.Put != nil && old == nil:
			_, err = c.s.write(ctx, remove(table, pkOf(k), skOf(k), "#tok = :tok", mine), "")
		case o.Put != nil:
			_, err = c.s.write(ctx, put(table, old, "#tok = :tok", mine), "")
		case o.Delete != nil && old != nil:
			_, err = c.s.write(ctx, put(table, old, "attribute_not_exists(#PK)", nil), "")
		}
		if errors.Is(err, errRefused) { // somebody wrote there since
			err = nil
		}
		return err
	}, nil
}

// count changes a kept total. A tenant's totals of a kind are one partition, a name's spread over some items.
func (c *commit) count(table, kind, name, id string, by int64) side {
	token := c.adding + id
	return func(ctx context.Context) (undo, error) {
		if err := c.s.count(ctx, table, c.tenant, kind, name, id, token, by); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			return c.s.count(ctx, table, c.tenant, kind, name, id, token+"-", -by)
		}, nil
	}
}

func counters(tenant, kind string) string { return tenantPart(tenant) + "#N#" + kind }

// count adds to a total, once: a repeat whose first attempt succeeded finds its mark.
func (s *Store) count(ctx context.Context, table, tenant, kind, name, id, token string, by int64) error {
	return s.add(ctx, table, tenant, kind, name, id, token, " ADD #n :n", item{":n": number(by)})
}

// tally is what is counted of traces, in one item: those that this version wrote (isFiled), and their spans that are branches.
type tally struct{ traces, filed, branches int64 }

func (s *Store) countTrace(ctx context.Context, tenant, day, id, token string, by tally) error {
	return s.add(ctx, s.tables.Observability, tenant, "traces", day, id, token, ", #since = if_not_exists(#since, :now) ADD #n :n, #"+filedAs+" :filed, #"+branchCount+" :branches",
		item{":n": number(by.traces), ":filed": number(by.filed), ":branches": number(by.branches), ":now": number(s.time())})
}

// countTrace is undone by counting the other way; again tells one count of a trace from another of this commit.
func (c *commit) countTrace(ctx context.Context, day, id, again string, by tally) (undo, error) {
	token := c.adding + id + again
	if err := c.s.countTrace(ctx, c.tenant, day, id, token, by); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		return c.s.countTrace(ctx, c.tenant, day, id, token+"-", tally{-by.traces, -by.filed, -by.branches})
	}, nil
}

func (s *Store) add(ctx context.Context, table, tenant, kind, name, id, token, change string, values item) error {
	sk := short(name, 512) + "#" + strconv.Itoa(shardOf(id))
	set, unless := once(token, 32)
	values[":mark"] = text(mark(token))
	if end, ok := endOfDay(name); ok && table == s.tables.Observability {
		kept := s.keep.Traces
		if kind != "traces" {
			kept = s.kept(kind[len("scores"):] + "#")
		}
		set, values[":ttl"] = set+", #ttl = :ttl", number(end.Time().Add(kept).Unix())
	}
	_, err := s.write(ctx, update(table, counters(tenant, kind), sk, set+change, unless, values), token)
	return err
}

// Adding is no write that may be repeated. So whoever adds leaves a mark, and adds only where it is not: in one of some
// places, as others who come in between shall not wipe it out.
func mark(token string) string { return short(token, 0)[1:13] }

func once(token string, places int) (set, unless string) {
	n, _ := strconv.ParseUint(mark(token)[:6], 16, 64)
	at := "#m" + strconv.Itoa(int(n)%places)
	return "SET " + at + " = :mark", "(attribute_not_exists(" + at + ") OR " + at + " <> :mark)"
}

// marked says whether an item has the mark of a token.
func marked(it item, token string) bool {
	for _, places := range []int{actMarks, 32} {
		set, _ := once(token, places)
		at, _, _ := strings.Cut(strings.TrimPrefix(set, "SET #"), " ")
		if textOf(it[at]) == mark(token) {
			return true
		}
	}
	return false
}

const actMarks = 8 // of a thread's activity, which few write to at once

// total reads a kept total: of one name, or of all.
func (s *Store) total(ctx context.Context, table, tenant, kind string, name *string) (n int, names []string, err error) {
	q := query{table: table, pk: counters(tenant, kind), consistent: true}
	if name != nil {
		q.from, q.to = short(*name, 512)+"#", short(*name, 512)+after
	}
	items, err := s.query(ctx, q)
	for _, it := range items {
		if s.expired(it) {
			continue
		}
		n += int(numberOf(it["n"]))
		sk := skOf(it)
		names = append(names, sk[:len(sk)-2])
	}
	return max(0, n), distinct(names), err
}
