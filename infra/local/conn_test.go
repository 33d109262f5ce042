package local

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
)

// Answers of every size arrive whole, on one connection, also where they fill net/http's buffer to the byte; what is flushed does
// not wait for what follows.
func TestPackedAnswers(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		body := bytes.Repeat([]byte("x"), n)
		if r.URL.Path == "/stream" {
			_, _ = w.Write(body)
			_ = http.NewResponseController(w).Flush()
			<-goOn
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(body)
	})}
	go func() { _ = server.Serve(packing{listener}) }()
	defer server.Close()
	get := func(path string, n int) *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+path+"?n="+strconv.Itoa(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	sizes := []int{0, 1, 8192, 12288, 100_000}
	for n := 3800; n < 4200; n++ {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		answer := get("/", n)
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || len(body) != n {
			t.Fatalf("%d bytes of %d, %v", len(body), n, err)
		}
	}
	for n := 3800; n < 4200; n++ {
		answer := get("/stream", n)
		if _, err := io.ReadFull(answer.Body, make([]byte, n)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		goOn <- struct{}{}
		_ = answer.Body.Close()
	}
}
