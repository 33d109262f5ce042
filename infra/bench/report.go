package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// row is one line of the table. Values are in the unit that the line names.
type row struct {
	name   string
	ours   string
	theirs string // "" where there is nothing to compare with
	ratio  string
	bar    string
	met    string // "yes", "NO" or ""
	note   string
}

type report struct {
	rows   []row
	failed bool
}

func (r *report) add(one row) { r.rows = append(r.rows, one) }

// verdict fills in a bar.
func (one row) verdict(bar string, met bool) row {
	one.bar, one.met = bar, "yes"
	if !met {
		one.met = "NO"
	}
	return one
}

// compare adds a load: what it came to here and, unless theirs is nil, there.
func (r *report) compare(c benchCase, ours figures, theirs *figures) {
	one := row{name: fmt.Sprintf("%s, c=%d", c.name, ours.concurrency), ours: r.show(ours), note: c.payload}
	if theirs != nil {
		one.theirs = r.show(*theirs)
		if ours.err == nil && theirs.err == nil && theirs.perSecond > 0 {
			one.ratio = fmt.Sprintf("%.1f x", ours.perSecond/theirs.perSecond)
		}
	}
	switch {
	case c.bar > 0:
		one = one.verdict(fmt.Sprintf("over %.0f req/s", c.bar), ours.err == nil && ours.perSecond > c.bar)
	case c.barMS > 0:
		one = one.verdict(fmt.Sprintf("p50 under %g ms", c.barMS), ours.err == nil && ms(ours.median) < c.barMS)
	}
	r.add(one)
}

func (r *report) show(f figures) string {
	if f.err != nil {
		r.failed = true
		return "FAILED: " + fmt.Sprintf("%.150s", f.err.Error())
	}
	return fmt.Sprintf("%.0f req/s, p50 %.2f p99 %.2f ms", f.perSecond, ms(f.median), ms(f.slow))
}

// fail adds a row for what could not be measured.
func (r *report) fail(name string, err error) {
	r.failed = true
	r.add(row{name: name, ours: "FAILED: " + fmt.Sprintf("%.300s", err.Error())})
}

func (r *report) print(w io.Writer, against string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if against == "" {
		fmt.Fprintln(t, "WHAT\tMEASURED\tBAR\tMET\tHOW")
	} else {
		fmt.Fprintf(t, "WHAT\tMEASURED\tAT %s\tRATIO\tBAR\tMET\tHOW\n", against)
	}
	for _, l := range r.rows {
		if against == "" {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.name, l.ours, l.bar, l.met, l.note)
		} else {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.name, l.ours, l.theirs, l.ratio, l.bar, l.met, l.note)
		}
	}
	return t.Flush()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mb(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20)) }
