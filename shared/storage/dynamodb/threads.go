package dynamodb

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"mastralambda/shared/mastra"
)

// slack is how far a thread's place in the indexes may lag behind its UpdatedAt, in milliseconds: a change of place costs
// four write units, so the messages of one turn change it once. Lists know of it and are exact.
const slack mastra.Time = 60_000

// threadWrite is a thread that a commit creates, updates or adds messages to.
type threadWrite struct {
	id, pk  string
	given   *mastra.Thread // nil where only messages touch it
	updated mastra.Time
	added   int64 // by the plan at hand
}

// messageWrite is a message of a commit.
type messageWrite struct {
	*mastra.Message
	thread  *threadWrite
	pointer string // partition of the item that says where the message of this id is
	seq     int64
}

func threadPK(tenant, id string) string { return partition(tenant, "T", id) }

func (c *commit) thread(id string) *threadWrite {
	for _, t := range c.threads {
		if t.id == id {
			return t
		}
	}
	t := &threadWrite{id: id, pk: threadPK(c.tenant, id)}
	c.threads = append(c.threads, t)
	return t
}

func (c *commit) addThreads(threads []mastra.Thread, all []mastra.Message, seq int64) error {
	for i := range threads {
		given := threads[i]
		if err := checkID("thread", given.ID); err != nil {
			return err
		}
		t := c.thread(given.ID)
		if t.given != nil {
			if t.given.ResourceID != "" && t.given.ResourceID != given.ResourceID {
				return errOtherOwner()
			}
			given.ResourceID, given.CreatedAt = t.given.ResourceID, t.given.CreatedAt
		}
		t.given, t.updated = &given, given.UpdatedAt
	}
	byID := make(map[string]*messageWrite, len(all))
	for i := range all {
		m := &all[i]
		if err := checkID("message", m.ID); err != nil {
			return err
		}
		if err := checkID("thread", m.ThreadID); err != nil {
			return err
		}
		t := c.thread(m.ThreadID)
		t.updated = max(t.updated, m.CreatedAt)
		if first := byID[m.ID]; first != nil { // of two in one batch the later one stays, in place of the first
			if first.ThreadID != m.ThreadID {
				return errTaken(m.ID)
			}
			first.Message = m
			continue
		}
		w := &messageWrite{Message: m, thread: t, pointer: partition(c.tenant, "I", m.ID), seq: seq + int64(i)}
		byID[m.ID] = w
		c.messages = append(c.messages, w)
	}
	return nil
}

func errNoThread() error { return mastra.Errorf(mastra.CodeNotFound, "Thread not found") }
func errOtherOwner() error {
	return mastra.Errorf(mastra.CodeForbidden, "Access denied: thread belongs to a different resource")
}
func errTaken(id string) error {
	return mastra.Errorf(mastra.CodeConflict, "Message %s belongs to another thread", id)
}

func (c *commit) checkThreads() error {
	for _, m := range c.messages {
		if at := c.known.threads[place{m.pointer, only}]; at != nil && textOf(at["th"]) != m.ThreadID {
			return errTaken(m.ID)
		}
	}
	for _, t := range c.threads {
		meta := c.known.thread(t.pk)
		if owner := textOf(meta["resource"]); meta != nil && t.given != nil && owner != "" && owner != t.given.ResourceID {
			return errOtherOwner()
		}
		if meta == nil && t.given == nil {
			return errNoThread()
		}
	}
	return nil
}

func (c *commit) planThreads(p *plan) {
	if len(c.threads) == 0 {
		return
	}
	apart := c.known == nil && c.plain() // messages are written beside the core
	bytes := 0
	var puts []op
	for _, t := range c.threads {
		t.added = 0
	}
	for _, m := range c.messages {
		ops := c.planMessage(m, p)
		puts = append(puts, ops...)
		for _, o := range ops {
			if o.Put != nil {
				bytes += size(o.Put.Item)
			}
		}
	}
	var heads []op
	for _, t := range c.threads {
		heads = append(heads, c.planThread(t, p)...)
	}
	if len(p.core)+len(heads)+len(puts) > maxTransaction || bytes > maxBytes {
		apart = true
	}
	if apart {
		c.writeApart(p, puts)
	} else {
		p.core = append(p.core, puts...)
	}
	p.core = append(p.core, heads...)
	if t := c.threads[0]; apart && len(p.core) == 1 && len(c.threads) == 1 && t.given != nil {
		p.undone = func(ctx context.Context) error { // unless somebody has used it meanwhile
			_, err := c.s.write(ctx, remove(c.s.tables.Threads, t.pk, activityKey, "#tok = :tok AND #n = :n", item{":tok": text(c.token), ":n": number(t.added)}), "")
			return err
		}
	} else if apart && len(p.core) == 1 && len(c.threads) == 1 {
		p.undone = func(ctx context.Context) error {
			set, unless := once(c.adding+"-", actMarks)
			_, err := c.s.write(ctx, update(c.s.tables.Threads, t.pk, activityKey, set+" ADD #n :n", "attribute_exists(#PK) AND "+unless,
				item{":mark": text(mark(c.adding + "-")), ":n": number(-t.added)}), c.adding+"-")
			return err
		}
	}
	p.done = func() {
		for _, t := range c.threads {
			h, ok := c.s.hints.get(t.pk)
			switch {
			case t.given != nil, !ok:
				h = hint{exists: true, former: h.former, updated: t.updated, mark: t.updated}
			case t.updated > h.updated:
				h.updated = t.updated
				if t.updated-h.mark >= slack {
					h.mark = t.updated
				}
			}
			c.s.hints.set(t.pk, h)
		}
	}
}

