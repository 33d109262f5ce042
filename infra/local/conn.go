package local

import (
	"net"
	"sync"
	"time"
)

// packing is a listener whose connections send an answer in one go that net/http, whose buffer holds 4 KB, writes in two: that saves
// a system call here, and wakes the client once.
type packing struct{ net.Listener }

func (l packing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &packed{Conn: c}, nil
}

const (
	fullBuffer = 4 << 10 // of net/http: more follows at once, unless what there is fills it by chance
	holdFor    = time.Millisecond
)

// packed holds a full buffer back until the next write, but not for long.
type packed struct {
	net.Conn
	mu    sync.Mutex // guards what follows, and the order of writes
	held  []byte
	err   error // of what was held and nobody waited for
	timer *time.Timer
}

func (c *packed) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, c.err
	case len(c.held) > 0:
		c.timer.Stop()
		before := len(c.held)
		n, err := (&net.Buffers{c.held, p}).WriteTo(c.Conn)
		c.held = c.held[:0]
		return max(0, int(n)-before), err
	case len(p) != fullBuffer:
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	if c.timer == nil {
		c.timer = time.AfterFunc(holdFor, c.release)
	} else {
		c.timer.Reset(holdFor)
	}
	return len(p), nil
}

// release sends what is held.
func (c *packed) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) > 0 {
		_, c.err = c.Conn.Write(c.held)
		c.held = c.held[:0]
	}
}

func (c *packed) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite is how net/http ends a connection whose client may still be sending.
func (c *packed) CloseWrite() error {
	c.release()
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
