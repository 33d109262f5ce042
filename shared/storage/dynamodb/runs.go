package dynamodb

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
)

const (
	maxResult  = 1 << 10 // bytes of a step's result within the head
	maxResults = 8 << 10 // of all results within the head: a checkpoint pays for them
	maxSteps   = 20      // written without a look at the head
)

// beginning is what a run begins with. It is apart from the rest of the head where it is large.
type beginning struct {
	Context mastra.RequestContext `json:"context,omitempty"`
	Input   mastra.JSON           `json:"input,omitzero"`
	Graph   mastra.JSON           `json:"graph,omitzero"`
}

// runWrite is a mastra.RunUpdate on its way.
type runWrite struct {
	*mastra.RunUpdate
	pk        string
	head      []byte   // without Input, Graph and Context
	beginning []byte   // packed
	results   [][]byte // packed, of Run.Steps
	order     int64
	now       mastra.Time
	mustRead  bool // the results are too large or too many to be written blindly
}

func runPK(tenant, id string) string { return partition(tenant, "W", id) }

func (c *commit) addRuns(updates []mastra.RunUpdate) error {
	for i := range updates {
		u := &updates[i]
		if err := checkID("run", u.Run.ID); err != nil {
			return err
		}
		w := &runWrite{RunUpdate: u, pk: runPK(c.tenant, u.Run.ID), order: c.s.seq.next(len(u.Run.Steps) + 1), now: c.now}
		if slices.ContainsFunc(c.runs, func(o *runWrite) bool { return o.pk == w.pk }) {
			return fmt.Errorf("dynamodb: run %q is twice in one batch", u.Run.ID)
		}
		head := u.Run
		head.Input, head.Graph, head.Context = nil, nil, nil
		var err error
		if w.head, err = schema.Marshal(&head); err != nil {
			return err
		}
		b, err := schema.Marshal(&beginning{u.Run.Context, u.Run.Input, u.Run.Graph})
		if err != nil {
			return err
		}
		w.beginning = pack(b)
		total := 0
		for j := range u.Run.Steps {
			if err := checkID("step", u.Run.Steps[j].Key); err != nil {
				return err
			}
			data, err := schema.Marshal(&u.Run.Steps[j].Value)
			if err != nil {
				return err
			}
			w.results = append(w.results, pack(data))
			total += len(w.results[j])
			w.mustRead = w.mustRead || len(w.results[j]) > maxResult
		}
		w.mustRead = !u.Create && (w.mustRead || total > maxResults || len(w.results) > maxSteps || u.Reset)
		c.runs = append(c.runs, w)
	}
	return nil
}

func errNoRun() error { return mastra.Errorf(mastra.CodeNotFound, "Workflow run not found") }

// check says what the update of a stored head is refused for.
func (w *runWrite) check(head item, token string) error {
	status := mastra.RunStatus(textOf(head["status"]))
	switch {
	case head != nil && textOf(head["tok"]) == token: // our own write, whose answer was lost
		return nil
	case w.Create && head != nil && head["exp"] != nil && timeOf(head["exp"]) < w.now:
		return nil
	case w.Create && head != nil:
		return mastra.Errorf(mastra.CodeConflict, "Workflow run %s exists already", w.Run.ID)
	case w.Create:
		return nil
	case head == nil:
		return errNoRun()
	case status.Ended() && (!w.Reset || w.From != status):
		return mastra.Errorf(mastra.CodeConflict, "This workflow run has ended: it is %s", status)
	case w.From != "" && w.From != status:
		return mastra.Errorf(mastra.CodeConflict, "This workflow run was not %s", w.From)
	case numberOf(head["fence"]) != w.Run.Fence:
		return mastra.Errorf(mastra.CodeConflict, "This workflow run has been taken over by another process")
	}
	return nil
}

