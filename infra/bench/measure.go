package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	starts     = 30
	theirPart  = 30 * time.Second // the longest that the other server is given where ours does a fixed amount of work
	upsertTime = 10 * time.Minute
)

// progress says what is measured now: a run takes minutes.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "… "+format+"\n", args...) }

// measureStart measures from the fork to the first answer, each time with fresh data, and the size of the binary.
func (b *bench) measureStart(ctx context.Context, binary string) {
	progress("start")
	for _, path := range []string{"/health", "/api/agents"} {
		name := "start to first 200 of " + path
		var took []time.Duration
		for range starts {
			one, err := firstAnswerOf(ctx, b.folder, binary, path)
			if err != nil {
				b.report.fail(name, err)
				return
			}
			took = append(took, one)
		}
		slices.Sort(took)
		median := (took[starts/2-1] + took[starts/2]) / 2
		b.report.add(row{name: name, ours: fmt.Sprintf("%.1f ms (%.1f to %.1f)", ms(median), ms(took[0]), ms(took[starts-1])),
			note: fmt.Sprintf("infra/local, median of %d from fork, fresh data", starts)}.verdict("under 20 ms", ms(median) < 20))
	}
	if size, err := fileSize(binary); err != nil {
		b.report.fail("binary", err)
	} else {
		b.report.add(row{name: "binary", ours: mb(size), note: "infra/local, -trimpath -s -w, CGO_ENABLED=0"})
	}
}

func firstAnswerOf(ctx context.Context, folder, binary, path string) (time.Duration, error) {
	p, err := start(ctx, folder, binary)
	if err != nil {
		return 0, err
	}
	took, err := p.firstAnswer(ctx, path)
	if stopped := p.stop(); err == nil {
		err = stopped
	}
	return took, err
}

// measureMemory measures the resident memory idle, half way and after all generates, and then how long a list of so many
// traces takes. The other server is given less time, and shows how far it came.
func (b *bench) measureMemory(ctx context.Context, p *process, against string) {
	progress("memory: %d generates", b.generates)
	time.Sleep(300 * time.Millisecond) // idle: what the start left to do is done
	ours, err := b.grow(ctx, p.address, p.cmd.Process.Pid, 0)
	if err != nil {
		b.report.fail("memory", err)
		return
	}
	theirs := &growth{}
	if against != "" {
		progress("memory of the other server, %v at most", theirPart)
		if theirs, err = b.grow(ctx, against, listenerOf(against), theirPart); err != nil {
			b.report.fail("memory of the other server", err)
			theirs = &growth{}
		}
	}
	show := func(g *growth, i int) string {
		if g.count == 0 || g.resident[i] == 0 {
			return ""
		}
		if i > 0 {
			return fmt.Sprintf("%s after %d", mb(g.resident[i]), g.count)
		}
		return mb(g.resident[i])
	}
	b.report.add(row{name: "memory, idle", ours: show(ours, 0), theirs: show(theirs, 0), note: "VmRSS"}.
		verdict("under 25 MB", ours.resident[0] < 25<<20))
	half := ours.resident[1]
	b.report.add(row{name: "memory, loaded", ours: show(ours, 2), theirs: show(theirs, 2),
		note: fmt.Sprintf("VmRSS after generates at c=%d; %s after half of them", b.concurrency, mb(half))}.
		verdict("flat: second half adds under 10%", ours.resident[2] < half+half/10))
	list := benchCase{name: "traces list", concurrency: 1, barMS: 3, load: load{requests: each(get("/api/observability/traces?perPage=10")), check: contains(`"spans":[{`)},
		payload: fmt.Sprintf("of %d traces", ours.count)}
	if against != "" {
		list.payload += fmt.Sprintf(", there of %d or more", theirs.count)
	}
	b.measureLoad(ctx, list, p.address, against)
}

// growth is a process's resident memory in bytes (0: not known) at the start, half way and at the end of count generates.
type growth struct {
	resident [3]int64
	count    int
}