// writeApart writes messages beside the core, each with its pointer; those that take a place nobody had come in batches.
func (c *commit) writeApart(p *plan, ops []op) {
	sides := &p.beside
	if c.known != nil || !c.plain() {
		sides = &p.ahead
	}
	var fresh, keys []item
	for _, o := range ops {
		if o.Put != nil && o.Put.ConditionExpression == nil {
			fresh = append(fresh, o.Put.Item)
			keys = append(keys, o.key())
			continue
		}
		*sides = append(*sides, func(ctx context.Context) (undo, error) { return c.side(ctx, o) })
	}
	table := c.s.tables.Threads
	if len(fresh) == 1 {
		*sides = append(*sides, func(ctx context.Context) (undo, error) { return c.side(ctx, put(table, fresh[0], "", nil)) })
	} else if len(fresh) > 1 {
		*sides = append(*sides, func(ctx context.Context) (undo, error) {
			back := func(ctx context.Context) error { return c.s.batchWrite(ctx, table, nil, keys) }
			return back, c.s.batchWrite(ctx, table, fresh, nil)
		})
	}
}

// planMessage adds a message, or replaces it where it is. Without a look it is taken for a new one.
func (c *commit) planMessage(m *messageWrite, p *plan) []op {
	table := c.s.tables.Threads
	var old item
	if c.known != nil {
		old = c.known.threads[place{m.pointer, only}]
	}
	seq, was := m.seq, textOf(old["sk"])
	if old != nil {
		seq = seqOf(was)
	} else {
		m.thread.added++
	}
	it := key(m.thread.pk, messageKey(m.Message, seq))
	it["id"], it["role"], it["resource"], it["type"], it["created"], it["tok"] = text(m.ID), text(m.Role), text(m.ResourceID), text(m.Type), number(m.CreatedAt), text(c.token)
	if m.Content != nil {
		it["c"] = c.s.value(m.Content, table, m.thread.pk, &p.before)
	}
	pointer := key(m.pointer, only)
	pointer["th"], pointer["sk"], pointer["tok"] = text(m.ThreadID), it[attrSK], text(c.token)
	var ops []op
	trace, before := c.traceOf(m.ThreadID), textOf(old["trace"])
	if trace != "" && before != "" && trace != before {
		ops = append(ops, put(table, traceLink(m.thread.pk, before), "", nil))
	}
	if trace = cmp.Or(trace, before); trace != "" {
		it["trace"], pointer["trace"] = text(trace), text(trace)
	}
	if ref := textOf(it["c"]); ref != "" {
		pointer["c"] = it["c"]
	}
	if outcome := c.outcome(m.ID); outcome != nil {
		pointer["out"] = outcome
	}
	if old == nil {
		return []op{put(table, it, "", nil), put(table, pointer, "attribute_not_exists(#PK) OR #tok = :tok", item{":tok": text(c.token)})}
	}
	// The pointer decides: of a commit that did not end it may be all there is.
	there, pointed := item{":sk": text(was)}, "#sk = :sk"
	if old["lost"] != nil {
		there, pointed = nil, "attribute_not_exists(#PK)"
	}
	if ops = append(ops, put(table, it, "", nil), put(table, pointer, pointed, there)); was != skOf(it) {
		ops = append(ops, remove(table, m.thread.pk, was, "", nil))
	}
	return ops
}

// seqOf is the sequence number within a message's sort key.
func seqOf(sk string) int64 {
	parts := strings.SplitN(sk, "#", 4)
	if len(parts) < 4 {
		return 0
	}
	n, _ := strconv.ParseInt(parts[2], 16, 64)
	return n
}

