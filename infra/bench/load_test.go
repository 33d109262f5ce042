package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestALoadCountsWhatWasAnswered(t *testing.T) {
	var served, broken atomic.Int64
	broken.Store(1 << 40)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) > broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, `{"text":"Echo: `+strings.TrimPrefix(r.URL.Path, "/")+`"}`)
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	l := load{requests: each(func(int) []byte { return request("GET", "/hello", "") }), check: contains("Echo: hello")}
	f := l.run(t.Context(), address, 3, limit{requests: 100})
	if f.err != nil || f.count != 100 || served.Load() != 100 || f.median <= 0 || f.slow < f.median || f.longest < f.slow {
		t.Errorf("%+v, served %d", f, served.Load())
	}
	if f = l.run(t.Context(), address, 2, limit{time: 30 * time.Millisecond}); f.err != nil || f.count == 0 {
		t.Errorf("%+v", f)
	}
	l.check = contains("Echo: other")
	if f = l.run(t.Context(), address, 2, limit{requests: 100}); f.err == nil || f.count != 0 {
		t.Errorf("another answer than expected: %+v", f)
	}
	l.check = contains("")
	broken.Store(served.Load() + 10)
	if f = l.run(t.Context(), address, 2, limit{requests: 100}); f.err == nil || f.count > 10 {
		t.Errorf("a server that breaks: %+v", f)
	}
}
