package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mastralambda/shared/mastra"
)

// Random graphs give what a plain evaluator of them gives. Steps take and give whole numbers; a step may fail, bail, or wait
// for an answer, depending on its input.
func TestRandomGraphs(t *testing.T) {
	seeds := 300
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			g := &generator{rand: rand.New(rand.NewPCG(1, uint64(seed)))}
			w, plain := g.workflow("w", 0)
			p := inNewFile(t, w)
			for range 3 {
				input := g.rand.IntN(30)
				want := plain(input)
				run := start(t, p, w, mastra.WorkflowCall{Input: mastra.JSON(fmt.Sprint(input))})
				for turns := 0; run.Status == mastra.StatusSuspended && turns < 100; turns++ {
					path := run.Suspended[g.rand.IntN(len(run.Suspended))]
					run = resume(t, p, w, mastra.WorkflowResume{RunID: run.ID, Step: path, Data: mastra.JSON(`{"add":3}`)})
				}
				var got string
				switch {
				case run.Error != nil:
					got = "error"
				case run.Status == mastra.StatusSuccess:
					got = string(run.Result)
				default:
					got = string(run.Status)
				}
				if got != want.String() {
					graph, _ := w.Graph().JSON()
					t.Fatalf("of %d comes %s, not %s, of %s: %+v", input, got, want, graph, run.Error)
				}
				stored, err := p.store.Run(context.Background(), run.ID)
				if err != nil || stored.Status != run.Status || len(stored.Steps) != len(run.Steps) {
					t.Fatalf("%v, stored is %+v", err, stored)
				}
			}
		})
	}
}

// result is what a plain evaluation gives: a number, a failure, or the end of the workflow with a number.
type result struct {
	n            int
	failed, bail bool
}

func (r result) String() string {
	if r.failed {
		return "error"
	}
	return fmt.Sprint(r.n)
}

type generator struct {
	rand  *rand.Rand
	names int
}

func (g *generator) name(kind string) string {
	g.names++
	return fmt.Sprint(kind, g.names)
}

// workflow makes a graph of some nodes, and the function that it is.
func (g *generator) workflow(id string, depth int) (*mastra.Flow[int, int], func(int) result) {
	w := mastra.NewWorkflow[int, int](id)
	var nodes []func(int) result
	for range 1 + g.rand.IntN(4) {
		nodes = append(nodes, g.node(w, depth))
	}
	return w, func(n int) result {
		for _, f := range nodes {
			r := f(n)
			if r.failed {
				return r
			}
			n = r.n
			if r.bail {
				break
			}
		}
		return result{n: n}
	}
}

// step makes one that does something to its input.
func (g *generator) step(depth int) (mastra.Runnable, func(int) result) {
	a, b := 1+g.rand.IntN(3), g.rand.IntN(10)
	f := func(n int) int { return (a*n + b) % 1000 }
	switch kind := g.rand.IntN(12); {
	case kind == 0:
		return step(g.name("fails"), func(_ context.Context, n int) (int, error) {
				if n%7 == 0 {
					return 0, errors.New("on purpose")
				}
				return f(n), nil
			}), func(n int) result {
				if n%7 == 0 {
					return result{failed: true}
				}
				return result{n: f(n)}
			}
	case kind == 1:
		return step(g.name("bails"), func(_ context.Context, n int) (int, error) {
				if n%5 == 0 {
					return 0, mastra.Bail(n + 1)
				}
				return f(n), nil
			}), func(n int) result {
				if n%5 == 0 {
					return result{n: n + 1, bail: true}
				}
				return result{n: f(n)}
			}
	case kind < 4:
		return mastra.NewPausable(g.name("asks"), func(_ context.Context, n int, a *Answer) (int, error) {
				if a == nil && n%2 == 0 {
					return 0, mastra.Suspend(nil)
				}
				if a == nil {
					a = &Answer{3}
				}
				return f(n) + a.Add, nil
			}), func(n int) result {
				return result{n: f(n) + 3}
			}
	case kind < 6 && depth < 2:
		w, plain := g.workflow(g.name("nested"), depth+1)
		return w, plain
	}
	return step(g.name("step"), func(_ context.Context, n int) (int, error) { return f(n), nil }), func(n int) result { return result{n: f(n)} }
}

func sum(m map[string]int) (all int) {
	for _, n := range m {
		all += n
	}
	return all
}

// together is what steps that run at once come to: a failure wins, then a bail; of several bails the first.
func together(all []result) result {
	sum := 0
	for _, r := range all {
		if r.failed {
			return r
		}
		sum += r.n
	}
	for _, r := range all {
		if r.bail {
			return r
		}
	}
	return result{n: sum}
}

// node adds a node to w.
func (g *generator) node(w *mastra.Flow[int, int], depth int) func(int) result {
	switch g.rand.IntN(6) {
	case 0: // parallel
		var steps []mastra.Runnable
		var plain []func(int) result
		for range 1 + g.rand.IntN(3) {
			s, f := g.step(depth)
			steps, plain = append(steps, s), append(plain, f)
		}
		w.Parallel(steps...).Then(mastra.Map(sum))
		return func(n int) result {
			all := make([]result, len(plain))
			for i, f := range plain {
				all[i] = f(n)
			}
			return together(all)
		}
	case 1: // branch
		var cases []mastra.Case
		var plain []func(int) result
		var mods []int
		for range 1 + g.rand.IntN(3) {
			s, f := g.step(depth)
			mod := 1 + g.rand.IntN(3)
			cases = append(cases, mastra.When(func(n int) bool { return n%mod == 0 }, s))
			plain, mods = append(plain, f), append(mods, mod)
		}
		w.Branch(cases...).Then(mastra.Map(sum))
		return func(n int) result {
			var all []result
			for i, f := range plain {
				if n%mods[i] == 0 {
					all = append(all, f(n))
				}
			}
			return together(all)
		}
	case 2: // foreach, one after the other: what comes of several that fail or bail depends on who is first
		s, f := g.step(depth)
		w.Then(mastra.NewStep(g.name("list"), func(_ context.Context, n int) ([]int, error) { return turns(n), nil })).ForEach(s, 1).Then(mastra.NewStep(g.name("sum"), total))
		return func(n int) result {
			sum := 0
			for _, item := range turns(n) {
				r := f(item)
				if r.failed || r.bail {
					return r
				}
				sum += r.n
			}
			return result{n: sum}
		}
	case 3: // a loop, of a step or of a nested workflow
		by, limit := 1+g.rand.IntN(5), g.rand.IntN(10)
		down := func(n int) int { return n - by }
		var turn mastra.Runnable = step(g.name("down"), func(_ context.Context, n int) (int, error) { return n - by, nil })
		if g.rand.IntN(2) == 0 {
			turn = mastra.NewWorkflow[int, int](g.name("turn")).Then(turn).Then(mastra.Map(func(n int) int { return n - 1 }))
			down = func(n int) int { return n - by - 1 }
		}
		w.Then(mastra.Map(func(n int) int { return n % 40 })).While(turn, mastra.Cond(func(n int) bool { return n > limit }))
		return func(n int) result {
			for n = down(n % 40); n > limit; n = down(n) {
			}
			return result{n: n}
		}
	}
	s, f := g.step(depth)
	w.Then(s)
	return f
}

func turns(n int) []int {
	list := slices.Repeat([]int{n}, (n%4+4)%4)
	for i := range list {
		list[i] += i
	}
	return list
}