// planThread writes what a thread is, if it is given, and what is going on in it.
func (c *commit) planThread(t *threadWrite, p *plan) []op {
	h, seen := c.s.hints.get(t.pk)
	if c.known != nil {
		h, seen = hintOf(c.known.threads[place{t.pk, activityKey}]), true
	}
	switch {
	case t.given == nil:
		return []op{c.touch(t, h, seen)}
	case c.creates(t):
		return []op{c.createThread(t, p)}
	}
	return c.updateThread(t, h.former, p)
}

// creates says whether the thread is new, as far as is known.
func (c *commit) creates(t *threadWrite) bool {
	if c.known != nil {
		return c.known.threads[place{t.pk, activityKey}] == nil
	}
	if h, seen := c.s.hints.get(t.pk); seen {
		return !h.exists
	}
	return t.given.CreatedAt == t.given.UpdatedAt
}

func (c *commit) createThread(t *threadWrite, p *plan) op {
	table := c.s.tables.Threads
	act := key(t.pk, activityKey)
	act["resource"], act["created"] = text(t.given.ResourceID), number(t.given.CreatedAt)
	c.describe(t, p, act)
	act["n"], act["upd"], act["mark"], act["tok"] = number(t.added), number(t.updated), number(t.updated), text(c.token)
	act[attrPK1], act[attrSK1] = text(resourcePK(c.tenant, t.given.ResourceID)), text(placed(t.updated, t.id))
	act[attrPK2], act[attrSK2] = text(sharded(c.tenant, "T#all", shardOf(t.id))), act[attrSK1]
	p.beside = append(p.beside, c.count(table, "threads", "", t.id, 1), c.count(table, "resource", t.given.ResourceID, t.id, 1))
	return put(table, act, "attribute_not_exists(#PK) OR #tok = :tok", item{":tok": text(c.token)})
}

// maxDescription is how many bytes a title, or metadata, takes of the item that each message of the thread rewrites.
const maxDescription = 4 << 10

// describe sets a thread's title and metadata.
func (c *commit) describe(t *threadWrite, p *plan, it item) {
	it["title"] = c.s.packed(pack([]byte(t.given.Title)), maxDescription, c.s.tables.Threads, t.pk, &p.before)
	if t.given.Metadata != nil {
		it["md"] = c.s.packed(pack(t.given.Metadata), maxDescription, c.s.tables.Threads, t.pk, &p.before)
	}
}

func (c *commit) updateThread(t *threadWrite, former bool, p *plan) []op {
	table := c.s.tables.Threads
	described := item{}
	c.describe(t, p, described)
	change := "SET #title = :title, #md = :md"
	if described["md"] == nil {
		change = "SET #title = :title REMOVE #md"
	}
	values := item{":title": described["title"], ":md": described["md"], ":resource": text(t.given.ResourceID), ":none": text(""),
		":upd": number(t.updated), ":sk": text(placed(t.updated, t.id)), ":n": number(t.added), ":tok": text(c.token)}
	const moved, mine = "#upd = :upd, #mark = :upd, #SK1 = :sk, #SK2 = :sk, #tok = :tok", "attribute_not_exists(#dead) AND (#resource = :resource OR #resource = :none)"
	if former {
		return []op{
			update(table, t.pk, metaKey, change, "attribute_exists(#PK) AND "+mine, values),
			update(table, t.pk, activityKey, "SET "+moved+" ADD #n :n", "attribute_exists(#PK)", values),
		}
	}
	// What was added is added once: a repeat finds the mark.
	set, unless := once(c.adding, actMarks)
	values[":mark"] = text(mark(c.adding))
	return []op{update(table, t.pk, activityKey, set+", "+moved+", "+strings.TrimPrefix(change, "SET ")+" ADD #n :n", "attribute_exists(#created) AND "+unless+" AND "+mine, values)}
}

// touch counts a thread's new messages and raises its UpdatedAt, and moves it in the indexes if it has to.
func (c *commit) touch(t *threadWrite, h hint, seen bool) op {
	values := item{":upd": number(t.updated), ":sk": text(placed(t.updated, t.id)), ":n": number(t.added), ":mark": text(mark(c.adding)), ":least": number(t.updated - slack)}
	set, unless := once(c.adding, actMarks)
	change, condition := ", #upd = :upd, #mark = :upd, #SK1 = :sk, #SK2 = :sk ADD #n :n", "#upd <= :upd"
	switch {
	case seen && h.exists && t.updated <= h.updated:
		change, condition = " ADD #n :n", "#upd >= :upd"
	case seen && h.exists && t.updated-h.mark < slack:
		change, condition = ", #upd = :upd ADD #n :n", "#upd <= :upd AND #mark > :least"
	}
	return update(c.s.tables.Threads, t.pk, activityKey, set+change, "attribute_exists(#PK) AND attribute_not_exists(#dead) AND "+unless+" AND "+condition, values)
}
