// Package logtest is the one suite that every log passes: what is logged through a slog.Handler comes back through its
// mastra.LogReader.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mastralambda/shared/mastra"
)

// Run runs the suite. open returns an empty log for one test, for records of all levels.
func Run(t *testing.T, open func(t *testing.T) (slog.Handler, mastra.LogReader)) {
	for name, test := range map[string]func(*testing.T, slog.Handler, mastra.LogReader){
		"levels": levels, "fields": fields, "filters": filters, "dates": dates, "paging": paging, "hostile": hostile, "concurrent": concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			h, r := open(t)
			test(t, h, r)
		})
	}
}

func read(t *testing.T, r mastra.LogReader, q mastra.LogQuery) *mastra.LogPage {
	t.Helper()
	p, err := r.Logs(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// messages are those of a page, joined.
func messages(p *mastra.LogPage) string {
	var all []string
	for _, r := range p.Records {
		all = append(all, r.Message)
	}
	return strings.Join(all, " ")
}

func expect(t *testing.T, r mastra.LogReader, q mastra.LogQuery, want string) {
	t.Helper()
	p := read(t, r, q)
	if got := messages(p); got != want || p.Records == nil {
		t.Errorf("%+v: %q, want %q", q, got, want)
	}
	if n := len(strings.Fields(want)); p.Total != -1 && q.PerPage == 0 && p.Total != n {
		t.Errorf("%+v: total %d, want %d", q, p.Total, n)
	}
}

func levels(t *testing.T, h slog.Handler, r mastra.LogReader) {
	expect(t, r, mastra.LogQuery{}, "")
	log := slog.New(h)
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	log.Log(t.Context(), slog.LevelError+4, "fatal")
	for level, want := range map[string]string{"": "fatal e w i d", "debug": "fatal e w i d", "info": "fatal e w i", "warn": "fatal e w", "error": "fatal e", "silent": ""} {
		expect(t, r, mastra.LogQuery{Level: level}, want)
	}
	expect(t, r, mastra.LogQuery{Levels: []string{"debug", "warn"}}, "w d")
	expect(t, r, mastra.LogQuery{Levels: []string{"debug", "error"}, Level: "info"}, "fatal e")
	expect(t, r, mastra.LogQuery{Ascending: true}, "d i w e fatal")
	if p := read(t, r, mastra.LogQuery{Ascending: true, Page: 1, PerPage: 2}); messages(p) != "w e" || !p.HasMore {
		t.Errorf("the second page, oldest first: %q, more %v", messages(p), p.HasMore)
	}
	if _, err := r.Logs(t.Context(), mastra.LogQuery{Levels: []string{"loud"}}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("an unknown level: %v", err)
	}
	if _, err := r.Logs(t.Context(), mastra.LogQuery{Level: "loud"}); mastra.CodeOf(err) != mastra.CodeInvalid {
		t.Errorf("an unknown level: %v", err)
	}
	for _, rec := range read(t, r, mastra.LogQuery{PerPage: 1}).Records {
		if rec.Level != "error" {
			t.Errorf("a level above error is %q", rec.Level)
		}
	}
}

type point struct {
	X int    `json:"x"`
	S string `json:"s"`
}

func fields(t *testing.T, h slog.Handler, r mastra.LogReader) {
	before := mastra.TimeOf(time.Now())
	slog.New(h).With("requestId", "req-1").WithGroup("http").With("method", "GET").Info("ünï <b> \"q\"\n", "status", 200, "ok", true, "ratio", 1.5,
		"error", errors.New("broken pipe"), "took", 1500*time.Millisecond, "at", time.UnixMilli(1).UTC(), "point", point{1, "<a>"}, slog.Group("in", "side", "deep"), "nothing", nil)
	slog.New(h).Info("with-run", "runId", "run-1", "msg", "not the message", "time", "x", "level", "y")
	p := read(t, r, mastra.LogQuery{})
	if len(p.Records) != 2 {
		t.Fatalf("%d records", len(p.Records))
	}
	if rec := p.Records[0]; rec.RunID != "run-1" || rec.Message != "with-run" || rec.Level != "info" {
		t.Errorf("read back as %+v", rec)
	}
	rec := p.Records[1]
	if rec.Message != "ünï <b> \"q\"\n" || rec.Level != "info" || rec.Time < before || rec.Time > mastra.TimeOf(time.Now()) {
		t.Errorf("read back as %+v", rec)
	}
	for key, want := range map[string]string{
		"requestId": `"req-1"`, "http.method": `"GET"`, "http.status": `200`, "http.ok": `true`, "http.ratio": `1.5`, "http.error": `"broken pipe"`,
		"http.took": `"1.5s"`, "http.at": `"1970-01-01T00:00:00.001Z"`, "http.point": `{"x":1,"s":"<a>"}`, "http.in.side": `"deep"`, "http.nothing": `null`,
	} {
		if v, _ := rec.Fields.Get(key); string(v) != want {
			t.Errorf("%s is %s, want %s", key, v, want)
		}
	}
}

func filters(t *testing.T, h slog.Handler, r mastra.LogReader) {
	log := slog.New(h)
	log.Info("a", "component", "AGENT", "runId", "run-1", "n", 7)
	log.Info("b", "component", "TOOL", "runId", "run-1")
	log.Error("c", "component", "AGENT", "runId", "run-10", "note", `x "quoted" ü`)
	log.Info("d", "note", "runId run-1 component AGENT")
	for _, c := range []struct {
		q    mastra.LogQuery
		want string
	}{
		{mastra.LogQuery{RunID: "run-1"}, "b a"},
		{mastra.LogQuery{RunID: "run"}, ""},
		{mastra.LogQuery{Filters: map[string]string{"component": "AGENT"}}, "c a"},
		{mastra.LogQuery{Filters: map[string]string{"component": "AGENT"}, Level: "error"}, "c"},
		{mastra.LogQuery{Filters: map[string]string{"component": "AGENT", "n": "7"}}, "a"},
		{mastra.LogQuery{Filters: map[string]string{"component": "AGENT"}, RunID: "run-1"}, "a"},
		{mastra.LogQuery{Filters: map[string]string{"note": `x "quoted" ü`}}, "c"},
		{mastra.LogQuery{Filters: map[string]string{"component": "AGENT", "x": "y"}}, ""},
		{mastra.LogQuery{Filters: map[string]string{"component": "GEN"}}, ""},
		{mastra.LogQuery{Filters: map[string]string{"component": ""}}, ""},
	} {
		expect(t, r, c.q, c.want)
	}
}

func dates(t *testing.T, h slog.Handler, r mastra.LogReader) {
	start := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for i := range 5 {
		rec := slog.NewRecord(start.Add(time.Duration(i)*time.Second), slog.LevelInfo, fmt.Sprint("m", i), 0)
		if err := h.Handle(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	at := func(i int) mastra.Time { return mastra.TimeOf(start.Add(time.Duration(i) * time.Second)) }
	expect(t, r, mastra.LogQuery{From: at(1), To: at(3)}, "m3 m2 m1")
	expect(t, r, mastra.LogQuery{From: at(4)}, "m4")
	expect(t, r, mastra.LogQuery{To: at(0) - 1}, "")
}

func paging(t *testing.T, h slog.Handler, r mastra.LogReader) {
	log := slog.New(h)
	for i := range 25 {
		log.Info(fmt.Sprint(i))
	}
	for page, want := range []string{"24 23 22 21 20 19 18 17 16 15", "14 13 12 11 10 9 8 7 6 5", "4 3 2 1 0", ""} {
		p := read(t, r, mastra.LogQuery{Page: page, PerPage: 10})
		if got := messages(p); got != want || p.HasMore != (page < 2) {
			t.Errorf("page %d: %q, more %t", page, got, p.HasMore)
		}
	}
	if p := read(t, r, mastra.LogQuery{Page: 1 << 60, PerPage: 1 << 60}); len(p.Records) != 0 {
		t.Errorf("%d records beyond the end", len(p.Records))
	}
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("in a log call") }

// hostile: whatever is logged neither fails nor makes other records unreadable.
func hostile(t *testing.T, h slog.Handler, r mastra.LogReader) {
	log := slog.New(h)
	log.Info("first")
	log.Info("line\nbreak\x00", "bad\xff", "utf\xff8", "f", func() {}, "c", make(chan int), "p", panics{}, "nil", error(nil), "e", (*point)(nil), "", "")
	log.Info("huge", "v", strings.Repeat("ü\"", 1<<20), "x", map[string]any{"k": strings.Repeat("y", 1<<20)})
	log.Info("twice", "k", 1, "k", 2, "pid", "mine")
	log.Info("last")
	p := read(t, r, mastra.LogQuery{})
	if len(p.Records) != 5 || p.Records[0].Message != "last" || p.Records[4].Message != "first" {
		t.Fatalf("%d records: %.200q", len(p.Records), messages(p))
	}
	if v, _ := p.Records[1].Fields.Get("k"); string(v) != "2" {
		t.Errorf("of two values %s stays", v)
	}
}

func concurrent(t *testing.T, h slog.Handler, r mastra.LogReader) {
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			log := slog.New(h).With("runId", fmt.Sprint("run-", w))
			for i := range 50 {
				log.Info(fmt.Sprint(i))
				if i%10 == 9 { // what was logged before is visible
					p, err := r.Logs(context.Background(), mastra.LogQuery{RunID: fmt.Sprint("run-", w), PerPage: 1})
					if err != nil || len(p.Records) != 1 || p.Records[0].Message != fmt.Sprint(i) {
						t.Errorf("after %d: %+v, %v", i, p, err)
					}
				}
			}
		})
	}
	all.Wait()
}