func (c *commit) planRuns(p *plan) error {
	for _, w := range c.runs {
		switch {
		case w.Create:
			head := c.newHead(w, nil, p)
			p.core = append(p.core, put(c.s.tables.Runs, head, "attribute_not_exists(#PK) OR #tok = :tok OR #exp < :now", item{":tok": text(c.token), ":now": number(c.now)}))
		case c.known != nil:
			old := c.known.runs[place{w.pk, headKey}]
			head := c.newHead(w, old, p)
			p.core = append(p.core, put(c.s.tables.Runs, head, "#v = :v OR #tok = :tok", item{":v": old["v"], ":tok": text(c.token)}))
		default:
			p.core = append(p.core, c.checkpoint(w))
		}
	}
	return nil
}

// common are the attributes of a head that every write sets, and those that place it in the indexes.
func (c *commit) common(w *runWrite) item {
	r := &w.Run
	it := item{"body": blob(pack(w.head)), "status": text(string(r.Status)), "owner": text(r.Owner), "lease": number(r.LeaseUntil), "tok": text(c.token),
		attrSum: text(string(r.Status) + "\n" + r.ResourceID)}
	if r.ExpiresAt != 0 {
		it["exp"], it[TTLAttribute] = number(r.ExpiresAt), ttl(r.ExpiresAt)
	}
	if r.Status.Ended() {
		return it
	}
	// The index tells the status of an unfinished run from its key.
	it[attrPK2] = text(sharded(c.tenant, "st#"+part(r.WorkflowID)+"#"+string(r.Status), shardOf(r.ID)))
	it[attrSK2] = text(placed(r.CreatedAt, r.ID))
	return it
}

// newHead is the whole head: made of old where there is one.
func (c *commit) newHead(w *runWrite, old item, p *plan) item {
	r, table := &w.Run, c.s.tables.Runs
	head := c.common(w)
	head[attrPK], head[attrSK] = text(w.pk), text(headKey)
	steps, order := item{}, item{}
	if old == nil {
		head["wf"], head["created"], head["fence"], head["v"] = text(r.WorkflowID), number(r.CreatedAt), number(r.Fence), number(w.order)
		head[attrPK1], head[attrSK1] = text(workflowPK(c.tenant, r.WorkflowID, shardOf(r.ID))), text(placed(r.CreatedAt, r.ID))
	} else {
		for _, k := range []string{"wf", "created", "fence", attrPK1, attrSK1} {
			head[k] = old[k]
		}
		head["v"] = number(numberOf(old["v"]) + 1)
		if !w.Reset {
			maps.Copy(steps, fieldsOf(old["st"]))
			maps.Copy(order, fieldsOf(old["so"]))
		}
	}
	head["in"] = c.s.packed(w.beginning, maxResult, table, w.pk, &p.before)
	head["ih"] = text(w.fingerprint())
	if old != nil && textOf(old["ih"]) == w.fingerprint() {
		head["in"] = old["in"] // unchanged
	}
	kept := 0
	for _, a := range steps {
		kept += len(blobOf(a))
	}
	for i, m := range r.Steps {
		most := maxResult
		kept -= len(blobOf(steps[m.Key]))
		if kept+len(w.results[i]) > maxResults {
			most = 0
		}
		steps[m.Key] = c.s.packed(w.results[i], most, table, w.pk, &p.before)
		kept += len(blobOf(steps[m.Key]))
		if order[m.Key] == nil {
			order[m.Key] = number(w.order + int64(i))
		}
	}
	if head[TTLAttribute] != nil { // pieces go when the run goes
		for _, l := range p.before {
			for _, piece := range l.items {
				if pkOf(piece) == w.pk {
					piece[TTLAttribute] = head[TTLAttribute]
				}
			}
		}
	}
	head["st"], head["so"] = &types.AttributeValueMemberM{Value: steps}, &types.AttributeValueMemberM{Value: order}
	head["sz"] = number(kept)
	return head
}

// fingerprint tells one beginning from another.
func (w *runWrite) fingerprint() string { return short(string(w.beginning), 0) }