func (b *bench) grow(ctx context.Context, address string, pid int, most time.Duration) (g *growth, err error) {
	g = &growth{}
	for i, requests := range []int{0, b.generates - b.generates/2, b.generates / 2} {
		if requests > 0 {
			f := generate.run(ctx, address, b.concurrency, limit{requests: requests, time: most / 2})
			if f.err != nil {
				return g, f.err
			}
			g.count += f.count
		}
		if pid != 0 {
			if g.resident[i], err = residentMemory(pid); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// measureTracing measures answers with tracing on and off, in short turns: what else a machine does lasts longer than one of them.
func (b *bench) measureTracing(ctx context.Context, binary string) {
	progress("tracing")
	const turns = 12
	answers := cases()[slices.IndexFunc(cases(), func(c benchCase) bool { return c.name == "myAgent answers" })].load
	var perSecond [2]float64
	err := func() (err error) {
		var servers [2]*process
		for i, rate := range []string{"0", "1"} {
			if servers[i], err = serving(ctx, b.folder, binary, "TRACE_RATE="+rate); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, servers[i].stop()) }()
		}
		for turn := range 1 + turns { // the first one warms up
			for i, s := range servers {
				f := answers.run(ctx, s.address, b.concurrency, limit{time: b.duration * 3 / turns})
				if f.err != nil {
					return f.err
				}
				if turn > 0 {
					perSecond[i] += f.perSecond / turns
				}
			}
		}
		return nil
	}()
	if err != nil {
		b.report.fail("tracing", err)
		return
	}
	cost := 1 - perSecond[1]/perSecond[0]
	b.report.add(row{name: fmt.Sprintf("tracing's share, c=%d", b.concurrency), ours: fmt.Sprintf("%.0f%%: %.0f req/s with, %.0f without", 100*cost, perSecond[1], perSecond[0]),
		note: fmt.Sprintf("myAgent answers, TRACE_RATE 1 and 0, %d times in turns", turns)}.verdict("under 15%", cost < 0.15))
}

// measureBare measures net/http itself: a yardstick for this machine.
func (b *bench) measureBare(ctx context.Context) {
	c := benchCase{name: "net/http alone", load: load{requests: each(get("/api/agents")), check: contains(`"network-agent"`)},
		payload: "a handler that does nothing, 4 KB: what this machine can do"}
	err := func() (err error) {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		p, err := serving(ctx, b.folder, self, bareServer+"=1")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		b.measureLoad(ctx, c, p.address, "")
		return nil
	}()
	if err != nil {
		b.report.fail(c.name, err)
	}
}

// measureLoad measures one load here and there.
func (b *bench) measureLoad(ctx context.Context, c benchCase, address, against string) {
	if c.concurrency == 0 {
		c.concurrency = b.concurrency
	}
	progress("%s", c.name)
	one := func(load load, address string) figures {
		if f := load.run(ctx, address, c.concurrency, limit{time: warmup(b.duration)}); f.err != nil {
			return f
		}
		return load.run(ctx, address, c.concurrency, limit{time: b.duration})
	}
	ours := one(c.load, address)
	if against == "" {
		b.report.compare(c, ours, nil)
		return
	}
	if c.theirs == nil {
		c.theirs = &c.load
	}
	theirs := one(*c.theirs, against)
	b.report.compare(c, ours, &theirs)
}

// measureVectors stores vectors and queries them one at a time and at once, and compares the answers with a look at all.
func (b *bench) measureVectors(ctx context.Context, address, against string) {
	progress("vectors: making %d", b.vectors)
	set := newVectorSet(b.vectors)
	progress("vectors: upsert")
	began := time.Now()
	stored, err := set.upsert(ctx, address, upsertTime)
	took := time.Since(began)
	if err == nil && stored < b.vectors {
		err = fmt.Errorf("%d of %d vectors in %v", stored, b.vectors, upsertTime)
	}
	if err != nil {
		b.report.fail("vector upsert", err)
		return
	}
	recall, err := set.recall(ctx, address, stored)
	if err != nil {
		b.report.fail("vector query", err)
		return
	}
	upserted := row{name: "vector upsert", ours: fmt.Sprintf("%d in %.1f s, %.0f/s", stored, took.Seconds(), float64(stored)/took.Seconds()),
		note: fmt.Sprintf("%d dimensions, %d an upsert", dimensions, batchSize)}
	found := row{name: fmt.Sprintf("vector recall, top %d", neighbours), ours: fmt.Sprintf("%.3f", recall),
		note: fmt.Sprintf("against brute force, %d queries, %d clusters", queryCount, clusters)}.verdict("over 0.98", recall > 0.98)
	c := benchCase{name: "vector query", concurrency: 1, barMS: 3, load: set.load(), payload: fmt.Sprintf("%d x %d, top %d", stored, dimensions, neighbours)}
	if against != "" {
		progress("vectors: upsert at the other server, %v at most", theirPart)
		defer func(address string) {
			if err := set.remove(context.WithoutCancel(ctx), address); err != nil {
				b.report.fail("vector clean-up", err)
			}
		}(against)
		began = time.Now()
		theirs, err := set.upsert(ctx, against, theirPart)
		took = time.Since(began)
		if err != nil {
			b.report.fail("vector upsert at the other server", err)
			against = ""
		} else {
			upserted.theirs = fmt.Sprintf("%d in %.1f s, %.0f/s", theirs, took.Seconds(), float64(theirs)/took.Seconds())
			c.payload += fmt.Sprintf(", there %d", theirs)
			if recall, err = set.recall(ctx, against, theirs); err == nil {
				found.theirs = fmt.Sprintf("%.3f", recall)
			}
		}
	}
	b.report.add(upserted)
	b.report.add(found)
	b.measureLoad(ctx, c, address, against)
	c.concurrency, c.barMS = b.concurrency, 0
	b.measureLoad(ctx, c, address, against)
}
