package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheClientReadsEveryKindOfAnswer(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/length":
			io.WriteString(w, "got "+string(body))
		case "/chunked":
			for i := range 3 {
				io.WriteString(w, long[:10+i])
				w.(http.Flusher).Flush()
			}
			io.WriteString(w, long)
		case "/close":
			w.Header().Set("Connection", "close")
			io.WriteString(w, "bye")
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	c := dial(server.Listener.Addr().String())
	defer c.close()
	for range 2 { // on a connection used before, too
		for _, want := range []struct {
			request []byte
			status  int
			body    string
		}{
			{request("POST", "/length", `{"a":1}`), 200, `got {"a":1}`},
			{request("GET", "/chunked", ""), 200, long[:10] + long[:11] + long[:12] + long},
			{request("GET", "/none", ""), 418, ""},
			{request("GET", "/close", ""), 200, "bye"},
		} {
			status, body, err := c.do(t.Context(), want.request)
			if err != nil || status != want.status || string(body) != want.body {
				t.Errorf("%.30q: %d %.60q %v", want.request, status, body, err)
			}
		}
	}
}

// Whatever a server sends, the client neither panics nor takes other bytes for the body than net/http does.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\nTrailer: 1\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := dial("")
		c.reader.Reset(strings.NewReader(s))
		status, _, err := c.read()
		if err != nil {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s)), nil)
		if err != nil || want.StatusCode != status {
			return // net/http is stricter
		}
		body, err := io.ReadAll(want.Body)
		if err == nil && status >= 200 && status != 204 && status != 304 && string(body) != string(c.body) {
			t.Errorf("body %q, net/http reads %q", c.body, body)
		}
	})
}