// checkpoint updates the head without having read it. It is refused where the head's results would grow too large.
func (c *commit) checkpoint(w *runWrite) op {
	fields := c.common(w)
	values := item{":one": number(1), ":fence": number(w.Run.Fence), ":from": text(string(w.From)), ":ih": text(w.fingerprint()), ":tok": text(c.token),
		":success": text(string(mastra.StatusSuccess)), ":failed": text(string(mastra.StatusFailed)), ":canceled": text(string(mastra.StatusCanceled)), ":bailed": text(string(mastra.StatusBailed))}
	var set []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		set, values[":"+k] = append(set, "#"+k+" = :"+k), fields[k]
	}
	added, steps := 0, map[string]string{}
	for i, m := range w.Run.Steps {
		k, v, o := fmt.Sprintf("#key%d", i), fmt.Sprintf(":step%d", i), fmt.Sprintf(":order%d", i)
		steps[k] = m.Key
		set = append(set, "#st."+k+" = "+v, "#so."+k+" = if_not_exists(#so."+k+", "+o+")")
		values[v], values[o] = blob(w.results[i]), number(w.order+int64(i))
		added += len(w.results[i])
	}
	values[":added"], values[":room"] = number(added), number(maxResults-added)
	change := "SET " + strings.Join(set, ", ")
	if w.Run.Status.Ended() {
		change += " REMOVE #PK2, #SK2"
	}
	change += " ADD #v :one, #sz :added"
	condition := "#fence = :fence AND #ih = :ih AND #sz <= :room AND NOT #status IN (:success, :failed, :canceled, :bailed) AND #tok <> :tok"
	if w.From != "" {
		condition += " AND #status = :from"
	}
	o := update(c.s.tables.Runs, w.pk, headKey, change, condition, values)
	maps.Copy(o.Update.ExpressionAttributeNames, steps)
	return o
}

func workflowPK(tenant, workflow string, shard int) string {
	return sharded(tenant, "wf#"+part(workflow), shard)
}

// readRun reads a run's whole partition: its head, its lease and the large values.
func (s *Store) readRun(ctx context.Context, tenant, id string) (head, lease item, all []item, err error) {
	if all, err = s.query(ctx, query{table: s.tables.Runs, pk: runPK(tenant, id), consistent: true}); err != nil {
		return nil, nil, nil, err
	}
	for _, it := range all {
		switch skOf(it) {
		case headKey:
			head = it
		case leaseKey:
			lease = it
		}
	}
	return head, lease, all, nil
}

// runOf puts a run together, without its steps.
func (s *Store) runOf(ctx context.Context, head, lease item, all []item) (*mastra.Run, error) {
	r := &mastra.Run{}
	body, err := unpack(blobOf(head["body"]))
	if err != nil {
		return nil, err
	}
	if err := schema.Unmarshal(body, r); err != nil {
		return nil, err
	}
	begun, err := s.load(ctx, head["in"], s.tables.Runs, pkOf(head), all)
	if err != nil {
		return nil, err
	}
	var b beginning
	if err := schema.Unmarshal(begun, &b); err != nil {
		return nil, err
	}
	r.Context, r.Input, r.Graph = b.Context, b.Input, b.Graph
	r.Fence, r.Owner, r.LeaseUntil = numberOf(head["fence"]), textOf(head["owner"]), heldUntil(head, lease)
	return r, nil
}

