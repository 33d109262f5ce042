package dynamodb

import (
	"context"
	"errors"

	"mastralambda/shared/mastra"
)

// A commit that is made again finds what is there of the first time, which a process may have died in: its writes had no order.

// lastLost is among how many messages of a thread those are looked for that nothing points to.
const lastLost = 100

// readLost finds messages of the commit that are stored without their pointers.
func (c *commit) readLost(ctx context.Context) error {
	for _, t := range c.threads {
		newest, err := c.s.query(ctx, query{table: c.s.tables.Threads, pk: t.pk, from: messages, to: messages + "~", descending: true, consistent: true, most: lastLost})
		if err != nil {
			return err
		}
		for _, it := range newest {
			for _, m := range c.messages {
				if at := (place{m.pointer, only}); m.thread == t && m.ID == textOf(it["id"]) && c.known.threads[at] == nil {
					c.known.threads[at] = item{"th": text(m.ThreadID), "sk": it[attrSK], "lost": text(""), "trace": it["trace"]}
				}
			}
		}
	}
	return nil
}

// recount makes the kept numbers of messages right.
func (c *commit) recount(ctx context.Context) error {
	for _, t := range c.threads {
		for try := 0; ; try++ {
			act, err := c.s.activity(ctx, t.pk)
			if err != nil || act == nil {
				return err
			}
			n, err := c.s.countKeys(ctx, query{table: c.s.tables.Threads, pk: t.pk, from: messages, to: messages + "~", consistent: true})
			if err != nil {
				return err
			}
			if int64(n) == numberOf(act["n"]) {
				break
			}
			_, err = c.s.write(ctx, update(c.s.tables.Threads, t.pk, activityKey, "SET #n = :n", "#n = :was", item{":n": number(n), ":was": act["n"]}), "")
			if err == nil {
				break
			}
			if !errors.Is(err, errRefused) {
				return err
			}
			if try+1 == maxTries {
				return mastra.Errorf(mastra.CodeUnavailable, "The storage is overloaded: try again later")
			}
		}
	}
	return nil
}
