package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// load is one kind of request, as it is sent again and again.
type load struct {
	requests func(worker int) [][]byte // sent in turn
	check    func(body []byte) error
	mark     string // how long a stream takes until this comes is measured, not how long all of it takes
}

// figures are what a load came to.
type figures struct {
	count        int
	perSecond    float64
	median, slow time.Duration // p50 and p99
	longest      time.Duration
	concurrency  int
	err          error
}

// limit ends a load: after so many requests or so long, whichever comes first. 0 is no limit.
type limit struct {
	requests int
	time     time.Duration
}

// run sends a load over c connections. An answer that is not as expected ends it with an error.
func (l load) run(ctx context.Context, address string, c int, end limit) figures {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if end.time == 0 {
		end.time = time.Hour
	}
	each := make([][]time.Duration, c)
	errs := make([]error, c)
	var workers sync.WaitGroup
	start := time.Now()
	for w := range c {
		workers.Go(func() {
			share := -1
			if end.requests > 0 {
				share = (end.requests + c - 1 - w) / c
			}
			each[w], errs[w] = l.work(ctx, address, w, start.Add(end.time), share)
			if errs[w] != nil {
				cancel()
			}
		})
	}
	workers.Wait()
	took := time.Since(start)
	f := figures{concurrency: c}
	for _, err := range errs {
		if err != nil && f.err == nil {
			f.err = err
		}
	}
	all := slices.Concat(each...)
	if len(all) == 0 {
		return f
	}
	slices.Sort(all)
	f.count, f.perSecond = len(all), float64(len(all))/took.Seconds()
	f.median, f.slow, f.longest = all[len(all)/2], all[len(all)*99/100], all[len(all)-1]
	return f
}

// work is one connection's part: its latencies.
func (l load) work(ctx context.Context, address string, worker int, until time.Time, share int) ([]time.Duration, error) {
	c := dial(address)
	defer c.close()
	if l.mark != "" {
		c.mark = []byte(l.mark)
	}
	requests := l.requests(worker)
	var took []time.Duration
	now := time.Now()
	for i := 0; i != share && now.Before(until) && ctx.Err() == nil; i++ {
		status, body, err := c.do(ctx, requests[i%len(requests)])
		then := now
		now = time.Now()
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d: %.300s", status, body)
		}
		if err == nil {
			err = l.check(body)
		}
		if err != nil {
			return took, err
		}
		if took = append(took, now.Sub(then)); l.mark != "" {
			took[len(took)-1] = c.marked.Sub(then)
		}
	}
	return took, ctx.Err()
}
