package server

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"mastralambda/shared/mastra"
)

// Heartbeat is how long a stream stays silent before a beat keeps idle proxies from cutting it.
const Heartbeat = 15 * time.Second

// framing is the route's own unless the deployment or the request asks for another: ?format=, Accept: text/event-stream,
// or Accept: text/plain where no wildcard stands beside it ("application/json, text/plain, */*" is some clients' default).
func (s *Server) framing(r *http.Request, own Framing) Framing {
	if strings.Contains(r.URL.RawQuery, "format=") {
		switch f := Framing(r.URL.Query().Get("format")); f {
		case SSE, Chunked:
			return f
		}
	}
	switch accept := r.Header.Get("Accept"); {
	case strings.Contains(accept, "text/event-stream"):
		return SSE
	case strings.Contains(accept, "text/plain") && !strings.Contains(accept, "*"):
		return Chunked
	case s.StreamFormat != "":
		return s.StreamFormat
	}
	return own
}

type item struct {
	chunk mastra.Chunk
	err   error
}

// writeStream writes chunks as they come and flushes whenever nothing more is ready. It ends with the stream or with the client.
func (s *Server) writeStream(w http.ResponseWriter, r *http.Request, f Framing, chunks iter.Seq2[mastra.Chunk, error]) {
	ctx, cancel := context.WithCancel(r.Context())
	items := make(chan item, 64)
	go pump(ctx, chunks, items)
	defer func() { // the pump ends before the request does
		cancel()
		for range items {
		}
	}()
	flusher := http.NewResponseController(w)
	contentType := "text/event-stream"
	if f == Chunked {
		contentType = "text/plain"
	}
	beat := Beat(contentType)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Accel-Buffering", "no")
	timer := time.NewTimer(Heartbeat)
	defer timer.Stop()
	// What is ready goes out together. The first chunk, too, gives whoever makes chunks the time to make some more that he can
	// make at once.
	buf := make([]byte, 0, 4096)
	begun := false
	out := func() bool {
		if len(buf) > 0 {
			if _, err := w.Write(buf); err != nil {
				return false
			}
			buf = buf[:0]
		}
		begun = true
		return flusher.Flush() == nil
	}
	for {
		var it item
		var more bool
		if len(items) == 0 {
			runtime.Gosched()
		}
		select {
		case it, more = <-items:
		default:
			if begun || len(buf) > 0 {
				if !out() {
					return
				}
				timer.Reset(Heartbeat)
			} else { // the header goes out with the first chunk, or soon
				timer.Reset(headerDelay)
			}
			select {
			case it, more = <-items:
			case <-ctx.Done():
				return
			case <-timer.C:
				if begun {
					buf = append(buf, beat...)
				} else if !out() {
					return
				}
				continue
			}
		}
		if !more {
			if f == SSE {
				buf = append(buf, "data: [DONE]\n\n"...)
			}
			_, _ = w.Write(buf) // whoever calls the handler flushes with the end
			return
		}
		if it.err != nil {
			it.chunk = s.errorChunk(r, it.err)
		}
		data, err := it.chunk.Encode()
		if err != nil {
			data, _ = s.errorChunk(r, err).Encode()
		}
		if buf = frame(buf, f, data, it.chunk.At); len(buf) >= maxPacket && !out() {
			return
		}
	}
}

// headerDelay is how long a header waits for what it could go out with.
const headerDelay = 5 * time.Millisecond

// Beat is what a stream of a content type can say without saying anything.
func Beat(contentType string) string {
	if contentType == "text/event-stream" {
		return ": \n\n"
	}
	return "\n"
}

// maxPacket is how many bytes of chunks are collected before they go out.
const maxPacket = 32 << 10

// frame frames a record. Its place stands in a block of its own behind it: clients drop a block that begins with anything
// but data.
func frame(buf []byte, f Framing, data []byte, at mastra.Position) []byte {
	if f == SSE {
		buf = append(append(append(buf, "data: "...), data...), "\n\n"...)
		if at != (mastra.Position{}) {
			buf = append(at.Append(append(buf, "id: "...)), "\n\n"...)
		}
		return buf
	}
	return append(append(buf, data...), 0x1E)
}

// pump moves chunks into items and closes it. A panic of the stream becomes its last item.
func pump(ctx context.Context, chunks iter.Seq2[mastra.Chunk, error], items chan<- item) {
	defer close(items)
	send := func(it item) bool {
		select {
		case items <- it:
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer func() {
		if p := recover(); p != nil {
			send(item{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())})
		}
	}()
	for c, err := range chunks {
		if !send(item{c, err}) || err != nil {
			return
		}
	}
}

// errorChunk is how a stream tells of an error after its header is out.
func (s *Server) errorChunk(r *http.Request, err error) mastra.Chunk {
	_, p, ours := problemOf(err)
	if ours {
		p.RequestID = requestID(r)
		s.logger(r).ErrorContext(r.Context(), "stream failed", "path", r.URL.Path, "error", err)
	}
	return mastra.Chunk{Type: "error", Payload: p}
}
