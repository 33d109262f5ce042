// Command bench measures the servers as they are shipped: start, size, memory, requests a second. It builds them, runs them
// as child processes with fresh data, loads them over loopback, and compares with another server where -against names one
// that serves the reference application with a model that does not wait. An answer that is not right makes it fail; a figure
// that misses its bar does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of the program.
type bench struct {
	concurrency int
	duration    time.Duration
	only        []string
	generates   int
	vectors     int
	against     string // "" or host:port
	folder      string
	report      report
}

func run(ctx context.Context, args []string) (err error) {
	if os.Getenv(bareServer) != "" {
		return serveBare(ctx, net.JoinHostPort("127.0.0.1", os.Getenv("PORT")))
	}
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	against := flags.String("against", os.Getenv("AGAINST"), "`URL` of another server of the reference application, measured in the same run")
	only := flags.String("only", "", "comma-separated `parts` of the names to measure: start, memory, vector and the rows of the table")
	flags.IntVar(&b.concurrency, "c", 16, "connections")
	flags.DurationVar(&b.duration, "d", 3*time.Second, "time for each load")
	flags.IntVar(&b.generates, "n", 10_000, "generates after which memory and the list of traces are measured")
	flags.IntVar(&b.vectors, "vectors", 20_000, "vectors of the index")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.concurrency < 1 || b.duration <= 0 || b.generates < 1 || b.vectors < 1 || flags.NArg() > 0 {
		return errors.New("-c, -d, -n and -vectors are above 0, and there are no other arguments")
	}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	if *against != "" {
		u, err := url.Parse(*against)
		if err != nil || u.Scheme != "http" || u.Port() == "" {
			return fmt.Errorf("-against %q is not http://host:port", *against)
		}
		b.against = u.Host
	}
	if b.folder, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	fmt.Println(b.howItRuns(ctx))
	if err := b.measure(ctx); err != nil {
		return err
	}
	if err := b.report.print(os.Stdout, *against); err != nil {
		return err
	}
	if b.report.failed {
		return errors.New("some answers were not right")
	}
	return nil
}

func (b *bench) measure(ctx context.Context) error {
	local, err := build(ctx, b.folder, "infra/local/cmd")
	if err != nil {
		return err
	}
	conformance, err := build(ctx, b.folder, "infra/conformance")
	if err != nil {
		return err
	}
	if b.wants("start") {
		b.measureStart(ctx, local)
	}
	if err := b.withServer(ctx, conformance, twin); err != nil {
		return err
	}
	if err := b.withServer(ctx, local, own); err != nil {
		return err
	}
	threeSteps, err := build(ctx, b.folder, "infra/bench/three")
	if err != nil {
		return err
	}
	if err := b.withServer(ctx, threeSteps, three); err != nil {
		return err
	}
	if b.wants("tracing") {
		b.measureTracing(ctx, local)
	}
	if b.wants("net/http alone") {
		b.measureBare(ctx)
	}
	return ctx.Err()
}

// withServer measures what one of our two servers answers.
func (b *bench) withServer(ctx context.Context, binary string, which side) (err error) {
	var wanted []benchCase
	for _, c := range cases() {
		if c.side == which && b.wants(c.name) {
			wanted = append(wanted, c)
		}
	}
	memory, vectors := which == twin && b.wants("memory"), which == twin && b.wants("vector")
	if len(wanted) == 0 && !memory && !vectors {
		return nil
	}
	p, err := serving(ctx, b.folder, binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	against := b.against
	if which == own {
		against = ""
	}
	if memory {
		b.measureMemory(ctx, p, against)
	}
	if which == twin { // the threads and traces that the lists show
		for _, address := range []string{p.address, against} {
			if address == "" {
				continue
			}
			if f := generate.run(ctx, address, b.concurrency, limit{requests: 10 * b.concurrency}); f.err != nil {
				return fmt.Errorf("generate at %s: %w%s", address, f.err, p.tail())
			}
		}
	}
	for _, c := range wanted {
		b.measureLoad(ctx, c, p.address, against)
	}
	if vectors {
		b.measureVectors(ctx, p.address, against)
	}
	return ctx.Err()
}

// wants says whether -only lets a name through.
func (b *bench) wants(name string) bool {
	for _, o := range b.only {
		if strings.Contains(name, strings.TrimSpace(o)) {
			return true
		}
	}
	return len(b.only) == 0
}

func (b *bench) howItRuns(ctx context.Context) string {
	commit := "unknown"
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s/%s, %d cores, %s, commit %s. Servers and load generator share the cores, over loopback.\n"+
		"Each load: %v after a warm-up of %v, %d connections, keep-alive. Fresh data, model delay 0, durable writes, default settings.\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), commit, b.duration, warmup(b.duration), b.concurrency)
}

func warmup(d time.Duration) time.Duration { return min(d/3, time.Second).Round(time.Millisecond) }
