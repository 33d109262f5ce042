package mastra_test

import (
	"testing"

	"mastralambda/shared/mastra"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		`{"password":"p","user":"u"}`:                         `{"password":"[REDACTED]","user":"u"}`,
		`{"a":[{"API-Key": 7}, {"api_key" :"k"}]}`:            `{"a":[{"API-Key":"[REDACTED]"},{"api_key":"[REDACTED]"}]}`,
		`{"headers":{"Authorization":"Bearer x","b":null}}`:   `{"headers":{"Authorization":"[REDACTED]","b":null}}`,
		`{"key":{"type":"string"}}`:                           `{"key":{"type":"string"}}`, // what a schema calls key is none
		`{"token":{"token":"t"}}`:                             `{"token":{"token":"[REDACTED]"}}`,
		`{"text":"{\"secret\":\"s\",\"n\":1}"}`:               `{"text":"{\"secret\":\"[REDACTED]\",\"n\":1}"}`,
		`"{\"a\":\"{\\\"token\\\":\\\"t\\\"}\"}"`:             `"{\"a\":\"{\\\"token\\\":\\\"[REDACTED]\\\"}\"}"`,
		`{"inputTokens":5,"tokens":["a"],"monkey":"m"}`:       `{"inputTokens":5,"tokens":["a"],"monkey":"m"}`,
		`{"text":"the key: value, \"password\" : no object"}`: `{"text":"the key: value, \"password\" : no object"}`,
		`{"password":"p"`:                                     `"[REDACTED]"`, // what cannot be read is not kept
		`[1,2]`:                                               `[1,2]`,
		``:                                                    ``,
	} {
		if got := string(mastra.Redact(mastra.JSON(in))); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{`{"password":"hunter2"}`, `{"a":"{\"token\":\"hunter2\"}"}`, `[{"key":["hunter2"]}]`, `{"k":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := mastra.JSON(data)
		out := mastra.Redact(in.Clone())
		if in.IsValid() && !out.IsValid() {
			t.Errorf("%q became %q", in, out)
		}
	})
}

func TestTraceparent(t *testing.T) {
	for header, ok := range map[string]bool{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":       true,
		" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00 ":     true,
		"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later": true,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra": false,
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":       false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":       false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":       false,
		"00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01":        false,
		"": false, "00": false, "00-x-y-z": false,
	} {
		caller, got := mastra.ParseTraceparent(header)
		if got != ok || ok && (caller.TraceID != "0af7651916cd43dd8448eb211c80319c" || caller.SpanID != "b7ad6b7169203331" || !caller.Remote) {
			t.Errorf("%q: %v %+v", header, got, caller)
		}
	}
	ctx := mastra.WithSpan(t.Context(), mastra.SpanRef{TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331"})
	if got := mastra.TraceparentOf(ctx); got != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
		t.Errorf("a call within a run has %q", got)
	}
	if got := mastra.TraceparentOf(t.Context()); got != "" {
		t.Errorf("a call outside of a run has %q", got)
	}
}

func TestSampling(t *testing.T) {
	for _, rate := range []float64{0, 0.25, 1} {
		m := &mastra.Mastra{Backends: mastra.Backends{Tracing: mastra.Tracing{Rate: &rate}}}
		kept := 0
		for range 4000 {
			id := mastra.NewTraceID()
			first, second := m.Record(t.Context(), []mastra.Span{{TraceID: id}}), m.Record(t.Context(), []mastra.Span{{TraceID: id}})
			if len(first) != len(second) {
				t.Fatal("two functions do not agree on a trace")
			}
			kept += len(first)
		}
		if want := int(rate * 4000); kept < want-250 || kept > want+250 {
			t.Errorf("%d of 4000 are kept at a rate of %v", kept, rate)
		}
	}
}
