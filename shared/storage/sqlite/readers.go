package sqlite

import (
	"context"
	"sync"
)

// readers is a pool of read connections. They are opened as they are needed; the one used last is used next, since its
// cache is warm.
type readers struct {
	open  func() (*conn, error)
	slots chan struct{} // one token a connection in use

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// read calls f with a connection in one read transaction: all that f reads is of one moment.
func (p *readers) read(ctx context.Context, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	c, err := p.take()
	if err != nil {
		return err
	}
	defer p.put(c)
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	err = f(c)
	if _, end := c.exec("COMMIT"); err == nil {
		err = end
	}
	return err
}

func (p *readers) take() (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open()
	if err != nil {
		return nil, failed(err)
	}
	return c, nil
}

func (p *readers) put(c *conn) {
	c.trim()
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
}

// pause keeps reads out while f runs.
func (p *readers) pause(f func()) {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	defer func() {
		for range cap(p.slots) {
			<-p.slots
		}
	}()
	f()
}

// close waits for the reads under way.
func (p *readers) close() {
	p.pause(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		for _, c := range p.idle {
			_ = c.close()
		}
		p.idle = nil
	})
}
