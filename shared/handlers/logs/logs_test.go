package logs_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"mastralambda/shared/handlers/logs"
	"mastralambda/shared/logstore/local"
	"mastralambda/shared/mastra"
	"mastralambda/shared/schema"
	"mastralambda/shared/server"
)

func app(t *testing.T) *mastra.Mastra {
	t.Helper()
	store, err := local.Open(t.TempDir(), slog.LevelDebug, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m, err := mastra.New(mastra.Config{Backends: mastra.Backends{Logs: store, Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(store)
	log.Debug("d")
	log.Info("i", "runId", "run-1", "component", "AGENT")
	log.Warn("w", "runId", "run-1", "component", "AGENT", "url", "http://a:1")
	log.Error("e", "runId", "run-2", "error", "broken")
	return m
}

func messages(p logs.Page) string {
	var all []string
	for _, l := range p.Logs {
		var text string
		v, _ := l.Get("msg")
		_ = schema.Unmarshal(v, &text)
		all = append(all, text)
	}
	return strings.Join(all, "")
}

func TestCalledDirectly(t *testing.T) {
	m := app(t)
	p, err := logs.List(t.Context(), m, logs.ListInput{Level: "warn", Limit: 10})
	if err != nil || messages(p) != "ew" {
		t.Errorf("%+v, %v", p, err)
	}
	m.Logs = nil
	if _, err := logs.List(t.Context(), m, logs.ListInput{}); mastra.CodeOf(err) != mastra.CodeUnavailable {
		t.Errorf("without a log: %v", err)
	}
}

// TestOwner: records know no owner, so a caller who is bound to a resource sees none.
func TestOwner(t *testing.T) {
	ctx := mastra.WithPrincipal(t.Context(), &mastra.Principal{ID: "1", Resource: "ann"})
	if _, err := logs.List(ctx, app(t), logs.ListInput{}); mastra.CodeOf(err) != mastra.CodeForbidden {
		t.Errorf("%v", err)
	}
}

func TestRoutes(t *testing.T) {
	s, err := server.New(server.Server{Mastra: app(t), Prefix: "/api"}, logs.Routes())
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/api"+path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string]string{
		"/logs?level=error&limit=10":                            "e 1 1 10 false", // the document's
		"/logs":                                                 "ewid 4 1 100 false",
		"/logs?transportId=file":                                "ewid 4 1 100 false",
		"/logs?transportId=nope":                                " 0 1 100 false",
		"/logs?transportId=file&logLevel=warn":                  "ew 2 1 100 false",
		"/logs?logLevel=silent":                                 " 0 1 100 false",
		"/logs?page=0&perPage=3":                                "ewi 4 1 3 true",
		"/logs?page=2&perPage=3":                                "d 4 2 3 false",
		"/logs?perPage=0":                                       "ewid 4 1 100 false",
		"/logs?perPage=5000":                                    "ewid 4 1 1000 false",
		"/logs?page=9007199254740991":                           " 4 9007199254740991 100 false",
		"/logs?filters=component:AGENT":                         "wi 2 1 100 false",
		"/logs?filters=component:AGENT&filters=x:y":             " 0 1 100 false",
		"/logs?filters=url:http%3A%2F%2Fa:1":                    "w 1 1 100 false",
		"/logs?filters=nocolon":                                 " 0 1 100 false",
		"/logs?fromDate=2020-01-01T00:00:00Z&toDate=2999-01-01": "ewid 4 1 100 false",
		"/logs?toDate=2020-01-01":                               " 0 1 100 false",
		"/logs/run-1?transportId=file":                          "wi 2 1 100 false",
		"/logs/run-1?level=warn":                                "w 1 1 100 false",
		"/logs/run":                                             " 0 1 100 false",
	} {
		status, body := get(path)
		var p logs.Page
		if err := schema.Unmarshal([]byte(body), &p); err != nil || status != 200 {
			t.Errorf("%s: %d %s (%v)", path, status, body, err)
		} else if got := fmt.Sprint(messages(p), " ", p.Total, " ", p.Page, " ", p.PerPage, " ", p.HasMore); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/logs?level=loud":             `{"field":"level","message":"Invalid option: expected one of \"debug\"|\"info\"|\"warn\"|\"error\""}`,
		"/logs?logLevel=bogus&page=-1": `{"field":"page","message":"Too small: expected number to be >=0"},{"field":"logLevel","message":"Invalid option: expected one of \"debug\"|\"info\"|\"warn\"|\"error\"|\"silent\""}`,
		"/logs?limit=many":             `{"field":"limit"`,
		"/logs?fromDate=yesterday":     `{"field":"fromDate"`,
	} {
		if status, body := get(path); status != 400 || !strings.Contains(body, `"error":"Invalid query parameters"`) || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := get("/logs/transports"); status != 200 || strings.TrimSpace(body) != `{"transports":["file"]}` {
		t.Errorf("transports: %d %s", status, body)
	}
	_, body := get("/logs?level=error")
	for _, want := range []string{`"time":1`, `"level":"error"`, `"msg":"e"`, `"runId":"run-2"`, `"error":"broken"`, `"pid":`, `"hostname":`, `"name":`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

// TestLargePage: an answer stays within what a Lambda may send.
func TestLargePage(t *testing.T) {
	m := app(t)
	log := slog.New(m.Logs.(slog.Handler))
	for range 200 {
		log.Info("large", "v", strings.Repeat("x", 30<<10))
	}
	p, err := logs.List(t.Context(), m, logs.ListInput{Limit: 1000})
	data, _ := schema.Marshal(p)
	if err != nil || len(data) > 5<<20 || len(p.Logs) < 50 || !p.HasMore {
		t.Errorf("%d bytes, %d records, more %t, %v", len(data), len(p.Logs), p.HasMore, err)
	}
}