func (s *Store) stepsOf(ctx context.Context, head item, all []item) (mastra.Object[mastra.StepResult], error) {
	steps, order := fieldsOf(head["st"]), fieldsOf(head["so"])
	if len(steps) == 0 {
		return nil, nil
	}
	keys := slices.Collect(maps.Keys(steps))
	slices.SortFunc(keys, func(a, b string) int { return int(numberOf(order[a]) - numberOf(order[b])) })
	results := make(mastra.Object[mastra.StepResult], len(keys))
	for i, k := range keys {
		data, err := s.load(ctx, steps[k], s.tables.Runs, pkOf(head), all)
		if err != nil {
			return nil, err
		}
		results[i].Key = k
		if err := schema.Unmarshal(data, &results[i].Value); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (s *Store) Run(ctx context.Context, id string) (*mastra.Run, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if !keepable(id) {
		return nil, errNoRun()
	}
	head, lease, all, err := s.readRun(ctx, mastra.Tenant(ctx), id)
	if err != nil {
		return nil, err
	}
	return s.wholeRun(ctx, head, lease, all)
}

func (s *Store) wholeRun(ctx context.Context, head, lease item, all []item) (*mastra.Run, error) {
	if head == nil {
		return nil, errNoRun()
	}
	r, err := s.runOf(ctx, head, lease, all)
	if err == nil && r.ExpiresAt != 0 && r.ExpiresAt < s.time() {
		return nil, errNoRun()
	}
	if err == nil {
		r.Steps, err = s.stepsOf(ctx, head, all)
	}
	return r, err
}

func (s *Store) DeleteRun(ctx context.Context, id string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if !keepable(id) {
		return errNoRun()
	}
	ctx = context.WithoutCancel(ctx)
	tenant, table := mastra.Tenant(ctx), s.tables.Runs
	var items, chunks []item
	err := parallel(
		func() (err error) {
			items, err = s.query(ctx, query{table: table, pk: runPK(tenant, id), keysOnly: true, consistent: true})
			return err
		},
		func() (err error) {
			chunks, err = s.query(ctx, query{table: table, pk: chunksPK(tenant, id), keysOnly: true, consistent: true})
			return err
		})
	if err != nil {
		return err
	}
	head, err := s.write(ctx, remove(table, runPK(tenant, id), headKey, "attribute_exists(#PK)", nil), "")
	if refused(err) {
		return errNoRun()
	}
	if err != nil {
		return err
	}
	var keys []item
	for _, it := range append(items, chunks...) {
		if skOf(it) != headKey {
			keys = append(keys, key(pkOf(it), skOf(it)))
		}
	}
	return parallel(
		func() error { return s.untally(ctx, table, tenant, textOf(head["wf"]), timeOf(head["created"])) },
		func() error { return s.batchWrite(ctx, table, nil, keys) },
	)
}

// Runs are read from the index of their workflow.
func (s *Store) Runs(ctx context.Context, q mastra.RunQuery) (*mastra.Page[mastra.Run], error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if q.WorkflowID == "" {
		return nil, mastra.Invalid("workflowId", "Required")
	}
	tenant, table := mastra.Tenant(ctx), s.tables.Runs
	l := list{table: table, index: index1, descending: true, Paging: q.Paging}
	l.between(q.From, q.To)
	for shard := range shards {
		l.pks = append(l.pks, workflowPK(tenant, q.WorkflowID, shard))
	}
	all := l
	l.total = func(ctx context.Context) (int, error) { return s.tallied(ctx, all, tenant, q.WorkflowID) }
	fits := func(e *entry) (bool, error) {
		status, resource, _ := strings.Cut(textOf(e.sum), "\n")
		return (q.Status == "" || status == string(q.Status)) && (q.ResourceID == "" || resource == q.ResourceID), nil
	}
	switch {
	case q.Status != "" && !q.Status.Ended(): // an index has them alone
		l.index, l.pks = index2, allShards(tenant, "st#"+part(q.WorkflowID)+"#"+string(q.Status))
		if l.total = s.counted(l); q.ResourceID != "" {
			l.fill, l.keep = s.fillRuns, fits
		}
	case q.ResourceID != "" || q.Status != "":
		l.keep = fits
	}
	return readPage(ctx, s, l, func(ctx context.Context, entries []entry) ([]mastra.Run, error) {
		var places []place
		for _, e := range entries {
			places = append(places, place{e.pk, headKey}) // a list does not tell of heartbeats
		}
		items, err := s.batchGet(ctx, table, places, false)
		if err != nil {
			return nil, err
		}
		runs := make([]mastra.Run, 0, len(entries))
		for _, e := range entries {
			head := items[place{e.pk, headKey}]
			if head == nil {
				continue
			}
			r, err := s.runOf(ctx, head, nil, nil)
			if err != nil {
				return nil, err
			}
			runs = append(runs, *r)
		}
		return runs, nil
	})
}

// fillRuns reads of each run what the index of unfinished ones has not: whose it is.
func (s *Store) fillRuns(ctx context.Context, entries []entry) error {
	places := make([]place, len(entries))
	for i, e := range entries {
		places[i] = place{e.pk, headKey}
	}
	heads, err := s.batchGet(ctx, s.tables.Runs, places, false)
	if err != nil {
		return err
	}
	for i, p := range places {
		entries[i].sum = heads[p][attrSum]
	}
	return nil
}
